"""The one store: engine, transactions and the database's own clock, on SQLite and PostgreSQL."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import PoolProxiedConnection
from sqlmodel import Session

from inventory import DatabaseProblem, WrongUse

BUSY_TIMEOUT_MS = 10_000
STATEMENT_TIMEOUT_MS = 5_000  # D_db of commit-protocol.md 1.4
LOCK_TIMEOUT_MS = 2_000
IDLE_TIMEOUT_MS = (
    10_000  # a machine that is suspended inside a transaction must not stop all others
)
_GIVEN_UP = {"40001", "40P01"}  # serialization failure, deadlock: all of it was rolled back
_FORMS = "Use sqlite:///FILE or postgresql://USER@HOST/NAME."
_SECRET_OPTIONS = {"password", "sslpassword"}

_POSTGRES_NOW = text("SELECT clock_timestamp()")
_SQLITE_NOW = "SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"
_LIMITS = text(
    f"SELECT set_config('lock_timeout', '{LOCK_TIMEOUT_MS}', true),"
    f" set_config('statement_timeout', '{STATEMENT_TIMEOUT_MS}', true),"
    f" set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT_MS}', true),"
    " clock_timestamp()"
)
_READER = "bandmaster_reader"  # in an engine's options: the same for transactions that only read
_BEGUN = "bandmaster_begun"  # in a session's info: the database's clock when it was opened


class GivenUp(DatabaseProblem):
    """The database gave this transaction up for another one's sake: nothing of it was kept."""


def make_engine(url: str) -> Engine:
    """Return an engine for `sqlite:///FILE` or `postgresql://...`; WrongUse for anything else."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            hide_parameters=True,  # an error's text must not quote a subscriber's password
            connect_args={"connect_timeout": 10},
        )
    raise WrongUse(parsed.get_backend_name(), "is not a database bandmaster runs on", _FORMS)


def _parsed(url: str) -> URL:
    """Return the parts of a URL; WrongUse, which never quotes it: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise WrongUse("database_url", "is not the URL of a database", _FORMS) from None
    if _SECRET_OPTIONS & parsed.query.keys():
        # an option is shown wherever the URL is; the place before the @ is masked
        raise WrongUse(
            "database_url",
            "holds a password among its options",
            "Keep it in ~/.pgpass, or write postgresql://USER:PASSWORD@HOST/NAME.",
        )
    return parsed


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
        execution_options={"schema_translate_map": {"radius": None}},
    )

    @event.listens_for(engine, "do_connect")
    def _make_private(_d: object, _record: object, given: list[Any], _named: object) -> None:
        # passwords of logins lie in it: SQLite alone would let the umask say who can read them
        path = str(given[0])
        if not path.startswith((":memory:", "file:")) and not Path(path).exists():
            with suppress(OSError):  # SQLite then says in its own words why it cannot
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    @event.listens_for(engine, "connect")
    def _connect(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # we begin ourselves
        cursor = connection.cursor()  # type: ignore[attr-defined]  # sqlite3's
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # a deferred transaction that turns into a writer later fails at once with SQLITE_BUSY; taking
    # the write lock at the start lets the busy timeout do its work. A listener for "begin" would
    # do as well, but an engine with listeners asks them around every statement
    reader = engine.execution_options()
    reader.dialect = copy(engine.dialect)
    for each, words in ((engine, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
        each.dialect.do_begin = partial(_begin, words)  # type: ignore[method-assign]  # on this engine
    engine.update_execution_options(**{_READER: reader})
    return engine


def _begin(words: str, connection: PoolProxiedConnection) -> None:
    connection.cursor().execute(words)


_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One transaction that may write: committed when the block ends, rolled back when it raises."""
    with named_problems(), Session(engine, expire_on_commit=False) as session, session.begin():
        if engine.dialect.name == "postgresql":
            session.info[_BEGUN] = session.execute(_LIMITS).one()[-1].astimezone(dt.UTC)
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One transaction that only reads, from one snapshot."""
    reader = engine.get_execution_options().get(_READER, engine)
    with named_problems(), Session(reader, expire_on_commit=False) as session:
        if engine.dialect.name != "postgresql":
            yield session
            return
        with session.begin():  # ends in COMMIT: at a rollback the driver drops all it has prepared
            session.connection(execution_options=_SNAPSHOT)
            yield session


@contextmanager
def named_problems() -> Iterator[None]:
    """Turn what a database says when it is locked, full or away into words for an operator."""
    try:
        yield
    except OperationalError as error:
        said = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        given_up = getattr(error.orig, "sqlstate", "") in _GIVEN_UP
        kind = GivenUp if given_up else DatabaseProblem
        raise kind("database", said, _remedy(said)) from error
    except DBAPIError as error:
        if type(error) is DatabaseError:  # SQLite of a file that holds something else
            raise DatabaseProblem("database", str(error.orig), _remedy("not a database")) from error
        if error.connection_invalidated:
            raise DatabaseProblem("database", "the connection was lost", _remedy("")) from error
        raise


def _remedy(said: str) -> str:
    if "not a database" in said:
        return "Name another file in database_url: this one is not overwritten."
    if "locked" in said:
        return "Another process is writing for too long: find it, or try again."
    if "full" in said or "space" in said:
        return "Free space on the database's disk, then run: bandmaster recover"
    if "no such table" in said:
        return "Create the tables first: bandmaster init"
    return "See that the database runs and is reachable, then run: bandmaster recover"


def database_now(session: Session) -> dt.datetime:
    """Return the database's clock, an aware UTC instant: the only clock that money is told by.

    On PostgreSQL a transaction that writes has one: the instant at which it was opened. SQLite
    lives in this process, so its clock is the host's; asking SQL keeps one path.
    """
    if _BEGUN in session.info:
        return session.info[_BEGUN]  # type: ignore[no-any-return]  # put there by `writing`
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        value = connection.execute(_POSTGRES_NOW).scalar_one()
        return value.astimezone(dt.UTC)  # type: ignore[no-any-return]  # the driver's
    value = connection.exec_driver_sql(_SQLITE_NOW).scalar_one()
    return dt.datetime.fromisoformat(str(value)).replace(tzinfo=dt.UTC)
