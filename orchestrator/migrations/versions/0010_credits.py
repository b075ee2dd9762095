"""Credits and charges of people, beside the events that they become."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _credit()
    _indexes()
    if op.get_bind().dialect.name == "postgresql":
        # what was asked for stands: only what becomes of it can still be written
        op.execute(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, INSERT, UPDATE (state, decided_by, decided_at, decision)\n"
            "      ON public.credit TO app;\n"
            "  END IF;\nEND $$"
        )


def _credit() -> None:
    op.create_table(
        "credit",
        sa.Column("credit_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exponent", sa.Integer(), nullable=False),
        sa.Column("reverses", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", INSTANT, nullable=False),
        sa.Column("second_person", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", INSTANT, nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('credit', 'charge', 'reversal')", name="credit_kind"),
        sa.CheckConstraint("state IN ('waiting', 'posted', 'rejected')", name="credit_state"),
        sa.CheckConstraint("amount_minor > 0", name="credit_amount"),
        sa.CheckConstraint("(kind = 'reversal') = (reverses <> '')", name="credit_reverses"),
        sa.CheckConstraint("(state = 'waiting') = (decided_by = '')", name="credit_decided"),
        sa.CheckConstraint(
            "state <> 'posted' OR NOT second_person OR decided_by <> asked_by",
            name="credit_two_people",
        ),
        sa.PrimaryKeyConstraint("credit_id"),
        sa.UniqueConstraint("idempotency_key", name="credit_key"),
        sa.UniqueConstraint("event_id", name="credit_event"),
    )


def _indexes() -> None:
    living = sa.text("reverses <> '' AND state <> 'rejected'")
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "credit_reversal",
        "credit",
        ["reverses"],
        unique=True,
        sqlite_where=living,
        postgresql_where=living,
    )
    op.create_index("credit_account", "credit", ["account_id", "credit_id"])
    op.create_index(
        "credit_waiting",
        "credit",
        ["credit_id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def downgrade() -> None:
    msg = "what was given is never taken back"
    raise NotImplementedError(msg)
