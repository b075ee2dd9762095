"""FreeRADIUS's tables, in a schema of their own on PostgreSQL, and ours beside them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ADDRESS = sa.Text().with_variant(postgresql.INET(), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SCHEMA IF NOT EXISTS radius")
    _radcheck()
    _radreply()
    _radgroupcheck()
    _radgroupreply()
    _radusergroup()
    _radacct()
    _radpostauth()
    _nas()
    _nasreload()
    _radius_group()


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)


def _radcheck() -> None:
    op.create_table(
        "radcheck",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), server_default="", nullable=False),
        sa.Column("attribute", sa.Text(), server_default="", nullable=False),
        sa.Column("op", sa.String(length=2), server_default="==", nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index("radcheck_username", "radcheck", ["username", "attribute"], schema="radius")


def _radreply() -> None:
    op.create_table(
        "radreply",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), server_default="", nullable=False),
        sa.Column("attribute", sa.Text(), server_default="", nullable=False),
        sa.Column("op", sa.String(length=2), server_default="=", nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index("radreply_username", "radreply", ["username", "attribute"], schema="radius")


def _radgroupcheck() -> None:
    op.create_table(
        "radgroupcheck",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("groupname", sa.Text(), server_default="", nullable=False),
        sa.Column("attribute", sa.Text(), server_default="", nullable=False),
        sa.Column("op", sa.String(length=2), server_default="==", nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index(
        "radgroupcheck_groupname", "radgroupcheck", ["groupname", "attribute"], schema="radius"
    )


def _radgroupreply() -> None:
    op.create_table(
        "radgroupreply",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("groupname", sa.Text(), server_default="", nullable=False),
        sa.Column("attribute", sa.Text(), server_default="", nullable=False),
        sa.Column("op", sa.String(length=2), server_default="=", nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index(
        "radgroupreply_groupname", "radgroupreply", ["groupname", "attribute"], schema="radius"
    )


def _radusergroup() -> None:
    op.create_table(
        "radusergroup",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), server_default="", nullable=False),
        sa.Column("groupname", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index(
        "radusergroup_username", "radusergroup", ["username"], unique=True, schema="radius"
    )


def _radacct() -> None:
    op.create_table(
        "radacct",
        sa.Column("radacctid", BIG, nullable=False),
        sa.Column("acctsessionid", sa.Text(), nullable=False),
        sa.Column("acctuniqueid", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("realm", sa.Text(), nullable=True),
        sa.Column("nasipaddress", ADDRESS, nullable=False),
        sa.Column("nasportid", sa.Text(), nullable=True),
        sa.Column("nasporttype", sa.Text(), nullable=True),
        sa.Column("acctstarttime", INSTANT, nullable=True),
        sa.Column("acctupdatetime", INSTANT, nullable=True),
        sa.Column("acctstoptime", INSTANT, nullable=True),
        sa.Column("acctinterval", sa.BigInteger(), nullable=True),
        sa.Column("acctsessiontime", sa.BigInteger(), nullable=True),
        sa.Column("acctauthentic", sa.Text(), nullable=True),
        sa.Column("connectinfo_start", sa.Text(), nullable=True),
        sa.Column("connectinfo_stop", sa.Text(), nullable=True),
        sa.Column("acctinputoctets", sa.BigInteger(), nullable=True),
        sa.Column("acctoutputoctets", sa.BigInteger(), nullable=True),
        sa.Column("calledstationid", sa.Text(), nullable=True),
        sa.Column("callingstationid", sa.Text(), nullable=True),
        sa.Column("acctterminatecause", sa.Text(), nullable=True),
        sa.Column("servicetype", sa.Text(), nullable=True),
        sa.Column("framedprotocol", sa.Text(), nullable=True),
        sa.Column("framedipaddress", ADDRESS, nullable=True),
        sa.Column("framedipv6address", ADDRESS, nullable=True),
        sa.Column("framedipv6prefix", ADDRESS, nullable=True),
        sa.Column("framedinterfaceid", sa.Text(), nullable=True),
        sa.Column("delegatedipv6prefix", ADDRESS, nullable=True),
        sa.Column("class", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("radacctid"),
        sa.UniqueConstraint("acctuniqueid"),
        schema="radius",
    )
    op.create_index(
        "radacct_active_session_idx",
        "radacct",
        ["acctuniqueid"],
        schema="radius",
        sqlite_where=sa.text("acctstoptime IS NULL"),
        postgresql_where=sa.text("acctstoptime IS NULL"),
    )
    op.create_index(
        "radacct_bulk_close",
        "radacct",
        ["nasipaddress", "acctstarttime"],
        schema="radius",
        sqlite_where=sa.text("acctstoptime IS NULL"),
        postgresql_where=sa.text("acctstoptime IS NULL"),
    )
    op.create_index(
        "radacct_open_login_idx",
        "radacct",
        ["username"],
        schema="radius",
        sqlite_where=sa.text("acctstoptime IS NULL"),
        postgresql_where=sa.text("acctstoptime IS NULL"),
    )
    op.create_index(
        "radacct_start_user_idx", "radacct", ["acctstarttime", "username"], schema="radius"
    )


def _radpostauth() -> None:
    op.create_table(
        "radpostauth",
        sa.Column("id", BIG, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("pass", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("calledstationid", sa.Text(), nullable=True),
        sa.Column("callingstationid", sa.Text(), nullable=True),
        sa.Column(
            "authdate", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("class", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index("radpostauth_username_idx", "radpostauth", ["username"], schema="radius")


def _nas() -> None:
    op.create_table(
        "nas",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("nasname", sa.Text(), nullable=False),
        sa.Column("shortname", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), server_default="other", nullable=False),
        sa.Column("ports", sa.Integer(), nullable=True),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=True),
        sa.Column("community", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="radius",
    )
    op.create_index("nas_nasname", "nas", ["nasname"], schema="radius")


def _nasreload() -> None:
    op.create_table(
        "nasreload",
        sa.Column("nasipaddress", ADDRESS, nullable=False),
        sa.Column("reloadtime", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("nasipaddress"),
        schema="radius",
    )


def _radius_group() -> None:
    op.create_table(
        "radius_group",
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tier", "platform"),
    )
