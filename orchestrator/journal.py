"""The journal: write-ahead intent, compare-and-set transitions, and the story of each set."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, bindparam, insert, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from inventory import BandmasterError, DatabaseProblem, KeyConflict, OpenChange, new_id, table_of
from workflows import Handle, Order, PlanItem, handle_from_json, handle_json, item_from_json

from .database import database_now, writing
from .rows import ChangeRow, DecisionRow, OrderRow, ParticipantRow, SetRow, StepRow

UNDECIDED = "INTENT"
Line = dict[str, str]  # of a story: kind, participant, detail
OPEN_STATES = ("INTENT", "COMMITTED", "ABORTED", "REVERSED")
SESSION_PREFIX = "session:"

_CHANGE = table_of(ChangeRow)
_SET = table_of(SetRow)
_DECISION = table_of(DecisionRow)
_PART = table_of(ParticipantRow)
_STEP = table_of(StepRow)
# statements are made once: making one costs more than running it
_CHANGES = (
    select(ChangeRow)
    .where(col(ChangeRow.set_id) == bindparam("of_set"))
    .order_by(col(ChangeRow.change_id))
)
_ORDERED = (
    select(ChangeRow, OrderRow)
    .join(OrderRow, col(OrderRow.order_id) == col(ChangeRow.order_id))
    .where(col(ChangeRow.set_id) == bindparam("of_set"))
    .order_by(col(ChangeRow.change_id))
)
_PARTS = (
    select_columns(
        _SET.c.plan_id, _SET.c.attempt, _SET.c.first_write_at, _PART.c.name, _PART.c.handle
    )
    .select_from(
        _SET.outerjoin(_PART, (_PART.c.set_id == _SET.c.set_id) & (_PART.c.role == "device"))
    )
    .where(_SET.c.set_id == bindparam("of_set"))
)
_TAKEN = select(ChangeRow).where(
    col(ChangeRow.service_id).in_(bindparam("names", expanding=True)),
    col(ChangeRow.state).in_(OPEN_STATES),
)
_OPEN_SETS = select_columns(_CHANGE.c.set_id, _CHANGE.c.applied_at).where(
    _CHANGE.c.state.in_(OPEN_STATES)
)
_BUMPED = (
    update(_CHANGE)
    .where(_CHANGE.c.set_id == bindparam("of_set"), _CHANGE.c.state.in_(OPEN_STATES))
    .values(epoch=_CHANGE.c.epoch + 1)
)
_MOVED = update(_CHANGE).where(
    _CHANGE.c.change_id.in_(bindparam("names", expanding=True)),
    _CHANGE.c.state == bindparam("was"),
    _CHANGE.c.epoch == bindparam("under"),
)
_DECIDED = select_columns(_DECISION.c.decided_at).where(
    _DECISION.c.change_id == bindparam("the_change")
)
_VERDICT = select_columns(_DECISION.c.verdict).where(_DECISION.c.set_id == bindparam("of_set"))
_BY_KEY = select(OrderRow).where(
    col(OrderRow.idempotency_key).in_(bindparam("names", expanding=True))
)
_STORY = insert(_STEP).inline()  # nobody asks for the number of a line


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
    orders: Mapping[str, OrderRow]  # by order_id
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
    for taken in list_open_changes(session, [change.service_id for change in changes]):
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
            sent_at=None,
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
            sent_at=None,
        )
        for change_id, service_id in sessions.items()
    )


def list_open_changes(session: Session, service_ids: Iterable[str]) -> tuple[ChangeRow, ...]:
    """Return the changes of these services that are not closed: one a service at most (W12)."""
    return tuple(session.exec(_TAKEN, params={"names": list(service_ids)}))


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
    """Return a set with its changes, their orders, items and handles."""
    ordered = tuple(session.exec(_ORDERED, params={"of_set": set_id}))
    changes = tuple(change for change, _order in ordered)
    parts = session.connection().execute(_PARTS, {"of_set": set_id}).all()
    row = parts[0]
    return OpenSet(
        set_id=set_id,
        plan_id=row.plan_id,
        attempt=row.attempt,
        epoch=max(change.epoch for change in changes),
        changes=changes,
        items={change.change_id: item_from_json(change.item) for change in changes},
        orders={order.order_id: order for _change, order in ordered},
        handles={
            part.name: handle_from_json(json.loads(part.handle)) for part in parts if part.name
        },
        first_write_at=row.first_write_at,
    )


def list_changes(session: Session, set_id: str) -> tuple[ChangeRow, ...]:
    """Return the changes of a set, oldest first."""
    return tuple(session.exec(_CHANGES, params={"of_set": set_id}))


def list_open_sets(session: Session) -> tuple[str, ...]:
    """Return the sets with at least one change that is not closed.

    Those not yet applied come first, each kind oldest first: what they have left armed on a
    device would look like somebody else's to the closing pass of another set.
    """
    found: dict[str, bool] = {}
    for set_id, applied_at in session.connection().execute(_OPEN_SETS):
        found[set_id] = found.get(set_id, True) and applied_at is not None
    return tuple(sorted(found, key=lambda set_id: (found[set_id], set_id)))


def bump_epoch(session: Session, set_id: str) -> None:
    """Shut out every older incarnation of this set's worker before reading anything (W7)."""
    session.connection().execute(_BUMPED, {"of_set": set_id})


def move(
    session: Session,
    change_ids: tuple[str, ...],
    epoch: int,
    was: str,
    **values: Any,
) -> None:
    """Compare-and-set changes from state `was`; EpochLostError unless every one of them moved."""
    where = {"names": change_ids, "was": was, "under": epoch}
    result = session.connection().execute(_MOVED, where | values)
    if result.rowcount != len(change_ids):
        raise EpochLostError(
            "change set",
            "another worker has taken it over; this one stops",
            "See what it does: bandmaster recover",
        )


def find_verdict(session: Session, set_id: str) -> str:
    """Return COMMIT, ABORT, or "" while the set is undecided."""
    found: str | None = session.connection().execute(_VERDICT, {"of_set": set_id}).scalars().first()
    return found or ""


def find_decided_at(session: Session, change_id: str) -> dt.datetime:
    """Return when a change was decided."""
    where = {"the_change": change_id}
    at: dt.datetime = session.connection().execute(_DECIDED, where).scalar_one()
    return at


def line(kind: str, participant: str = "", **detail: Any) -> Line:
    """Return one line of a story, not written yet; texts of devices are masked by the caller."""
    text = json.dumps(detail, sort_keys=True, ensure_ascii=False)
    return {"kind": kind, "participant": participant, "detail": text}


def note(
    session: Session, set_id: str, *lines: Line, now: dt.datetime | None = None
) -> dt.datetime:
    """Add lines, one or more, to the story of a set; return their time: `now`, or the store's."""
    at = now or database_now(session)
    rows = [{"set_id": set_id, "at": at, **each} for each in lines]
    session.connection().execute(_STORY, rows)
    return at


def keep_story(engine: Engine, set_id: str, lines: Sequence[Line]) -> dt.datetime | None:
    """Write lines of a story, or none where the store is away: nothing is ever decided by them.

    A device that waits for its confirm is not left alone because a disk is full. Returns the
    store's time, None where it is away or where there was nothing to write.
    """
    with contextlib.suppress(DatabaseProblem):
        if lines:
            with writing(engine) as session:
                return note(session, set_id, *lines)
    return None


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
    rows = session.exec(_BY_KEY, params={"names": list(idempotency_keys)})
    return {row.idempotency_key: row for row in rows}


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
