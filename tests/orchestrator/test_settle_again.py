"""The live session after a person or a device has stood in the way: it follows the ledger (P9)."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from sqlmodel import select

from billing_bridge import find_by_service
from inventory import instant_text
from orchestrator.answers import answer_exception
from orchestrator.database import reading, writing
from orchestrator.recover import orphans, recover
from orchestrator.rows import ChangeRow, DecisionRow, ExceptionRow, ParticipantRow
from tests.orchestrator.moments import (
    LINE,
    NEW,
    OLD,
    OLT,
    ONE,
    SPEED,
    disputed,
    is_as_before,
    is_done,
    nothing_left,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, truth

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

BY_HAND = "service-port 1001 inbound traffic-table index 10 outbound traffic-table index 10"
AT_OLD = "service-port 1001 inbound traffic-table index {up} outbound traffic-table index {down}"


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """One BNG, one OLT, and a program that does not wait long."""
    return hasty_rig


def _edit_when_decided(isp: Rig) -> None:
    when(isp, "decision", "committed", lambda: isp.fleet.control(OLT, "edit", lines=[BY_HAND]))


def _put_olt_back(isp: Rig) -> None:
    """A person gives the service-port its old tables again, by hand."""
    tables = isp.fleet.control(OLT, "dump")["running"]["traffic_tables"]
    index = {table["cir_kbps"]: number for number, table in tables.items()}
    line = AT_OLD.format(down=index[SPEED[OLD][0]], up=index[SPEED[OLD][1]])
    isp.fleet.control(OLT, "edit", lines=[line])


def _settle_time(isp: Rig, seconds: int) -> None:
    isp.office = replace(isp.office, settings=replace(isp.office.settings, settle_s=seconds))


def _applied_long_ago(isp: Rig) -> None:
    """Let an hour pass since everything was applied."""
    with writing(isp.office.engine) as session:
        for row in session.exec(select(ChangeRow)):
            if row.applied_at is not None:
                row.applied_at -= dt.timedelta(hours=1)
                session.add(row)


def test_a_device_left_to_a_person_does_not_hold_the_session_up(isp: Rig) -> None:
    """The ledger bills the new tier, so the session has it, whatever the OLT's exception says."""
    _edit_when_decided(isp)
    assert upgrade(isp)[1].exit_code() == 4
    assert (disputed(isp).participant, disputed(isp).cause) == (OLT, "foreign section")
    assert truth(isp, ONE).session == SPEED[NEW]


def test_a_reversal_takes_the_session_back_although_a_device_is_left_to_a_person(isp: Rig) -> None:
    """Otherwise the subscriber keeps the higher tier, unbilled, until the next login."""
    _settle_time(isp, 600)
    assert upgrade(isp)[0] == "done"
    isp.fleet.control(OLT, "edit", lines=[BY_HAND])
    recover(isp.office)
    assert truth(isp, ONE).session == SPEED[NEW]
    answer_exception(isp.office, disputed(isp).exception_id, "reverse", "tester", "asked to")
    seen = truth(isp, ONE)
    assert seen.events == ("service.adopted", "tier.changed", "event.reversed")
    assert seen.session == SPEED[OLD]
    assert seen.bng == seen.bng_startup == ("DOWN-100M", "UP-20M")
    assert disputed(isp).cause == "foreign section"


def test_an_unreachable_device_holds_the_session_up(isp: Rig) -> None:
    """Nothing is claimed about it: the session is driven by the pass that reads it again."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(OLT, "die"))
    assert upgrade(isp)[0] == "in doubt"
    assert truth(isp, ONE).session == SPEED[OLD]
    isp.fleet.control(OLT, "revive")
    assert recover(isp.office).outcome.exit_code() == 0
    is_done(isp)


def test_a_device_that_was_accepted_does_not_hold_the_session_up(isp: Rig) -> None:
    """What a person accepts is that device alone: the session follows, and is looked at again."""
    _settle_time(isp, 600)
    when(isp, "decision", "committed", lambda: isp.fleet.control(OLT, "die"))
    assert upgrade(isp)[0] == "in doubt"
    assert truth(isp, ONE).session == SPEED[OLD]
    answered = answer_exception(
        isp.office, disputed(isp).exception_id, "accept", "tester", "to be replaced"
    )
    assert answered.exit_code() == 0
    assert truth(isp, ONE).session == SPEED[NEW]
    assert _state(isp) == "COMMITTED"
    _applied_long_ago(isp)
    assert recover(isp.office).outcome.exit_code() == 0
    nothing_left(isp)


def test_the_settle_time_begins_anew_with_a_persons_reversal(isp: Rig) -> None:
    """W11: a login may have read the new rows just before they were taken back."""
    _edit_when_decided(isp)
    upgrade(isp)
    _applied_long_ago(isp)
    _settle_time(isp, 600)
    answer_exception(isp.office, disputed(isp).exception_id, "reverse", "tester", "asked to")
    found = recover(isp.office)
    assert len(found.waiting) == 1
    assert _state(isp) == "REVERSED"
    _put_olt_back(isp)
    _applied_long_ago(isp)
    assert recover(isp.office).waiting == ()
    is_as_before(isp, "tier.changed", "event.reversed")


def test_the_settle_time_begins_anew_with_a_reversal_in_the_closing_pass(isp: Rig) -> None:
    """A device that was set back by hand refuses: the pass that finds it does not close."""
    _settle_time(isp, 600)
    assert upgrade(isp)[0] == "done"
    _put_olt_back(isp)
    isp.fleet.control(OLT, "fault", verb=LINE, kind="refuse", arg="Failure: no licence", count=3)
    _applied_long_ago(isp)
    assert recover(isp.office).outcome.items[0].ending == "reversed"
    assert truth(isp, ONE).session == SPEED[OLD]
    assert _state(isp) == "REVERSED"
    _applied_long_ago(isp)
    recover(isp.office)
    is_as_before(isp, "tier.changed", "event.reversed")


def test_what_a_person_mends_days_later_is_charged_from_then(isp: Rig) -> None:
    """D4: the exception's resolution posts the shift that the close had to leave out, once."""
    _edit_when_decided(isp)
    upgrade(isp)
    recover(isp.office)
    assert _closed(isp)
    with writing(isp.office.engine) as session:
        decided = session.exec(select(DecisionRow)).one()
        decided.decided_at -= dt.timedelta(days=3)
        session.add(decided)
        # the others were there at once, and the OLT for another service of its set
        for part in session.exec(select(ParticipantRow)):
            part.at_goal_since = decided.decided_at
            session.add(part)
    _put_olt_back(isp)
    mended = answer_exception(isp.office, disputed(isp).exception_id, "retry", "tester", "")
    assert mended.exit_code() == 0
    with reading(isp.office.engine) as session:
        shift = find_by_service(session, ONE)[-1]
        (settled,) = session.exec(select(ExceptionRow)).all()
    assert settled.resolved_at is not None
    assert shift.payload["to"] == instant_text(settled.resolved_at)
    recover(isp.office)
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed", "service.effect_shifted")
    nothing_left(isp)


def _closed(isp: Rig) -> bool:
    with reading(isp.office.engine) as session:
        return orphans(session) == 0


def _state(isp: Rig) -> str:
    with reading(isp.office.engine) as session:
        assert orphans(session) == 1
        return session.exec(select(ChangeRow)).one().state
