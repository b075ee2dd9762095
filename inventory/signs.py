"""What accounting says of logins as a whole: signs of life, and sessions that overlap."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, case, func, or_, select
from sqlalchemy.orm import Session

from .radius_rows import RADACCT
from .sql import chunks, one_of

_A = RADACCT.c
_OPEN = _A.acctstoptime.is_(None)
_SEEN = func.coalesce(_A.acctstoptime, _A.acctupdatetime, _A.acctstarttime)
_NAMES = one_of(_A.username, "names")
_SIGNS = (
    select(
        _A.username,
        func.min(case((_OPEN, _A.acctstarttime))).label("open_since"),
        func.max(case((_OPEN, _SEEN))).label("open_seen"),
        func.max(_SEEN).label("last_seen"),
    )
    .where(_NAMES, or_(_A.acctstarttime >= bindparam("since", type_=_A.acctstarttime.type), _OPEN))
    .group_by(_A.username)
)
_ORDER = (_A.acctstarttime, _A.radacctid)
# of all sessions that began before this one, the end that came last
_RUNS = (
    select(
        _A.radacctid,
        _A.username,
        _A.acctsessionid,
        _A.nasipaddress,
        _A.nasportid,
        _A.callingstationid,
        _A.acctinterval,
        _A.acctstarttime,
        _SEEN.label("ended"),
        func.max(_SEEN)
        .over(partition_by=_A.username, order_by=_ORDER, rows=(None, -1))
        .label("earlier_end"),
    )
    .where(_NAMES, _A.acctstarttime >= bindparam("since", type_=_A.acctstarttime.type))
    .subquery()
)
_EARLIER = RADACCT.alias("earlier")
_E = _EARLIER.c
_LIVE_BEFORE = (  # the session whose end that is; looked for only where there is an overlap
    select(func.min(_E.radacctid))
    .where(
        _E.username == _RUNS.c.username,
        _E.acctstarttime <= _RUNS.c.acctstarttime,
        _E.radacctid != _RUNS.c.radacctid,
        func.coalesce(_E.acctstoptime, _E.acctupdatetime, _E.acctstarttime) == _RUNS.c.earlier_end,
    )
    .scalar_subquery()
)
_OVERLAPPING = (
    select(_RUNS, _LIVE_BEFORE.label("live_before"))
    .where(_RUNS.c.acctstarttime < _RUNS.c.earlier_end)
    .subquery()
)
_OVERLAPS = (
    select(
        _OVERLAPPING,
        _A.acctsessionid.label("earlier_id"),
        _A.nasipaddress.label("earlier_nas"),
        _A.nasportid.label("earlier_port"),
        _A.callingstationid.label("earlier_station"),
    )
    .join(RADACCT, _A.radacctid == _OVERLAPPING.c.live_before)
    .order_by(_OVERLAPPING.c.username, _OVERLAPPING.c.acctstarttime)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSigns:
    """When a login's open sessions began and last spoke, and when any of them last did."""

    open_since: dt.datetime | None = None
    open_seen: dt.datetime | None = None
    last_seen: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOverlap:
    """A session that began while an earlier one of the same login still spoke.

    Both were live in [since, until), as far as accounting knows. `interim_s` 0 = not told.
    `place` is the NAS and its port, `station` the Calling-Station-Id; "" = not told.
    """

    session_id: str
    place: str
    station: str
    earlier_id: str
    earlier_place: str
    earlier_station: str
    since: dt.datetime
    until: dt.datetime
    interim_s: int


def session_signs(
    session: Session, logins: Collection[str], since: dt.datetime
) -> dict[str, SessionSigns]:
    """Return the signs of each login that has sessions begun since then, or open ones."""
    found: dict[str, SessionSigns] = {}
    for part in chunks(sorted(set(logins))):
        for row in session.execute(_SIGNS, {"names": part, "since": since}):
            found[row.username] = SessionSigns(
                open_since=row.open_since, open_seen=row.open_seen, last_seen=row.last_seen
            )
    return found


def session_overlaps(
    session: Session, logins: Collection[str], since: dt.datetime
) -> dict[str, tuple[SessionOverlap, ...]]:
    """Return the overlaps of each login among its sessions begun since then, by time.

    A session whose Stop was lost ends where it last spoke: it overlaps nothing that came later.
    """
    found: dict[str, list[SessionOverlap]] = defaultdict(list)
    for part in chunks(sorted(set(logins))):
        for row in session.execute(_OVERLAPS, {"names": part, "since": since}):
            found[row.username].append(
                SessionOverlap(
                    session_id=row.acctsessionid,
                    place=_place(row.nasipaddress, row.nasportid),
                    station=row.callingstationid or "",
                    earlier_id=row.earlier_id,
                    earlier_place=_place(row.earlier_nas, row.earlier_port),
                    earlier_station=row.earlier_station or "",
                    since=row.acctstarttime,
                    until=min(row.ended, row.earlier_end),
                    interim_s=row.acctinterval or 0,
                )
            )
    return {login: tuple(overlaps) for login, overlaps in found.items()}


def _place(nas: object, port: str | None) -> str:
    return f"{nas} {port or ''}".strip()


def accounting_span(session: Session) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return when the first and the newest session that accounting holds began."""
    row = session.execute(select(func.min(_A.acctstarttime), func.max(_A.acctstarttime))).one()
    return row[0], row[1]
