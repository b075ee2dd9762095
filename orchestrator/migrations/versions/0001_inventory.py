"""The tables of what exists: subscribers, services, plans, devices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _legal_entity()
    _account()
    _tier()
    _plan()
    _price_version()
    _device()
    _line()
    _attachment()
    _service()


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)


def _legal_entity() -> None:
    op.create_table(
        "legal_entity",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("tax_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("code"),
    )


def _account() -> None:
    op.create_table(
        "account",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("cycle_day", sa.Integer(), nullable=False),
        sa.Column("legal_entity", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.CheckConstraint("cycle_day BETWEEN 1 AND 31"),
        sa.ForeignKeyConstraint(["legal_entity"], ["legal_entity.code"]),
        sa.PrimaryKeyConstraint("account_id"),
    )


def _tier() -> None:
    op.create_table(
        "tier",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("down_kbps", sa.BigInteger(), nullable=False),
        sa.Column("up_kbps", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint("down_kbps > 0 AND up_kbps > 0"),
        sa.PrimaryKeyConstraint("code"),
    )


def _plan() -> None:
    op.create_table(
        "plan",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tier_code", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exponent", sa.Integer(), nullable=False),
        sa.Column("period_months", sa.Integer(), nullable=False),
        sa.Column("bill_in", sa.Text(), nullable=False),
        sa.Column("proration", sa.Text(), nullable=False),
        sa.Column("price_policy", sa.Text(), nullable=False),
        sa.Column("used", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint("bill_in IN ('advance', 'arrears')"),
        sa.CheckConstraint("price_policy IN ('at_period_start', 'pinned')"),
        sa.CheckConstraint("proration IN ('day', 'second')"),
        sa.CheckConstraint("exponent IN (0, 2, 3)"),
        sa.CheckConstraint("period_months > 0"),
        sa.ForeignKeyConstraint(["tier_code"], ["tier.code"]),
        sa.PrimaryKeyConstraint("code"),
    )


def _price_version() -> None:
    op.create_table(
        "price_version",
        sa.Column("price_version_id", sa.Text(), nullable=False),
        sa.Column("plan_code", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount_minor >= 0"),
        sa.ForeignKeyConstraint(["plan_code"], ["plan.code"]),
        sa.PrimaryKeyConstraint("price_version_id"),
        sa.UniqueConstraint("plan_code", "valid_from"),
    )


def _device() -> None:
    op.create_table(
        "device",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password_ref", sa.Text(), nullable=False),
        sa.Column("key_file", sa.Text(), nullable=False),
        sa.Column("timeout_s", sa.Integer(), nullable=False),
        sa.Column("snmp_port", sa.Integer(), nullable=False),
        sa.Column("snmp_version", sa.Text(), nullable=False),
        sa.Column("snmp_user", sa.Text(), nullable=False),
        sa.Column("snmp_auth_ref", sa.Text(), nullable=False),
        sa.Column("snmp_priv_ref", sa.Text(), nullable=False),
        sa.Column("snmp_community_ref", sa.Text(), nullable=False),
        sa.Column("snmp_allow_v2c", sa.Boolean(), nullable=False),
        sa.Column("coa_host", sa.Text(), nullable=False),
        sa.Column("coa_port", sa.Integer(), nullable=False),
        sa.Column("coa_secret_ref", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('bng', 'olt', 'radius')"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_device_site", "device", ["site"])


def _line() -> None:
    op.create_table(
        "line",
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("password_ref", sa.Text(), nullable=False),
        sa.Column("adopted", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"]),
        sa.PrimaryKeyConstraint("service_id"),
    )
    op.create_index("ix_line_account_id", "line", ["account_id"])
    op.create_index(
        "line_login_key",
        "line",
        ["login"],
        unique=True,
        sqlite_where=sa.text("login <> ''"),
        postgresql_where=sa.text("login <> ''"),
    )


def _attachment() -> None:
    op.create_table(
        "attachment",
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('bng', 'olt')"),
        sa.ForeignKeyConstraint(["device"], ["device.name"]),
        sa.ForeignKeyConstraint(["service_id"], ["line.service_id"]),
        sa.PrimaryKeyConstraint("service_id", "role"),
    )
    op.create_index("attachment_place", "attachment", ["device", "objects"])


def _service() -> None:
    op.create_table(
        "service",
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("plan_code", sa.Text(), nullable=False),
        sa.Column("tier_code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("active_since", INSTANT, nullable=False),
        sa.Column("billing_from", sa.Date(), nullable=False),
        sa.CheckConstraint("state IN ('none', 'active', 'suspended', 'terminated')"),
        sa.CheckConstraint("version > 0"),
        sa.ForeignKeyConstraint(["plan_code"], ["plan.code"]),
        sa.ForeignKeyConstraint(["service_id"], ["line.service_id"]),
        sa.ForeignKeyConstraint(["tier_code"], ["tier.code"]),
        sa.PrimaryKeyConstraint("service_id"),
    )
    op.create_index("ix_service_plan_code", "service", ["plan_code"])
