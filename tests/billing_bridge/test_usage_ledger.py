"""Usage in the ledger: posted once, corrected by the difference, held to its windows."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ledger_facts import take_guards_away
from sqlalchemy import Engine, insert, select
from usage_facts import HOUR, hours, record, rollup

from billing_bridge import (
    UsageException,
    list_problems,
    tail,
    usage_check,
    used,
    verify,
)
from billing_bridge.usage_rows import SAMPLES
from orchestrator.database import reading, writing

NOW = hours(10)


def quantities(engine: Engine) -> list[tuple[str, int]]:
    with reading(engine) as session:
        assert usage_check(session) == ()
        assert verify(session, deep=True).problem == ""
        return [(event.type.partition(".")[2], event.quantity) for event in tail(session)]


def problems(engine: Engine) -> tuple[UsageException, ...]:
    with reading(engine) as session:
        return list_problems(session)


def test_a_window_is_posted_once_and_then_corrected_by_the_difference(isp: Engine) -> None:
    """Goal: any number of recomputations leaves the sum right, and says nothing new twice."""
    first = [rollup(0), rollup(0, 70, meter="up"), rollup(1, 0)]
    assert len(record(isp, first, NOW).events) == 3
    for _ in range(2):
        again = record(isp, first, NOW)
        assert (again.events, again.unchanged, again.exceptions) == ((), 3, 0)
    assert record(isp, [rollup(0, 1500)], NOW).events[0].payload["revision"] == 2
    assert record(isp, [rollup(0, 1500)], NOW).unchanged == 1
    assert record(isp, [rollup(0, 900)], NOW).events[0].quantity == -600
    recorded = [("recorded", 1000), ("recorded", 70), ("recorded", 0)]
    assert quantities(isp) == [*recorded, ("corrected", 500), ("corrected", -600)]
    with reading(isp) as session:
        windows = used(session, ["svc-1", "svc-2"], hours(0), hours(2))
    told = [(one.meter, one.since, one.quantity, one.revision) for one in windows["svc-1"]]
    assert told == [("down", hours(0), 900, 3), ("up", hours(0), 70, 1), ("down", hours(1), 0, 1)]
    assert windows["svc-2"] == ()


@pytest.mark.parametrize(
    ("given", "kind", "price"),
    [
        ({"unit": "octet"}, "unknown_unit", 0),
        ({"unit": "second"}, "unknown_unit", 0),
        ({"meter": "sms"}, "unknown_unit", 150),
        ({"number": 10}, "future", 150),
        ({"until": hours(0)}, "impossible", 150),
        ({"quantity": -1}, "impossible", 0),
        ({"quantity": 1 << 63}, "impossible", (1 << 63) // 1000 * 50 + 50),
        ({"since": hours(-24 * 120), "until": hours(1 - 24 * 120)}, "late", 150),
        ({"service_id": "svc-2"}, "none", 0),
    ],
)
def test_what_cannot_be_counted_waits_with_a_price(
    isp: Engine, given: dict[str, Any], kind: str, price: int
) -> None:
    """Method: the list price of its plan's blocks of 1000 bytes at 0.50; beside it what is good."""
    odd = rollup(**({"quantity": 2500} | given))
    posted = record(isp, [odd, rollup(5)], NOW)
    assert len(posted.events) == (2 if kind == "none" else 1)
    assert record(isp, [odd], NOW).exceptions == 0
    found = problems(isp)
    assert [one.kind for one in found] == ([] if kind == "none" else [kind])
    if found:
        money = (found[0].amount_minor, found[0].currency, found[0].exponent)
        assert money == (price, "EUR", 2)
        assert found[0].evidence["quantity"] == str(odd.quantity)


def test_a_time_is_counted_by_one_source_in_one_window(isp: Engine) -> None:
    record(isp, [rollup(0), rollup(1)], NOW)
    whole_day = rollup(0, 5000, since=hours(-12), until=hours(12), source="csv")
    half = rollup(0, 5000, until=hours(0) + HOUR / 2)
    other = rollup(0, 5000, source="csv")
    posted = record(isp, [whole_day, half, other], hours(20))
    assert (posted.events, posted.exceptions) == ((), 3)
    assert {one.kind for one in problems(isp)} == {"impossible"}
    assert quantities(isp) == [("recorded", 1000)] * 2


def test_what_was_in_the_future_is_settled_when_it_is_over(isp: Engine) -> None:
    record(isp, [rollup(9)], hours(9))
    assert [one.kind for one in problems(isp)] == ["future"]
    assert len(record(isp, [rollup(9)], hours(10)).events) == 1
    assert problems(isp) == ()


def test_late_usage_says_so_and_keeps_its_time(isp: Engine) -> None:
    in_time, late = record(isp, [rollup(0), rollup(1)], hours(26)), None
    assert [event.payload.get("late") for event in in_time.events] == [1, None]
    late = record(isp, [rollup(1, 1001)], hours(27)).events[0]
    assert (late.payload["late"], late.effective_at) == (1, hours(1))
    with reading(isp) as session:
        assert [one.late for one in used(session, ["svc-1"], hours(0), hours(9))["svc-1"]] == [
            True,
            True,
        ]


def test_two_who_count_the_same_window_post_it_once(isp: Engine) -> None:
    """Method: both at once, on connections of their own, over and over with other numbers."""
    rounds = [[rollup(number, 1000 + turn) for number in range(4)] for turn in range(5)]
    for rollups in rounds:
        with ThreadPoolExecutor(max_workers=2) as both:
            done = list(both.map(lambda many: record(isp, many, NOW), [rollups, rollups]))
        assert sorted(len(posted.events) for posted in done) == [0, 4]
    assert sum(quantity for _, quantity in quantities(isp)) == 4 * 1004


def test_the_check_finds_every_difference(isp: Engine) -> None:
    record(isp, [rollup(0), rollup(1), rollup(2, service_id="svc-2")], NOW)
    for damage, found in (
        ("UPDATE usage_window SET quantity = 1 WHERE service_id = 'svc-2'", ["svc-2"]),
        ("DELETE FROM usage_window WHERE service_id = 'svc-1'", ["svc-1", "svc-1", "svc-2"]),
    ):
        take_guards_away(isp, damage)
        with reading(isp) as session:
            assert [one.service_id for one in usage_check(session)] == found


def test_all_of_a_64_bit_counter_is_kept_and_sorts(isp: Engine) -> None:
    """Goal: what no signed BIGINT holds comes back exactly, and compares as a number."""
    numbers = [0, 9, 1 << 53, (1 << 53) + 1, (1 << 63) + 1, (1 << 64) - 1]
    base = {
        "device": "bng", "interface": "ge-0", "service_id": "svc-1", "polled_at": NOW,
        "in_octets": 0, "uptime_cs": 1, "discontinuity_cs": 0, "speed_mbps": 1000,
    }  # fmt: skip
    rows = [
        base | {"slot": NOW + place * HOUR, "out_octets": number}
        for place, number in enumerate(reversed(numbers))
    ]
    with writing(isp) as session:
        session.execute(insert(SAMPLES), rows)
        found = session.execute(
            select(SAMPLES.c.out_octets)
            .where(SAMPLES.c.out_octets > 9)
            .order_by(SAMPLES.c.out_octets)
        )
        assert list(found.scalars()) == numbers[2:]
    for wrong in (-1, 1 << 64):
        with pytest.raises(Exception, match="64 bits"), writing(isp) as session:
            session.execute(
                insert(SAMPLES), [base | {"slot": NOW - dt.timedelta(1), "out_octets": wrong}]
            )
