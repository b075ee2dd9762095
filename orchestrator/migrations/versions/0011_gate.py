"""The gate: findings and their story, checks, what devices showed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
LIVING = sa.text("cleared_at IS NULL")
OF_THE_RUN = sa.text("cleared_at IS NULL AND scope = 'run'")

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _finding()
    _finding_act()
    _gate_check()
    _observation()
    schema = "radius" if op.get_bind().dialect.name == "postgresql" else None
    op.create_index("radacct_login_idx", "radacct", ["username", "acctstarttime"], schema=schema)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, INSERT, UPDATE ON public.finding, public.gate_check TO app;\n"
            "    GRANT SELECT, INSERT ON public.finding_act TO app;\n"
            "    GRANT SELECT, INSERT, UPDATE, DELETE ON public.observation TO app;\n"
            "    GRANT USAGE ON SEQUENCE public.finding_act_act_id_seq TO app;\n"
            "  END IF;\nEND $$"
        )


def _finding() -> None:
    op.create_table(
        "finding",
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("finding_id", "rule", "subject", "service_id", "account_id", "scope")
        ),
        sa.Column("blocks", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("what", "evidence", "command")),
        *(sa.Column(n, INSTANT, nullable=False) for n in ("since", "first_seen", "last_seen")),
        sa.Column("at_risk_minor", sa.BigInteger(), nullable=False),
        sa.Column("monthly_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exponent", sa.Integer(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("overridden", sa.Boolean(), nullable=False),
        sa.Column("ignored_until", INSTANT, nullable=True),
        sa.Column("accepted_minor", sa.BigInteger(), nullable=False),
        sa.Column("accepted_monthly_minor", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", INSTANT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cleared_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("finding_id"),
        sa.CheckConstraint("scope IN ('line', 'usage', 'account', 'run')"),
        sa.CheckConstraint("status IN ('open', 'ack', 'ignored', 'resolved')"),
    )
    for name, columns, where in (
        ("finding_living", ["rule", "subject"], LIVING),
        ("finding_account", ["account_id"], LIVING),
        ("finding_run", ["finding_id"], OF_THE_RUN),
    ):
        op.create_index(
            name,
            "finding",
            columns,
            unique=name == "finding_living",
            sqlite_where=where,
            postgresql_where=where,
        )


def _finding_act() -> None:
    op.create_table(
        "finding_act",
        sa.Column("act_id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("actor", "act", "reason")),
        sa.Column("at_risk_minor", sa.BigInteger(), nullable=False),
        sa.Column("monthly_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("act_id"),
        sa.CheckConstraint(
            "act IN ('found', 'ack', 'ignored', 'resolved', 'override', 'returned', 'cleared')"
        ),
    )
    op.create_index("finding_act_finding", "finding_act", ["finding_id", "act_id"])


def _gate_check() -> None:
    op.create_table(
        "gate_check",
        sa.Column("check_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("known_seq", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("services", "found", "opened", "cleared")
        ),
        sa.PrimaryKeyConstraint("check_id"),
    )


def _observation() -> None:
    op.create_table(
        "observation",
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("device", "object", "service_id")),
        sa.Column("down_kbps", sa.BigInteger(), nullable=False),
        sa.Column("up_kbps", sa.BigInteger(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("device", "object"),
    )
    op.create_index("observation_service", "observation", ["service_id"])


def downgrade() -> None:
    msg = "what people decided is never taken back"
    raise NotImplementedError(msg)
