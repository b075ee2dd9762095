"""Between intent and settling: what is read, started anew, tried again, written and remembered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import Connection, event

from billing_bridge import ledger_head
from orchestrator.apply import apply_plan
from orchestrator.database import GivenUp, reading
from orchestrator.interrupt import Interrupts
from orchestrator.journal import list_open_sets, list_steps
from tests.orchestrator.moments import (
    BNG,
    LINE,
    NEW,
    OLT,
    ONE,
    is_as_before,
    is_done,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, at_tier

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
TWO = "svc-1002"
SAVED = "display saved-configuration"


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """One BNG, one OLT, and a program that does not wait long."""
    return hasty_rig


# --- what is asked of devices --------------------------------------------------------------------


def test_what_is_saved_is_not_read_before_the_decision(isp: Rig) -> None:
    """It is saved after it, reading it takes long, and a confirm timer runs meanwhile."""
    plan = isp.plan(isp.order(ONE, NEW))
    since = isp.fleet.control(OLT, "log")["last"]
    asked: list[list[str]] = []

    def look() -> None:
        entries = isp.fleet.control(OLT, "log", since=since)["entries"]
        asked.append([entry["text"] for entry in entries])

    when(isp, "decision", "committed", look)
    assert isp.apply(plan).exit_code() == 0
    look()
    before, all_of_it = asked
    assert [line for line in before if line.startswith("service-port")]
    assert not [line for line in before if line.startswith(SAVED)]
    assert [line for line in all_of_it if line.startswith(SAVED)]


def _armed(isp: Rig) -> int:
    """How often a revert timer of the router was started."""
    entries = isp.fleet.control(BNG, "log")["entries"]
    texts = [entry["what"] + entry["text"] for entry in entries]
    return len([each for each in texts if each.startswith("commit-conf") and "confirmed" in each])


@pytest.mark.parametrize("why", ["refused", "stopped"])
def test_a_timer_of_what_will_be_undone_is_not_started_anew(isp: Rig, why: str) -> None:
    """Nothing waits for a decision: a router that has to wait longer is only undone later."""
    settings = replace(isp.office.settings, confirm_budget_s=isp.office.settings.revert_after_s)
    isp.office = replace(isp.office, settings=settings)
    interrupts = Interrupts()

    def stop() -> None:
        interrupts.requested = True

    if why == "refused":
        isp.fleet.control(OLT, "fault", verb=LINE, kind="refuse", arg="Failure: no licence")
    else:
        when(isp, OLT, "prepared", stop)
    plan = isp.plan(isp.order(ONE, NEW))
    (found,) = apply_plan(isp.office, interrupts, plan.plan_id).items
    assert found.ending == "aborted"
    assert ("licence" if why == "refused" else "stopped by a person") in found.reason
    assert _armed(isp) == 1
    is_as_before(isp)


@pytest.mark.parametrize(("spare_s", "times"), [(7, 2), (67, 1)], ids=["short", "enough"])
def test_a_timer_has_to_last_for_the_decision_and_the_confirm(
    isp: Rig, spare_s: int, times: int
) -> None:
    """1.4: a decision may take 7 s, and the confirm its own budget; less left is started anew."""
    settings = isp.office.settings
    budget_s = settings.revert_after_s - spare_s
    isp.office = replace(isp.office, settings=replace(settings, confirm_budget_s=budget_s))
    assert upgrade(isp)[0] == "done"
    assert _armed(isp) == times


# --- a decision that the store gives up ----------------------------------------------------------


def _give_up(isp: Rig, times: int) -> list[str]:
    """Let the store give the decision up, so many times, as a server does with a victim.

    Returns a list that holds one entry for each time it was tried.
    """
    tried: list[str] = []

    def before(
        _connection: Connection, _cursor: object, statement: str, given: object, *_: object
    ) -> None:
        if statement.startswith("INSERT INTO decision") and "COMMIT" in repr(given):
            tried.append(statement)
            if len(tried) <= times:
                raise GivenUp("database", "given up for another transaction", "")

    event.listen(isp.office.engine, "before_cursor_execute", before)
    return tried


def test_a_decision_that_the_store_gives_up_is_tried_again(isp: Rig) -> None:
    """Only its transaction: the devices are armed already, and the service is billed once."""
    tried = _give_up(isp, 2)
    assert upgrade(isp)[0] == "done"
    assert (len(tried), _armed(isp)) == (3, 1)
    is_done(isp)


def test_a_decision_is_tried_three_times_while_a_timer_runs(isp: Rig) -> None:
    """Each try may take as long as a statement may, and the confirm has to come in time."""
    tried = _give_up(isp, 9)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "given up" in outcome.items[0].reason
    assert len(tried) == 3
    is_as_before(isp)


# --- what is written and remembered --------------------------------------------------------------


def test_what_was_decided_is_remembered_before_any_device_is_confirmed(isp: Rig) -> None:
    """D16: a store that is put back from a copy taken just before is noticed, whatever follows.

    What is remembered, and what the story names, is the last event of all that the set posted.
    """
    plan = isp.plan(isp.order(ONE, NEW), isp.order(TWO, NEW))
    found: list[tuple[int, str]] = []

    def look() -> None:
        assert isp.office.memory is not None
        (seen,) = isp.office.memory.recall().values()
        found.append((seen.seq, seen.hash))

    look()
    when(isp, "decision", "committed", look)
    assert isp.apply(plan).exit_code() == 0
    with reading(isp.office.engine) as session:
        head = ledger_head(session)
        (set_id,) = list_open_sets(session)
        (told,) = [each for each in list_steps(session, set_id) if each.kind == "decision"]
    before, after = found
    assert after == (head.seq, head.hash.hex())
    assert before[0] == head.seq - 2  # each service has an event of its own
    assert json.loads(told.detail) == {"seq": head.seq, "verdict": "COMMIT"}
    for service_id in (ONE, TWO):
        at_tier(isp, service_id, NEW)
