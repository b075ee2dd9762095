"""Writing and finding events: one sequence, in the order of the commits, without gaps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.orm import Session

from inventory import DatabaseProblem, KeyConflict, LedgerBroken, UnknownName, instant_text

from .checks import check_fresh
from .event import (
    Head,
    LedgerEvent,
    NewEvent,
    body_text,
    chain_hash,
    event_body,
    payload_hash,
    recorded_event,
)
from .insert import insert_events
from .stored import (
    EVENTS,
    HEAD,
    events_by_service,
    events_named,
    events_of,
    newest_named,
    read_rows,
    stored_rows,
)

_LOCKED_HEAD = select(HEAD.c.seq, HEAD.c.hash).with_for_update()
_KNOWN = events_of(
    newest_named(EVENTS.c.idempotency_key, EVENTS.c.source == bindparam("source"), "keys"),
    newest_named(EVENTS.c.service_id, EVENTS.c.service_version > 0, "services"),
    dict.fromkeys(("sqlite", "postgresql"), select(func.max(EVENTS.c.seq))),
)


def append(
    session: Session, events: Sequence[NewEvent], recorded_at: dt.datetime
) -> tuple[LedgerEvent, ...]:
    """Record the events at the end of the chain and return them in the order given.

    Call it LAST in the transaction: it takes the lock on the head, which every writer waits for
    until the caller's commit, so sequence order is commit order. `recorded_at` is the database's
    clock; the ledger's time never steps back, so the recorded one may be later.
    An event whose (source, idempotency_key) is known is not recorded again: the stored one is
    returned if it asks for the same, else KeyConflict is raised.
    Raises StalePlan (the service's version moved), Refused (illegal transition, reversed before),
    NotNewest (a newer change of the service stands), LedgerBroken, ValueError (malformed event).
    """
    session.flush()
    if not events:
        return ()
    connection = session.connection()
    head = _lock_head(connection)
    # statements after the lock: one that waited for it would still see the older newest event
    known = _known(connection, events)
    if (known[-1].seq, known[-1].hash) != (head.seq, head.hash) if known else head.seq:
        raise LedgerBroken("ledger", f"its head names seq {head.seq}, which is not the last event")
    recorded = recorded_at.astimezone(dt.UTC)
    if known:
        recorded = max(recorded, known[-1].recorded_at)
    placed = {(event.source, event.idempotency_key): event for event in known}
    hashes = {key: payload_hash(event.body) for key, event in placed.items()}
    newest = {event.service_id: event for event in known if event.service_version}
    fresh: list[_Fresh] = []
    for event in events:
        body = event_body(event, recorded)
        text = body_text(body)
        asked = payload_hash(text)
        key = (event.source, event.idempotency_key)
        if key in hashes:
            _check_same(event, asked, hashes[key])
            continue
        hashes[key] = asked
        fresh.append(_Fresh(event, body, text, asked))
    if fresh:
        check_fresh(connection, [one.event for one in fresh], newest)
        made: list[LedgerEvent] = []
        insert_events(connection, _chained(fresh, head, recorded, made), len(fresh))
        placed |= {(event.source, event.idempotency_key): event for event in made}
        connection.execute(update(HEAD).values(seq=made[-1].seq, hash=made[-1].hash))
    return tuple(placed[event.source, event.idempotency_key] for event in events)


class _Fresh(NamedTuple):
    """An event that is not in the ledger yet: its body, the body's text, and what it asks for."""

    event: NewEvent
    body: dict[str, Any]
    text: str
    asked: bytes


def _chained(
    fresh: Sequence[_Fresh], head: Head, recorded: dt.datetime, made: list[LedgerEvent]
) -> Iterator[tuple[LedgerEvent, bytes]]:
    """Yield each event at its place behind the head, with its payload hash, and add it to `made`.

    One at a time: the database takes the first ones in while the next are hashed.
    """
    stamp = instant_text(recorded)
    for _event, body, text, asked in fresh:
        own = chain_hash(head.hash, head.seq + 1, stamp, text)
        made.append(recorded_event(body, text, recorded, head, own))
        head = Head(seq=head.seq + 1, hash=own)
        yield made[-1], asked


def lock_head(session: Session) -> Head:
    """Lock the head until the caller's commit, before anything that an event will rest on is read.

    Whoever posts what is new since the last time needs that; for all others `append` is enough.
    """
    session.flush()
    return _lock_head(session.connection())


def ledger_head(session: Session) -> Head:
    """Return the newest event's seq and hash: what an anchor outside the database keeps."""
    row = session.connection().execute(select(HEAD.c.seq, HEAD.c.hash)).one()
    return Head(seq=row.seq, hash=bytes(row.hash))


def head_at(session: Session, seq: int) -> Head:
    """Return the place of event `seq` (0 = before the first); UnknownName if there is none."""
    if seq == 0:
        return Head()
    query = select(EVENTS.c.hash).where(EVENTS.c.seq == seq)
    own = session.connection().execute(query).scalar_one_or_none()
    if own is None:
        raise UnknownName(f"seq {seq}", "is not in the ledger")
    return Head(seq=seq, hash=bytes(own))


def tail(session: Session, after_seq: int = 0, limit: int = 100) -> tuple[LedgerEvent, ...]:
    """Return at most `limit` events after `after_seq`, in order."""
    query = stored_rows().where(EVENTS.c.seq > after_seq).limit(limit)
    return tuple(read_rows(session.connection(), query))


def find_event(session: Session, event_id: str) -> LedgerEvent | None:
    """Return the event of that id, or None."""
    query = stored_rows().where(EVENTS.c.event_id == event_id)
    return next(read_rows(session.connection(), query), None)


def find_by_key(session: Session, source: str, idempotency_key: str) -> LedgerEvent | None:
    """Return the event recorded under that key, or None."""
    columns = EVENTS.c
    query = stored_rows().where(
        columns.source == source, columns.idempotency_key == idempotency_key
    )
    return next(read_rows(session.connection(), query), None)


def find_by_change(session: Session, change_id: str) -> tuple[LedgerEvent, ...]:
    """Return what a change posted, in order: its event, then its shift or its reversal."""
    # the second condition lets PostgreSQL use the partial index
    query = stored_rows().where(EVENTS.c.change_id == change_id, EVENTS.c.change_id != "")
    return tuple(read_rows(session.connection(), query))


def find_by_service(session: Session, service_id: str) -> tuple[LedgerEvent, ...]:
    """Return all events of a service, in order."""
    query = stored_rows().where(EVENTS.c.service_id == service_id)
    return tuple(read_rows(session.connection(), query))


def find_by_services(
    session: Session, service_ids: Iterable[str]
) -> dict[str, tuple[LedgerEvent, ...]]:
    """Return each service's versioned events in order: what `fold_service` needs, in bulk."""
    return events_by_service(session.connection(), service_ids)


def _lock_head(connection: Connection) -> Head:
    row = connection.execute(_LOCKED_HEAD).one_or_none()
    if row is None:
        raise DatabaseProblem(
            "ledger", "has no head row", "Create the tables first: bandmaster init"
        )
    return Head(seq=row.seq, hash=bytes(row.hash))


def _known(connection: Connection, events: Sequence[NewEvent]) -> tuple[LedgerEvent, ...]:
    """Return what is stored under the events' keys, their services' newest, and the last event."""
    services = sorted({event.service_id for event in events if event.service_version})
    found: dict[int, LedgerEvent] = {}
    for source in sorted({event.source for event in events}):
        keys = sorted({event.idempotency_key for event in events if event.source == source})
        named = {"source": source, "keys": keys, "services": services}
        found |= {event.seq: event for event in events_named(connection, _KNOWN, **named)}
    return tuple(found[seq] for seq in sorted(found))


def _check_same(event: NewEvent, asked: bytes, stored: bytes) -> None:
    if asked != stored:
        raise KeyConflict(
            event.idempotency_key,
            "this idempotency key was used before for something else",
            "Choose another key, or repeat the first request unchanged.",
        )
