"""The sessions that accounting holds for open, in FreeRADIUS's tables; only ever read."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from .radius_rows import RADACCT
from .sql import chunks, one_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A session that accounting holds for open; text is "" and octets 0 where the NAS sent none."""

    acct_session_id: str
    login: str
    nas_address: str
    nas_port_id: str
    framed_address: str
    calling_station_id: str
    started_at: dt.datetime | None
    updated_at: dt.datetime | None
    input_octets: int
    output_octets: int


def open_sessions(session: Session, login: str) -> tuple[OpenSession, ...]:
    """Return the sessions of one login that have no stop yet, oldest first."""
    return open_sessions_many(session, (login,))[login]


def open_sessions_many(
    session: Session, logins: Collection[str]
) -> dict[str, tuple[OpenSession, ...]]:
    """Return the open sessions of each login, oldest first, one query per thousand logins."""
    found: dict[str, list[OpenSession]] = defaultdict(list)
    for part in chunks(sorted(set(logins))):
        query = select(RADACCT).where(
            one_of(RADACCT.c.username, part), RADACCT.c.acctstoptime.is_(None)
        )
        for row in session.execute(query.order_by("acctstarttime", "radacctid")):
            found[row.username].append(
                OpenSession(
                    acct_session_id=row.acctsessionid,
                    login=row.username,
                    nas_address=str(row.nasipaddress),
                    nas_port_id=row.nasportid or "",
                    framed_address=str(row.framedipaddress or ""),
                    calling_station_id=row.callingstationid or "",
                    started_at=row.acctstarttime,
                    updated_at=row.acctupdatetime,
                    input_octets=row.acctinputoctets or 0,
                    output_octets=row.acctoutputoctets or 0,
                )
            )
    return {login: tuple(found[login]) for login in logins}
