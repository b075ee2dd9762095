"""Leases in the edges of time: renewed beside the work, over with the first moment of a boot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from orchestrator.database import database_now, make_engine, reading, writing
from orchestrator.leases import LeaseLostError, Leases, Owner, list_leases
from orchestrator.rows import LeaseRow
from orchestrator.settings import Settings
from tests.orchestrator.test_leases import Moving
from tests.schema import create_schema

SETTINGS = Settings(lease_ttl_s=15, lease_renew_s=5, takeover_s=20)
BOTH = frozenset({"bng", "olt"})
PATIENCE_S = 30


@pytest.fixture
def clock() -> Moving:
    """A clock in the first moment of a boot."""
    return Moving(now_s=0.0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty store."""
    made = make_engine(f"sqlite:///{tmp_path / 'bandmaster.db'}")
    create_schema(made)
    yield made
    made.dispose()


def worker(engine: Engine, clock: Moving, **settings: Any) -> Leases:
    owner = Owner(owner="one")
    return Leases(engine, clock, replace(SETTINGS, **settings), owner, "a test")


def row(engine: Engine) -> LeaseRow:
    with reading(engine) as session:
        return list_leases(session)[0]


def do(engine: Engine, statement: str) -> None:
    with writing(engine) as session:
        session.connection().execute(text(statement))


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def renewing() -> threading.Thread | None:
    """The thread that renews leases now."""
    return next((each for each in threading.enumerate() if each.name == "leases"), None)


def test_nothing_is_sent_without_a_lease_in_the_first_moment_of_a_boot(
    engine: Engine, clock: Moving
) -> None:
    """The clock's zero is no deadline: neither before they are taken nor after they are given."""
    leases = worker(engine, clock)
    for now_s in (0.0, 0.5):
        clock.now_s = now_s
        with pytest.raises(LeaseLostError):
            leases.fence()
    leases.acquire(BOTH, wait_s=0)
    leases.fence()
    leases.release()
    for now_s in (0.0, 0.5):
        clock.now_s = now_s
        with pytest.raises(LeaseLostError):
            leases.fence()


def test_a_renewed_lease_says_that_it_lasts_longer(engine: Engine, clock: Moving) -> None:
    """What people are shown of a lease is not a moment that is over."""
    leases = worker(engine, clock)
    leases.acquire(BOTH, wait_s=0)
    before = row(engine).until
    leases.renew()
    with reading(engine) as session:
        now = database_now(session)
    assert row(engine).until >= before
    assert 10 < (row(engine).until - now).total_seconds() <= SETTINGS.lease_ttl_s


def test_who_slept_past_his_deadline_gives_no_sign_of_life(engine: Engine, clock: Moving) -> None:
    """Who watches the counter has begun to take him for dead: it must not move once more."""
    leases = worker(engine, clock)
    leases.acquire(BOTH, wait_s=0)
    clock.now_s += SETTINGS.lease_ttl_s + 1
    with pytest.raises(LeaseLostError, match="slept past"):
        leases.renew()
    assert row(engine).counter == 0
    with pytest.raises(LeaseLostError):
        leases.fence()


def test_a_store_that_is_away_for_a_moment_loses_no_lease(engine: Engine, clock: Moving) -> None:
    """The renewing goes on by itself as soon as the store is back."""
    with worker(engine, clock, lease_renew_s=0.05) as leases:
        leases.acquire(BOTH, wait_s=0)
        do(engine, "ALTER TABLE lease RENAME TO hidden")
        refused: list[str] = []
        event.listen(
            engine, "handle_error", lambda context: refused.append(str(context.original_exception))
        )
        leases.start_renewing()
        until(lambda: len(refused) > 1)
        do(engine, "ALTER TABLE hidden RENAME TO lease")
        until(lambda: row(engine).counter > 1)
        leases.fence()
    assert "no such table" in refused[0]
    assert renewing() is None


def test_the_renewing_ends_by_itself_when_the_lease_is_lost(engine: Engine, clock: Moving) -> None:
    """Whoever has taken over is not written over, and the fence closes with the old deadline."""
    with worker(engine, clock, lease_renew_s=0.05) as leases:
        leases.acquire(BOTH, wait_s=0)
        do(engine, "UPDATE lease SET owner = 'another'")
        leases.start_renewing()
        until(lambda: renewing() is None)
        leases.fence()
        clock.now_s += SETTINGS.lease_ttl_s
        with pytest.raises(LeaseLostError):
            leases.fence()
    assert (row(engine).owner, row(engine).counter) == ("another", 0)


def test_the_renewing_keeps_no_process_alive(engine: Engine, clock: Moving) -> None:
    """A worker that ends with an error ends: its leases are taken over, not renewed for ever."""
    with worker(engine, clock) as leases:
        leases.acquire(BOTH, wait_s=0)
        leases.start_renewing()
        thread = renewing()
        assert thread is not None
        assert thread.daemon
    assert renewing() is None
