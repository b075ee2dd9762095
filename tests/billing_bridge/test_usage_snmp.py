"""Interface counters into slots and windows: what is not known is not invented."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Engine
from usage_facts import hours, record

from billing_bridge import (
    SLOT,
    SNMP,
    Posted,
    Sample,
    ServiceSample,
    UsageException,
    count_snmp,
    keep_samples,
    list_problems,
    slot_of,
    slots_of,
    take_due,
    usage_check,
    used,
)
from orchestrator.database import reading, writing

LATER = hours(30)
SECOND = dt.timedelta(seconds=1)


def sample(number: int, octets: int, *, late_s: int = 2, **given: Any) -> Sample:
    """The poll of slot `number` after 12:00; the device has received a tenth of what it sent."""
    at = hours(0) + number * SLOT + late_s * SECOND
    filled: dict[str, Any] = {
        "device": "bng-1",
        "interface": "ge-0/0/1.7",
        "slot": slot_of(at),
        "polled_at": at,
        "in_octets": octets // 10,
        "out_octets": octets,
        "uptime_cs": 10_000_000 + number * 30_000 + late_s * 100,
        "discontinuity_cs": 0,
        "speed_mbps": 1_000,
    }
    return Sample(**(filled | given))


def steady(*, but: dict[int, Sample | None]) -> list[Sample]:
    """Ten polls with 3,000,000 octets between them (80 kbit/s), but some other or none."""
    polls = {number: sample(number, 10**15 + number * 3_000_000) for number in range(10)} | but
    return [one for one in polls.values() if one is not None]


def numbers(samples: list[Sample]) -> list[int]:
    """The slots that are known."""
    known, _ = slots_of(samples)
    return [(slot.since - hours(0)) // SLOT for slot in known]


def test_a_slot_has_what_came_between_two_polls() -> None:
    known, odd = slots_of(steady(but={}))
    assert {(slot.down_octets, slot.up_octets) for slot in known} == {(3_000_000, 300_000)}
    assert {(slot.down_bps, slot.up_bps) for slot in known} == {(80_000, 8_000)}
    assert (len(known), odd, any(slot.estimated for slot in known)) == (9, (), False)


def test_a_long_gap_is_shared_out_evenly_and_says_so() -> None:
    """No octet is lost in it, and the rate is that of the whole stretch."""
    polls = steady(but={4: None, 5: None, 6: sample(6, 10**15 + 18_000_001)})
    known, odd = slots_of(polls)
    gap = [slot for slot in known if slot.estimated]
    assert [(slot.since - hours(0)) // SLOT for slot in gap] == [3, 4, 5]
    assert sum(slot.down_octets for slot in gap) == 9_000_001
    assert max(slot.down_octets for slot in gap) - min(slot.down_octets for slot in gap) == 1
    assert {slot.down_bps for slot in gap} == {80_000}
    assert odd == ()


RESTARTS = {
    "the interface says so": {"discontinuity_cs": 10_120_000},
    "the device runs anew": {"uptime_cs": 5_000},
    "the device runs anew, for longer than before": {"uptime_cs": 10_000_000 + 5 * 30_000 - 2_000},
}


@pytest.mark.parametrize("given", RESTARTS.values(), ids=RESTARTS.keys())
@pytest.mark.parametrize("octets", [0, 10**15 + 15_000_000])
def test_after_a_restart_the_slot_is_unknown_whatever_the_counter_shows(
    given: dict[str, int], octets: int
) -> None:
    """Goal: nothing is invented, and no person is called: the device said what happened."""
    polls = steady(but={5: sample(5, octets, **given), 6: None, 7: None, 8: None, 9: None})
    assert numbers(polls) == [0, 1, 2, 3]
    assert slots_of(polls)[1] == ()


def test_uptime_that_has_counted_to_its_end_is_no_restart() -> None:
    top = (1 << 32) - 5 * 30_000
    polls = [sample(n, 10**6 * n, uptime_cs=(top + n * 30_000) % (1 << 32)) for n in range(10)]
    assert numbers(polls) == list(range(9))


@pytest.mark.parametrize(
    ("was", "now", "quality"),
    [
        ((1 << 32) - 1_000_000, 2_000_000, "reset"),
        (10**15 + 3_000_000, 10**15, "reset"),
        (10**15, 10**15 + 10**9 * 300 // 8 + 10**9, "above_ifspeed"),
        (10**15, (1 << 64) - 9_000, "above_ifspeed"),
    ],
)
def test_what_a_counter_cannot_do_is_unknown_and_odd(was: int, now: int, quality: str) -> None:
    known, odd = slots_of([sample(0, was), sample(1, now), sample(2, now + 5_000)])
    assert [(slot.since - hours(0)) // SLOT for slot in known] == [1]
    assert [one.quality for one in odd] == [quality]


def test_ports_are_added_up_slot_by_slot_and_all_of_them_must_be_known() -> None:
    other = {"interface": "ge-0/0/2.7"}
    both = [
        *steady(but={}),
        *(sample(n, n * 1_500_000, **other) for n in range(10) if n not in (4, 5)),
        sample(5, 0, uptime_cs=3, **other),
    ]
    known, _ = slots_of(both)
    assert [(slot.since - hours(0)) // SLOT for slot in known] == [0, 1, 2, 6, 7, 8]
    assert {slot.down_octets for slot in known} == {4_500_000}


def keep(engine: Engine, samples: list[Sample], *, service_id: str = "svc-3") -> None:
    with writing(engine) as session:
        names = Sample.__slots__
        kept = [
            ServiceSample(
                service_id=service_id, by_volume=True, **{n: getattr(one, n) for n in names}
            )
            for one in samples
        ]
        keep_samples(session, kept)


def count(engine: Engine, now: dt.datetime = LATER) -> Posted:
    with writing(engine) as session:
        due = take_due(session, SNMP, now, 100)
        rollups = count_snmp(session, due, now)[0] if due else ()
    return record(engine, rollups, now)


def told(engine: Engine) -> dict[tuple[int, str], tuple[int, int]]:
    """Quantity and coverage of svc-3 by hour and meter."""
    with reading(engine) as session:
        assert usage_check(session) == ()
        windows = used(session, ["svc-3"], hours(-9), hours(99))["svc-3"]
    return {
        ((one.since - hours(0)) // dt.timedelta(hours=1), one.meter): (
            one.quantity,
            one.coverage_bp,
        )
        for one in windows
    }


def problems(engine: Engine) -> tuple[UsageException, ...]:
    with reading(engine) as session:
        return list_problems(session)


def test_polls_become_windows_one_after_the_other(isp: Engine) -> None:
    """Method: each poll is kept and counted by itself; the first hour grows as it becomes known."""
    polls = [sample(number, number * 1_200) for number in range(26)]
    for one in polls:
        for _ in range(2):  # a second collector reads the same slot a moment later
            keep(isp, [one])
        count(isp, max(one.polled_at, hours(1)))
    count(isp)
    full = (12 * 1_200, 10_000)
    tenth = (12 * 120, 10_000)
    assert told(isp) == {
        (0, "down"): full, (0, "up"): tenth, (1, "down"): full, (1, "up"): tenth,
        (2, "down"): (1_200, 833), (2, "up"): (120, 833),
    }  # fmt: skip
    assert count(isp).events == ()
    assert problems(isp) == ()


def test_a_gap_over_hours_is_counted_when_the_device_is_back(isp: Engine) -> None:
    keep(isp, [sample(0, 0), sample(1, 1_000)])
    count(isp)
    assert told(isp) == {(0, "down"): (1_000, 833), (0, "up"): (100, 833)}
    keep(isp, [sample(37, 37_000)])
    count(isp)
    hour = {meter: quantity for (at, meter), (quantity, _) in told(isp).items() if at == 1}
    assert hour == {"down": 12_000, "up": 1_200}
    assert sum(quantity for (_, way), (quantity, _) in told(isp).items() if way == "down") == 37_000


def test_an_hour_of_which_nothing_is_known_is_not_zero(isp: Engine) -> None:
    keep(isp, [sample(0, 9_000), sample(15, 50_000, uptime_cs=100)])
    count(isp)
    assert told(isp) == {}


def test_odd_counters_wait_with_a_price(isp: Engine) -> None:
    """A counter of 32 bits presented as one of 64, and more than the port can carry."""
    keep(isp, [sample(0, (1 << 32) - 9), sample(1, 1_000), sample(2, 1 << 50)])
    for _ in range(2):
        count(isp)
        keep(isp, [sample(3, (1 << 50) + 500)])
    assert told(isp) == {(0, "down"): (500, 833), (0, "up"): (50, 833)}
    assert {one.kind for one in problems(isp)} == {"counter", "impossible"}
    (narrow,) = (one for one in problems(isp) if one.kind == "counter")
    assert "32 bits presented as one of 64" in narrow.evidence["why"]
    assert narrow.evidence["out"] == [str((1 << 32) - 9), "1000"]
    assert narrow.service_id == "svc-3"
