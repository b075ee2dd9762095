"""When what was decided was true everywhere, and what the ledger is told of that."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import col, select

from billing_bridge import find_by_service, ledger_head
from orchestrator.answers import answer_exception
from orchestrator.database import reading, writing
from orchestrator.exceptions import ACCEPTED, MENDED
from orchestrator.journal import OpenSet, list_steps
from orchestrator.office import Office
from orchestrator.recover import recover
from orchestrator.rows import DecisionRow, ParticipantRow
from orchestrator.settle import (
    _mark_applied,
    _mark_arrivals,
    _settle_sessions,
    _shift,
    _verified_at,
    settle,
)
from tests.orchestrator.conftest import StartRig
from tests.orchestrator.moments import NEW, OLT, ONE, Hasty, disputed, nothing_left, upgrade, when
from tests.orchestrator.paper import (
    FAST,
    LONG_AGO,
    SLOW,
    a_pass,
    a_set,
    arrived,
    change,
    doubt,
    driven,
    item,
    keep_set,
    paper_office,
    part,
    rows,
    stuck,
)
from tests.orchestrator.rig import Rig, truth
from tests.orchestrator.test_leases import Moving
from tests.orchestrator.test_settle_again import _edit_when_decided, _put_olt_back
from workflows import item_json, no_fence

LATER = LONG_AGO + dt.timedelta(hours=1)
NOW = LONG_AGO + dt.timedelta(days=1)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One store is enough: what the databases do differently is in test_store_faults.py."""
    return f"sqlite:///{tmp_path / 'bandmaster.db'}"


@pytest.fixture
def office(tmp_path: Path, empty_engine: Engine) -> Office:
    """An office over an empty store, where no time passes."""
    return paper_office(tmp_path, empty_engine, Moving())


# --- when each of them was at its goal -----------------------------------------------------------


def since(engine: Engine, set_id: str = "s-1") -> dict[str, dt.datetime | None]:
    with reading(engine) as session:
        found = session.exec(select(ParticipantRow).where(col(ParticipantRow.set_id) == set_id))
        return {row.name: row.at_goal_since for row in found}


def test_an_arrival_is_when_it_was_first_read(office: Office) -> None:
    """D4: by the time of the reading, else now; kept by later passes, and told of no other."""
    opened = a_set(office, change("s-1", "a"), bng=("a",), olt=("a",), far=("a",), back=("a",))
    with writing(office.engine) as session:
        session.add(part("s-2", "bng"))
        found = a_pass(
            opened,
            {
                ("bng", "NEW"): arrived(LATER),
                ("olt", "NEW"): arrived(),
                ("far", "NEW"): stuck("unreachable"),
                ("back", "OLD"): arrived(LATER),
            },
        )
        _mark_arrivals(session, found, NOW)
        _mark_arrivals(session, found, NOW + dt.timedelta(days=1))
    assert since(office.engine) == {
        "session:a": None,
        "bng": LATER,
        "olt": NOW,
        "far": None,
        "back": None,
    }
    assert since(office.engine, "s-2") == {"bng": None}


def test_a_pass_that_found_nobody_at_the_goal_marks_nobody(office: Office) -> None:
    opened = a_set(office, change("s-1", "a"), bng=("a",))
    with writing(office.engine) as session:
        _mark_arrivals(session, a_pass(opened, {("bng", "NEW"): stuck("refused")}), NOW)
    assert set(since(office.engine).values()) == {None}


def test_sessions_that_are_settled_are_so_since_they_were_first(office: Office) -> None:
    a_set(office, *(change("s-1", name) for name in "abcd"))
    live = driven(office, a="settled", b="no session", c="exception", d="unreachable")
    with writing(office.engine) as session:
        session.add(part("s-2", "session:a", "session"))
        _settle_sessions(session, "s-1", driven(office, a="settled"), LATER)
        _settle_sessions(session, "s-1", live, NOW)
        _settle_sessions(session, "s-1", driven(office, c="exception"), NOW)
    assert since(office.engine) == {
        "session:a": LATER,
        "session:b": NOW,
        "session:c": None,
        "session:d": None,
    }
    assert since(office.engine, "s-2") == {"session:a": None}
    with reading(office.engine) as session:
        settled = session.exec(select(ParticipantRow).where(col(ParticipantRow.settled)))
        assert {row.name for row in settled} == {"session:a", "session:b"}


def test_a_change_is_applied_when_it_first_was(office: Office) -> None:
    """What was to come is told anew, for the clock was set back; a committed change is done."""
    opened = a_set(
        office,
        change("s-1", "a"),
        change("s-1", "b", applied_at=LATER, outcome="done"),
        change("s-1", "c", applied_at=NOW + dt.timedelta(days=1)),
        change("s-1", "d", "REVERSED", outcome="reversed"),
        change("s-1", "e"),
    )
    with writing(office.engine) as session:
        _mark_applied(session, opened, opened.changes[:4], NOW)
    found = {name: (row.applied_at, row.outcome) for name, row in rows(office.engine).items()}
    assert found == {
        "a": (NOW, "done"),
        "b": (LATER, "done"),
        "c": (NOW, "done"),
        "d": (NOW, "reversed"),
        "e": (None, "open"),
    }


def verified_at(office: Office, opened: OpenSet) -> dt.datetime | None:
    """Return since when all of the first change is at its goal."""
    with writing(office.engine) as session:
        return _verified_at(session, opened, opened.changes[0])


def test_an_effect_begins_with_the_last_of_its_own_participants(office: Office) -> None:
    """D4: a device of another service of the set, and another session, are no matter."""
    opened = a_set(office, change("s-1", "a"), change("s-1", "b"), bng=("a", "b"), far=("b",))
    assert verified_at(office, opened) is None
    with writing(office.engine) as session:
        session.add(part("s-2", "bng", at_goal_since=NOW))
        for name, at in (("bng", LONG_AGO), ("far", NOW), ("session:b", NOW)):
            session.get_one(ParticipantRow, ("s-1", name)).at_goal_since = at
    assert verified_at(office, opened) == LONG_AGO
    with writing(office.engine) as session:
        session.get_one(ParticipantRow, ("s-1", "session:a")).at_goal_since = LATER
    assert verified_at(office, opened) == LATER


def test_what_a_person_mended_has_been_at_the_goal_since_then(office: Office) -> None:
    """Not what was away and came back, what was left as it is, or what is of another change."""
    mine, other = change("s-1", "a"), change("s-1", "b")
    opened = a_set(office, mine, other, bng=("a", "b"))
    ended = {"resolved_at": NOW, "resolution": MENDED}
    with writing(office.engine) as session:
        session.get_one(ParticipantRow, ("s-1", "bng")).at_goal_since = LONG_AGO
        session.add(doubt(mine, "olt", **(ended | {"cause": "unreachable"})))
        session.add(doubt(mine, "nas", **(ended | {"cause": "foreign confirm"})))
        session.add(doubt(mine, "old", **(ended | {"resolution": f"{ACCEPTED}it is right"})))
        session.add(doubt(other, "bng", **ended))
    assert verified_at(office, opened) == LONG_AGO
    with writing(office.engine) as session:
        session.add(doubt(mine, "bng", **(ended | {"resolved_at": LATER})))
    assert verified_at(office, opened) == LATER


# --- what a pass claims --------------------------------------------------------------------------


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize(
    ("state", "outcome"), [("COMMITTED", "done"), ("REVERSED", "reversed"), ("ABORTED", "aborted")]
)
def test_only_a_closing_pass_closes_what_was_decided(
    office: Office, state: str, outcome: str, *, closing: bool
) -> None:
    """D6: logins may be under way; what was aborted never had new rows, and is closed at once."""
    keep_set(office.engine, "s-1", change("s-1", "a", state, outcome=outcome))
    with office.crew((), no_fence) as crew:
        if closing:
            settle(office, crew, "s-1", {}, {}, closing=True)
        else:
            settle(office, crew, "s-1", {}, {})
    row = rows(office.engine)["a"]
    closed = closing or state == "ABORTED"
    assert (row.state, row.outcome) == ("CLOSED" if closed else state, outcome)
    assert row.applied_at is not None
    assert (row.closed_at is not None) == closed
    with reading(office.engine) as session:
        told = [json.loads(step.detail) for step in list_steps(session, "s-1")]
    goal = "NEW" if state == "COMMITTED" else "OLD"
    assert told == ([{"change": "a", "goal": goal}] if closed else [])


def _refused_to_the_end(isp: Rig) -> None:
    """The OLT cannot keep what it has been told, however often it is asked."""
    isp.fleet.control(OLT, "fault", verb="save", kind="refuse", arg="Failure: no licence", count=3)


def test_a_reversal_of_lines_without_a_login_is_closed_by_a_closing_pass_alone(
    start_rig: StartRig,
) -> None:
    """Nobody has read the rows of either: recovery closes it without a wait, and no sooner."""
    isp = start_rig(services=2, olts=1, save_s=0.02, logins=False)
    isp.office = replace(isp.office, clock=Hasty())
    when(isp, "decision", "committed", lambda: _refused_to_the_end(isp))
    assert upgrade(isp)[0] == "reversed"
    assert rows(isp.office.engine).popitem()[1].state == "REVERSED"
    recover(isp.office)
    nothing_left(isp)


def test_a_reversal_of_several_is_told_with_the_last_of_its_events(hasty_rig: Rig) -> None:
    """Who reads the story finds the ledger as it was left by it."""
    isp = hasty_rig
    when(isp, "decision", "committed", lambda: _refused_to_the_end(isp))
    outcome = isp.apply(isp.plan(*(isp.order(name, NEW) for name in isp.isp.ids())))
    assert {item.ending for item in outcome.items} == {"reversed"}
    set_id = rows(isp.office.engine).popitem()[1].set_id
    with reading(isp.office.engine) as session:
        (told,) = [s.detail for s in list_steps(session, set_id) if s.kind == "reversal"]
        assert json.loads(told)["seq"] == ledger_head(session).seq


# --- what an upgrade is charged from -------------------------------------------------------------


def _decided_days_ago(isp: Rig) -> None:
    """Let three days pass since the decision, and one since all were at its goal."""
    with writing(isp.office.engine) as session:
        decided = session.exec(select(DecisionRow)).one()
        decided.decided_at -= dt.timedelta(days=3)
        session.add(decided)
        for row in session.exec(select(ParticipantRow)):
            row.at_goal_since = decided.decided_at + dt.timedelta(days=2)
            session.add(row)


def _events(isp: Rig) -> tuple[str, ...]:
    return truth(isp, ONE).events[1:]


def test_a_close_under_an_exception_leaves_the_late_effect_to_its_end(hasty_rig: Rig) -> None:
    """D4: nobody knows yet since when the subscriber has it all; its resolution says so, once."""
    isp = hasty_rig
    _edit_when_decided(isp)
    upgrade(isp)
    _decided_days_ago(isp)
    recover(isp.office)
    assert _events(isp) == ("tier.changed",)
    _put_olt_back(isp)
    answer_exception(isp.office, disputed(isp).exception_id, "retry", "tester", "")
    assert _events(isp) == ("tier.changed", "service.effect_shifted")
    nothing_left(isp)


def test_an_upgrade_that_was_taken_back_has_no_late_effect(hasty_rig: Rig) -> None:
    """It is charged for no day, so from none."""
    isp = hasty_rig
    when(isp, "decision", "committed", lambda: _refused_to_the_end(isp))
    assert upgrade(isp)[0] == "reversed"
    _decided_days_ago(isp)
    recover(isp.office)
    assert _events(isp) == ("tier.changed", "event.reversed")
    nothing_left(isp)


def test_a_repair_tells_the_ledger_nothing(office: Office) -> None:
    """It brings a line back to what the ledger has had all along: nothing was decided by it."""
    up = item_json(item("a", SLOW, FAST))
    opened = a_set(office, change("s-1", "a", "CLOSED", outcome="done", kind="repair", item=up))
    with writing(office.engine) as session:
        for row in session.exec(select(DecisionRow)):
            session.delete(row)
        _shift(session, opened, opened.changes[0], NOW)
        assert ledger_head(session).seq == 0
        assert find_by_service(session, "a") == ()
