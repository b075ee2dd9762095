"""A store that is locked, full, cut off or gone, at each moment at which it matters."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.engine import URL
from sqlmodel import Session

from inventory import DatabaseProblem, Undecided
from lab.servers.postgres import Postgres
from lab.small_isp import SmallIsp
from orchestrator import coordinator, database
from orchestrator.database import make_engine, reading
from orchestrator.exceptions import list_open
from orchestrator.recover import orphans, recover
from tests.conftest import StartFleet
from tests.orchestrator.moments import Hasty, when
from tests.orchestrator.relay import Relay
from tests.orchestrator.rig import Rig, at_tier, make_rig, truth

ONE, TWO, THREE = "svc-1001", "svc-1002", "svc-1003"
OLD, NEW = "fiber-100", "fiber-500"
BNG, OLT = "bng-fra-1", "olt-fra-1"
DISK = 16 * 1024 * 1024
StartOn = Callable[[str | URL], Rig]
Trouble = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def start_on(
    tmp_path: Path, start_fleet: StartFleet, subnet: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartOn]:
    """A function that starts a rig on a store of the test's own."""
    engines: list[Engine] = []
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)

    def start(url: str | URL) -> Rig:
        isp = SmallIsp(subnet=subnet, services=3, olts=1, save_s=0.02, timeout_s=5)
        text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        engines.append(make_engine(text))
        rig = make_rig(tmp_path, start_fleet(*isp.specs()), isp, engines[-1], monkeypatch.setenv)
        # a store that was away keeps the leases of a process that, here, goes on to live
        settings = replace(rig.office.settings, takeover_s=0)
        rig.office = replace(rig.office, clock=Hasty(), settings=settings)
        return rig

    yield start
    for engine in engines:
        engine.dispose()


def settled(rig: Rig, *, decided: bool) -> None:
    """One recovery, then one of two worlds."""
    assert recover(rig.office).outcome.exit_code() in (0, 1)
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
        assert list_open(session) == ()
    at_tier(rig, ONE, NEW if decided else OLD)
    events = ("service.adopted", "tier.changed") if decided else ("service.adopted",)
    assert truth(rig, ONE).events == events


def forward_lines(rig: Rig) -> list[str]:
    entries = rig.fleet.control(OLT, "log")["entries"]
    return [entry["text"] for entry in entries if entry["text"].startswith("service-port")]


# --- SQLite: another writer, and a disk without room ---------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the store's one writer lock from outside."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(path: Path) -> Iterator[None]:
    """Leave no room for another byte on the disk of the store."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        # room that the write-ahead log has already would let small transactions pass
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if os.geteuid() != 0:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    filler = path.with_name("filler")
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; without root the folder is as good, see `full`."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        yield place
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(params=[locked, full], ids=["locked", "full"])
def trouble(request: pytest.FixtureRequest, disk: Path) -> Trouble:
    """A way to make the store refuse writes for a while, and to end that."""
    return lambda: request.param(disk / "bandmaster.db")


@pytest.fixture
def isp(start_on: StartOn, disk: Path) -> Rig:
    """A rig on that disk."""
    return start_on(f"sqlite:///{disk / 'bandmaster.db'}")


def test_no_intent_no_byte(isp: Rig, trouble: Trouble) -> None:
    """W1: what cannot be written down is not begun; the words say why, and it can be repeated."""
    plan = isp.plan(isp.order(ONE, NEW))
    with trouble(), pytest.raises(DatabaseProblem) as caught:
        isp.apply(plan)
    assert caught.value.exit_code == 1
    assert caught.value.remedy
    assert forward_lines(isp) == []
    settled(isp, decided=False)
    assert isp.apply(plan).exit_code() == 0
    settled(isp, decided=True)


def test_a_decision_that_cannot_be_written_is_none(isp: Rig, trouble: Trouble) -> None:
    """Neither verdict can be made durable: exit 6, and recovery undoes it when there is room."""
    with contextlib.ExitStack() as stack:
        when(isp, OLT, "prepared", lambda: stack.enter_context(trouble()))
        with pytest.raises(Undecided) as caught:
            isp.tier(ONE, NEW)
    assert caught.value.exit_code == 6
    assert "recover" in caught.value.remedy
    settled(isp, decided=False)


def test_trouble_that_passes_is_an_abort(
    isp: Rig, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision cannot be written, a moment later the abort can: no recovery is needed."""
    stack = contextlib.ExitStack()
    ensure_decided = coordinator.ensure_decided

    def ensure(*args: Any) -> str:
        stack.close()
        return ensure_decided(*args)

    monkeypatch.setattr(coordinator, "ensure_decided", ensure)
    when(isp, OLT, "prepared", lambda: stack.enter_context(trouble()))
    assert isp.tier(ONE, NEW).exit_code() == 1
    settled(isp, decided=False)


def test_after_the_decision_the_devices_are_driven_on(isp: Rig, trouble: Trouble) -> None:
    """The customer gets what was decided; only the story and the closing wait for the store."""
    with contextlib.ExitStack() as stack:
        when(isp, "decision", "committed", lambda: stack.enter_context(trouble()))
        with pytest.raises(Undecided) as caught:
            isp.tier(ONE, NEW)
        assert caught.value.exit_code == 6
        seen = isp.fleet.control(BNG, "dump")
        assert (seen["pending"], seen["running"] == seen["startup"]) == (False, True)
    at_tier(isp, ONE, NEW)
    settled(isp, decided=True)


# --- PostgreSQL: connections cut at every moment of the decision ---------------------------------


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 1.0])
def test_a_connection_killed_inside_the_decision(
    start_on: StartOn,
    postgres_server: Postgres,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
    part: float,
) -> None:
    """The server ends our session before one of the decision's statements: nothing of it stays."""
    rig = start_on(postgres_server.url("migrate", postgres_database))
    deciding: list[Connection] = []
    statements = 0
    kill_at = -1

    @event.listens_for(rig.office.engine, "before_cursor_execute")
    def _before(connection: Connection, *_: object) -> None:
        nonlocal statements
        if connection in deciding:
            statements += 1
            if statements == kill_at:
                _kill(postgres_server, connection)

    commit_set = coordinator.commit_set

    def decide(session: Session, *args: Any) -> Any:
        deciding[:] = [session.connection()]
        found = commit_set(session, *args)
        session.flush()
        deciding.clear()
        return found

    monkeypatch.setattr(coordinator, "commit_set", decide)
    for service_id in (TWO, THREE):  # the first of a tier writes its group's rows as well
        statements = 0
        assert rig.tier(service_id, NEW).exit_code() == 0
    assert statements > 5
    kill_at, statements = 1 + int(part * (statements - 1)), 0
    outcome = rig.tier(ONE, NEW)
    assert (outcome.items[0].ending, outcome.exit_code()) == ("aborted", 1)
    assert statements == kill_at
    settled(rig, decided=False)


def _before_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Act when all statements of the decision are executed, right before COMMIT."""
    commit_set = coordinator.commit_set

    def decide(session: Session, *args: Any) -> Any:
        found = commit_set(session, *args)
        act()
        return found

    monkeypatch.setattr(coordinator, "commit_set", decide)


def _kill(server: Postgres, connection: Connection) -> None:
    proxied = connection.connection.dbapi_connection
    assert isinstance(proxied, psycopg.Connection)
    pid = proxied.info.backend_pid
    with psycopg.connect(server.conninfo("postgres", "postgres"), autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 10000)", (pid,))


@pytest.fixture
def relay(postgres_server: Postgres) -> Iterator[Relay]:
    """A relay before the tests' server."""
    made = Relay((postgres_server.address, postgres_server.port))
    yield made
    made.close()


@pytest.mark.parametrize(("lose", "landed"), [("answer", True), ("request", False)])
def test_the_answer_to_the_decision_is_lost(
    start_on: StartOn,
    relay: Relay,
    postgres_server: Postgres,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
    lose: str,
    *,
    landed: bool,
) -> None:
    """W8: whether the COMMIT landed is settled by the row on its key, not by the lost answer."""
    url = make_url(postgres_server.url("migrate", postgres_database)).set(port=relay.port)
    rig = start_on(url)

    def arm() -> None:
        relay.lose = lose

    _before_commit(monkeypatch, arm)
    outcome = rig.tier(ONE, NEW)
    assert relay.lose == ""
    assert outcome.exit_code() == (0 if landed else 1)
    settled(rig, decided=landed)


def test_a_commit_that_lands_while_it_is_being_aborted(
    start_on: StartOn,
    relay: Relay,
    postgres_server: Postgres,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F12: the client is cut off, its COMMIT arrives when the ABORT already waits for its locks."""
    url = make_url(postgres_server.url("migrate", postgres_database)).set(port=relay.port)
    rig = start_on(url)
    waits = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"

    def until_somebody_waits() -> None:
        info = postgres_server.conninfo("postgres", postgres_database)
        with psycopg.connect(info, autocommit=True) as other:
            while other.execute(waits, (postgres_database,)).fetchone() == (0,):
                pass

    def arm() -> None:
        relay.lose, relay.wait = "both", until_somebody_waits

    _before_commit(monkeypatch, arm)
    assert rig.tier(ONE, NEW).exit_code() == 0
    assert relay.lose == ""
    settled(rig, decided=True)


# --- PostgreSQL: the server is stopped -----------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "text", "decided"),
    [(BNG, "prepared", False), (OLT, "prepared", False), ("decision", "committed", True)],
)
def test_the_server_is_stopped(
    start_on: StartOn, tmp_path: Path, who: str, text: str, *, decided: bool
) -> None:
    """Exit 6 and words; when the server is back one recovery ends what was begun."""
    server = Postgres(tmp_path / "postgres", durable=False)
    server.start()
    try:
        rig = start_on(server.url("migrate"))
        when(rig, who, text, server.stop)
        with pytest.raises(Undecided) as caught:
            rig.tier(ONE, NEW)
        assert caught.value.exit_code == 6
        # a router whose confirm was not sent goes back by itself, and is rolled forward then
        if rig.fleet.control(BNG, "dump")["pending"]:
            rig.fleet.control(BNG, "expire")
        server.start()
        settled(rig, decided=decided)
        rig.office.engine.dispose()
    finally:
        server.remove()
