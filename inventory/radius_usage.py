"""What FreeRADIUS has accounted, row by row, and whose logins those are; only ever read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from .radius_rows import RADACCT
from .rows import LINE
from .sql import chunks, select_among

_COLUMNS = (
    RADACCT.c.radacctid,
    RADACCT.c.acctsessionid,
    RADACCT.c.username,
    RADACCT.c.nasipaddress,
    RADACCT.c.nasportid,
    RADACCT.c["class"].label("class_"),
    RADACCT.c.acctstarttime,
    RADACCT.c.acctupdatetime,
    RADACCT.c.acctstoptime,
    RADACCT.c.acctsessiontime,
    RADACCT.c.acctinputoctets,
    RADACCT.c.acctoutputoctets,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountedSession:
    """A row of radacct as it is now; text is "" and `session_s` -1 where the NAS sent none.

    Octets have their gigawords in them; input is what the user sent.
    """

    radacct_id: int
    acct_session_id: str
    login: str
    nas: str
    port: str
    class_: str
    started_at: dt.datetime | None
    updated_at: dt.datetime | None
    stopped_at: dt.datetime | None
    session_s: int
    input_octets: int
    output_octets: int


def accounted_after(session: Session, radacct_id: int, limit: int) -> tuple[AccountedSession, ...]:
    """Return at most `limit` rows of radacct behind one, by their number."""
    query = select(*_COLUMNS).where(RADACCT.c.radacctid > radacct_id).order_by("radacctid")
    return _values(session, query.limit(limit))


def accounted_at(session: Session, radacct_ids: Collection[int]) -> tuple[AccountedSession, ...]:
    """Return these rows of radacct, as far as they are still there."""
    found: list[AccountedSession] = []
    for part in chunks(sorted(radacct_ids)):
        found += _values(session, select(*_COLUMNS).where(RADACCT.c.radacctid.in_(part)))
    return tuple(found)


def services_of_logins(session: Session, logins: Iterable[str]) -> dict[str, str]:
    """Return the service_id of each login that a line has; the others are left out."""
    query = select_among(LINE.c.login, LINE.c.login, LINE.c.service_id)
    found: dict[str, str] = {}
    for part in chunks(sorted(set(logins) - {""})):
        found |= {row.login: row.service_id for row in session.execute(query, {"names": part})}
    return found


def _values(session: Session, query: Select[Any]) -> tuple[AccountedSession, ...]:
    return tuple(_value(row) for row in session.execute(query))


def _value(row: Row[Any]) -> AccountedSession:
    return AccountedSession(
        radacct_id=row.radacctid,
        acct_session_id=row.acctsessionid,
        login=row.username or "",
        nas=str(row.nasipaddress),
        port=row.nasportid or "",
        class_=row.class_ or "",
        started_at=row.acctstarttime,
        updated_at=row.acctupdatetime,
        stopped_at=row.acctstoptime,
        session_s=-1 if row.acctsessiontime is None else row.acctsessiontime,
        input_octets=row.acctinputoctets or 0,
        output_octets=row.acctoutputoctets or 0,
    )
