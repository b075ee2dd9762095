"""RADIUS accounting: what was heard of sessions, kept once, and counted by window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from inventory import AccountedSession, digest, instant_text, services_of_logins

from .accounting import AccountingRecord
from .usage_due import mark_due, places_of
from .usage_exceptions import UsageProblem, keep_problems, settle_problems
from .usage_rows import READINGS, SESSIONS
from .usage_store import HEARING, insert_new, one_at_a_time, upsert

RADIUS = "radius"
AHEAD = dt.timedelta(minutes=5)  # a NAS's clock may be that fast
_CHUNK = 500
_TICK = dt.timedelta(microseconds=1)
_FURTHER = ("closed", "last_at", "down_bytes", "up_bytes", "radacct_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One thing that a NAS said of a session."""

    nas: str
    acct_session_id: str
    login: str
    port: str  # NAS-Port-Id or NAS-Port
    class_: str
    record: AccountingRecord
    radacct_id: int = 0

    @property
    def session_key(self) -> str:
        """What tells sessions apart: their own id alone is not unique."""
        return digest([self.nas, self.acct_session_id, self.login, self.class_ or self.port])


@dataclass(slots=True)
class _Known:
    """A session as it is kept, on its way to what has been heard of it now."""

    session_key: str
    nas: str
    login: str
    service_id: str
    closed: bool
    started_at: dt.datetime
    last_at: dt.datetime
    down_bytes: int
    up_bytes: int
    radacct_id: int

    def row(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of what was heard: readings added, sessions that nobody's line has."""

    readings: int = 0
    unmatched: int = 0
    exceptions: int = 0

    def __add__(self, other: Taken) -> Taken:
        """Both together."""
        return Taken(
            readings=self.readings + other.readings,
            unmatched=self.unmatched + other.unmatched,
            exceptions=self.exceptions + other.exceptions,
        )


def heard_of(row: AccountedSession) -> Heard | None:
    """Return what a row of radacct says now; None for one that has no time in it yet."""
    stopped, at = row.stopped_at, row.stopped_at or row.updated_at or row.started_at
    if at is None:
        return None
    fresh = row.session_s <= 0 and not row.input_octets and not row.output_octets
    return Heard(
        nas=row.nas,
        acct_session_id=row.acct_session_id,
        login=row.login,
        port=row.port,
        class_=row.class_,
        radacct_id=row.radacct_id,
        record=AccountingRecord(
            at=at,
            kind="stop" if stopped else "start" if fresh else "interim",
            down_bytes=max(row.output_octets, 0),
            up_bytes=max(row.input_octets, 0),
            session_s=row.session_s,
        ),
    )


def last_radacct(session: Session) -> int:
    """Return the highest number of a radacct row that was read; 0 = none was."""
    return session.connection().execute(select(func.max(SESSIONS.c.radacct_id))).scalar() or 0


def open_radacct(session: Session, after: int, limit: int) -> tuple[int, ...]:
    """Return the numbers of the radacct rows whose sessions are not known to have ended."""
    number = SESSIONS.c.radacct_id
    query = select(number).where(number > after, SESSIONS.c.closed.is_(False))
    return tuple(session.connection().execute(query.order_by(number).limit(limit)).scalars())


def keep_heard(session: Session, heard: Sequence[Heard], now: dt.datetime) -> Taken:
    """Keep what was heard, each reading once, and mark the windows that it may change.

    Of a login that no line has the readings are kept as well, and an exception says so. What is in
    the future is an exception alone: the NAS's clock is wrong.
    """
    one_at_a_time(session.connection(), HEARING)
    future = [_future(one, now) for one in heard if one.record.at > now + AHEAD]
    timely = [one for one in heard if one.record.at <= now + AHEAD]
    known = _sessions(session, timely)
    services = services_of_logins(session, {one.login for one in known.values()})
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    spans: list[tuple[str, dt.datetime, dt.datetime]] = []
    for one in timely:
        kept = known[one.session_key]
        kept.service_id = kept.service_id or services.get(kept.login, "")
        row = _reading(one.session_key, one.record, kept.started_at, now)
        rows.setdefault((row["session_key"], row["record_key"]), row)
    fresh = _unknown(session, rows)
    for row in fresh:
        kept = known[row["session_key"]]
        if kept.service_id and row["down_bytes"] + row["up_bytes"]:
            spans.append((kept.service_id, *_touched(row["at"], kept.last_at)))
        _take_in(kept, row)
    for one in timely:
        kept = known[one.session_key]
        kept.radacct_id = kept.radacct_id or one.radacct_id
    connection = session.connection()
    ordered = [known[key].row() for key in sorted(known)]
    upsert(connection, SESSIONS, ordered, *_FURTHER)
    insert_new(connection, READINGS, fresh)
    mark_due(session, RADIUS, spans, places_of(session, {span[0] for span in spans}))
    touched = {row["session_key"] for row in fresh}
    lost = [known[key] for key in sorted(touched) if not known[key].service_id]
    problems = keep_problems(session, [*future, *map(_unmatched, lost)], now)
    settle_problems(session, RADIUS, [_record_name(one) for one in timely])
    return Taken(readings=len(fresh), unmatched=len(lost), exceptions=problems)


def close_nas(session: Session, nas: str, at: dt.datetime) -> int:
    """Close all open sessions of a NAS that says it has (re)started; return how many those were.

    They end at their last known counters (Accounting-On and -Off, RFC 2866); what the NAS says of
    them afterwards follows the stop.
    """
    one_at_a_time(session.connection(), HEARING)
    opened = SESSIONS.c.nas == nas, SESSIONS.c.closed.is_(False), SESSIONS.c.last_at <= at
    rows = session.connection().execute(select(SESSIONS).where(*opened)).all()
    stops = [
        _reading(
            row.session_key,
            AccountingRecord(
                at=row.last_at, kind="stop", down_bytes=row.down_bytes, up_bytes=row.up_bytes
            ),
            row.started_at,
            at,
        )
        for row in rows
    ]
    insert_new(session.connection(), READINGS, stops)
    session.connection().execute(update(SESSIONS).where(*opened).values(closed=True))
    return len(rows)


def match_again(session: Session, limit: int = 10_000) -> int:
    """Give the sessions of logins that a line has by now to its service; return how many."""
    one_at_a_time(session.connection(), HEARING)
    columns = SESSIONS.c
    query = select(columns.session_key, columns.login)
    rows = session.connection().execute(query.where(columns.service_id == "").limit(limit)).all()
    services = services_of_logins(session, {row.login for row in rows})
    found = {row.session_key: services[row.login] for row in rows if row.login in services}
    return sum(give_session(session, key, service_id) for key, service_id in sorted(found.items()))


def give_session(session: Session, session_key: str, service_id: str) -> int:
    """Say whose a session is that nobody's line had; return 1, or 0 where it is somebody's."""
    mine = SESSIONS.c.session_key == session_key, SESSIONS.c.service_id == ""
    given = session.connection().execute(
        update(SESSIONS).where(*mine).values(service_id=service_id)
    )
    if given.rowcount:
        times = select(READINGS.c.at).where(READINGS.c.session_key == session_key)
        spans = [
            (service_id, at - _TICK, at - _TICK)
            for at in session.connection().execute(times).scalars()
        ]
        mark_due(session, RADIUS, spans, places_of(session, {service_id}))
        settle_problems(session, RADIUS, [session_key])
    return int(given.rowcount)


def _sessions(session: Session, heard: Sequence[Heard]) -> dict[str, _Known]:
    """Return the sessions spoken of, by key; of one not known what is first heard of it."""
    found: dict[str, _Known] = {}
    keys = sorted({one.session_key for one in heard})
    for start in range(0, len(keys), _CHUNK):
        query = select(SESSIONS).where(SESSIONS.c.session_key.in_(keys[start : start + _CHUNK]))
        for row in session.connection().execute(query):
            found[row.session_key] = _Known(**(row._asdict() | {"closed": bool(row.closed)}))
    for one in sorted(heard, key=lambda one: (one.record.kind != "start", one.record.at)):
        if one.session_key not in found:
            start_at = _started(one.record)
            found[one.session_key] = _Known(
                session_key=one.session_key,
                nas=one.nas,
                login=one.login,
                service_id="",
                closed=False,
                started_at=start_at,
                last_at=start_at,
                down_bytes=0,
                up_bytes=0,
                radacct_id=one.radacct_id,
            )
    return found


def _started(record: AccountingRecord) -> dt.datetime:
    """A lost start is told by the session's time."""
    return record.at - dt.timedelta(seconds=max(record.session_s, 0))


def _reading(
    session_key: str, record: AccountingRecord, started_at: dt.datetime, now: dt.datetime
) -> dict[str, Any]:
    """Return a reading's row: placed in the session's own time, and named by what it says."""
    at = record.at
    if record.session_s >= 0:
        at = min(started_at + dt.timedelta(seconds=record.session_s), now)
    said = [record.kind, record.session_s, str(record.down_bytes), str(record.up_bytes)]
    if record.session_s < 0:
        said.append(instant_text(record.at))
    return {
        "session_key": session_key,
        "record_key": digest(said)[:32],
        "at": at,
        "kind": record.kind,
        "down_bytes": record.down_bytes,
        "up_bytes": record.up_bytes,
        "session_s": record.session_s,
        "left_out": False,
    }


def _unknown(
    session: Session, rows: Mapping[tuple[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return those of the readings that are not kept yet, in the order of their keys."""
    keys = sorted({session_key for session_key, _ in rows})
    names = sorted({record_key for _, record_key in rows})
    known: set[tuple[str, str]] = set()
    for start in range(0, len(keys), _CHUNK):
        query = select(READINGS.c.session_key, READINGS.c.record_key).where(
            READINGS.c.session_key.in_(keys[start : start + _CHUNK]),
            READINGS.c.record_key.in_(names),
        )
        known |= {(row[0], row[1]) for row in session.connection().execute(query)}
    return [rows[key] for key in sorted(rows.keys() - known)]


def _touched(at: dt.datetime, last_at: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """A reading changes its own window and, where it comes out of order, those up to the last."""
    return at - _TICK, max(at, last_at) - _TICK


def _take_in(kept: _Known, row: Mapping[str, Any]) -> None:
    kept.closed = kept.closed or row["kind"] == "stop"
    kept.last_at = max(kept.last_at, row["at"])
    kept.down_bytes = max(kept.down_bytes, row["down_bytes"])
    kept.up_bytes = max(kept.up_bytes, row["up_bytes"])


def _record_name(one: Heard) -> str:
    return f"{one.session_key}:{one.record.kind}:{instant_text(one.record.at)}"


def _future(one: Heard, now: dt.datetime) -> UsageProblem:
    return UsageProblem(
        kind="future",
        source=RADIUS,
        record_key=_record_name(one),
        identifier=one.login,
        since=one.record.at,
        quantity=one.record.down_bytes + one.record.up_bytes,
        unit="byte",
        evidence={"nas": one.nas, "session": one.acct_session_id, "heard_at": instant_text(now)},
    )


def _unmatched(one: _Known) -> UsageProblem:
    return UsageProblem(
        kind="unmatched",
        source=RADIUS,
        record_key=one.session_key,
        identifier=one.login,
        since=one.started_at,
        until=one.last_at,
        quantity=one.down_bytes + one.up_bytes,
        unit="byte",
        evidence={"nas": one.nas, "down": str(one.down_bytes), "up": str(one.up_bytes)},
    )
