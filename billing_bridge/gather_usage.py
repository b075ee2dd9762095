"""What was used, for the gate's rules: sums by period, too fast windows, what was not counted."""

from __future__ import annotations

import datetime as dt
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Integer, case, cast, func, select
from sqlalchemy.orm import Session

from inventory import Account, Service, active_rates, local_date, one_of

from .proration import midnight, period_holding
from .rules.usage_facts import Cohort, Fast, Measured95, Stray, UsageFacts, UsedPeriod
from .stored import EVENTS
from .usage_rows import EXCEPTIONS, WINDOWS

PERIODS = 13  # the newest complete one, and up to twelve before it
COHORT_BACK = dt.timedelta(days=30)
FAST_BACK = dt.timedelta(days=40)
_BYTES = ("down", "up")
_DAY = dt.timedelta(days=1)
_W = WINDOWS.c
_E = EXCEPTIONS.c
_MINE = (one_of(_W.service_id, "names"), _W.meter.in_(_BYTES))
_LIVING = _E.status.in_(("open", "ack"))
_BITS_A_BYTE, _BPS_A_KBPS, _MINUTE_S = 8, 1000, 60


def usage_facts(
    session: Session,
    services: Sequence[Service],
    accounts: Mapping[str, Account],
    now: dt.datetime,
    metered: Collection[str],
) -> dict[str, UsageFacts]:
    """Return what each service used; services without usage, exceptions or windows are left out.

    Whole periods are summed for the plans `metered` alone: a year of hours is dear to read, and of
    the others no amount hangs on it.
    """
    names = [service.service_id for service in services]
    periods = _periods(session, [s for s in services if s.plan_code in metered], accounts, now)
    last = _last_used(session, names)
    fast = _fast(session, names, now - FAST_BACK)
    measured = _measured(session, names, now - 2 * COHORT_BACK)
    odd = _strays(session, one_of(_E.service_id, "names"), {"names": names})
    odd_by = defaultdict(list)
    for stray in odd:
        odd_by[stray.service_id].append(stray)
    known = periods.keys() | last.keys() | fast.keys() | measured.keys() | odd_by.keys()
    return {
        name: UsageFacts(
            periods=tuple(periods.get(name, ())),
            last_used=last.get(name),
            fast=tuple(fast.get(name, ())),
            measured=measured.get(name),
            strays=tuple(odd_by.get(name, ())),
        )
        for name in known
    }


def newest_usage(session: Session) -> dt.datetime | None:
    """Return until when usage was counted last: later than that nothing proves silence."""
    query = (
        select(EVENTS.c.effective_until)
        .where(EVENTS.c.type.in_(("usage.recorded", "usage.corrected")))
        .order_by(EVENTS.c.seq.desc())
    )
    newest: dt.datetime | None = session.scalar(query.limit(1))
    return newest


def strays_of_nobody(session: Session) -> tuple[Stray, ...]:
    """Return the records that name no service of ours."""
    return _strays(session, _E.service_id == "", {})


def cohorts(session: Session, now: dt.datetime, tiers: Collection[str]) -> dict[str, Cohort]:
    """Return how much the active services of each of these tiers used in the last 30 days.

    Eight bytes for each service are all that is kept of them.
    """
    if not tiers:
        return {}
    active = active_rates()
    query = (
        select(active.c.tier_code, func.sum(_W.quantity))
        .join(active, active.c.service_id == _W.service_id)
        .where(_W.meter.in_(_BYTES), _W.since >= now - COHORT_BACK, _W.since < now)
        .where(active.c.tier_code.in_(sorted(tiers)))
        .group_by(_W.service_id, active.c.tier_code)
    )
    sums: dict[str, array[int]] = defaultdict(lambda: array("q"))
    for tier, used in session.execute(query.execution_options(yield_per=1000)):
        sums[tier].append(int(used))
    return {tier: Cohort.of(used) for tier, used in sums.items()}


def _periods(
    session: Session,
    services: Sequence[Service],
    accounts: Mapping[str, Account],
    now: dt.datetime,
) -> dict[str, list[UsedPeriod]]:
    """Return the complete billing periods of each service that have usage, by time."""
    cycles: dict[tuple[str, int], list[str]] = defaultdict(list)
    for service in services:
        account = accounts[service.account_id]
        cycles[account.time_zone, account.cycle_day].append(service.service_id)
    found: dict[str, list[UsedPeriod]] = defaultdict(list)
    for (zone, cycle_day), names in cycles.items():
        bounds = _bounds(now, zone, cycle_day)
        number = case(*((_W.since < end, place) for place, end in enumerate(bounds[1:])))
        sums = [func.sum(case((_W.meter == meter, _W.quantity), else_=0)) for meter in _BYTES]
        query = (
            select(_W.service_id, number.label("number"), *sums, func.max(_W.seq))
            .where(*_MINE, _W.since >= bounds[0], _W.since < bounds[-1])
            .group_by(_W.service_id, "number")
            .order_by(_W.service_id, "number")
        )
        rows: Iterable[Any] = session.execute(query, {"names": names})
        for service_id, place, down, up, seq in rows:
            found[service_id].append(
                UsedPeriod(
                    since=bounds[place],
                    until=bounds[place + 1],
                    down=int(down),
                    up=int(up),
                    seq=seq,
                )
            )
    return found


def _bounds(now: dt.datetime, zone: str, cycle_day: int) -> list[dt.datetime]:
    """Return the instants that part the newest complete periods, ascending."""
    start = period_holding(local_date(now, zone), cycle_day).start
    bounds = [midnight(start, zone)]
    for _ in range(PERIODS):
        start = period_holding(start - _DAY, cycle_day).start
        bounds.append(midnight(start, zone))
    return bounds[::-1]


def _last_used(session: Session, names: Sequence[str]) -> dict[str, dt.datetime]:
    """Return when each active service last used anything: found from the newest window back."""
    active = active_rates()
    newest = [
        select(_W.until)
        .where(_W.service_id == active.c.service_id, _W.meter == meter, _W.quantity > 0)
        .order_by(_W.since.desc())
        .limit(1)
        .scalar_subquery()
        for meter in _BYTES
    ]
    query = select(active.c.service_id, *newest).where(one_of(active.c.service_id, "names"))
    found = {}
    for service_id, *untils in session.execute(query, {"names": names}):
        known = [until for until in untils if until is not None]
        if known:
            found[service_id] = max(known)
    return found


def _fast(session: Session, names: Sequence[str], since: dt.datetime) -> dict[str, list[Fast]]:
    """Return the windows in which more came through than the line's tier lets through."""
    active = active_rates()
    seconds = _seconds(session.get_bind().dialect.name)
    kbps = case((_W.meter == "down", active.c.down_kbps), else_=active.c.up_kbps)
    query = (
        select(WINDOWS, kbps.label("kbps"))
        .join(active, active.c.service_id == _W.service_id)
        .where(*_MINE, _W.since >= since)
        # what would not even fill a minute needs no look at how long its window is
        .where(_W.quantity * _BITS_A_BYTE > kbps * _BPS_A_KBPS * _MINUTE_S)
        .where(_W.quantity * _BITS_A_BYTE > kbps * _BPS_A_KBPS * seconds)
        .order_by(_W.service_id, _W.since, _W.meter)
    )
    found: dict[str, list[Fast]] = defaultdict(list)
    for row in session.execute(query, {"names": names}):
        found[row.service_id].append(
            Fast(
                meter=row.meter,
                since=row.since,
                until=row.until,
                quantity=row.quantity,
                tier_kbps=row.kbps,
                event_id=row.event_id,
            )
        )
    return found


def _seconds(dialect: str) -> ColumnElement[int]:
    """Return how long a window is, as each database counts it."""
    if dialect == "postgresql":
        return cast(func.extract("epoch", _W.until - _W.since), Integer)
    day = 86_400
    return cast(func.round((func.julianday(_W.until) - func.julianday(_W.since)) * day), Integer)


def _measured(session: Session, names: Sequence[str], since: dt.datetime) -> dict[str, Measured95]:
    query = (
        select(WINDOWS)
        .where(one_of(_W.service_id, "names"), _W.meter == "p95", _W.since >= since)
        .order_by(_W.service_id, _W.since)
    )
    return {
        row.service_id: Measured95(
            since=row.since,
            until=row.until,
            bps=row.quantity,
            coverage_bp=row.coverage_bp,
            samples=row.samples,
            event_id=row.event_id,
            seq=row.seq,
        )
        for row in session.execute(query, {"names": names})
    }


def _strays(
    session: Session, where: ColumnElement[bool], given: Mapping[str, Any]
) -> tuple[Stray, ...]:
    keys = (_E.service_id, _E.kind, _E.source, _E.identifier, _E.currency, _E.exponent)
    query = (
        select(
            *keys,
            func.count(),
            func.sum(_E.amount_minor),
            func.min(_E.seen_at),
            func.max(_E.seen_at),
            func.min(_E.record_key),
        )
        .where(_LIVING, where)
        .group_by(*keys)
        .order_by(*keys)
    )
    rows: Iterable[Any] = session.execute(query, given)
    return tuple(
        Stray(
            service_id=row[0],
            kind=row[1],
            source=row[2],
            identifier=row[3],
            currency=row[4],
            exponent=row[5],
            records=row[6],
            amount_minor=int(row[7]),
            since=row[8],
            newest=row[9],
            record_key=row[10],
        )
        for row in rows
    )
