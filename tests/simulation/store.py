"""The simulated database server: real SQLite under the real engine, whose statements are edges.

The hooks are below SQLAlchemy, in the connection that the engine opens. A COMMIT can fail before
it lands, land without an answer, and land or vanish later, when whoever sent it may be dead. Such
a transaction is kept as its statements and holds locks on what it wrote until that moment, as
PostgreSQL would do: others read the older rows, write elsewhere, and wait where it has written.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, QueuePool, event, exc
from sqlmodel import SQLModel

from billing_bridge import ddl, invoice_ddl
from orchestrator.database import make_engine

from .scheduler import START, Killed, Process, Scheduler

STATEMENT_S, COMMIT_S = 0.001, 0.004
BUSY_S = 10.0
INDEX_HEAD_BYTES = 96  # both copies of the head of SQLite's index of the log (its file format, 2.3)
LOCK_S = 2.0  # how long a row's lock is waited for
Statement = tuple[str, Any, bool]
WRITES = ("INSERT", "UPDATE", "DELETE")
UNJUDGED = {"lease", "journal_step", "audit"}  # no promise is about their rows


class Store:
    """One file, its connections, and what goes wrong with them."""

    def __init__(self) -> None:
        shm = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(
            prefix="bandmaster-", dir=shm if os.access(shm, os.W_OK) else None
        )
        self.path = Path(self._folder.name) / "store.db"
        self.scheduler: Scheduler | None = None
        self.writer: Connection | None = None
        self.away_until_s = 0.0
        self.commit_fault = ""  # how the next COMMIT ends: "lost", "landed", "late", "vanish", ...
        self.statement_fault = ""
        self.late_s = 0.0
        self.committed: Callable[[], None] = lambda: None
        self.version = 0  # goes up with each COMMIT that has changed what is judged
        self.killed: Callable[[Process], None] = lambda _process: None
        self.ghosts: list[Ghost] = []
        self.connections: list[Connection] = []
        self.closed: list[Connection] = []  # they are as good as new ones, and have parsed a lot
        self._looks: list[Look] = []
        self.engine: Engine = make_engine(f"sqlite:///{self.path}")
        self._refit()
        self._image = b""
        self._make()

    def _make(self) -> None:
        """Make the tables, and keep what `load` needs."""
        with self.engine.begin() as connection:
            SQLModel.metadata.create_all(connection)
            for statement in (*ddl("sqlite"), *invoice_ddl("sqlite")):
                connection.exec_driver_sql(statement)
        self._stays = self.look()  # with the last connection the log would go
        self._stays.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # never closed: closing one would drop the locks that SQLite holds in this process
        self._log, self._index = (
            os.open(f"{self.path}-{end}", os.O_RDWR) for end in ("wal", "shm")
        )

    def _refit(self) -> None:
        @event.listens_for(self.engine, "do_connect")
        def _connect(_d: object, _r: object, given: list[Any], named: dict[str, Any]) -> Connection:
            named = {**named, "timeout": 0, "factory": Connection, "check_same_thread": False}
            named["cached_statements"] = 1000
            found: Connection = (
                self.closed.pop() if self.closed else sqlite3.connect(given[0], **named)
            )
            found.fit(self)
            return found

        @event.listens_for(self.engine, "connect")
        def _quick(connection: Connection, _record: object) -> None:
            connection.isolation_level = None
            connection.plain("PRAGMA synchronous=OFF")
            connection.plain("PRAGMA wal_autocheckpoint=0")

        @event.listens_for(self.engine, "checkout")
        def _usable(connection: Connection, _record: object, _proxy: object) -> None:
            if connection.lost:
                raise exc.DisconnectionError

    def load(self, image: bytes, scheduler: Scheduler | None) -> None:
        """Begin with this image: what the log holds over tables without a row.

        Connections live on, with all that they have parsed: the log is put back, and the index of
        the log made invalid, so that the next one who reads makes it anew, as after a crash.
        """
        self.ghosts.clear()
        for connection in self.connections:
            connection.renew()
        pool = self.engine.pool
        if isinstance(pool, QueuePool) and pool.checkedout():  # by somebody who hangs for ever
            self.engine.dispose()
            self.connections.clear()
        if image is not self._image:
            os.pwrite(self._log, image, 0)
            self._image = image
        os.ftruncate(self._log, len(image))  # nothing is ever moved from the log to the file
        os.pwrite(self._index, bytes(INDEX_HEAD_BYTES), 0)
        self.scheduler = scheduler
        self.writer = None
        self.away_until_s = 0.0
        self.commit_fault = self.statement_fault = ""
        self.committed = lambda: None

    def forget(self, process: Process) -> None:
        """A process is gone: the server rolls back what it had open."""
        for connection in self.connections:
            if connection.owner is process:
                connection.drop()

    def come(self, ghost: Ghost) -> None:
        """The time of a late COMMIT has come: it lands, or vanishes, as soon as nobody writes."""
        if ghost in self.ghosts:
            ghost.due = True
            if self.writer is None:
                self.free()

    def free(self) -> None:
        """Nobody writes now: what is due can land."""
        for ghost in [each for each in self.ghosts if each.due]:
            self.ghosts.remove(ghost)
            if self.scheduler is not None:
                word = "lands" if ghost.lands else "vanishes"
                self.scheduler.tell("database", f"the late COMMIT {word}")
            if ghost.lands:
                with contextlib.closing(self.look()) as way:
                    way.execute("BEGIN IMMEDIATE")
                    for statement, parameters, many in ghost.statements:
                        (way.executemany if many else way.execute)(statement, parameters)
                    way.execute("COMMIT")
                self.landed(ghost.statements)

    def landed(self, statements: Iterable[Statement]) -> None:
        """A COMMIT has landed: whoever judges looks, unless it wrote nothing that is judged."""
        if any(table_of(text) not in UNJUDGED for text, _, _ in statements):
            self.version += 1
            self.committed()

    def image(self) -> bytes:
        """Everything that was committed, for `load`."""
        return os.pread(self._log, os.fstat(self._log).st_size, 0)

    def look(self) -> sqlite3.Connection:
        """A connection for who judges from outside: no edge, no fault."""
        if self._looks:
            return self._looks.pop()
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, factory=Look
        )
        connection.looks = self._looks
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection


@dataclass(slots=True, eq=False)
class Ghost:
    """A transaction whose COMMIT is on its way: what it wrote, and whether it will land."""

    statements: tuple[Statement, ...]
    lands: bool
    due: bool = False
    locks: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.locks = frozenset().union(*(locks_of(*statement) for statement in self.statements))


def locks_of(statement: str, parameters: Any, many: bool) -> frozenset[str]:
    """Return what a statement locks against others like it: tables mostly, as that is coarser."""
    table = table_of(statement)
    if table == "lease":
        # rows of other devices or other owners; two inserts meet on the device
        rows = (parameters if many else [parameters]) if statement.startswith("INSERT") else ()
        return frozenset(f"lease of {row[0]}" for row in rows)
    if statement.startswith("INSERT") and table not in ("decision", "change", "service_order"):
        return frozenset()  # no unique key of theirs can meet
    return frozenset({table} if table else ())


@cache
def table_of(statement: str) -> str:
    """Return the table that a statement writes, "" for one that does not write."""
    if not statement.startswith(WRITES):
        return ""
    words = statement.replace('"', "").split(None, 4)
    return words[1 if words[0] == "UPDATE" else 2].partition("(")[0].removeprefix("main.")


class Cursor(sqlite3.Cursor):
    """A cursor whose statements are edges."""

    connection: Connection

    def execute(self, statement: str, parameters: Any = ()) -> Cursor:  # type: ignore[override]
        """Execute between two edges."""
        connection = self.connection
        connection.before(statement, parameters, many=False)
        super().execute(statement, parameters)
        connection.note(statement, parameters, many=False)
        connection.after(statement)
        return self

    def executemany(self, statement: str, parameters: Iterable[Any]) -> Cursor:  # type: ignore[override]
        """Execute between two edges."""
        connection = self.connection
        parameters = list(parameters)
        connection.before(statement, parameters, many=True)
        super().executemany(statement, parameters)
        connection.note(statement, parameters, many=True)
        connection.after(statement)
        return self


class Look(sqlite3.Connection):
    """A connection from outside; closed, it waits for the next one who looks."""

    looks: list[Look]

    def close(self) -> None:
        """Close, for whoever used it."""
        self.rollback()
        self.looks.append(self)


class Connection(sqlite3.Connection):
    """A connection to the simulated server."""

    store: Store
    lost = False
    owner: Process | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.functions: set[str] = set()
        self.cursors: list[weakref.ref[Cursor]] = []

    def fit(self, store: Store) -> None:
        """Belong to a store, as a new connection; its clock is the simulated one."""
        self.store = store
        self.done: list[Statement] = []
        store.connections.append(self)
        self.create_function("strftime", 2, lambda _form, _when: clock_text(store.scheduler))

    def create_function(self, name: str, *given: Any, **named: Any) -> None:
        """Add a function, unless it is known: all that was parsed would be parsed again."""
        if name not in self.functions:
            self.functions.add(name)
            super().create_function(name, *given, **named)

    def renew(self) -> None:
        """Be as at first: another run begins, or another worker comes."""
        super().rollback()
        for each in self.cursors:  # one that was left in the middle holds a lock of a reader
            cursor = each()
            if cursor is not None:
                cursor.close()
        self.cursors.clear()
        self.lost, self.owner, self.done = False, None, []

    def cursor(self, *_more: Any) -> Cursor:  # type: ignore[override]
        """Return a cursor of ours."""
        found = super().cursor(Cursor)
        self.cursors.append(weakref.ref(found))
        return found

    def plain(self, statement: str) -> None:
        """Execute without an edge."""
        sqlite3.Cursor(self).execute(statement)

    # --- statements

    def before(self, statement: str, parameters: Any, *, many: bool) -> None:
        """The edge before a statement; raises what the server or the line would."""
        scheduler = self.store.scheduler
        if scheduler is None or scheduler.current is None:
            return
        if statement.startswith("PRAGMA"):
            scheduler.alive()
            return
        if statement == "BEGIN IMMEDIATE":
            self._take_write_lock(scheduler)
            return
        self.owner = scheduler.me().process
        scheduler.edge("sql", statement[:60])
        self._refuse(scheduler)
        if self.store.ghosts:
            self._wait_for_ghosts(scheduler, locks_of(statement, parameters, many))

    def note(self, statement: str, parameters: Any, *, many: bool) -> None:
        """Remember what was written: a COMMIT that lands late does it then."""
        if statement.startswith("BEGIN"):
            self.done = []
        elif statement.startswith(WRITES):
            self.done.append((statement, parameters, many))

    def _wait_for_ghosts(self, scheduler: Scheduler, wanted: frozenset[str]) -> None:
        """Wait for the locks of a transaction whose COMMIT is still on its way."""
        if any(wanted & ghost.locks for ghost in self.store.ghosts):
            scheduler.sleep(LOCK_S)
            self._lose(land=False)
            raise sqlite3.OperationalError("canceling statement due to lock timeout")

    def _take_write_lock(self, scheduler: Scheduler) -> None:
        self.owner = scheduler.me().process
        scheduler.edge("sql", "before BEGIN")
        self._refuse(scheduler)
        store = self.store
        if not scheduler.wait(lambda: store.writer is None, BUSY_S):
            raise sqlite3.OperationalError("database is locked")
        self._refuse(scheduler)
        store.writer = self

    def _refuse(self, scheduler: Scheduler) -> None:
        store = self.store
        if self.lost:
            raise sqlite3.OperationalError("the connection was lost")
        if store.statement_fault:
            store.statement_fault = ""
            self._lose(land=False)
            raise sqlite3.OperationalError("the connection was lost")
        if scheduler.now_s < store.away_until_s:
            self._lose(land=False)
            raise sqlite3.OperationalError("the server is not reachable")

    def after(self, statement: str) -> None:
        """The edge after a statement."""
        scheduler = self.store.scheduler
        if scheduler is not None and scheduler.current is not None and statement[:6] != "PRAGMA":
            scheduler.edge("sql", "after a statement", STATEMENT_S)

    # --- ends of transactions

    def commit(self) -> None:
        """COMMIT between two edges, or what became of it."""
        store, scheduler = self.store, self.store.scheduler
        if scheduler is None or scheduler.current is None:
            super().commit()
            return
        scheduler.alive()
        if not self.in_transaction:
            return
        writes = store.writer is self
        kind = "commit" if writes else "sql"
        scheduler.edge(kind, "before COMMIT")
        if writes:
            fault, store.commit_fault = store.commit_fault, ""
            if fault:
                self._fail(fault, scheduler)
        self._refuse(scheduler)
        self._land()
        scheduler.edge(kind, "after COMMIT", COMMIT_S)

    def _land(self) -> None:
        super().commit()
        if self.store.writer is self:
            self.store.writer = None
            self.store.landed(self.done)
            self.store.free()

    def _fail(self, fault: str, scheduler: Scheduler) -> None:
        scheduler.tell("database", f"COMMIT {fault}")
        process = scheduler.me().process
        kill = fault.endswith("+kill")
        fault = fault.removesuffix("+kill")
        if fault == "full":
            super().rollback()
            self._unlock()
            raise sqlite3.OperationalError("database or disk is full")
        if fault in ("late", "vanish"):
            ghost = Ghost(tuple(self.done), fault == "late")
            self.store.ghosts.append(ghost)
            self._lose(land=False)
            scheduler.at(scheduler.now_s + self.store.late_s, lambda: self.store.come(ghost))
        else:
            self._lose(land=fault == "landed")
        if kill:
            self.store.killed(process)
            raise Killed
        raise sqlite3.OperationalError("the connection was lost")

    def _lose(self, *, land: bool) -> None:
        self.lost = True
        if land:
            self._land()
        else:
            super().rollback()
            self._unlock()

    def drop(self) -> None:
        """End what is open, as a server does when its client is gone."""
        if self.in_transaction and not self.lost:
            self._lose(land=False)

    def _unlock(self) -> None:
        if self.store.writer is self:
            self.store.writer = None
            self.store.free()

    def rollback(self) -> None:
        """Roll back; what was lost has been, and a ghost is not ours any more."""
        if not self.lost:
            super().rollback()
            self._unlock()

    def close(self) -> None:
        """Close, for whoever used it."""
        self._unlock()
        self.renew()
        if self in self.store.connections:
            self.store.connections.remove(self)
            self.store.closed.append(self)


def clock_text(scheduler: Scheduler | None) -> str:
    """The database's clock as SQLite prints it."""
    now: dt.datetime = scheduler.utc() if scheduler is not None else START
    return now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
