"""The few statements that SQLAlchemy spells differently for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Column, Select, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

T = TypeVar("T")

CHUNK = 1_000  # rows or names per statement: SQLite allows 32,766 variables, PostgreSQL 65,535


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Cut `values` into parts of at most `size`, in order."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


@cache
def select_among(column: Column[Any], *wanted: Column[Any] | Table) -> Select[Any]:
    """Return `SELECT wanted WHERE column IN (names)`; give `names` when it is executed.

    Made once for each column: making a statement costs more than running it.
    """
    return select(*wanted).where(column.in_(bindparam("names", expanding=True)))


def insert_new(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> set[Any]:
    """Insert the rows whose primary key is free; return the first key of each one inserted.

    Another transaction that is inserting the same key is waited for (ON CONFLICT DO NOTHING), so
    give the rows in key order, or two writers may wait for each other.
    """
    statement = _insert_new(table, session.get_bind().dialect.name)
    inserted: set[Any] = set()
    for part in chunks(rows):
        inserted |= set(session.execute(statement, part).scalars())
    return inserted


@cache
def _insert_new(table: Table, dialect: str) -> Any:
    keys = tuple(table.primary_key.columns)
    made: Any = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return made.on_conflict_do_nothing(index_elements=keys).returning(keys[0])


def like_pattern(wanted: str) -> str:
    """Return a LIKE pattern that finds `wanted` anywhere; its escape character is the backslash."""
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
