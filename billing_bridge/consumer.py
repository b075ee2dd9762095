"""Reading the ledger exactly once: a named cursor that moves in the reader's own transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, literal, select, update
from sqlalchemy.orm import Session

from inventory import LedgerBroken

from .event import EMPTY_HASH, Head, LedgerEvent, follow
from .stored import CURSORS, EVENTS, read_rows, stored_rows


def read_batch(session: Session, consumer: str, limit: int = 500) -> tuple[LedgerEvent, ...]:
    """Return the next events that `consumer` has not had, at most `limit`, in order.

    Apply their effects and call `advance` in the same transaction: then each takes effect exactly
    once. The cursor is made at first use and locked, so that of two readers of one name the second
    waits. Raises LedgerBroken where the chain is no longer the one the cursor came along.
    """
    connection = session.connection()
    columns = CURSORS.c
    named = columns.name == consumer
    fresh = select(literal(consumer), literal(0), literal(EMPTY_HASH)).where(
        ~select(CURSORS).where(named).exists()
    )
    connection.execute(
        insert(CURSORS).from_select([columns.name, columns.last_seq, columns.last_hash], fresh)
    )
    cursor = connection.execute(
        select(columns.last_seq, columns.last_hash).where(named).with_for_update()
    ).one()
    came = Head(seq=cursor.last_seq, hash=bytes(cursor.last_hash))
    _check_still_there(session, consumer, came)
    query = stored_rows().where(EVENTS.c.seq > came.seq).limit(limit)
    return tuple(follow(read_rows(connection, query), came))


def begin_at(session: Session, consumer: str, head: Head) -> None:
    """Make the cursor of a reader that is to see what comes after `head` and nothing before it."""
    made = insert(CURSORS).values(name=consumer, last_seq=head.seq, last_hash=head.hash)
    session.connection().execute(made)


def position(session: Session, consumer: str) -> int:
    """Return the seq of the last event that a reader has had, 0 where it has had none."""
    query = select(CURSORS.c.last_seq).where(CURSORS.c.name == consumer)
    return session.connection().execute(query).scalar_one_or_none() or 0


def forget(session: Session, consumer: str) -> None:
    """Remove a reader's cursor."""
    session.connection().execute(delete(CURSORS).where(CURSORS.c.name == consumer))


def advance(session: Session, consumer: str, events: Sequence[LedgerEvent]) -> None:
    """Move the cursor past a batch that `read_batch` gave in this transaction."""
    if not events:
        return
    columns = CURSORS.c
    done = session.connection().execute(
        update(CURSORS)
        .where(columns.name == consumer, columns.last_seq == events[0].seq - 1)
        .values(last_seq=events[-1].seq, last_hash=events[-1].hash)
    )
    if done.rowcount != 1:
        msg = f"cursor {consumer!r} is not where this batch began"
        raise RuntimeError(msg)


def _check_still_there(session: Session, consumer: str, came: Head) -> None:
    if came.seq == 0:
        return
    query = select(EVENTS.c.hash).where(EVENTS.c.seq == came.seq)
    found = session.connection().execute(query).scalar_one_or_none()
    if found is None or bytes(found) != came.hash:
        raise LedgerBroken(
            consumer,
            f"seq {came.seq} of the ledger is not the event that this reader saw there",
            "Find out who changed the ledger: bandmaster ledger verify",
        )
