"""The ledger, with what its database forbids, and the views it is shared by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from billing_bridge import ddl

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SMALL = sa.SmallInteger().with_variant(sa.Integer(), "sqlite")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _billing_event()
    _ledger_head()
    _consumer_cursor()
    connection = op.get_bind()
    for statement in ddl(connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)


def _billing_event() -> None:
    op.create_table(
        "billing_event",
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("schema_version", SMALL, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("service_version", BIG, nullable=False),
        sa.Column("change_id", sa.Text(), nullable=False),
        sa.Column("effective_at", INSTANT, nullable=False),
        sa.Column("effective_until", INSTANT, nullable=True),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("price_version_id", sa.Text(), nullable=False),
        sa.Column("quantity", BIG, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount_minor", BIG, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exponent", SMALL, nullable=False),
        sa.Column("reverses_event_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            ("(currency = '' AND amount_minor = 0 AND exponent = 0) OR length(currency) = 3"),
            name="billing_event_money",
        ),
        sa.CheckConstraint(
            (
                "reason_code IN ('requested', 'import', 'scheduled', 'rollback', "
                "'as_never', 'undone', 'late_effect', 'backdated', 'non_payment', "
                "'accepted', 'corrected', 'metered', 'billing_run', 'anchored')"
            ),
            name="billing_event_reason",
        ),
        sa.CheckConstraint(
            (
                "type IN ('service.adopted', 'service.activated', 'tier.changed', "
                "'service.effect_shifted', 'service.suspended', 'service.resumed', "
                "'service.terminated', 'reconciliation.adopted', 'event.reversed', "
                "'usage.recorded', 'usage.corrected', 'price.overridden', "
                "'credit.issued', 'charge.issued', 'invoice.issued', 'invoice.voided', "
                "'ledger.anchored')"
            ),
            name="billing_event_type",
        ),
        sa.CheckConstraint("unit <> '' OR quantity = 0", name="billing_event_quantity"),
        sa.CheckConstraint(
            "length(hash) = 32 AND length(prev_hash) = 32 AND length(payload_hash) = 32",
            name="billing_event_hashes",
        ),
        sa.CheckConstraint("seq > 0", name="billing_event_seq"),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("event_id", name="billing_event_event_id"),
        sa.UniqueConstraint("source", "idempotency_key", name="billing_event_key"),
        sqlite_strict=True,
    )
    op.create_index(
        "billing_event_change",
        "billing_event",
        ["change_id", "type"],
        unique=True,
        sqlite_where=sa.text("change_id <> ''"),
        postgresql_where=sa.text("change_id <> ''"),
    )
    op.create_index(
        "billing_event_reversal",
        "billing_event",
        ["reverses_event_id"],
        unique=True,
        sqlite_where=sa.text("reverses_event_id <> ''"),
        postgresql_where=sa.text("reverses_event_id <> ''"),
    )
    op.create_index("billing_event_service", "billing_event", ["service_id", "seq"])
    op.create_index(
        "billing_event_version",
        "billing_event",
        ["service_id", "service_version"],
        unique=True,
        sqlite_where=sa.text("service_version > 0"),
        postgresql_where=sa.text("service_version > 0"),
    )


def _ledger_head() -> None:
    op.create_table(
        "ledger_head",
        sa.Column("id", SMALL, autoincrement=False, nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name="ledger_head_one"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )


def _consumer_cursor() -> None:
    op.create_table(
        "consumer_cursor",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_seq", BIG, nullable=False),
        sa.Column("last_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
    )
