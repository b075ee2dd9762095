"""Sessions' readings counted by window: each byte where the reading lies that first had it."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import BindParameter, Row, bindparam, func, select, update
from sqlalchemy.orm import Session

from .accounting import AccountingRecord, Reading, read_session
from .usage import Rollup
from .usage_due import DueWindow, Place, places_of
from .usage_exceptions import UsageProblem, keep_problems
from .usage_radius import RADIUS
from .usage_rows import READINGS, SESSIONS

_CHUNK = 500
_LEFT_OUT = update(READINGS).where(
    READINGS.c.session_key == bindparam("the_session"),
    READINGS.c.record_key == bindparam("the_record"),
)


def count_radius(
    session: Session, due: Sequence[DueWindow], now: dt.datetime
) -> tuple[tuple[Rollup, ...], int]:
    """Return what the due windows hold, and how many readings were newly found to be odd.

    What grew between two readings belongs where the later one lies. A counter that goes back and a
    word after the stop count for nothing: each is an exception with a price.
    """
    places = places_of(session, {window.service_id for window in due})
    windows = {(window.service_id, window.since): window for window in due}
    sums: dict[tuple[str, dt.datetime], list[int]] = {key: [0, 0, 0] for key in windows}
    by_service: defaultdict[str, list[DueWindow]] = defaultdict(list)
    for window in due:
        by_service[window.service_id].append(window)
    odd: list[UsageProblem] = []
    marked: list[dict[str, Any]] = []
    for (service_id, session_key), rows in _readings(session, due).items():
        records = {_record(row): row for row in rows}
        read = read_session(records)
        for before, after in pairwise(read.readings):
            _add(sums, by_service[service_id], service_id, before, after)
        for record, row in records.items():
            if bool(row.left_out) != (record in read.left_out):
                marked.append(
                    {
                        "the_session": session_key,
                        "the_record": row.record_key,
                        "left_out": record in read.left_out,
                    }
                )
        for record, text in zip(read.left_out, read.odd, strict=True):
            row = records[record]
            odd.append(_regressive(service_id, row, text))
    if marked:
        session.connection().execute(_LEFT_OUT, marked)
    kept = keep_problems(session, odd, now)
    return tuple(
        rollup
        for key in sorted(sums)
        for rollup in _rollups(windows[key], places[key[0]], sums[key])
    ), kept


def _readings(session: Session, due: Sequence[DueWindow]) -> dict[tuple[str, str], list[Row[Any]]]:
    """Return the readings of the sessions that reach into the windows, and the last one before."""
    if not due:
        return {}
    floor = min(window.since for window in due)
    # the base of each session first, by its index: a session may have thousands of readings
    base = (
        select(func.max(READINGS.c.at))
        .where(
            READINGS.c.session_key == SESSIONS.c.session_key,
            READINGS.c.at <= floor,
            READINGS.c.left_out.is_(False),
        )
        .scalar_subquery()
    )
    names: BindParameter[Any] = bindparam("names", expanding=True)
    reaching = (
        select(
            SESSIONS.c.service_id, SESSIONS.c.session_key, func.coalesce(base, floor).label("at")
        )
        .where(SESSIONS.c.service_id.in_(names), SESSIONS.c.last_at > floor)
        .subquery()
    )
    good = (READINGS.c.at > floor) | READINGS.c.left_out.is_(False)
    query = select(reaching.c.service_id, READINGS).where(
        READINGS.c.session_key == reaching.c.session_key, READINGS.c.at >= reaching.c.at, good
    )
    found: defaultdict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    services = sorted({window.service_id for window in due})
    for start in range(0, len(services), _CHUNK):
        part = {"names": services[start : start + _CHUNK]}
        for row in session.connection().execute(query, part):
            found[row.service_id, row.session_key].append(row)
    return found


def _record(row: Row[Any]) -> AccountingRecord:
    """Return a kept reading; it has its place already, so no session time is to move it."""
    return AccountingRecord(
        at=row.at, kind=row.kind, down_bytes=row.down_bytes, up_bytes=row.up_bytes
    )


def _add(
    sums: Mapping[tuple[str, dt.datetime], list[int]],
    windows: Iterable[DueWindow],
    service_id: str,
    before: Reading,
    after: Reading,
) -> None:
    for window in windows:
        if window.since < after.at <= window.until:
            into = sums[service_id, window.since]
            into[0] += after.down_bytes - before.down_bytes
            into[1] += after.up_bytes - before.up_bytes
            into[2] += 1


def _rollups(window: DueWindow, place: Place, sums: Sequence[int]) -> Iterable[Rollup]:
    for meter, quantity in (("down", sums[0]), ("up", sums[1])):
        yield Rollup(
            service_id=window.service_id,
            account_id=place.account_id,
            meter=meter,  # type: ignore[arg-type]  # both are meters
            since=window.since,
            until=window.until,
            quantity=quantity,
            unit="byte",
            source=RADIUS,
            samples=sums[2],
        )


def _regressive(service_id: str, row: Row[Any], text: str) -> UsageProblem:
    return UsageProblem(
        kind="regressive",
        source=RADIUS,
        record_key=f"{row.session_key}:{row.record_key}",
        identifier=service_id,
        service_id=service_id,
        since=row.at,
        quantity=row.down_bytes + row.up_bytes,
        unit="byte",
        evidence={"why": text, "down": str(row.down_bytes), "up": str(row.up_bytes)},
    )
