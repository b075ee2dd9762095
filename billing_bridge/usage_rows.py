"""Usage's side tables: what was measured, what is to be counted anew, what the ledger has of it.

Raw rows (samples, readings, records) are added and never altered in what they say; each has a key
of its own, so that the same measurement told twice is one row.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel

from inventory import UtcInstant, table_of

_DIGITS = 20  # of 2^64 - 1


class Counter64(TypeDecorator[int]):
    """An unsigned number of 64 bits: half of what a Counter64 can say no BIGINT can hold.

    NUMERIC(20) on PostgreSQL; on SQLite, whose NUMERIC would be a float, text of twenty digits,
    which sorts as the number does.
    """

    impl = Numeric(_DIGITS, 0)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the storage."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(Numeric(_DIGITS, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Refuse what is no such number."""
        if value is None:
            return None
        if not 0 <= value < 1 << 64:
            msg = f"not an unsigned number of 64 bits: {value}"
            raise ValueError(msg)
        return f"{value:0{_DIGITS}d}" if dialect.name == "sqlite" else Decimal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Give back an int."""
        return None if value is None else int(str(value) if dialect.name == "sqlite" else value)


def _text(*, key: bool = False) -> Any:
    return Field(sa_type=Text, primary_key=key)


def _instant(*, key: bool = False) -> Any:
    return Field(sa_type=UtcInstant, primary_key=key)


def _one_of(column: str, *names: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(name) for name in names)})")


class UsageSampleRow(SQLModel, table=True):
    """An interface's counters at one poll; the first poll of a slot of five minutes is kept.

    `in_octets` is what the device received. `uptime_cs` and `discontinuity_cs` are sysUpTime and
    ifCounterDiscontinuityTime in hundredths of a second, `speed_mbps` 0 = not told.
    """

    __tablename__ = "usage_sample"
    __table_args__ = (Index("usage_sample_service", "service_id", "slot"),)

    device: str = _text(key=True)
    interface: str = _text(key=True)
    slot: dt.datetime = _instant(key=True)
    service_id: str = _text()
    polled_at: dt.datetime = _instant()
    in_octets: int = Field(sa_type=Counter64)
    out_octets: int = Field(sa_type=Counter64)
    uptime_cs: int = Field(sa_type=BigInteger)
    discontinuity_cs: int = Field(sa_type=BigInteger)
    speed_mbps: int = Field(sa_type=BigInteger)


class UsageSessionRow(SQLModel, table=True):
    """A RADIUS session and the furthest that was read of it; service "" = no line has its login.

    `started_at` is as first told: all readings of the session are placed by it. `radacct_id` is its
    row in radacct, 0 = its packets were handed over without one.
    """

    __tablename__ = "usage_session"
    __table_args__ = (
        Index("usage_session_service", "service_id", "last_at"),
        Index("usage_session_radacct", "radacct_id"),
        Index("usage_session_nas", "nas", sqlite_where=text("NOT closed"),
              postgresql_where=text("NOT closed")),
    )  # fmt: skip

    session_key: str = _text(key=True)
    nas: str = _text()
    login: str = _text()
    service_id: str = _text()
    closed: bool = Field(sa_type=Boolean)
    started_at: dt.datetime = _instant()
    last_at: dt.datetime = _instant()
    down_bytes: int = Field(sa_type=Counter64)
    up_bytes: int = Field(sa_type=Counter64)
    radacct_id: int = Field(sa_type=BigInteger)


class UsageReadingRow(SQLModel, table=True):
    """What a NAS said of a session, once however often it was sent (dedup on content).

    `at` is in the session's own time; `left_out` = it went back or followed the stop.
    """

    __tablename__ = "usage_reading"
    __table_args__ = (
        _one_of("kind", "start", "interim", "stop"),
        Index("usage_reading_time", "session_key", "at"),
    )

    session_key: str = _text(key=True)
    record_key: str = _text(key=True)
    at: dt.datetime = _instant()
    kind: str = _text()
    down_bytes: int = Field(sa_type=Counter64)
    up_bytes: int = Field(sa_type=Counter64)
    session_s: int = Field(sa_type=BigInteger)
    left_out: bool = Field(sa_type=Boolean)


class UsageRecordRow(SQLModel, table=True):
    """A record of an imported file: how much of a meter a service used in a window."""

    __tablename__ = "usage_record"

    source: str = _text(key=True)
    record_key: str = _text(key=True)
    service_id: str = _text()
    meter: str = _text()
    since: dt.datetime = _instant()
    until: dt.datetime = _instant()
    quantity: int = Field(sa_type=BigInteger)
    unit: str = _text()
    imported_at: dt.datetime = _instant()


class UsageDueRow(SQLModel, table=True):
    """A window that has to be counted anew, because something new was measured in it.

    Whoever adds a measurement raises `marks`: that waits for who is counting the window now, so
    that no measurement slips in behind the count.
    """

    __tablename__ = "usage_due"
    __table_args__ = (Index("usage_due_until", "source", "until"),)

    source: str = _text(key=True)
    service_id: str = _text(key=True)
    since: dt.datetime = _instant(key=True)
    until: dt.datetime = _instant()
    marks: int = Field(sa_type=BigInteger)


class UsageWindowRow(SQLModel, table=True):
    """What the ledger says of a meter in a window: the sum of its usage events, by (PK) window.

    `revision`, `event_id` and `seq` are those of the newest event, which was `late` or not.
    """

    __tablename__ = "usage_window"
    __table_args__ = (CheckConstraint("revision > 0"),)

    service_id: str = _text(key=True)
    meter: str = _text(key=True)
    since: dt.datetime = _instant(key=True)
    until: dt.datetime = _instant()
    quantity: int = Field(sa_type=BigInteger)
    unit: str = _text()
    source: str = _text()
    samples: int = Field(sa_type=BigInteger)
    coverage_bp: int = Field(sa_type=BigInteger)  # of the measurements expected; -1 = not told
    revision: int = Field(sa_type=BigInteger)
    event_id: str = _text()
    seq: int = Field(sa_type=BigInteger)
    late: bool = Field(sa_type=Boolean)


class UsageExceptionRow(SQLModel, table=True):
    """A record that could not be used, and what it may cost; never dropped, never guessed.

    `evidence` is canonical JSON. Amount 0 = the catalogue has no price for it.
    """

    __tablename__ = "usage_exception"
    __table_args__ = (
        UniqueConstraint("source", "record_key", name="usage_exception_record"),
        _one_of(
            "kind", "unmatched", "late", "regressive", "impossible", "future", "unknown_unit",
            "counter",
        ),
        _one_of("status", "open", "ack", "ignored", "resolved"),
        Index("usage_exception_status", "status", "service_id"),
    )  # fmt: skip

    exception_id: str = _text(key=True)
    kind: str = _text()
    source: str = _text()
    record_key: str = _text()
    identifier: str = _text()
    service_id: str = _text()
    seen_at: dt.datetime = _instant()
    since: dt.datetime | None = _instant()
    until: dt.datetime | None = _instant()
    quantity: int = Field(sa_type=Counter64)
    unit: str = _text()
    evidence: str = _text()
    amount_minor: int = Field(sa_type=BigInteger)
    currency: str = _text()
    exponent: int = Field(sa_type=BigInteger)
    status: str = _text()
    decided_by: str = _text()
    reason: str = _text()


SAMPLES = table_of(UsageSampleRow)
SESSIONS = table_of(UsageSessionRow)
READINGS = table_of(UsageReadingRow)
RECORDS = table_of(UsageRecordRow)
DUE = table_of(UsageDueRow)
WINDOWS = table_of(UsageWindowRow)
EXCEPTIONS = table_of(UsageExceptionRow)
