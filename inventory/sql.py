"""The few statements that SQLAlchemy spells differently for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Select,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NULLTYPE, TypeEngine

T = TypeVar("T")

CHUNK = 1_000  # rows or names per statement: SQLite allows 32,766 variables, PostgreSQL 65,535


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Cut `values` into parts of at most `size`, in order."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


class _Names(TypeDecorator[list[str]]):
    """A list of texts as one parameter: an array's text for PostgreSQL, JSON for SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # no type for PostgreSQL: a VARCHAR that is cast is no constant to its planner, and a long
        # list is then compared name by name with every row, where a constant's are hashed
        return NULLTYPE if dialect.name == "postgresql" else dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        names = list(value)
        return _array_text(names) if dialect.name == "postgresql" else json.dumps(names)


def _array_text(names: list[str]) -> str:
    """Return PostgreSQL's text of an array; its driver looks at each letter, at thrice the cost."""
    together = "".join(names)
    if "\\" in together or '"' in together:
        names = [name.replace("\\", "\\\\").replace('"', '\\"') for name in names]
    quoted = '","'.join(names)
    return f'{{"{quoted}"}}' if names else "{}"


class _OneOf(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


@compiles(_OneOf, "postgresql")
def _of_array(element: _OneOf, compiler: Any, **more: Any) -> str:
    value, names = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{value} = ANY (CAST({names} AS text[]))"


@compiles(_OneOf, "sqlite")
def _of_json(element: _OneOf, compiler: Any, **more: Any) -> str:
    value, names = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{value} IN (SELECT value FROM json_each({names}))"  # noqa: S608 - compiled parts


def one_of(value: ColumnElement[Any], names: str | Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a text is one of a list: the list, or its parameter's name.

    The list is one parameter and the statement's text always the same: with one for each name,
    making and reading a statement of hundreds costs more than running it.
    """
    if isinstance(names, str):
        return _OneOf(value, bindparam(names, type_=_Names()))
    return _OneOf(value, bindparam(None, list(names), type_=_Names()))


@cache
def select_among(column: Column[Any], *wanted: Column[Any] | Table) -> Select[Any]:
    """Return `SELECT wanted WHERE column IN (names)`; give `names` when it is executed.

    Made once for each column: making a statement costs more than running it.
    """
    return select(*wanted).where(one_of(column, "names"))


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
