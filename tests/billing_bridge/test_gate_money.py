"""R-06, R-08, R-12 and R-13: changes, bills and the chain itself."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from gate_world import DAY, NOW, World, days
from ledger_facts import take_guards_away
from sqlalchemy import Engine
from sqlmodel import Session
from test_gate_lines import money, one

from billing_bridge import Doubt, blockers
from billing_bridge.rules.bill_facts import BilledPeriod
from billing_bridge.rules.r12_odd_money import beyond_whole

MAY, JUNE = dt.date(2026, 5, 1), dt.date(2026, 6, 1)


@pytest.fixture
def world(empty_engine: Engine) -> World:
    return World(empty_engine).open()


def doubt(**given: Any) -> Doubt:
    filled: dict[str, Any] = {
        "change_id": "c-1", "service_id": "svc-1", "account_id": "A-1",
        "problem": "a change is intent, not applied", "since": days(10), "journal": "intent",
        "ledger": "has no event of it", "ledger_at": days(30), "ledger_ref": "",
        "command": "bandmaster recover", "monthly_minor": 3000, "currency": "EUR", "exponent": 2,
    }  # fmt: skip
    return Doubt(**(filled | given))


def test_a_change_in_doubt_costs_its_days(world: World) -> None:
    """Near miss: younger than the deadline."""
    young = doubt(change_id="c-2", since=NOW - dt.timedelta(minutes=14))
    found = one(world.judged("R-06", doubts=[doubt(), young]))
    assert (found.subject, found.blocks, found.scope) == ("c-1", True, "line")
    assert money(found) == (1000, 3000, "EUR")
    assert world.judged("R-06", doubts=[young]) == []


def test_a_bill_unlike_the_last_is_told(world: World) -> None:
    """60 after 30 EUR. Near misses: 20 EUR more; a quarter more; something happened; no draft."""
    for number, was, now in (
        (1, 3000, 6000),
        (2, 3000, 5000),
        (3, 10_000, 12_500),
        (4, 3000, 9000),
    ):
        world.bill(f"A-{number}", MAY, (f"svc-{number}", was, was))
        if number == 4:
            world.post("tier.changed", "svc-4", "fiber-1000", days(9))
        world.bill(f"A-{number}", JUNE, (f"svc-{number}", now, now), state="draft")
    found = one(world.judged("R-08"))
    assert (found.account_id, found.scope, found.blocks) == ("A-1", "account", False)
    assert money(found) == (-3000, 0, "EUR")


def test_a_bill_that_shrank_may_have_left_something_out(world: World) -> None:
    """Credits are events: they explain themselves."""
    world.bill("A-1", MAY, ("svc-1", 3000, 3000), ("svc-9", 4000, 4000))
    world.bill("A-1", JUNE, ("svc-1", 3000, 3000), state="draft")
    world.bill("A-2", MAY, ("svc-2", 3000, 3000))
    world.bill("A-2", JUNE, ("svc-2", 3000, 3000), state="draft", credit=-2500)
    assert money(one(world.judged("R-08"))) == (4000, 0, "EUR")


def test_an_active_service_that_costs_nothing_is_told(world: World) -> None:
    """Ten days at what others pay for 100 Mbit/s. Near miss: suspended without a fee."""
    world.sell("gift", "t100", 0)
    world.post("tier.changed", "svc-1", "gift", days(10))
    world.post("tier.changed", "svc-2", "gift", days(10))
    world.post("service.suspended", "svc-2", "gift", days(9))
    world.post("service.suspended", "svc-3", "fiber-100", days(9))
    found = one(world.judged("R-12"))
    assert (found.service_id, found.blocks) == ("svc-1", True)
    assert money(found) == (1000, 3000, "EUR")
    assert found.command == "bandmaster service tier svc-1 fiber-100"


def test_a_period_billed_twice_is_told(world: World) -> None:
    """Near misses: half of two plans; taken back and billed anew; a void bill."""
    world.bill("A-1", JUNE, ("svc-1", 3000, 3000))
    world.bill("A-1", JUNE + DAY, ("svc-1", 6000, 6000), period=JUNE)
    world.bill("A-2", JUNE, ("svc-2", 3000, 1500), ("svc-2", 6000, 3000))
    world.bill("A-3", JUNE, ("svc-3", 3000, 3000), ("svc-3", 3000, -3000), ("svc-3", 6000, 6000))
    world.bill("A-4", JUNE, ("svc-4", 3000, 3000), state="void")
    world.bill("A-4", JUNE, ("svc-4", 3000, 3000))
    found = one(world.judged("R-12"))
    assert (found.service_id, found.scope, found.blocks) == ("svc-1", "line", True)
    assert found.what.startswith("the same period is billed twice")
    assert money(found) == (-6000, 0, "EUR")


def test_parts_of_a_period_add_up_to_one_at_most() -> None:
    def billed(*parts: tuple[int, int]) -> int:
        return beyond_whole(
            BilledPeriod(
                service_id="s", charge="service", period_from=MAY, period_until=JUNE, parts=parts,
                lines=len(parts), invoice_id="i", at=NOW,
            )
        )  # fmt: skip

    assert billed((3000, 3000)) == 0
    assert billed((3000, 1500), (6000, 3000)) == 0
    assert billed((2999, 1000), (2999, 2001)) == 0  # two roundings
    assert billed((3000, 3000), (6000, 3000)) == 3000  # one and a half of the dearer
    assert billed((3000, 6000)) == 3000
    assert billed((0, 0)) == 0


def test_a_negative_bill_and_too_much_credit_hold_the_account(world: World) -> None:
    """Near miss: a credit that leaves something to be paid."""
    world.bill("A-1", JUNE, ("svc-1", 3000, 3000), state="draft", credit=-4000)
    world.bill("A-2", JUNE, ("svc-2", 3000, 3000), state="draft", credit=-2999)
    world.bill("A-3", JUNE, ("svc-3", 3000, 3000), credit=-5000)
    found = {found.account_id: found for found in world.judged("R-12")}
    assert set(found) == {"A-1", "A-3"}
    assert money(one([found["A-1"]])) == (1000, 0, "EUR")
    assert money(one([found["A-3"]])) == (2000, 0, "EUR")
    assert {f.scope for f in found.values()} == {"account"}
    world.check()
    with Session(world.engine) as session:
        held = blockers(session, ["A-1", "A-2", "A-3"])
    assert sorted(held) == ["A-1", "A-3"]


def test_more_credited_than_charged_of_a_period_is_told(world: World) -> None:
    world.bill("A-1", JUNE, ("svc-1", 3000, 1000), ("svc-1", 3000, -1500), ("svc-9", 9000, 9000))
    found = one(world.judged("R-12"))
    assert (found.service_id, money(found)) == ("svc-1", (500, 0, "EUR"))


def test_a_row_that_is_not_what_the_ledger_makes_stops_the_run(world: World) -> None:
    """Found whichever account is asked for; other rules still judge."""
    with world.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE service SET tier_code = 't500' WHERE service_id='svc-2'")
    found = one(world.judged("R-13"))
    assert (found.subject, found.scope, found.blocks) == ("svc-2", "run", True)
    world.check()
    with Session(world.engine) as session:
        assert [blocker.rule for blocker in blockers(session, ["A-1"])[""]] == ["R-13"]


def test_a_broken_chain_and_a_missing_service_stop_the_run(world: World) -> None:
    take_guards_away(
        world.engine, "UPDATE billing_event SET body = replace(body, 'fiber', 'fibre') WHERE seq=3"
    )
    found = world.judged("R-13")
    assert "chain" in {each.subject for each in found}
    chain = next(each for each in found if each.subject == "chain")
    assert (chain.what, chain.scope) == ("the chain breaks at seq 3", "run")
