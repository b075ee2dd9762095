"""What plans and prices say beside the price of a full period."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _plan_terms()
    _price_terms()
    # what is sold already has the terms that it was sold under
    op.execute(
        "INSERT INTO plan_terms (plan_code, month_days, last_day_billed, min_billable_days, "
        "suspend, suspend_unpaid, allowance_bytes, allowance_counts, block_bytes, "
        "fair_use_bytes, fair_use_tier, commit_kbps) "
        "SELECT code, 0, false, 0, 'stop', 'stop', 0, 'both', 0, 0, '', 0 FROM plan"
    )
    op.execute(
        "INSERT INTO price_terms "
        "(price_version_id, hold_minor, block_minor, cap_minor, burst_minor) "
        "SELECT price_version_id, 0, 0, 0, 0 FROM price_version"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, INSERT, UPDATE ON public.plan_terms TO app;\n"
            "    GRANT SELECT, INSERT ON public.price_terms TO app;\n"
            "  END IF;\nEND $$"
        )


def _plan_terms() -> None:
    op.create_table(
        "plan_terms",
        sa.Column("plan_code", sa.Text(), nullable=False),
        sa.Column("month_days", sa.Integer(), nullable=False),
        sa.Column("last_day_billed", sa.Boolean(), nullable=False),
        sa.Column("min_billable_days", sa.Integer(), nullable=False),
        sa.Column("suspend", sa.Text(), nullable=False),
        sa.Column("suspend_unpaid", sa.Text(), nullable=False),
        sa.Column("allowance_bytes", sa.BigInteger(), nullable=False),
        sa.Column("allowance_counts", sa.Text(), nullable=False),
        sa.Column("block_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fair_use_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fair_use_tier", sa.Text(), nullable=False),
        sa.Column("commit_kbps", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("month_days IN (0, 28, 29, 30)"),
        sa.CheckConstraint("min_billable_days IN (0, 1)"),
        sa.CheckConstraint("suspend IN ('stop', 'continue', 'hold_fee')"),
        sa.CheckConstraint("suspend_unpaid IN ('stop', 'continue', 'hold_fee')"),
        sa.CheckConstraint("allowance_counts IN ('down', 'up', 'both')"),
        sa.CheckConstraint("allowance_bytes >= 0 AND block_bytes >= 0 AND fair_use_bytes >= 0"),
        sa.CheckConstraint("commit_kbps >= 0"),
        sa.ForeignKeyConstraint(["plan_code"], ["plan.code"]),
        sa.PrimaryKeyConstraint("plan_code"),
    )


def _price_terms() -> None:
    op.create_table(
        "price_terms",
        sa.Column("price_version_id", sa.Text(), nullable=False),
        sa.Column("hold_minor", sa.BigInteger(), nullable=False),
        sa.Column("block_minor", sa.BigInteger(), nullable=False),
        sa.Column("cap_minor", sa.BigInteger(), nullable=False),
        sa.Column("burst_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("hold_minor >= 0 AND block_minor >= 0"),
        sa.CheckConstraint("cap_minor >= 0 AND burst_minor >= 0"),
        sa.ForeignKeyConstraint(["price_version_id"], ["price_version.price_version_id"]),
        sa.PrimaryKeyConstraint("price_version_id"),
    )


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)
