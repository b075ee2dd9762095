"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import DateTime, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

from .units import instant_text, parse_instant


class UtcInstant(TypeDecorator[dt.datetime]):
    """An aware UTC instant: timestamptz on PostgreSQL, fixed-width text on SQLite.

    SQLite has no time type and would give back a naive value; text of one width sorts as time.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the storage."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        """Refuse naive instants; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "an instant must carry its zone"
            raise ValueError(msg)
        return instant_text(value) if dialect.name == "sqlite" else value.astimezone(dt.UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Give back an aware UTC instant."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return parse_instant(str(value))
        return value.astimezone(dt.UTC)  # type: ignore[no-any-return]  # the driver's


def table_of(row: type[SQLModel]) -> Table:
    """Return the table behind a row's class, for queries that name columns."""
    return SQLModel.metadata.tables[str(row.__tablename__)]
