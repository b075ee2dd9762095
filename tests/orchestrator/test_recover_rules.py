"""What recovery waits for, what it says about that, and what it leaves to others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from sqlmodel import col, select

from orchestrator.database import reading, writing
from orchestrator.leases import Leases, Owner
from orchestrator.office import Office
from orchestrator.recover import _ending, outcomes, recover, recover_set, settle_left
from orchestrator.rows import ChangeRow, LeaseRow, ParticipantRow
from tests.orchestrator.moments import BNG, NEW, ONE, when
from tests.orchestrator.paper import (
    LONG_AGO,
    ago,
    change,
    doubt,
    keep_set,
    paper_office,
    part,
    rows,
)
from tests.orchestrator.rig import Rig
from tests.orchestrator.test_leases import Moving

DRIVEN = "decision was COMMIT: driving every participant there"
DAY_S = 86_400.0


@dataclass(slots=True)
class Waiting(Moving):
    """A clock whose sleeping lets the store's times pass as well; what it was asked is kept."""

    engine: Engine | None = None
    said: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let everything that was written down have happened long ago."""
        self.said.append("sleep")
        Moving.sleep(self, seconds)
        assert self.engine is not None
        with writing(self.engine) as session:
            for change_row in session.exec(select(ChangeRow)):
                if change_row.applied_at is not None:
                    change_row.applied_at -= dt.timedelta(days=1)
            for login in session.exec(select(ParticipantRow)):
                if login.sent_at is not None:
                    login.sent_at -= dt.timedelta(days=1)


Start = Callable[..., Office]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One store is enough: what the databases do differently is in test_store_faults.py."""
    return f"sqlite:///{tmp_path / 'bandmaster.db'}"


@pytest.fixture
def clock(empty_engine: Engine) -> Waiting:
    """The clock of the office."""
    return Waiting(engine=empty_engine)


@pytest.fixture
def start(tmp_path: Path, empty_engine: Engine, clock: Waiting) -> Start:
    """A function that opens an office over an empty store, by some settings."""

    def made(**settings: Any) -> Office:
        office = paper_office(tmp_path, empty_engine, clock, **settings)
        return replace(office, tell=lambda _who, text: clock.said.append(text))

    return made


# --- how long a set waits for logins -------------------------------------------------------------


def test_a_login_that_began_before_is_waited_for_from_the_last_applied_change(
    start: Start, empty_engine: Engine
) -> None:
    """W11: each change's rows were new to logins until all of the set was applied."""
    office = start(settle_s=60)
    first = change("s-1", "a", applied_at=ago(empty_engine, 50))
    last = change("s-1", "b", applied_at=ago(empty_engine, 10))
    keep_set(empty_engine, "s-1", first, last, logins=("a",))
    applied, left_s = settle_left(office, "s-1")
    assert applied
    assert 30 < left_s <= 50


@pytest.mark.parametrize("state", ["COMMITTED", "REVERSED"])
def test_what_is_not_applied_yet_has_all_of_the_time_before_it(
    start: Start, empty_engine: Engine, state: str
) -> None:
    office = start(settle_s=60)
    keep_set(empty_engine, "s-1", change("s-1", "a", state), logins=("a",))
    assert settle_left(office, "s-1") == (False, 60.0)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize(
    ("state", "logins"), [("ABORTED", ("a",)), ("INTENT", ("a",)), ("COMMITTED", ())]
)
def test_who_never_had_new_rows_is_not_waited_for(
    start: Start, empty_engine: Engine, state: str, logins: tuple[str, ...], *, applied: bool
) -> None:
    """Nothing was decided, or nobody of the set logs in."""
    office = start(settle_s=60)
    at = ago(empty_engine, 1) if applied else None
    keep_set(empty_engine, "s-1", change("s-1", "a", state, applied_at=at), logins=logins)
    assert settle_left(office, "s-1") == (applied, 0.0)


def test_a_wait_that_is_over_is_none(start: Start, empty_engine: Engine) -> None:
    office = start(settle_s=60)
    at = ago(empty_engine, DAY_S)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=at), logins=("a",))
    assert settle_left(office, "s-1") == (True, 0.0)


def test_another_sets_logins_are_no_matter(start: Start, empty_engine: Engine) -> None:
    """A set is asked about its own changes and its own sessions."""
    office = start(settle_s=60)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=ago(empty_engine, DAY_S)))
    keep_set(empty_engine, "s-2", change("s-2", "b"), logins=("b",))
    keep_set(empty_engine, "s-3", change("s-3", "c", applied_at=ago(empty_engine, 1)))
    assert settle_left(office, "s-1") == (True, 0.0)
    assert settle_left(office, "s-2") == (False, 60.0)
    assert settle_left(office, "s-3") == (True, 0.0)


def test_a_device_is_no_login(start: Start, empty_engine: Engine) -> None:
    office = start(settle_s=60)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=ago(empty_engine, 1)))
    with writing(empty_engine) as session:
        session.add(part("s-1", "bng"))
    assert settle_left(office, "s-1") == (True, 0.0)


# --- what a pass waits for, and what it says -----------------------------------------------------


def test_nobody_waits_who_was_not_asked_to(
    start: Start, empty_engine: Engine, clock: Waiting
) -> None:
    """One pass; the set is named with what is left, and stays open."""
    office = start(settle_s=60)
    at = ago(empty_engine, 1)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=at), logins=("a",))
    (waiting,) = recover(office).waiting
    assert waiting.startswith("s-s1 can be closed in 5")
    assert (clock.said, rows(empty_engine)["a"].state) == ([DRIVEN], "COMMITTED")


def test_a_wait_of_a_second_is_one(start: Start, empty_engine: Engine, clock: Waiting) -> None:
    """However short, it is not rounded to nothing: a login that has read old rows ends in it.

    A time that is still to come, for the clock was set back, counts as now.
    """
    office = start(settle_s=1)
    at = ago(empty_engine, -3600)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=at), logins=("a",))
    assert recover(office).waiting == ("s-s1 can be closed in 1 s",)
    assert rows(empty_engine)["a"].state == "COMMITTED"
    with writing(empty_engine) as session:
        session.execute(update(ChangeRow).values(applied_at=at))
    clock.said.clear()
    assert recover(office, wait_settle=True).waiting == ()
    assert rows(empty_engine)["a"].state == "CLOSED"
    assert clock.said == ["waiting 1 s for logins that began before", "sleep", DRIVEN]


@pytest.mark.parametrize("wait_settle", [True, False])
def test_what_can_be_closed_is_closed_in_one_pass(
    start: Start, empty_engine: Engine, clock: Waiting, *, wait_settle: bool
) -> None:
    """Nobody sleeps, and nothing is said of waiting."""
    office = start(settle_s=60)
    old, fresh = ago(empty_engine, DAY_S), None
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=old), logins=("a",))
    keep_set(empty_engine, "s-2", change("s-2", "b", applied_at=fresh))
    assert recover(office, wait_settle=wait_settle).waiting == ()
    assert clock.said == [DRIVEN, DRIVEN]
    assert {row.state for row in rows(empty_engine).values()} == {"CLOSED"}


@pytest.mark.parametrize("settle_s", [1, 60])
def test_what_was_not_driven_is_driven_before_the_wait(
    start: Start, empty_engine: Engine, clock: Waiting, settle_s: int
) -> None:
    """Timers run on devices: however short the wait is, the first pass comes before it (D6)."""
    office = start(settle_s=settle_s)
    keep_set(empty_engine, "s-1", change("s-1", "a"), logins=("a",))
    assert recover(office, wait_settle=True).waiting == ()
    assert rows(empty_engine)["a"].state == "CLOSED"
    assert (clock.said[0], clock.said[-1]) == (DRIVEN, DRIVEN)
    assert sum(clock.sleeps) <= settle_s


def test_what_has_just_been_driven_is_waited_for_once(
    start: Start, empty_engine: Engine, clock: Waiting
) -> None:
    """The time counts from the first pass, which has applied it; the second one closes."""
    office = start(settle_s=60)
    keep_set(empty_engine, "s-1", change("s-1", "a"), logins=("a",))
    assert recover(office, wait_settle=True).waiting == ()
    told = [text for text in clock.said if not text.startswith("waiting")]
    assert told == [DRIVEN, "sleep", DRIVEN]
    assert 30 < sum(clock.sleeps) <= 60


def test_what_was_driven_is_waited_for_at_once(
    start: Start, empty_engine: Engine, clock: Waiting
) -> None:
    """It stands at its goal: one pass after the wait is enough."""
    office = start(settle_s=60)
    at = ago(empty_engine, 1)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=at), logins=("a",))
    assert recover(office, wait_settle=True).waiting == ()
    assert clock.said[1:] == ["sleep", DRIVEN]
    assert rows(empty_engine)["a"].state == "CLOSED"


@pytest.mark.parametrize("window_s", [1, 300])
def test_a_request_that_may_arrive_is_waited_for_once(
    start: Start, empty_engine: Engine, clock: Waiting, window_s: int
) -> None:
    """A NAS that has not answered: however little is left, it is not closed before."""
    office = start(settle_s=0, coa_window_s=window_s)
    at, to_come = ago(empty_engine, DAY_S), ago(empty_engine, -3600)
    keep_set(empty_engine, "s-1", change("s-1", "a", applied_at=at), logins=("a",))
    with writing(empty_engine) as session:
        # still to come, for the clock was set back: all of the window is left
        session.execute(update(ParticipantRow).values(sent_at=to_come))
    assert recover_set(office, "s-1", wait_settle=False) > 0
    assert len(recover(office).waiting) == 1
    clock.said.clear()
    assert recover(office, wait_settle=True).waiting == ()
    assert rows(empty_engine)["a"].state == "CLOSED"
    assert [text for text in clock.said if not text.startswith("waiting")] == [
        DRIVEN,
        "sleep",
        DRIVEN,
    ]
    assert "a CoA that nobody has answered" in clock.said[1]


# --- whom it leaves alone ------------------------------------------------------------------------


def _held(isp: Rig, clock: Moving) -> Leases:
    """Leases of a worker on another machine, of whom nothing can be known but its counter."""
    owner = Owner(owner="another", boot_id="of another machine")
    leases = Leases(isp.office.engine, clock, isp.office.settings, owner, "its own work")
    leases.acquire(frozenset({BNG}), wait_s=0)
    return leases


class Renewed(Moving):
    """A clock under which the other worker renews its leases whenever somebody sleeps."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def sleep(self, seconds: float) -> None:
        """Let time pass for both."""
        super().sleep(seconds)
        with writing(self.engine) as session:
            session.execute(update(LeaseRow).values(counter=col(LeaseRow.counter) + 1))


def test_a_set_that_somebody_drives_keeps_nobody_from_the_others(
    hasty_rig: Rig, empty_engine: Engine
) -> None:
    """It is skipped as soon as its worker is seen to live, and named; the next one is settled."""
    when(hasty_rig, "decision", "committed", lambda: hasty_rig.fleet.control(BNG, "die"))
    assert hasty_rig.tier(ONE, NEW).items[0].ending == "in doubt"
    keep_set(empty_engine, "s-1", change("s-1", "a"))
    clock = Renewed(empty_engine)
    held = _held(hasty_rig, clock)
    found = recover(replace(hasty_rig.office, clock=clock))
    held.release()
    assert [BNG in text and "is being driven by" in text for text in found.skipped] == [True]
    assert [item.service_id for item in found.outcome.items] == ["a"]
    assert rows(empty_engine)["a"].state == "CLOSED"
    assert len(clock.sleeps) == 1


# --- what became of each service -----------------------------------------------------------------


def test_each_service_has_its_own_exceptions(empty_engine: Engine, start: Start) -> None:
    start()
    first, second = change("s-1", "a"), change("s-1", "b")
    keep_set(empty_engine, "s-1", first, second)
    with writing(empty_engine) as session:
        session.add(doubt(second, "olt"))
        session.add(doubt(first, "olt", resolved_at=LONG_AGO, resolution="settled"))
    with reading(empty_engine) as session:
        found = {item.service_id: item.exceptions for item in outcomes(session, "s-1")}
    assert found == {"a": (), "b": ("x-b-olt",)}


@pytest.mark.parametrize(
    ("state", "outcome", "applied", "ending"),
    [
        ("CLOSED", "done", True, "done"),
        ("CLOSED", "aborted", False, "aborted"),
        ("CLOSED", "refused", False, "refused"),
        ("CLOSED", "reversed", False, "reversed"),
        ("COMMITTED", "done", True, "done"),  # it stands everywhere, and waits for logins only
        ("REVERSED", "reversed", True, "reversed"),
        ("REVERSED", "reversed", False, "in doubt"),  # taken back, not yet read on the devices
        ("COMMITTED", "open", False, "in doubt"),
        ("INTENT", "open", False, "in doubt"),
        ("ABORTED", "open", True, "in doubt"),
    ],
)
def test_a_service_has_ended_when_its_devices_have_been_read(
    state: str, outcome: str, ending: str, *, applied: bool
) -> None:
    """Before that a person is told that it is in doubt, whatever was decided."""
    at = LONG_AGO if applied else None
    assert _ending(change("s-1", "a", state, outcome=outcome, applied_at=at)) == ending
