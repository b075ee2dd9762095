"""The outbox of the webhooks: filled from the ledger exactly once, emptied at least once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from inventory import LedgerBroken, Refused, UnknownName

from .consumer import advance, begin_at, forget, position, read_batch
from .event import EVENT_TYPES, Head
from .export import event_line
from .ledger import find_event
from .webhook_rows import DeliveryRow, WebhookRow

FIRST_DELAY_S = 10
LONGEST_DELAY_S = 6 * 3600
ROOM = 10_000  # deliveries kept waiting at most: the ledger itself is the longer queue
_BATCH = 500
_SEE = "See: bandmaster webhook list"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookState:
    """A subscription and how it stands; `behind` counts events of the ledger not yet looked at."""

    row: WebhookRow
    waiting: int
    dead: int
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One delivery that this process is to try now; `attempts` includes this one."""

    name: str
    seq: int
    event_id: str
    attempts: int
    body: bytes


def add_webhook(session: Session, row: WebhookRow, begin: Head) -> None:
    """Keep a subscription that is told what comes after `begin`; Refused where the name is used."""
    if session.get(WebhookRow, row.name) is not None:
        raise Refused(row.name, "is a webhook already", _SEE)
    session.add(row)
    begin_at(session, _reader(row.name), begin)


def find_webhook(session: Session, name: str) -> WebhookRow:
    """Return the subscription; UnknownName if there is none."""
    row = session.get(WebhookRow, name)
    if row is None:
        shown = name if name.isprintable() else ascii(name)
        raise UnknownName(f"webhook {shown[:64]}", "is not there", _SEE)
    return row


def list_webhooks(session: Session, head: Head) -> tuple[HookState, ...]:
    """Return every subscription with what waits for it, by name."""
    query = select(DeliveryRow.name, DeliveryRow.state, func.count()).group_by(
        col(DeliveryRow.name), col(DeliveryRow.state)
    )
    counts = {(name, state): count for name, state, count in session.exec(query)}
    rows = session.exec(select(WebhookRow).order_by(col(WebhookRow.name)))
    return tuple(
        HookState(
            row=row,
            waiting=counts.get((row.name, "waiting"), 0),
            dead=counts.get((row.name, "dead"), 0),
            behind=head.seq - position(session, _reader(row.name)),
        )
        for row in rows
    )


def remove_webhook(session: Session, name: str) -> int:
    """Remove a subscription, its cursor and what it has not taken; return how many that were."""
    row = _locked(session, name) or find_webhook(session, name)
    gone = session.connection().execute(delete(DeliveryRow).where(col(DeliveryRow.name) == name))
    forget(session, _reader(name))
    session.delete(row)
    return gone.rowcount


def fill_outbox(session: Session, name: str, now: dt.datetime) -> bool:
    """Move the next events from the ledger to the outbox; return whether there may be more.

    The rows and the cursor stand or fall together, so each event comes in once. Where `ROOM`
    deliveries wait nothing is read, nor for a subscription that was paused or removed meanwhile: a
    cursor made anew would begin with the whole ledger. Raises LedgerBroken.
    """
    row = _locked(session, name)
    waiting = select(func.count()).where(
        col(DeliveryRow.name) == name, col(DeliveryRow.state) == "waiting"
    )
    if row is None or not row.active or session.exec(waiting).one() >= ROOM:
        return False
    events = read_batch(session, _reader(name), limit=_BATCH)
    wanted = frozenset(row.types.split(",")) if row.types else frozenset(EVENT_TYPES)
    session.add_all(
        DeliveryRow(
            name=name,
            seq=event.seq,
            event_id=event.event_id,
            type=event.type,
            state="waiting",
            attempts=0,
            next_at=now,
            problem="",
        )
        for event in events
        if event.type in wanted
    )
    session.flush()
    advance(session, _reader(name), events)
    return len(events) == _BATCH


def claim(session: Session, name: str, now: dt.datetime, lease_s: float) -> Claimed | None:
    """Take the oldest delivery that is due, for `lease_s`; None where there is none.

    It counts as tried before it is: a process that dies in the middle leaves it due again later.
    Raises LedgerBroken where the ledger no longer has that event.
    """
    due = (
        select(DeliveryRow)
        .where(
            col(DeliveryRow.name) == name,
            col(DeliveryRow.state) == "waiting",
            col(DeliveryRow.next_at) <= now,
        )
        .order_by(col(DeliveryRow.seq))
        .limit(1)
    )
    row = session.exec(due).first()
    if row is None:
        return None
    taken = session.connection().execute(
        update(DeliveryRow)
        .where(
            col(DeliveryRow.name) == name,
            col(DeliveryRow.seq) == row.seq,
            col(DeliveryRow.attempts) == row.attempts,
            col(DeliveryRow.next_at) == row.next_at,
        )
        .values(attempts=row.attempts + 1, next_at=now + dt.timedelta(seconds=lease_s))
    )
    if taken.rowcount != 1:  # another process was quicker: the next round sees what is left
        return None
    event = find_event(session, row.event_id)
    if event is None or event.seq != row.seq:
        raise LedgerBroken(
            f"webhook {name}", f"seq {row.seq} of the ledger is not the event that was to be told"
        )
    return Claimed(
        name=name,
        seq=row.seq,
        event_id=row.event_id,
        attempts=row.attempts + 1,
        body=event_line(event).encode(),
    )


def taken(session: Session, done: Claimed, now: dt.datetime) -> None:
    """The other side took it: it leaves the outbox."""
    session.connection().execute(
        delete(DeliveryRow).where(
            col(DeliveryRow.name) == done.name, col(DeliveryRow.seq) == done.seq
        )
    )
    session.connection().execute(
        update(WebhookRow)
        .where(col(WebhookRow.name) == done.name)
        .values(taken=WebhookRow.taken + 1, last_taken_at=now, last_problem="")
    )


def not_taken(
    session: Session, tried: Claimed, problem: str, next_at: dt.datetime, *, dead: bool
) -> None:
    """It was not taken: it waits until `next_at`, or for a person."""
    session.connection().execute(
        update(DeliveryRow)
        .where(
            col(DeliveryRow.name) == tried.name,
            col(DeliveryRow.seq) == tried.seq,
            col(DeliveryRow.attempts) == tried.attempts,
        )
        .values(state="dead" if dead else "waiting", next_at=next_at, problem=problem)
    )
    session.connection().execute(
        update(WebhookRow).where(col(WebhookRow.name) == tried.name).values(last_problem=problem)
    )


def delay_s(attempts: int, draw: float) -> float:
    """Return how long to wait after so many attempts: twice as long each time, at most 6 hours.

    `draw` in [0, 1) spreads it over the second half of that, so that what failed together does not
    come back together.
    """
    longest: int = min(FIRST_DELAY_S << min(attempts - 1, 30), LONGEST_DELAY_S)
    return longest * (1 + draw) / 2


def dead_letters(session: Session, name: str = "", limit: int = 100) -> tuple[DeliveryRow, ...]:
    """Return what was given up, oldest first; of one subscription where named."""
    query = select(DeliveryRow).where(col(DeliveryRow.state) == "dead")
    if name:
        query = query.where(col(DeliveryRow.name) == name)
    ordered = query.order_by(col(DeliveryRow.name), col(DeliveryRow.seq)).limit(limit)
    return tuple(session.exec(ordered))


def requeue(session: Session, name: str, seqs: Sequence[int], now: dt.datetime) -> int:
    """Let dead deliveries wait again, from their first attempt; no `seqs` = all. Return how many.

    Raises UnknownName for a seq that is not among the dead.
    """
    find_webhook(session, name)
    dead = [col(DeliveryRow.name) == name, col(DeliveryRow.state) == "dead"]
    if seqs:
        dead.append(col(DeliveryRow.seq).in_(seqs))
        known = set(session.exec(select(DeliveryRow.seq).where(*dead)))
        for seq in seqs:
            if seq not in known:
                raise UnknownName(
                    f"seq {seq}",
                    f"is not among the dead letters of {name}",
                    "See: bandmaster webhook dead",
                )
    revived = update(DeliveryRow).where(*dead).values(state="waiting", attempts=0, next_at=now)
    return session.connection().execute(revived).rowcount


def _locked(session: Session, name: str) -> WebhookRow | None:
    query = select(WebhookRow).where(col(WebhookRow.name) == name).with_for_update()
    return session.exec(query).first()


def _reader(name: str) -> str:
    return f"webhook:{name}"
