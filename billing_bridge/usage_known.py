"""Windows of usage as the ledger had them at an earlier seq: what was counted since is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from inventory import one_of

from .event import LedgerEvent
from .stored import EVENTS, read_rows, stored_rows
from .usage import UsedWindow

_COUNTED = ("usage.recorded", "usage.corrected")


def as_known(
    connection: Connection, windows: Mapping[str, Sequence[UsedWindow]], upto: int
) -> dict[str, tuple[UsedWindow, ...]]:
    """Return each service's windows without the events behind `upto`; 0 = with all of them.

    Only windows that were counted anew since are read from the chain.
    """
    newer = [one for each in windows.values() for one in each if one.seq > upto] if upto else []
    told = _told(connection, newer, upto)
    return {
        service_id: tuple(known for one in each if (known := _before(one, told, upto)) is not None)
        for service_id, each in windows.items()
    }


def _told(
    connection: Connection, newer: Sequence[UsedWindow], upto: int
) -> dict[tuple[object, ...], list[LedgerEvent]]:
    found: dict[tuple[object, ...], list[LedgerEvent]] = {_key(one): [] for one in newer}
    if not newer:
        return found
    query = stored_rows().where(
        one_of(EVENTS.c.service_id, sorted({one.service_id for one in newer})),
        EVENTS.c.type.in_(_COUNTED),
        EVENTS.c.seq <= upto,
        EVENTS.c.effective_at.between(
            min(one.since for one in newer), max(one.since for one in newer)
        ),
    )
    for event in read_rows(connection, query):
        key = (event.service_id, event.payload["meter"], event.effective_at)
        if key in found:
            found[key].append(event)
    return found


def _before(
    window: UsedWindow, told: Mapping[tuple[object, ...], Sequence[LedgerEvent]], upto: int
) -> UsedWindow | None:
    if not upto or window.seq <= upto:
        return window
    events = told[_key(window)]
    if not events:
        return None
    last = events[-1]
    return replace(
        window,
        quantity=sum(event.quantity for event in events),
        samples=last.payload.get("samples", 0),
        coverage_bp=last.payload.get("coverage_bp", -1),
        revision=last.payload["revision"],
        event_id=last.event_id,
        seq=last.seq,
        late="late" in last.payload,
    )


def _key(window: UsedWindow) -> tuple[object, ...]:
    return window.service_id, window.meter, window.since
