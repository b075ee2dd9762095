"""The ledger's tables: the events, the head of their chain, and how far each reader has come."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from inventory import UtcInstant

from .event import EVENT_TYPES, REASONS

# SQLite's STRICT tables know INTEGER alone
_BIG = BigInteger().with_variant(Integer(), "sqlite")
_SMALL = SmallInteger().with_variant(Integer(), "sqlite")
_STRICT = {"sqlite_strict": True}


def _one_of(column: str, names: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(name) for name in names)})"


def _where(name: str, condition: str, *columns: str) -> Index:
    where = text(condition)
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


def _unique_where(name: str, condition: str, *columns: str) -> Index:
    where = text(condition)
    return Index(name, *columns, unique=True, sqlite_where=where, postgresql_where=where)


class BillingEvent(SQLModel, table=True):
    """One event. `body` is what was hashed; the other client-made columns are copies of it.

    Empty text and 0 stand for "does not apply"; nothing is ever changed or removed.
    """

    __tablename__ = "billing_event"
    __table_args__ = (
        UniqueConstraint("event_id", name="billing_event_event_id"),
        UniqueConstraint("source", "idempotency_key", name="billing_event_key"),
        _unique_where(
            "billing_event_version", "service_version > 0", "service_id", "service_version"
        ),
        _unique_where("billing_event_reversal", "reverses_event_id <> ''", "reverses_event_id"),
        _unique_where("billing_event_change", "change_id <> ''", "change_id", "type"),
        Index("billing_event_service", "service_id", "seq"),
        _where("billing_event_amount", "currency <> ''", "account_id"),
        _where("billing_event_price", "type = 'price.overridden'", "service_id"),
        CheckConstraint("seq > 0", name="billing_event_seq"),
        CheckConstraint(_one_of("type", EVENT_TYPES), name="billing_event_type"),
        CheckConstraint(_one_of("reason_code", REASONS), name="billing_event_reason"),
        CheckConstraint(
            "(currency = '' AND amount_minor = 0 AND exponent = 0) OR length(currency) = 3",
            name="billing_event_money",
        ),
        CheckConstraint("unit <> '' OR quantity = 0", name="billing_event_quantity"),
        CheckConstraint(
            "length(hash) = 32 AND length(prev_hash) = 32 AND length(payload_hash) = 32",
            name="billing_event_hashes",
        ),
        _STRICT,
    )

    seq: int = Field(sa_type=_BIG, primary_key=True, sa_column_kwargs={"autoincrement": False})
    event_id: str = Field(sa_type=Text)
    source: str = Field(sa_type=Text)
    idempotency_key: str = Field(sa_type=Text)
    payload_hash: bytes = Field(sa_type=LargeBinary)
    type: str = Field(sa_type=Text)
    schema_version: int = Field(sa_type=_SMALL)
    account_id: str = Field(sa_type=Text)
    service_id: str = Field(sa_type=Text)
    service_version: int = Field(sa_type=_BIG)
    change_id: str = Field(sa_type=Text)
    effective_at: dt.datetime = Field(sa_type=UtcInstant)
    effective_until: dt.datetime | None = Field(sa_type=UtcInstant)
    recorded_at: dt.datetime = Field(sa_type=UtcInstant)
    price_version_id: str = Field(sa_type=Text)
    quantity: int = Field(sa_type=_BIG)
    unit: str = Field(sa_type=Text)
    amount_minor: int = Field(sa_type=_BIG)
    currency: str = Field(sa_type=Text)
    exponent: int = Field(sa_type=_SMALL)
    reverses_event_id: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    reason_code: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    prev_hash: bytes = Field(sa_type=LargeBinary)
    hash: bytes = Field(sa_type=LargeBinary)


class LedgerHead(SQLModel, table=True):
    """The one row that every writer locks last: the newest event's seq and hash."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="ledger_head_one"), _STRICT)

    id: int = Field(sa_type=_SMALL, primary_key=True, sa_column_kwargs={"autoincrement": False})
    seq: int = Field(sa_type=_BIG)
    hash: bytes = Field(sa_type=LargeBinary)


class ConsumerCursor(SQLModel, table=True):
    """How far a reader has come, and the hash it saw there."""

    __tablename__ = "consumer_cursor"
    __table_args__ = (_STRICT,)

    name: str = Field(sa_type=Text, primary_key=True)
    last_seq: int = Field(sa_type=_BIG)
    last_hash: bytes = Field(sa_type=LargeBinary)
