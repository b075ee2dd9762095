"""The few statements on the tables of usage that each database has its own spelling for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

_LOCKS = 0x75736167  # of our advisory locks; any number, the same in every copy of this program
HEARING, IMPORTING = 1, 2


def insert_new(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], *keys: str
) -> None:
    """Insert the rows whose key is free, `keys` = the primary key where none is named.

    Another transaction that inserts the same key is waited for: give the rows in key order.
    """
    if rows:
        connection.execute(_insert(table, keys, (), connection.dialect.name), rows)


def upsert(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], *changed: str
) -> None:
    """Insert the rows, or bring the named columns of those that are there up to date."""
    if rows:
        connection.execute(_insert(table, (), changed, connection.dialect.name), rows)


@cache
def _insert(table: Table, keys: tuple[str, ...], changed: tuple[str, ...], dialect: str) -> Any:
    made: Any = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    where = keys or tuple(column.name for column in table.primary_key.columns)
    if not changed:
        return made.on_conflict_do_nothing(index_elements=where)
    values = {name: getattr(made.excluded, name) for name in changed}
    return made.on_conflict_do_update(index_elements=where, set_=values)


def one_at_a_time(connection: Connection, what: int) -> None:
    """Wait for whoever else does this, until the caller's commit; SQLite has one writer anyhow."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, what)))
