"""Subscriptions of other systems to the ledger, and what they have not taken yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret_ref", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("http", sa.Boolean(), nullable=False),
        sa.Column("allowed", sa.Text(), nullable=False),
        sa.Column("allowed_by", sa.Text(), nullable=False),
        sa.Column("ca_file", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", INSTANT, nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("last_taken_at", INSTANT, nullable=True),
        sa.Column("last_problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'dead')", name="webhook_delivery_state"),
        sa.PrimaryKeyConstraint("name", "seq"),
    )
    op.create_index("webhook_delivery_due", "webhook_delivery", ["name", "state", "next_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, INSERT, UPDATE, DELETE ON public.webhook, public.webhook_delivery\n"
            "      TO app;\n"
            "  END IF;\nEND $$"
        )


def downgrade() -> None:
    msg = "what was not told yet is never forgotten"
    raise NotImplementedError(msg)
