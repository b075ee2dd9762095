"""FreeRADIUS's tables, column by column as its PostgreSQL queries name them, and our one beside.

Source: raddb/mods-config/sql/main/postgresql of FreeRADIUS 3.2. It writes names unquoted, so that
PostgreSQL knows them in lower case.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    String,
    Table,
    Text,
    func,
)
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql import INET
from sqlmodel import SQLModel

from .columns import UtcInstant

SCHEMA = "radius"  # on PostgreSQL; the SQLite engine maps it away (schema_translate_map)

_INET = Text().with_variant(INET(), "postgresql")
_BIG_ID = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER numbers itself on SQLite


def _words(*names: str) -> list[Column[Any]]:
    return [Column(name, Text) for name in names]


def _rows_of(name: str, owner: str, op: str) -> Table:
    """A table of (owner, attribute, op, value): a user's or a group's check or reply items."""
    return Table(
        name,
        SQLModel.metadata,
        Column("id", Integer, primary_key=True),
        Column(owner, Text, nullable=False, server_default=""),
        Column("attribute", Text, nullable=False, server_default=""),
        Column("op", String(2), nullable=False, server_default=op),
        Column("value", Text, nullable=False, server_default=""),
        Index(f"{name}_{owner}", owner, "attribute"),
        schema=SCHEMA,
    )


RADCHECK = _rows_of("radcheck", "username", "==")
RADREPLY = _rows_of("radreply", "username", "=")
RADGROUPCHECK = _rows_of("radgroupcheck", "groupname", "==")
RADGROUPREPLY = _rows_of("radgroupreply", "groupname", "=")

RADUSERGROUP = Table(
    "radusergroup",
    SQLModel.metadata,
    Column("id", Integer, primary_key=True),
    Column("username", Text, nullable=False, server_default=""),
    Column("groupname", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False, server_default=sql_text("0")),
    # ours: with two groups the answer to "which tier?" would hang on their order
    Index("radusergroup_username", "username", unique=True),
    schema=SCHEMA,
)

_OPEN = sql_text("acctstoptime IS NULL")

RADACCT = Table(
    "radacct",
    SQLModel.metadata,
    Column("radacctid", _BIG_ID, primary_key=True),
    Column("acctsessionid", Text, nullable=False),
    Column("acctuniqueid", Text, nullable=False, unique=True),
    *_words("username", "realm"),
    Column("nasipaddress", _INET, nullable=False),
    *_words("nasportid", "nasporttype"),
    Column("acctstarttime", UtcInstant),
    Column("acctupdatetime", UtcInstant),
    Column("acctstoptime", UtcInstant),
    Column("acctinterval", BigInteger),
    Column("acctsessiontime", BigInteger),
    *_words("acctauthentic", "connectinfo_start", "connectinfo_stop"),
    Column("acctinputoctets", BigInteger),
    Column("acctoutputoctets", BigInteger),
    *_words("calledstationid", "callingstationid", "acctterminatecause"),
    *_words("servicetype", "framedprotocol"),
    Column("framedipaddress", _INET),
    Column("framedipv6address", _INET),
    Column("framedipv6prefix", _INET),
    Column("framedinterfaceid", Text),
    Column("delegatedipv6prefix", _INET),
    Column("class", Text),
    Index("radacct_active_session_idx", "acctuniqueid", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index(
        "radacct_bulk_close",
        "nasipaddress",
        "acctstarttime",
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
    Index("radacct_start_user_idx", "acctstarttime", "username"),
    # ours: what a login did lately is asked of every login before a billing run
    Index("radacct_login_idx", "username", "acctstarttime"),
    # ours: "which sessions has this login now?" is asked at every change of a dynamic line
    Index("radacct_open_login_idx", "username", sqlite_where=_OPEN, postgresql_where=_OPEN),
    schema=SCHEMA,
)

RADPOSTAUTH = Table(
    "radpostauth",
    SQLModel.metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("username", Text, nullable=False),
    *_words("pass", "reply", "calledstationid", "callingstationid"),
    Column("authdate", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("class", Text),
    Index("radpostauth_username_idx", "username"),
    schema=SCHEMA,
)

NAS = Table(
    "nas",
    SQLModel.metadata,
    Column("id", Integer, primary_key=True),
    Column("nasname", Text, nullable=False),
    Column("shortname", Text, nullable=False),
    Column("type", Text, nullable=False, server_default="other"),
    Column("ports", Integer),
    Column("secret", Text, nullable=False),
    *_words("server", "community", "description"),
    Index("nas_nasname", "nasname"),
    schema=SCHEMA,
)

NASRELOAD = Table(
    "nasreload",
    SQLModel.metadata,
    Column("nasipaddress", _INET, primary_key=True),
    Column("reloadtime", DateTime(timezone=True), nullable=False),
    schema=SCHEMA,
)

# who writes a group's reply rows: the transaction that gets to insert this row (D9)
RADIUS_GROUP = Table(
    "radius_group",
    SQLModel.metadata,
    Column("tier", Text, primary_key=True),
    Column("platform", Text, primary_key=True),
)
