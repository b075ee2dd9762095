"""Usage: what was measured, what the ledger has of it, and what cannot be used."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
COUNTER = sa.Numeric(20, 0).with_variant(sa.Text(), "sqlite")
OPEN = sa.text("NOT closed")


def upgrade() -> None:
    _sample()
    _session()
    _reading()
    _record()
    _due()
    _window()
    _exception()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, INSERT ON public.usage_sample, public.usage_record TO app;\n"
            "    GRANT SELECT, INSERT, UPDATE ON public.usage_session, public.usage_reading,\n"
            "      public.usage_window, public.usage_exception TO app;\n"
            "    GRANT SELECT, INSERT, UPDATE, DELETE ON public.usage_due TO app;\n"
            "  END IF;\nEND $$"
        )


def _text(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _number(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _counter(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, COUNTER, nullable=False) for name in names]


def _instant(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, INSTANT, nullable=False) for name in names]


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _sample() -> None:
    op.create_table(
        "usage_sample",
        *_text("device", "interface"),
        *_instant("slot"),
        *_text("service_id"),
        *_instant("polled_at"),
        *_counter("in_octets", "out_octets"),
        *_number("uptime_cs", "discontinuity_cs", "speed_mbps"),
        sa.PrimaryKeyConstraint("device", "interface", "slot"),
    )
    op.create_index("usage_sample_service", "usage_sample", ["service_id", "slot"])


def _session() -> None:
    op.create_table(
        "usage_session",
        *_text("session_key", "nas", "login", "service_id"),
        _flag("closed"),
        *_instant("started_at", "last_at"),
        *_counter("down_bytes", "up_bytes"),
        *_number("radacct_id"),
        sa.PrimaryKeyConstraint("session_key"),
    )
    op.create_index("usage_session_service", "usage_session", ["service_id", "last_at"])
    op.create_index("usage_session_radacct", "usage_session", ["radacct_id"])
    op.create_index(
        "usage_session_nas", "usage_session", ["nas"], sqlite_where=OPEN, postgresql_where=OPEN
    )


def _reading() -> None:
    op.create_table(
        "usage_reading",
        *_text("session_key", "record_key"),
        *_instant("at"),
        *_text("kind"),
        *_counter("down_bytes", "up_bytes"),
        *_number("session_s"),
        _flag("left_out"),
        sa.CheckConstraint("kind IN ('start', 'interim', 'stop')"),
        sa.PrimaryKeyConstraint("session_key", "record_key"),
    )
    op.create_index("usage_reading_time", "usage_reading", ["session_key", "at"])


def _record() -> None:
    op.create_table(
        "usage_record",
        *_text("source", "record_key", "service_id", "meter"),
        *_instant("since", "until"),
        *_number("quantity"),
        *_text("unit"),
        *_instant("imported_at"),
        sa.PrimaryKeyConstraint("source", "record_key"),
    )


def _due() -> None:
    op.create_table(
        "usage_due",
        *_text("source", "service_id"),
        *_instant("since", "until"),
        *_number("marks"),
        sa.PrimaryKeyConstraint("source", "service_id", "since"),
    )
    op.create_index("usage_due_until", "usage_due", ["source", "until"])


def _window() -> None:
    op.create_table(
        "usage_window",
        *_text("service_id", "meter"),
        *_instant("since", "until"),
        *_number("quantity"),
        *_text("unit", "source"),
        *_number("samples", "coverage_bp", "revision"),
        *_text("event_id"),
        *_number("seq"),
        _flag("late"),
        sa.CheckConstraint("revision > 0"),
        sa.PrimaryKeyConstraint("service_id", "meter", "since"),
    )


def _exception() -> None:
    op.create_table(
        "usage_exception",
        *_text("exception_id", "kind", "source", "record_key", "identifier", "service_id"),
        *_instant("seen_at"),
        sa.Column("since", INSTANT),
        sa.Column("until", INSTANT),
        *_counter("quantity"),
        *_text("unit", "evidence"),
        *_number("amount_minor"),
        *_text("currency"),
        *_number("exponent"),
        *_text("status", "decided_by", "reason"),
        sa.CheckConstraint(
            "kind IN ('unmatched', 'late', 'regressive', 'impossible', 'future', 'unknown_unit', "
            "'counter')"
        ),
        sa.CheckConstraint("status IN ('open', 'ack', 'ignored', 'resolved')"),
        sa.PrimaryKeyConstraint("exception_id"),
        sa.UniqueConstraint("source", "record_key", name="usage_exception_record"),
    )
    op.create_index("usage_exception_status", "usage_exception", ["status", "service_id"])


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)
