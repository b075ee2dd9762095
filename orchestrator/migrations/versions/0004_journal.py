"""The journal: plans, orders, sets, changes, decisions, leases, exceptions, holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _change_plan()
    _service_order()
    _change_set()
    _change()
    _decision()
    _participant()
    _journal_step()
    _lease()
    _exception_item()
    _hold()
    _audit()


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)


def _change_plan() -> None:
    op.create_table(
        "change_plan",
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("plan_hash", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id"),
    )


def _service_order() -> None:
    op.create_table(
        "service_order",
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("payload_hash", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("ticket", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
        sa.UniqueConstraint("event_id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_service_order_plan_id", "service_order", ["plan_id"])
    op.create_index("ix_service_order_service_id", "service_order", ["service_id"])


def _change_set() -> None:
    op.create_table(
        "change_set",
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("first_write_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("set_id"),
    )
    op.create_index("ix_change_set_plan_id", "change_set", ["plan_id"])


def _change() -> None:
    op.create_table(
        "change",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("item_hash", sa.String(), nullable=False),
        sa.Column("refusal", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("applied_at", INSTANT, nullable=True),
        sa.Column("closed_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("change_id"),
    )
    op.create_index(
        "change_one_live_per_order",
        "change",
        ["order_id"],
        unique=True,
        sqlite_where=sa.text("outcome NOT IN ('aborted', 'refused')"),
        postgresql_where=sa.text("outcome NOT IN ('aborted', 'refused')"),
    )
    op.create_index(
        "change_one_open_per_service",
        "change",
        ["service_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('INTENT', 'COMMITTED', 'ABORTED', 'REVERSED')"),
        postgresql_where=sa.text("state IN ('INTENT', 'COMMITTED', 'ABORTED', 'REVERSED')"),
    )
    op.create_index("ix_change_order_id", "change", ["order_id"])
    op.create_index("ix_change_service_id", "change", ["service_id"])
    op.create_index("ix_change_set_id", "change", ["set_id"])


def _decision() -> None:
    op.create_table(
        "decision",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("change_id"),
    )
    op.create_index("ix_decision_set_id", "decision", ["set_id"])


def _participant() -> None:
    op.create_table(
        "participant",
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("at_goal_since", INSTANT, nullable=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("set_id", "name"),
    )


def _journal_step() -> None:
    op.create_table(
        "journal_step",
        sa.Column("step_id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("participant", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("step_id"),
    )
    op.create_index("ix_journal_step_set_id", "journal_step", ["set_id"])


def _lease() -> None:
    op.create_table(
        "lease",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("pid_namespace", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_start", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("counter", sa.Integer(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )


def _exception_item() -> None:
    op.create_table(
        "exception_item",
        sa.Column("exception_id", sa.String(), nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("participant", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("wanted", sa.String(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.Column("at_stake_minor", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("exponent", sa.Integer(), nullable=False),
        sa.Column("actions", sa.String(), nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("resolved_at", INSTANT, nullable=True),
        sa.Column("resolution", sa.String(), nullable=False),
        sa.Column("resolved_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("exception_id"),
    )
    op.create_index("ix_exception_item_change_id", "exception_item", ["change_id"])
    op.create_index("ix_exception_item_service_id", "exception_item", ["service_id"])
    op.create_index("ix_exception_item_set_id", "exception_item", ["set_id"])


def _hold() -> None:
    op.create_table(
        "hold",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id"),
    )
