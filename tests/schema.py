"""All tables and guards at once: made or written down when first needed, then repeated."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import Any

from sqlalchemy import Engine, create_mock_engine, insert, update

from billing_bridge import ddl, invoice_ddl
from inventory import new_id
from orchestrator.database import make_engine
from orchestrator.migrate import metadata, upgrade
from orchestrator.rows import StoreRow


def create_schema(engine: Engine) -> None:
    """Make every table and guard in an empty store, as the migration does."""
    if engine.dialect.name == "sqlite":
        _copy(_made(), engine)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.connection.cursor().execute(_script())
        connection.execute(insert(StoreRow).values(store_id=new_id(), epoch=1, read_epoch=1))


def migrate(engine: Engine) -> None:
    """Make an empty store what the migration makes of it; its name is its own."""
    if engine.dialect.name == "postgresql":
        upgrade(engine)
        return
    _copy(_migrated(), engine)
    with engine.begin() as connection:
        connection.execute(update(StoreRow).values(store_id=new_id()))


def _copy(image: bytes, engine: Engine) -> None:
    with closing(engine.raw_connection()) as raw, closing(sqlite3.connect(":memory:")) as blank:
        blank.deserialize(image)
        blank.backup(raw.driver_connection)


@cache
def _made() -> bytes:
    engine = make_engine("sqlite:///:memory:")
    with engine.begin() as connection:
        metadata().create_all(connection)
        for statement in (*ddl("sqlite"), *invoice_ddl("sqlite")):
            connection.exec_driver_sql(statement)
    return _image(engine)


@cache
def _migrated() -> bytes:
    engine = make_engine("sqlite:///:memory:")
    upgrade(engine)
    return _image(engine)


def _image(engine: Engine) -> bytes:
    with closing(engine.raw_connection()) as raw:
        image: bytes = raw.driver_connection.serialize()
    engine.dispose()
    return image


@cache
def _script() -> str:
    """The statements for PostgreSQL in one text, which the server is sent at once."""
    found = ["CREATE SCHEMA IF NOT EXISTS radius"]

    def note(statement: Any, *_: object, **__: object) -> None:
        found.append(str(statement.compile(dialect=mock.dialect)))

    mock = create_mock_engine("postgresql+psycopg://", note)
    metadata().create_all(mock, checkfirst=False)
    return ";\n".join((*found, *ddl("postgresql"), *invoice_ddl("postgresql")))
