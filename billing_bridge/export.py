"""Handing the ledger to other systems: one CloudEvents JSON line for each event, from a place."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy.orm import Session

from inventory import WrongUse, canonical_json, instant_text

from .event import Head, LedgerEvent, follow
from .stored import EVENTS, read_rows, stored_rows

_BATCH = 1000


def export_lines(session: Session, after: Head, limit: int = 0) -> Iterator[str]:
    """Yield one line (without its end) for each event after `after`; at most `limit`, 0 = all.

    CloudEvents 1.0 in JSON format with the extension `sequence`; names differ from ours only here.
    `data` is the event's body, byte for byte. Every link is checked before its line is given:
    raises LedgerBroken. Memory stays flat; hold one read transaction for one picture.
    """
    given = 0
    while limit == 0 or given < limit:
        size = min(_BATCH, limit - given) if limit else _BATCH
        query = stored_rows().where(EVENTS.c.seq > after.seq).limit(size)
        events = tuple(follow(read_rows(session.connection(), query), after))
        if not events:
            return
        yield from map(event_line, events)
        given += len(events)
        after = Head(seq=events[-1].seq, hash=events[-1].hash)


def position_of(line: str) -> Head:
    """Return where an exported line stands, so that the export can go on after it."""
    try:
        attributes = json.loads(line)
        place = Head(seq=int(attributes["sequence"]), hash=bytes.fromhex(attributes["ledgerhash"]))
    except (ValueError, KeyError, TypeError) as error:
        raise WrongUse("line", "is not one of an export of this ledger") from error
    return place


def event_line(event: LedgerEvent) -> str:
    """Return an event as one CloudEvents document, without a line's end."""
    return canonical_json(
        {
            "specversion": "1.0",
            "id": event.event_id,
            "source": event.source,
            "type": event.type,
            "subject": event.service_id or event.account_id,
            "time": instant_text(event.effective_at),
            "datacontenttype": "application/json",
            "recordedtime": instant_text(event.recorded_at),
            "sequence": f"{event.seq:020d}",  # the extension wants text that sorts as the numbers
            "ledgerprevhash": event.prev_hash.hex(),
            "ledgerhash": event.hash.hex(),
            "data": json.loads(event.body),
        }
    )
