"""Reading stored events: the body speaks, its typed copies only help to find it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, select

from .event import LedgerEvent, read_event
from .rows import BillingEvent, ConsumerCursor, LedgerHead

_CHUNK = 500  # names in one IN list
EVENTS: Table = BillingEvent.__table__  # type: ignore[attr-defined]
HEAD: Table = LedgerHead.__table__  # type: ignore[attr-defined]
CURSORS: Table = ConsumerCursor.__table__  # type: ignore[attr-defined]


def stored_rows() -> Select[Any]:
    """Return the query for whole events in the order of the chain; narrow it with `where`."""
    columns = EVENTS.c
    return select(
        columns.seq, columns.recorded_at, columns.body, columns.prev_hash, columns.hash
    ).order_by(columns.seq)


def read_rows(connection: Connection, query: Select[Any]) -> Iterator[LedgerEvent]:
    """Yield the events of a query made from `stored_rows`."""
    return (read_event(*row) for row in connection.execute(query))


def chunked(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """Cut distinct, sorted names into parts that fit one IN list."""
    ordered = sorted(set(names))
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


def events_by_id(connection: Connection, event_ids: Iterable[str]) -> dict[str, LedgerEvent]:
    """Return those of the events that exist, by event_id."""
    return {
        event.event_id: event
        for part in chunked(event_ids)
        for event in read_rows(connection, stored_rows().where(EVENTS.c.event_id.in_(part)))
    }


def events_by_service(
    connection: Connection, service_ids: Iterable[str]
) -> dict[str, tuple[LedgerEvent, ...]]:
    """Return each service's versioned events in order; a service without any has none."""
    found: dict[str, tuple[LedgerEvent, ...]] = {}
    for part in chunked(service_ids):
        query = stored_rows().where(EVENTS.c.service_id.in_(part), EVENTS.c.service_version > 0)
        lists: dict[str, list[LedgerEvent]] = {service_id: [] for service_id in part}
        for event in read_rows(connection, query):
            lists[event.service_id].append(event)
        found |= {service_id: tuple(events) for service_id, events in lists.items()}
    return found
