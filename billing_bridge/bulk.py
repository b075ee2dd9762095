"""Putting many rows into a table as each driver likes it: a quarter of what binding them costs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Date, Table, and_, false
from sqlalchemy.exc import DBAPIError

from inventory import UtcInstant, instant_text, one_of

_AT_ONCE = 100  # rows of one INSERT: each statement hands the interpreter to other threads once


def insert_rows(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows of these columns, in order; the database's triggers and checks hold as ever.

    The table is in the schema `public` of PostgreSQL.
    """
    insert_stored(connection, table, names, text_times(table, names, rows))


def insert_stored(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows that `text_times` has been through."""
    listed = ", ".join(names)
    if connection.dialect.name == "sqlite":
        hole = f"({', '.join('?' * len(names))})"
        given = list(rows)
        for start in range(0, len(given), _AT_ONCE):
            part = given[start : start + _AT_ONCE]
            holes = ", ".join([hole] * len(part))
            statement = f"INSERT INTO {table.name} ({listed}) VALUES {holes}"  # noqa: S608 - our own
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))
    else:
        statement = f"COPY public.{table.name} ({listed}) FROM STDIN"
        copy_rows(connection, statement, rows)


def among(column: Column[str], names: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of the names.

    It says their range too: a PostgreSQL without fresh statistics reads a whole table for a long
    list, but an index for a range.
    """
    ordered = sorted(names)
    if not ordered:
        return false()
    return and_(column.between(ordered[0], ordered[-1]), one_of(column, ordered))


def copy_rows(connection: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Send rows through PostgreSQL's COPY; what it refuses is told as SQLAlchemy tells it."""
    bare: Any = connection.connection.driver_connection
    dialect = connection.dialect
    try:
        with bare.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except dialect.loaded_dbapi.Error as error:
        lost = dialect.is_disconnect(error, bare, None)
        if lost:
            connection.invalidate(error)
        # callers know these classes, and none of them quotes a row
        raise DBAPIError.instance(
            statement,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error


def text_times(
    table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Iterator[Sequence[Any]]:
    """Yield the rows with their dates and instants as text.

    SQLite keeps them so, and for PostgreSQL a text costs a quarter of what its driver's own does.
    """
    times = [
        place
        for place, name in enumerate(names)
        if isinstance(table.c[name].type, (Date, UtcInstant))
    ]
    if not times:
        yield from rows
        return
    for row in rows:
        values = list(row)
        for place in times:
            value = values[place]
            if value is not None:
                values[place] = _time_text(value)
        yield tuple(values)


@lru_cache(maxsize=1024)
def _time_text(value: dt.date) -> str:
    return instant_text(value) if isinstance(value, dt.datetime) else value.isoformat()
