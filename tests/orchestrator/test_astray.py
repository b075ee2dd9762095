"""A CoA that may still be on its way holds its change open, and nothing else does."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from sqlmodel import col, select, update

from device_templates import AccessSession, ReplyAttribute
from inventory import DatabaseProblem, Device
from orchestrator import astray, live
from orchestrator.answers import answer_exception
from orchestrator.astray import Outbox
from orchestrator.clock import HostClock
from orchestrator.database import reading, writing
from orchestrator.decide import reverse_changes
from orchestrator.journal import load_set, session_name
from orchestrator.recover import recover
from orchestrator.rows import ChangeRow, ParticipantRow
from tests.orchestrator.moments import (
    BNG,
    NEW,
    OLD,
    ONE,
    SPEED,
    Hasty,
    disputed,
    is_as_before,
    is_done,
    log_in_again,
    nothing_left,
    upgrade,
)
from tests.orchestrator.rig import Rig, truth
from tests.orchestrator.test_leases import Moving
from workflows import CoaReply

COA = "CoA-Request"
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Crash(BaseException):
    """The process is gone."""


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """Nothing is waited for but a CoA."""
    settings = replace(hasty_rig.office.settings, coa_window_s=300)
    hasty_rig.office = replace(hasty_rig.office, settings=settings)
    return hasty_rig


def _sent_at(isp: Rig) -> dt.datetime | None:
    with reading(isp.office.engine) as session:
        parts = session.exec(select(ParticipantRow).where(col(ParticipantRow.role) == "session"))
        return parts.one().sent_at


def _state(isp: Rig) -> str:
    with reading(isp.office.engine) as session:
        return session.exec(select(ChangeRow)).one().state


def _long_ago(isp: Rig) -> None:
    """Let an hour pass since anything was sent."""
    with writing(isp.office.engine) as session:
        for row in session.exec(select(ParticipantRow).where(col(ParticipantRow.sent_at) != None)):  # noqa: E711
            assert row.sent_at is not None
            row.sent_at -= dt.timedelta(hours=1)
            session.add(row)


def _is_waited_for(isp: Rig) -> None:
    """A recovery changes nothing but says for how long; once nothing can arrive it closes."""
    (told,) = recover(isp.office).waiting
    assert "can be closed in" in told
    assert _state(isp) == "COMMITTED"
    _long_ago(isp)
    assert recover(isp.office).waiting == ()


def test_what_is_answered_at_once_is_not_waited_for(isp: Rig) -> None:
    assert upgrade(isp)[0] == "done"
    assert _sent_at(isp) is None
    is_done(isp)


@pytest.mark.parametrize("count", [1, 9], ids=["one copy", "every copy"])
def test_what_nobody_answered_is_waited_for(isp: Rig, count: int) -> None:
    """One copy of the request was answered or none: another one may arrive after a close (P10)."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_after", count=count)
    assert upgrade(isp)[0] == "done"
    assert _sent_at(isp) is not None
    _is_waited_for(isp)
    is_done(isp)


def test_a_session_is_at_the_ledgers_tier_whatever_arrives_late(isp: Rig) -> None:
    """A CoA that is held back arrives after a reversal: the closing pass takes it back (P9)."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="delay", arg="90", count=9)
    assert upgrade(isp)[1].exit_code() == 4
    isp.fleet.control(BNG, "clear")
    with writing(isp.office.engine) as session:
        change = session.exec(select(ChangeRow)).one()
        opened = load_set(session, change.set_id)
        reverse_changes(session, opened, (change.change_id,), "refused", {})
    recover(isp.office)
    assert _state(isp) == "REVERSED"
    isp.fleet.control(BNG, "advance", seconds=90)
    assert truth(isp, ONE).session == SPEED[NEW]
    _long_ago(isp)
    recover(isp.office)
    is_as_before(isp, "tier.changed", "event.reversed")


def test_a_crash_with_a_request_on_its_way_is_remembered(isp: Rig) -> None:
    """Who finds a change decided and not applied cannot know what was sent: it waits."""
    coa = isp.office.coa

    def crash(*_given: object) -> CoaReply:
        raise Crash

    isp.office = replace(isp.office, coa=crash)
    with pytest.raises(Crash):
        upgrade(isp)
    isp.office = replace(isp.office, coa=coa)
    assert len(recover(isp.office).waiting) == 1
    assert truth(isp, ONE).session == SPEED[NEW]
    assert _sent_at(isp) is not None
    _is_waited_for(isp)
    is_done(isp)


def test_a_crash_of_the_sweep_is_remembered(isp: Rig) -> None:
    """W1: what is sent once a change is applied stands in the store before it goes out."""
    assert upgrade(isp)[0] == "done"
    log_in_again(isp)
    coa = isp.office.coa

    def crash(*_given: object) -> CoaReply:
        raise Crash

    isp.office = replace(isp.office, coa=crash)
    with pytest.raises(Crash):
        recover(isp.office)
    isp.office = replace(isp.office, coa=coa)
    before = _sent_at(isp)
    assert before is not None
    assert len(recover(isp.office).waiting) == 1
    assert _sent_at(isp) == before  # its own request was answered; the other one was not
    _is_waited_for(isp)
    is_done(isp)


def test_nothing_is_sent_that_cannot_be_written_down(
    isp: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upgrade(isp)[0] == "done"
    log_in_again(isp)

    def away(_outbox: Outbox, _name: str) -> None:
        raise DatabaseProblem("database", "is away", "")

    with monkeypatch.context() as changed:
        changed.setattr(live.Outbox, "ahead", away)
        with pytest.raises(DatabaseProblem):
            recover(isp.office)
    assert truth(isp, ONE).session == SPEED[OLD]
    recover(isp.office)
    is_done(isp)


def test_what_stands_in_the_store_is_not_written_again_at_once(isp: Rig) -> None:
    """One look for all requests of a pass, until it is too old to be a bound for them."""
    assert upgrade(isp)[0] == "done"
    clock = Moving()
    with reading(isp.office.engine) as session:
        change = session.exec(select(ChangeRow)).one()
    name = session_name(change.change_id)
    outbox = Outbox(office=replace(isp.office, clock=clock), set_id=change.set_id, left=[name])
    written = []
    for seconds in (0, astray.AGAIN_S - 1, 1):
        clock.now_s += seconds
        with writing(isp.office.engine) as session:
            session.execute(update(ParticipantRow).values(sent_at=None))
        outbox.ahead(name)
        written.append(_sent_at(isp) is not None)
    assert written == [True, False, True]


def test_a_slow_nas_is_written_down_again(isp: Rig) -> None:
    """What was written down long before a request is no bound for it."""
    assert upgrade(isp)[0] == "done"
    log_in_again(isp)
    coa, times = isp.office.coa, []

    def ask(
        device: Device,
        session: AccessSession,
        attributes: tuple[ReplyAttribute, ...],
        action: str,
    ) -> CoaReply:
        times.append(_sent_at(isp))
        if len(times) < 3:
            return CoaReply(kind="NAK", error_cause=506)
        return coa(device, session, attributes, action)

    class Slow(Hasty):
        now_s = HostClock().boottime_s()

        def boottime_s(self) -> float:
            self.now_s += 0.7
            return self.now_s

    isp.office = replace(isp.office, coa=ask)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(astray, "AGAIN_S", 1)
        office, isp.office = isp.office, replace(isp.office, clock=Slow())
        recover(isp.office)
        isp.office = office
    assert len(set(times)) > 1
    assert _sent_at(isp) is None
    is_done(isp)


def test_a_retry_of_a_closed_change_is_asked_for_until_nothing_can_arrive(isp: Rig) -> None:
    """The exception blocks the service's next change: it stands for as long as a CoA may come."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="refuse", arg="407", count=9)
    assert upgrade(isp)[1].exit_code() == 4
    recover(isp.office)
    assert _state(isp) == "CLOSED"
    isp.fleet.control(BNG, "clear")
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_after", count=9)
    name = disputed(isp).exception_id
    assert answer_exception(isp.office, name, "retry", "tester", "").exit_code() == 4
    assert "may still arrive" in disputed(isp).seen
    _long_ago(isp)
    assert answer_exception(isp.office, name, "retry", "tester", "").exit_code() == 0
    nothing_left(isp)


def test_the_waiting_of_a_command_is_for_what_can_end(isp: Rig) -> None:
    """`wait_settle` waits for a CoA once; a session that is asked about is a person's affair."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_after", count=9)
    assert upgrade(isp)[0] == "done"
    waits: list[float] = []

    class Clock(type(isp.office.clock)):  # type: ignore[misc]
        def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            _long_ago(isp)

    isp.office = replace(isp.office, clock=Clock())
    assert recover(isp.office, wait_settle=True).waiting == ()
    assert [290 < wait <= 300 for wait in waits] == [True]
    nothing_left(isp)


def test_a_session_under_an_exception_is_not_waited_for(isp: Rig) -> None:
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_before", count=99)
    assert upgrade(isp)[1].exit_code() == 4
    assert recover(isp.office, wait_settle=True).waiting == ()
    assert _state(isp) == "COMMITTED"  # a NAS that is silent is one that is away
    isp.fleet.control(BNG, "clear")
    recover(isp.office)
    _is_waited_for(isp)
    is_done(isp)
