"""What must hold before an event joins the chain, asked under the lock on its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, true

from inventory import NotNewest, Refused, StalePlan, UnknownName

from .event import LedgerEvent, NewEvent, check_transition
from .fold import acts
from .stored import EVENTS, events_by_service, events_named, events_of, newest_named

_REVERSAL = events_of(
    newest_named(EVENTS.c.reverses_event_id, EVENTS.c.reverses_event_id != ""),
)
_BY_ID = events_of(newest_named(EVENTS.c.event_id, true()))


def check_fresh(
    connection: Connection, fresh: Sequence[NewEvent], newest: Mapping[str, LedgerEvent]
) -> None:
    """Raise unless the events may follow what is stored; they are not stored yet.

    `newest` is each service's newest versioned event in the ledger.
    StalePlan: a version is not the next one. Refused: a state transition is illegal, or the event
    to be reversed was reversed before. NotNewest: a newer change of the service stands.
    """
    last: dict[str, NewEvent] = dict(newest)
    for event in fresh:
        if not event.service_version:
            continue
        before = last.get(event.service_id)
        version = before.service_version if before else 0
        if event.service_version != version + 1:
            raise StalePlan(
                event.service_id,
                f"is at version {version} now, the change was made for version "
                f"{event.service_version - 1}",
                "Plan again.",
            )
        state = before.payload["state"] if before else "none"
        check_transition(event.service_id, event.type, state, event.payload["state"])
        last[event.service_id] = event
    reversals = [event for event in fresh if event.type == "event.reversed"]
    if reversals:
        _check_reversals(connection, reversals)


def _check_reversals(connection: Connection, reversals: Sequence[NewEvent]) -> None:
    named = {event.reverses_event_id for event in reversals}
    for earlier in events_named(connection, _REVERSAL, names=sorted(named)):
        raise Refused(
            earlier.reverses_event_id, "was reversed before; an event is reversed only once"
        )
    found = events_named(connection, _BY_ID, names=sorted(named))
    originals = {event.event_id: event for event in found}
    touched = {event.service_id for event in reversals if event.service_version}
    histories = events_by_service(connection, touched)
    for event in reversals:
        original = originals.get(event.reverses_event_id)
        if original is None:
            raise UnknownName(event.reverses_event_id, "is not in the ledger")
        _check_opposite(event, original)
        if event.service_version:
            _check_newest(original, histories[event.service_id])


def _check_opposite(event: NewEvent, original: LedgerEvent) -> None:
    same = ("account_id", "service_id", "currency", "exponent", "unit")
    differing = [name for name in same if getattr(event, name) != getattr(original, name)]
    if event.amount_minor != -original.amount_minor:
        differing.append("amount_minor")
    if event.quantity != -original.quantity:
        differing.append("quantity")
    if bool(event.service_version) != bool(original.service_version):
        differing.append("service_version")
    if differing:
        msg = f"reversal of {original.event_id} is not its opposite: {', '.join(differing)}"
        raise ValueError(msg)


def _check_newest(original: LedgerEvent, history: tuple[LedgerEvent, ...]) -> None:
    newer = [event for event in acts(history) if event.service_version > original.service_version]
    if newer:
        raise NotNewest(
            original.service_id,
            f"{newer[-1].type} of change {newer[-1].change_id or newer[-1].event_id} is newer",
            "Undo the newer one first.",
        )
