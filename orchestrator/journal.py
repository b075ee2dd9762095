"""The journal: write-ahead intent, compare-and-set transitions, and the story of each set."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Table, bindparam, update
from sqlmodel import Session, col, select

from inventory import BandmasterError, DatabaseProblem, KeyConflict, OpenChange, new_id
from workflows import Handle, Order, PlanItem, handle_from_json, handle_json, item_from_json

from .database import database_now, writing
from .rows import ChangeRow, DecisionRow, OrderRow, ParticipantRow, SetRow, StepRow

UNDECIDED = "INTENT"
_CHANGE: Table = ChangeRow.__table__  # type: ignore[attr-defined]
_MOVED = update(_CHANGE).where(
    _CHANGE.c.change_id.in_(bindparam("names", expanding=True)),
    _CHANGE.c.state == bindparam("was"),
    _CHANGE.c.epoch == bindparam("under"),
)
OPEN_STATES = ("INTENT", "COMMITTED", "ABORTED", "REVERSED")
SESSION_PREFIX = "session:"


class EpochLostError(BandmasterError):
    """Another incarnation has taken this set over: stop at once, recovery is theirs (W7)."""

    exit_code = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSet:
    """A set as the journal holds it, under one epoch."""

    set_id: str
    plan_id: str
    attempt: int
    epoch: int
    changes: tuple[ChangeRow, ...]
    items: Mapping[str, PlanItem]  # by change_id
    handles: Mapping[str, Handle]  # by device
    first_write_at: dt.datetime | None


def write_intent(
    session: Session,
    row: SetRow,
    changes: tuple[ChangeRow, ...],
    handles: Mapping[str, Handle],
    sessions: Mapping[str, str],
) -> None:
    """Make the intent durable before the first byte goes anywhere (W1).

    `sessions` maps change_id to the service whose live session takes part. Raises OpenChange
    where one of the services has an open change already (W12).
    """
    taken = session.exec(
        select(ChangeRow).where(
            col(ChangeRow.service_id).in_([change.service_id for change in changes]),
            col(ChangeRow.state).in_(OPEN_STATES),
        )
    ).first()
    if taken is not None:
        raise open_change(taken)
    session.add(row)
    session.add_all(changes)
    session.add_all(
        ParticipantRow(
            set_id=row.set_id,
            name=name,
            role="device",
            service_id="",
            handle=json.dumps(handle_json(handle)),
            at_goal_since=None,
            settled=False,
        )
        for name, handle in handles.items()
    )
    session.add_all(
        ParticipantRow(
            set_id=row.set_id,
            name=session_name(change_id),
            role="session",
            service_id=service_id,
            handle="{}",
            at_goal_since=None,
            settled=False,
        )
        for change_id, service_id in sessions.items()
    )


def session_name(change_id: str) -> str:
    """Return the participant name of a change's live session."""
    return SESSION_PREFIX + change_id


def open_change(row: ChangeRow) -> OpenChange:
    """Say which change stands in the way of a service."""
    return OpenChange(
        row.service_id,
        f"change {short(row.change_id, 'c')} is not closed yet ({row.state.lower()})",
        "Settle it first: bandmaster recover",
    )


def short(identifier: str, letter: str) -> str:
    """Return an identifier as people see it: letter, dash and enough of its digits."""
    return f"{letter}-{identifier.replace('-', '')[:16]}"


def load_set(session: Session, set_id: str) -> OpenSet:
    """Return a set with its changes, items and handles."""
    row = session.get_one(SetRow, set_id)
    changes = tuple(
        session.exec(
            select(ChangeRow)
            .where(col(ChangeRow.set_id) == set_id)
            .order_by(col(ChangeRow.change_id))
        )
    )
    parts = session.exec(
        select(ParticipantRow).where(
            col(ParticipantRow.set_id) == set_id, col(ParticipantRow.role) == "device"
        )
    )
    return OpenSet(
        set_id=set_id,
        plan_id=row.plan_id,
        attempt=row.attempt,
        epoch=max(change.epoch for change in changes),
        changes=changes,
        items={change.change_id: item_from_json(change.item) for change in changes},
        handles={part.name: handle_from_json(json.loads(part.handle)) for part in parts},
        first_write_at=row.first_write_at,
    )


def list_open_sets(session: Session) -> tuple[str, ...]:
    """Return the sets with at least one change that is not closed.

    Those not yet applied come first, each kind oldest first: what they have left armed on a
    device would look like somebody else's to the closing pass of another set.
    """
    open_sets = select(ChangeRow.set_id, ChangeRow.applied_at).where(
        col(ChangeRow.state).in_(OPEN_STATES)
    )
    found: dict[str, bool] = {}
    for set_id, applied_at in session.exec(open_sets):
        found[set_id] = found.get(set_id, True) and applied_at is not None
    return tuple(sorted(found, key=lambda set_id: (found[set_id], set_id)))


def bump_epoch(session: Session, set_id: str) -> None:
    """Shut out every older incarnation of this set's worker before reading anything (W7)."""
    session.execute(
        update(ChangeRow)
        .where(col(ChangeRow.set_id) == set_id, col(ChangeRow.state).in_(OPEN_STATES))
        .values(epoch=ChangeRow.epoch + 1)
    )


def move(
    session: Session,
    change_ids: tuple[str, ...],
    epoch: int,
    was: str,
    **values: Any,
) -> None:
    """Compare-and-set changes from state `was`; EpochLostError unless every one of them moved."""
    where = {"names": change_ids, "was": was, "under": epoch}
    result = session.execute(_MOVED, where | values)
    if result.rowcount != len(change_ids):  # type: ignore[attr-defined]
        raise EpochLostError(
            "change set",
            "another worker has taken it over; this one stops",
            "See what it does: bandmaster recover",
        )


def find_verdict(session: Session, set_id: str) -> str:
    """Return COMMIT, ABORT, or "" while the set is undecided."""
    row = session.exec(select(DecisionRow).where(col(DecisionRow.set_id) == set_id)).first()
    return row.verdict if row else ""


def note(session: Session, set_id: str, kind: str, participant: str = "", **detail: Any) -> None:
    """Add one line to the story of a set; texts of devices are masked by the caller."""
    session.add(
        StepRow(
            set_id=set_id,
            at=database_now(session),
            kind=kind,
            participant=participant,
            detail=json.dumps(detail, sort_keys=True, ensure_ascii=False),
        )
    )


def keep_story(engine: Engine, write: Callable[[Session], None]) -> None:
    """Write lines of a story, or none where the store is away: nothing is ever decided by them.

    A device that waits for its confirm is not left alone because a disk is full.
    """
    with contextlib.suppress(DatabaseProblem), writing(engine) as session:
        write(session)


def list_steps(session: Session, set_id: str) -> tuple[StepRow, ...]:
    """Return the story of a set, oldest first."""
    return tuple(
        session.exec(
            select(StepRow).where(col(StepRow.set_id) == set_id).order_by(col(StepRow.step_id))
        )
    )


def find_order(session: Session, idempotency_key: str) -> OrderRow | None:
    """Return the order under a caller's key."""
    return find_orders(session, (idempotency_key,)).get(idempotency_key)


def find_orders(session: Session, idempotency_keys: Iterable[str]) -> dict[str, OrderRow]:
    """Return the orders under callers' keys, by key; a key not used yet has none."""
    wanted = col(OrderRow.idempotency_key).in_(list(idempotency_keys))
    return {row.idempotency_key: row for row in session.exec(select(OrderRow).where(wanted))}


def list_orders(session: Session, opened: OpenSet) -> dict[str, OrderRow]:
    """Return the orders of a set's changes, by order_id."""
    wanted = [change.order_id for change in opened.changes]
    rows = session.exec(select(OrderRow).where(col(OrderRow.order_id).in_(wanted)))
    return {row.order_id: row for row in rows}


def order_row(
    session: Session, known: OrderRow | None, order: Order, plan_id: str, now: dt.datetime
) -> OrderRow:
    """Return the stored order of a caller's key; KeyConflict if it asked for something else (P14).

    `known` is what `find_orders` has under the key. The event's id is made here, with the order,
    so that every retry posts the same event.
    """
    if known is None:
        known = OrderRow(
            order_id=order.order_id,
            idempotency_key=order.idempotency_key,
            payload_hash=order.payload_hash(),
            event_id=new_id(),
            kind=order.kind,
            service_id=order.service_id,
            plan_id=plan_id,
            actor=order.actor,
            reason_code=order.reason_code,
            reason=order.reason,
            ticket=order.ticket,
            created_at=now,
        )
        session.add(known)
    refuse_other_payload(known, order)
    return known


def refuse_other_payload(known: OrderRow, order: Order) -> None:
    """Raise KeyConflict unless the order asks for exactly what its key was first used for."""
    if known.payload_hash != order.payload_hash():
        raise KeyConflict(
            f"idempotency key {order.idempotency_key}",
            f"was used on {known.created_at:%Y-%m-%d %H:%M}Z for another request",
            "Use another key, or repeat the first request exactly.",
        )
