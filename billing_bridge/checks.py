"""What must hold before an event joins the chain, asked under the lock on its head."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from inventory import NotNewest, Refused, StalePlan, UnknownName

from .event import LedgerEvent, check_transition
from .fold import acts
from .stored import EVENTS, chunked, events_by_id, events_by_service, read_rows, stored_rows


def check_fresh(connection: Connection, fresh: Sequence[LedgerEvent]) -> None:
    """Raise unless the events may follow what is stored; they are not stored yet.

    StalePlan: a version is not the next one. Refused: a state transition is illegal, or the event
    to be reversed was reversed before. NotNewest: a newer change of the service stands.
    """
    versioned = [event for event in fresh if event.service_version]
    newest = _newest(connection, {event.service_id for event in versioned})
    for event in versioned:
        before = newest.get(event.service_id)
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
        newest[event.service_id] = event
    reversals = [event for event in fresh if event.type == "event.reversed"]
    if reversals:
        _check_reversals(connection, reversals)


def _newest(connection: Connection, service_ids: set[str]) -> dict[str, LedgerEvent]:
    columns = EVENTS.c
    found: dict[str, LedgerEvent] = {}
    for part in chunked(service_ids):
        last = (
            select(columns.service_id, func.max(columns.service_version).label("version"))
            .where(columns.service_id.in_(part), columns.service_version > 0)
            .group_by(columns.service_id)
            .subquery()
        )
        query = stored_rows().join(
            last,
            (columns.service_id == last.c.service_id) & (columns.service_version == last.c.version),
        )
        # said again so that the partial index can serve the join
        query = query.where(columns.service_version > 0)
        found |= {event.service_id: event for event in read_rows(connection, query)}
    return found


def _check_reversals(connection: Connection, reversals: Sequence[LedgerEvent]) -> None:
    originals = events_by_id(connection, (event.reverses_event_id for event in reversals))
    columns = EVENTS.c
    for part in chunked(originals):
        query = select(columns.reverses_event_id).where(
            columns.reverses_event_id.in_(part), columns.reverses_event_id != ""
        )
        for event_id in connection.execute(query).scalars():
            raise Refused(event_id, "was reversed before; an event is reversed once")
    touched = {event.service_id for event in reversals if event.service_version}
    histories = events_by_service(connection, touched)
    for event in reversals:
        original = originals.get(event.reverses_event_id)
        if original is None:
            raise UnknownName(event.reverses_event_id, "is not in the ledger")
        _check_opposite(event, original)
        if event.service_version:
            _check_newest(original, histories[event.service_id])


def _check_opposite(event: LedgerEvent, original: LedgerEvent) -> None:
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
