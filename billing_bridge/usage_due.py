"""Windows to be counted anew: whoever marks one and whoever takes it lose nothing to each other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from inventory import accounts_many, local_date, services_many

from .proration import midnight
from .usage_rows import DUE

WINDOW = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DueWindow:
    """A service's window (half-open) that something new was measured in."""

    service_id: str
    since: dt.datetime
    until: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose account a service is, and in which zone its days and windows begin."""

    account_id: str
    time_zone: str


def window_of(instant: dt.datetime, zone_name: str) -> tuple[dt.datetime, dt.datetime]:
    """Return the window that holds an instant: full hours of the local day, cut at its end.

    Counted from local midnight, so that none reaches over the end of a billing period, in zones of
    half hours and on dates of 23 to 25 hours alike.
    """
    start, until = _day(local_date(instant, zone_name), zone_name)
    since = start + (instant - start) // WINDOW * WINDOW
    return since, min(since + WINDOW, until)


def windows_between(
    first: dt.datetime, last: dt.datetime, zone_name: str
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Yield the windows from the one that holds `first` to the one that holds `last`."""
    while first <= last:
        since, until = window_of(first, zone_name)
        yield since, until
        first = until


def places_of(session: Session, service_ids: Collection[str]) -> dict[str, Place]:
    """Return the account and zone of each service; UnknownName for one that no line has."""
    services = services_many(session, sorted(service_ids))
    accounts = accounts_many(session, {service.account_id for service in services})
    return {
        service.service_id: Place(
            account_id=service.account_id, time_zone=accounts[service.account_id].time_zone
        )
        for service in services
    }


def mark_due(
    session: Session,
    source: str,
    spans: Iterable[tuple[str, dt.datetime, dt.datetime]],
    places: Mapping[str, Place],
) -> None:
    """Mark the windows of (service, first, last instant) to be counted anew."""
    keys = {
        (service_id, window)
        for service_id, first, last in spans
        for window in windows_between(first, last, places[service_id].time_zone)
    }
    # one order for everybody: no two transactions wait for each other
    rows = [
        {"source": source, "service_id": service_id, "since": since, "until": until, "marks": 1}
        for service_id, (since, until) in sorted(keys)
    ]
    if not rows:
        return
    connection = session.connection()
    made = postgresql.insert(DUE) if connection.dialect.name == "postgresql" else sqlite.insert(DUE)
    connection.execute(
        made.on_conflict_do_update(
            index_elements=["source", "service_id", "since"], set_={"marks": DUE.c.marks + 1}
        ),
        rows,
    )


def take_due(
    session: Session, source: str, before: dt.datetime, limit: int
) -> tuple[DueWindow, ...]:
    """Take at most `limit` windows that ended by `before`, the earliest first.

    They are this transaction's to count: read what was measured only after this, and let them go
    back (roll back) where they cannot be counted. Those that another counts now are left to it.
    """
    key = (DUE.c.source, DUE.c.service_id, DUE.c.since)
    chosen = (
        select(*key)
        .where(DUE.c.source == source, DUE.c.until <= before)
        .order_by(DUE.c.until, DUE.c.service_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = (
        delete(DUE)
        .where(tuple_(*key).in_(chosen))
        .returning(DUE.c.service_id, DUE.c.since, DUE.c.until)
    )
    rows = session.connection().execute(taken)
    return tuple(sorted(DueWindow(**row) for row in rows.mappings()))


@lru_cache(maxsize=4096)
def _day(date: dt.date, zone_name: str) -> tuple[dt.datetime, dt.datetime]:
    return midnight(date, zone_name), midnight(date + dt.timedelta(days=1), zone_name)
