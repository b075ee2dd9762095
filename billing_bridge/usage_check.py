"""Holding the windows of usage to the ledger: each is the sum of its events, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from inventory import instant_text

from .event import USAGE_TYPES, LedgerEvent
from .stored import EVENTS, read_rows, stored_rows
from .usage_rows import WINDOWS

_CHUNK = 200

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMismatch:
    """Where a window and the events of it differ; "" = there is none."""

    service_id: str
    meter: str
    since: str
    ledger: str
    table: str


def usage_check(session: Session) -> tuple[UsageMismatch, ...]:
    """Return every difference between the windows' table and the usage events of the ledger.

    Use one read transaction. Reads service by service, in flat memory.
    """
    return tuple(found for part in _services(session) for found in _differences(session, part))


def _services(session: Session) -> Iterator[Sequence[str]]:
    metered = select(EVENTS.c.service_id).where(EVENTS.c.type.in_(USAGE_TYPES))
    named = union(metered, select(WINDOWS.c.service_id))
    ids = sorted(session.connection().execute(named).scalars())
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def _differences(session: Session, service_ids: Sequence[str]) -> Iterator[UsageMismatch]:
    connection = session.connection()
    query = stored_rows().where(
        EVENTS.c.service_id.in_(service_ids),
        EVENTS.c.type.in_(USAGE_TYPES),
        EVENTS.c.service_version == 0,
    )
    told = _folded(read_rows(connection, query))
    kept: dict[Key, str] = {}
    for row in connection.execute(select(WINDOWS).where(WINDOWS.c.service_id.in_(service_ids))):
        key = (row.service_id, row.meter, instant_text(row.since))
        kept[key] = _shown(row.until, row.quantity, row.revision, row.seq, row.event_id)
    for key in sorted(told.keys() | kept.keys()):
        ledger, table = told.get(key, ""), kept.get(key, "")
        if ledger != table:
            yield UsageMismatch(
                service_id=key[0], meter=key[1], since=key[2], ledger=ledger, table=table
            )


def _folded(events: Iterator[LedgerEvent]) -> dict[Key, str]:
    sums: dict[Key, int] = {}
    newest: dict[Key, LedgerEvent] = {}
    places: dict[str, Key] = {}
    for event in events:
        if event.type == "event.reversed":
            key = places.get(event.reverses_event_id)
            if key is None:  # of money, which has no window
                continue
        else:
            key = (event.service_id, event.payload["meter"], instant_text(event.effective_at))
            places[event.event_id] = key
            newest[key] = event
        sums[key] = sums.get(key, 0) + event.quantity
    return {
        key: _shown(
            event.effective_until, sums[key], event.payload["revision"], event.seq, event.event_id
        )
        for key, event in newest.items()
    }


def _shown(until: object, quantity: int, revision: int, seq: int, event_id: str) -> str:
    return f"{quantity} until {until}, revision {revision}, seq {seq}, event {event_id}"
