"""Leases by themselves, under a clock that moves when somebody sleeps: who may drive, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from inventory import LeaseHeld
from orchestrator import leases
from orchestrator.clock import HostClock
from orchestrator.database import reading, writing
from orchestrator.leases import LeaseLostError, Leases, Owner, list_leases
from orchestrator.rows import LeaseRow
from orchestrator.settings import Settings
from tests.schema import create_schema

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SETTINGS = Settings(lease_ttl_s=15, lease_renew_s=5, takeover_s=20)
STEP_S = 0.5  # how long is waited between two looks
BOTH = frozenset({"bng", "olt"})


@dataclass(slots=True)
class Moving(HostClock):
    """A clock that stands still until somebody sleeps."""

    now_s: float = 1000.0
    sleeps: list[float] = field(default_factory=list)

    def boottime_s(self) -> float:
        """Seconds since a boot long ago."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let them pass at once."""
        self.sleeps.append(seconds)
        self.now_s += seconds


Make = Callable[..., Leases]


@pytest.fixture
def clock() -> Moving:
    """The clock of all workers of a test."""
    return Moving()


@pytest.fixture
def worker(empty_engine: Engine, clock: Moving) -> Make:
    """A function that makes a worker's leases: of this process, but for given fields of Owner."""
    create_schema(empty_engine)

    def make(name: str, **where: str) -> Leases:
        owner = Owner(owner=name, **where)  # type: ignore[arg-type]
        return Leases(empty_engine, clock, SETTINGS, owner, f"the work of {name}")

    return make


def rows(engine: Engine) -> dict[str, LeaseRow]:
    with reading(engine) as session:
        return {row.device: row for row in list_leases(session)}


def test_all_are_taken_or_none(worker: Make, empty_engine: Engine, clock: Moving) -> None:
    first, second = worker("first"), worker("second")
    first.acquire(frozenset({"olt"}), wait_s=0)
    stop = RuntimeError("a person asks to stop")

    def check() -> None:
        raise stop

    with pytest.raises(RuntimeError):
        second.acquire(BOTH, wait_s=60, check=check)
    assert {name: row.owner for name, row in rows(empty_engine).items()} == {"olt": "first"}
    with pytest.raises(LeaseLostError):
        second.fence()
    assert clock.sleeps == []


def test_a_row_that_is_never_free_is_told_and_not_tried_for_ever(
    worker: Make, clock: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that take the same lease meet once or twice; a table that is broken is no such race."""
    first, tries = worker("first"), 0

    def broken(*_given: object) -> None:
        nonlocal tries
        tries += 1
        clock.now_s += 1
        raise IntegrityError("INSERT", {}, ValueError("broken"))

    monkeypatch.setattr(first, "_try", broken)
    with pytest.raises(IntegrityError):
        first.acquire(BOTH, wait_s=5)
    assert tries == 5 + leases._RACE_S + 1


def test_a_worker_without_devices_takes_nothing_and_may_decide(
    worker: Make, empty_engine: Engine, clock: Moving
) -> None:
    """A service that RADIUS alone carries has no device to lease."""
    alone = worker("alone")
    alone.acquire(frozenset(), wait_s=0)
    alone.fence()
    alone.renew()
    assert rows(empty_engine) == {}
    assert clock.sleeps == []


def test_a_counter_that_stands_still_is_taken_over(
    worker: Make, empty_engine: Engine, clock: Moving
) -> None:
    """Goal: D7. Method: its holder is on another machine, which cannot be asked."""
    dead, heir = worker("dead", host="elsewhere"), worker("heir")
    dead.acquire(BOTH, wait_s=0)
    before = rows(empty_engine)
    assert {row.epoch for row in before.values()} == {1}
    began = clock.now_s
    heir.acquire(BOTH, wait_s=0)
    assert clock.now_s - began == SETTINGS.takeover_s
    assert set(clock.sleeps) == {STEP_S}
    assert heir.taken_over == BOTH
    after = rows(empty_engine)
    assert {row.owner for row in after.values()} == {"heir"}
    assert {row.epoch for row in after.values()} == {2}
    assert {row.counter for row in after.values()} == {0}
    with pytest.raises(LeaseLostError, match="slept past"):
        dead.renew()


@pytest.mark.parametrize("odd", ["host", "boot_id", "pid_namespace"])
def test_a_process_is_asked_for_only_where_it_can_be_seen(
    worker: Make, clock: Moving, odd: str
) -> None:
    """The number of a process means something in one boot of one machine's one namespace."""
    dead = worker("dead", pid_start="another process's")
    dead.acquire(BOTH, wait_s=0)
    heir = worker("heir", **{odd: "another"})
    heir.acquire(BOTH, wait_s=0)
    assert sum(clock.sleeps) == SETTINGS.takeover_s


def test_a_process_that_is_gone_is_taken_over_at_once(worker: Make, clock: Moving) -> None:
    worker("dead", pid_start="another process's").acquire(BOTH, wait_s=0)
    heir = worker("heir")
    heir.acquire(BOTH, wait_s=0)
    assert clock.sleeps == []
    assert heir.taken_over == BOTH


@pytest.mark.parametrize("wait_s", [0, 30])
def test_a_counter_that_moves_is_waited_for_and_then_named(
    worker: Make, empty_engine: Engine, clock: Moving, wait_s: int
) -> None:
    """Who lives is never taken over, however long somebody waits."""
    holder, other = worker("holder", host="elsewhere"), worker("other")
    holder.acquire(BOTH, wait_s=0)
    began = clock.now_s
    with pytest.raises(LeaseHeld) as caught:
        other.acquire(frozenset({"olt"}), wait_s=wait_s, check=holder.renew)
    assert clock.now_s - began == max(wait_s, STEP_S)
    for words in ("olt", "elsewhere", "the work of holder", str(rows(empty_engine)["olt"].pid)):
        assert words in str(caught.value)
    assert other.taken_over == frozenset()
    assert rows(empty_engine)["olt"].counter == len(clock.sleeps)
    assert rows(empty_engine)["bng"].owner == "holder"


def test_a_living_holder_is_named_rather_than_a_silent_one(worker: Make, clock: Moving) -> None:
    """Two devices, two holders: the wait ends as soon as one of them has shown that it lives."""
    silent, holder = worker("silent", host="elsewhere"), worker("holder", host="elsewhere")
    silent.acquire(frozenset({"bng"}), wait_s=0)
    holder.acquire(frozenset({"olt"}), wait_s=0)
    with pytest.raises(LeaseHeld, match="the work of holder"):
        worker("other").acquire(BOTH, wait_s=1, check=holder.renew)
    assert sum(clock.sleeps) == 1


def test_the_fence_closes_with_the_deadline(worker: Make, clock: Moving) -> None:
    """Before they are taken, from the last moment on, and after they are given back: nothing."""
    leases = worker("one")
    with pytest.raises(LeaseLostError, match="lease is over"):
        leases.fence()
    leases.acquire(BOTH, wait_s=0)
    clock.now_s += SETTINGS.lease_ttl_s - 0.125
    leases.fence()
    leases.renew()
    clock.now_s += SETTINGS.lease_ttl_s - 0.125
    leases.fence()
    clock.now_s += 0.125
    with pytest.raises(LeaseLostError, match="lease is over") as caught:
        leases.fence()
    assert caught.value.exit_code == 6
    leases.release()


def test_who_slept_past_its_deadline_does_not_renew(worker: Make, clock: Moving) -> None:
    """Somebody may have read the counter as dead meanwhile, though the row is still there."""
    leases = worker("one")
    leases.acquire(BOTH, wait_s=0)
    clock.now_s += SETTINGS.lease_ttl_s
    leases.renew()  # not past it yet
    clock.now_s += SETTINGS.lease_ttl_s + 0.125
    with pytest.raises(LeaseLostError, match="slept past"):
        leases.renew()
    with pytest.raises(LeaseLostError, match="lease is over"):
        leases.fence()


def test_only_ones_own_are_given_back(worker: Make, empty_engine: Engine) -> None:
    first, second = worker("first"), worker("second")
    first.acquire(frozenset({"bng"}), wait_s=0)
    with second:
        second.acquire(frozenset({"olt"}), wait_s=0)
    assert set(rows(empty_engine)) == {"bng"}
    with pytest.raises(LeaseLostError):
        second.fence()
    first.release()
    first.release()
    assert rows(empty_engine) == {}


def test_a_store_that_is_away_is_no_trouble_at_the_end(worker: Make, empty_engine: Engine) -> None:
    """What is left dies with the process: what was done is not called failed for it."""
    leases = worker("one")
    leases.acquire(BOTH, wait_s=0)
    with empty_engine.begin() as connection:
        connection.execute(text("ALTER TABLE lease RENAME TO hidden"))
    leases.release()
    with pytest.raises(LeaseLostError):
        leases.fence()


def test_what_was_taken_over_is_not_given_back_by_the_former_holder(
    worker: Make, empty_engine: Engine
) -> None:
    """A worker that wakes late ends without harm to whoever drives now."""
    sleeper, heir = worker("sleeper", host="elsewhere"), worker("heir")
    sleeper.acquire(BOTH, wait_s=0)
    heir.acquire(BOTH, wait_s=0)
    sleeper.release()
    assert {row.owner for row in rows(empty_engine).values()} == {"heir"}
    heir.fence()


def test_one_owner_may_take_its_own_again(worker: Make, empty_engine: Engine) -> None:
    """A second set of one process is no takeover: nothing needs to be drained for it."""
    leases = worker("one")
    leases.acquire(BOTH, wait_s=0)
    leases.acquire(BOTH, wait_s=0)
    assert leases.taken_over == frozenset()
    with writing(empty_engine) as session:
        kept = session.exec(select(LeaseRow).where(LeaseRow.device == "olt")).one()
    assert (kept.epoch, kept.counter, kept.purpose) == (2, 0, "the work of one")
    span = kept.until - kept.since
    assert span.total_seconds() == SETTINGS.lease_ttl_s
