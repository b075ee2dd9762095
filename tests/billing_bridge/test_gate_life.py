"""A finding's life: kept while it is true, decided by people, back when it must be, over."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gate_world import DAY, HOUR, NOW, World, days
from sqlalchemy import Engine, Row
from sqlmodel import Session

from billing_bridge import (
    Blocker,
    Decision,
    Filters,
    account_pages,
    blockers,
    decide_finding,
    find_finding,
    finding_story,
    ground,
    judge,
    last_check,
    list_findings,
    page_facts,
    totals,
)
from inventory import Refused, UnknownName, WrongUse
from orchestrator.gate import check

TEN = NOW + 10 * DAY


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """svc-1 gives 500 for the price of 100, since ten days: 10 EUR so far, 30 EUR a month."""
    world = World(empty_engine).open(2)
    world.show("svc-1", "t500", days(10))
    world.check()
    return world


def only(world: World, **wanted: Any) -> Row[Any]:
    with Session(world.engine) as session:
        (row,) = list_findings(session, Filters(**wanted))
        return row


def decide(world: World, decision: Decision, now: dt.datetime = NOW, **more: Any) -> None:
    with Session(world.engine) as session, session.begin():
        finding_id = only(world).finding_id
        given = {"actor": "ann", "reason": "because", "now": now} | more
        decide_finding(session, finding_id, decision, **given)


def held(world: World, account: str = "A-1") -> tuple[Blocker, ...]:
    with Session(world.engine) as session:
        return blockers(session, [account, "A-2"]).get(account, ())


def story(world: World) -> list[tuple[str, str]]:
    with Session(world.engine) as session:
        acts = finding_story(session, only(world, past=True).finding_id)
        return [(act.act, act.actor) for act in acts]


def test_what_is_still_true_keeps_its_id_first_sight_and_decision(world: World) -> None:
    before = only(world)
    assert (before.status, before.first_seen, before.since) == ("open", NOW, days(10))
    decide(world, "ack", NOW + HOUR)
    kept = world.check(TEN)
    after = only(world)
    assert (kept.opened, kept.cleared) == (0, 0)
    assert (after.finding_id, after.first_seen) == (before.finding_id, NOW)
    assert (after.last_seen, after.status, after.decided_by) == (TEN, "ack", "ann")
    assert after.at_risk_minor > before.at_risk_minor == 1000
    assert story(world) == [("found", "check"), ("ack", "ann")]


def test_what_is_mended_is_cleared_and_kept_for_the_record(world: World) -> None:
    world.show("svc-1", "t100", NOW + HOUR)
    assert world.check(NOW + 2 * HOUR).cleared == 1
    with Session(world.engine) as session:
        assert list(list_findings(session, Filters())) == []
        (row,) = list_findings(session, Filters(past=True))
    assert (row.status, row.decided_by, row.cleared_at) == ("resolved", "check", NOW + 2 * HOUR)
    assert story(world) == [("found", "check"), ("cleared", "check")]
    # what comes again is a new finding
    world.show("svc-1", "t500", NOW + 3 * HOUR)
    assert world.check(NOW + 4 * HOUR).opened == 1
    assert only(world).finding_id != row.finding_id


def test_an_ignored_one_comes_back_after_its_time(world: World) -> None:
    decide(world, "ignored", until=TEN)
    assert held(world) == ()
    world.check(TEN - HOUR)
    assert only(world).status == "ignored"
    world.check(TEN)
    assert only(world).status == "open"
    assert story(world)[1:] == [("ignored", "ann"), ("returned", "check")]
    assert len(held(world)) == 1


def test_an_ignored_one_comes_back_when_it_outgrows_what_was_accepted(world: World) -> None:
    """Thirty EUR a month were accepted until a date; then the line gives a thousand."""
    decide(world, "ignored", until=NOW + 100 * DAY)
    world.check(NOW + 60 * DAY)
    assert only(world).status == "ignored"
    world.show("svc-1", "t1000", NOW + 61 * DAY)
    world.check(NOW + 62 * DAY)
    row = only(world)
    assert (row.status, row.monthly_minor) == ("open", 6000)
    assert held(world)[0].rule == "R-03"


def test_what_a_person_calls_resolved_is_put_to_proof(world: World) -> None:
    before = only(world)
    decide(world, "resolved", NOW + HOUR)
    assert held(world) == ()
    world.check(NOW + 2 * HOUR)
    after = only(world)
    assert (after.finding_id, after.status, after.first_seen) == (before.finding_id, "open", NOW)
    decide(world, "resolved", NOW + 3 * HOUR)
    world.show("svc-1", "t100", NOW + 4 * HOUR)
    world.check(NOW + 5 * HOUR)
    row = only(world, past=True)
    assert (row.status, row.decided_by) == ("resolved", "ann")
    assert row.cleared_at == NOW + 5 * HOUR


def test_an_overridden_one_holds_nothing_until_it_grows(world: World) -> None:
    assert [blocker.scope for blocker in held(world)] == ["line"]
    decide(world, "override")
    assert held(world) == ()
    world.check(NOW + 10 * DAY)
    assert held(world) == ()
    world.check(NOW + 60 * DAY)
    assert len(held(world)) == 1
    assert [act for act, _ in story(world)] == ["found", "override", "returned"]


def test_an_acknowledged_one_goes_on_holding(world: World) -> None:
    decide(world, "ack")
    assert [(one.service_id, one.rule) for one in held(world)] == [("svc-1", "R-03")]
    assert held(world, "A-2") == ()


def test_a_decision_needs_a_reason_a_time_ahead_and_something_to_decide(world: World) -> None:
    finding_id = only(world).finding_id
    for decision, more, error in (
        ("ack", {"reason": "  "}, WrongUse),
        ("ack", {"reason": "x" * 2001}, WrongUse),
        ("ignored", {"until": NOW}, WrongUse),
        ("ignored", {}, WrongUse),
    ):
        with pytest.raises(error):
            decide(world, decision, **more)  # type: ignore[arg-type]
    world.show("svc-1", "t100", NOW + HOUR)
    world.check(NOW + 2 * HOUR)
    with Session(world.engine) as session, session.begin():
        given = {"actor": "ann", "reason": "late", "now": NOW}
        with pytest.raises(Refused, match="over"):
            decide_finding(session, finding_id, "ack", **given)  # type: ignore[arg-type]
        with pytest.raises(UnknownName):
            decide_finding(session, "nobody", "ack", **given)  # type: ignore[arg-type]
        with pytest.raises(UnknownName):
            find_finding(session, "nobody")


def test_what_holds_nothing_cannot_be_overridden(world: World) -> None:
    world.show("svc-1", "suspended", NOW + HOUR)
    world.check(NOW + 2 * HOUR)
    assert held(world) == ()
    with pytest.raises(Refused, match="holds nothing"):
        decide(world, "override", NOW + 3 * HOUR)


def test_an_older_check_does_not_overrule_a_newer_one_or_a_person(world: World) -> None:
    """Goal: a check that was slow says nothing about what came after its snapshot."""
    world.check(NOW + 2 * HOUR)
    assert world.check(NOW + HOUR).opened == 0  # older than the other check
    assert only(world).last_seen == NOW + 2 * HOUR
    decide(world, "resolved", NOW + 3 * HOUR)
    world.check(NOW + 2 * HOUR + HOUR / 2)  # newer than that, older than the person's word
    assert only(world).status == "resolved"


def test_two_checks_at_once_find_each_thing_once(empty_engine: Engine) -> None:
    world = World(empty_engine).open(6)
    for number in range(1, 7):
        world.show(f"svc-{number}", "t500", days(10))
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(world.check, [NOW + n * HOUR / 60 for n in range(4)]))
    assert sum(each.opened for each in kept) == 6
    with Session(world.engine) as session:
        rows = list(list_findings(session, Filters(past=True)))
        assert len(rows) == 6
        acts = [finding_story(session, row.finding_id) for row in rows]
    assert [[act.act for act in each] for each in acts] == [["found"]] * 6


def test_whole_checks_may_be_cut_short_and_run_beside_each_other(empty_engine: Engine) -> None:
    """Goal: nothing is found twice or lost. Method: one dies after a page, then two at once."""
    world = World(empty_engine).open(6)
    for number in range(1, 7):
        world.show(f"svc-{number}", "t500", days(10))

    def die(_accounts: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(world.engine, "ann", die, page=2)
    with Session(world.engine) as session:
        assert len(list(list_findings(session, Filters()))) == 2
        assert last_check(session) is None
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda who: check(world.engine, who, lambda _n: None, page=2), ["bob", "eve"])
        )
    assert [each.found for each in done] == [6, 6]
    assert sum(each.opened for each in done) == 4
    with Session(world.engine) as session:
        rows = list(list_findings(session, Filters(past=True)))
        newest = last_check(session)
    assert sorted(row.service_id for row in rows) == [f"svc-{n}" for n in range(1, 7)]
    assert newest is not None
    assert (newest.services, newest.found) == (6, 6)


def test_money_is_told_by_direction_and_dearest_first(empty_engine: Engine) -> None:
    world = World(empty_engine).open(4)
    for service, tier, on in (
        ("svc-1", "t500", True),
        ("svc-2", "", False),
        ("svc-3", "t1000", True),
    ):
        world.show(service, tier, days(10), on=on)
    world.check()
    with Session(world.engine) as session:
        rows = list(list_findings(session, Filters()))
        (total,) = totals(session)
    assert [row.service_id for row in rows] == ["svc-3", "svc-2", "svc-1"]
    assert (total.leakage_monthly_minor, total.refund_monthly_minor) == (9000, -3000)
    assert (total.leakage_minor, total.refund_minor, total.findings) == (3000, -1000, 3)


HOSTILE = ("'; DROP TABLE finding; --", "\x1b[2J", 'a"b\\', "\u202eevil", "%_", "x" * 900)


def test_hostile_texts_stay_texts(empty_engine: Engine) -> None:
    """Names of devices, objects and sessions, and a person's reason, are kept and never obeyed."""
    world = World(empty_engine).open(6)
    for number, text in enumerate(HOSTILE, start=1):
        world.show(f"svc-{number}", "t500", days(10), text)
        world.online(number, days(9), days(5), stop=True, port=text)
        world.online(number, days(8), days(5), stop=True, port=text)
    world.check()
    with Session(world.engine) as session:
        rows = list(list_findings(session, Filters()))
        assert sorted(row.rule for row in rows) == ["R-03"] * 6 + ["R-05"] * 6
        assert list(list_findings(session, Filters(rule="' OR 1=1 --"))) == []
        assert blockers(session, ["' OR 1=1 --"]) == {}
    for row in rows:
        with Session(world.engine) as session, session.begin():
            given: dict[str, Any] = {"actor": "ann", "reason": HOSTILE[0], "now": NOW}
            decide_finding(session, row.finding_id, "ack", **given)
            assert finding_story(session, row.finding_id)[-1].reason == HOSTILE[0]


def test_facts_say_the_same_however_they_are_cut(world: World) -> None:
    """Goal: pages change nothing. Method: pages of three and of all, the same findings."""
    world.show("svc-2", "t1000", days(3))
    pages = [found for facts in world.facts() for found in judge(facts)]
    with Session(world.engine) as session:
        base = ground(session, NOW)
        (page,) = account_pages(session)
        assert judge(page_facts(session, base, page)) == pages
