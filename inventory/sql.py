"""The few statements that SQLAlchemy spells differently for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

T = TypeVar("T")

CHUNK = 1_000  # rows or names per statement: SQLite allows 32,766 variables, PostgreSQL 65,535


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Cut `values` into parts of at most `size`, in order."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def insert_new(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> set[Any]:
    """Insert the rows whose primary key is free; return the first key of each one inserted.

    Another transaction that is inserting the same key is waited for (ON CONFLICT DO NOTHING), so
    give the rows in key order, or two writers may wait for each other.
    """
    keys = tuple(table.primary_key.columns)
    inserted: set[Any] = set()
    for part in chunks(rows):
        if session.get_bind().dialect.name == "postgresql":
            statement: Any = postgresql.insert(table).values(list(part))
        else:
            statement = sqlite.insert(table).values(list(part))
        done = statement.on_conflict_do_nothing(index_elements=keys).returning(keys[0])
        inserted |= set(session.execute(done).scalars())
    return inserted


def like_pattern(wanted: str) -> str:
    """Return a LIKE pattern that finds `wanted` anywhere; its escape character is the backslash."""
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
