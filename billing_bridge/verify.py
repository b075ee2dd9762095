"""Proving the chain: every link recomputed from the stored text, in one pass of flat memory."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .copies import odd_copies
from .event import Head
from .stored import HEAD

_BATCH = 2_000
_BEFORE_ALL = -(2**63)
_POSTGRES_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
# The driver is asked for bytes as they are stored: decoding rows costs more than hashing them.
# PostgreSQL sends an instant as 64 bits of microseconds.
_QUERIES = {
    ("sqlite", False): """
SELECT seq, recorded_at, CAST(body AS BLOB), prev_hash, hash
FROM billing_event WHERE seq > ? ORDER BY seq LIMIT ?""",
    ("postgresql", False): """
SELECT seq, timestamptz_send(recorded_at), textsend(body), prev_hash, hash
FROM public.billing_event WHERE seq > %s ORDER BY seq LIMIT %s""",
    ("sqlite", True): """
SELECT seq, recorded_at, CAST(body AS BLOB), prev_hash, hash, payload_hash,
       effective_at, effective_until, event_id, source, idempotency_key, type, schema_version,
       account_id, service_id, service_version, change_id, price_version_id, quantity, unit,
       amount_minor, currency, exponent, reverses_event_id, actor, reason_code
FROM billing_event WHERE seq > ? ORDER BY seq LIMIT ?""",
    ("postgresql", True): """
SELECT seq, timestamptz_send(recorded_at), textsend(body), prev_hash, hash, payload_hash,
       timestamptz_send(effective_at), timestamptz_send(effective_until), event_id, source,
       idempotency_key, type, schema_version,
       account_id, service_id, service_version, change_id, price_version_id, quantity, unit,
       amount_minor, currency, exponent, reverses_event_id, actor, reason_code
FROM public.billing_event WHERE seq > %s ORDER BY seq LIMIT %s""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """How many events hold, and the first that does not; `problem` "" = all of them hold.

    `bad_seq` is the first place at which something is wrong, 0 = nothing is.
    """

    events: int
    last: Head
    bad_seq: int = 0
    problem: str = ""


def verify(session: Session, *, deep: bool = False, anchors: Sequence[Head] = ()) -> VerifyReport:
    """Walk the whole chain and say whether it holds; use one read transaction (one snapshot).

    Checked: seq 1..n without gaps, each prev_hash, each hash over the stored text, recorded_at
    never stepping back, the head row, and that the chain passes through every anchor kept outside
    the database. `deep` also compares every typed copy and payload_hash with the body.
    """
    batches, instant = _source(session)
    stored = session.connection().execute(select(HEAD.c.seq, HEAD.c.hash)).one_or_none()
    promised = {anchor.seq: anchor.hash for anchor in anchors if anchor.seq}
    walked = _Walked()
    for rows in batches(deep):
        first = walked.head.seq + 1
        problem = _walk(walked, [row[:5] for row in rows] if deep else rows, instant)
        good = rows[: walked.head.seq + 1 - first]
        for seq in [seq for seq in promised if first <= seq <= walked.head.seq]:
            if promised.pop(seq) != good[seq - first][4]:
                return _bad(walked.head, seq, "is not the event that an anchor names")
        for row in good if deep else ():
            if odd := _odd_copies(row, instant):
                return _bad(walked.head, row[0], f"copies differ from the body: {odd}")
        if problem:
            return _bad(walked.head, walked.head.seq + 1, problem)
    return _end(walked.head, stored, promised)


@dataclass(slots=True, kw_only=True)
class _Walked:
    """How far the chain holds, and the newest instant as the driver sent it and as text."""

    head: Head = field(default_factory=Head)
    sent: Any = None
    stamp: str = ""


def _walk(walked: _Walked, rows: Sequence[tuple[Any, ...]], instant: Callable[[Any], str]) -> str:
    """Follow the rows as far as they hold; say why the next one does not, "" = all hold."""
    blank, place = hashlib.sha256(), Struct(">Q").pack  # a copy costs less than a new one
    seq, previous = walked.head.seq, walked.head.hash
    sent, stamp = walked.sent, walked.stamp
    prefix = f"{stamp} ".encode()
    problem = ""
    for number, recorded, body, prev_hash, own_hash in rows:
        if recorded != sent:  # events of one transaction share their instant
            earlier, sent, stamp = stamp, recorded, instant(recorded)
            prefix = f"{stamp} ".encode()
            if stamp < earlier:
                problem = "recorded_at steps back"
                break
        link = blank.copy()
        link.update(previous + place(seq + 1) + prefix + body)
        computed = link.digest()
        if own_hash != computed or prev_hash != previous or number != seq + 1:
            problem = _why(number, seq + 1, linked=prev_hash == previous)
            break
        seq, previous = number, computed
    walked.head, walked.sent, walked.stamp = Head(seq=seq, hash=previous), sent, stamp
    return problem


def _why(number: int, expected: int, *, linked: bool) -> str:
    if number != expected:
        return f"seq {expected} is missing, {number} is next"
    if not linked:
        return "prev_hash is not the hash of the event before"
    return "the stored text does not have the stored hash"


def _bad(passed: Head, seq: int, problem: str) -> VerifyReport:
    return VerifyReport(events=passed.seq, last=passed, bad_seq=seq, problem=problem)


def _end(passed: Head, stored: Any, promised: dict[int, bytes]) -> VerifyReport:
    if promised:
        return _bad(
            passed, passed.seq + 1, f"the chain ends here, but an anchor names seq {max(promised)}"
        )
    if stored is None:
        return _bad(passed, passed.seq + 1, "the head row is missing")
    if (stored.seq, bytes(stored.hash)) != (passed.seq, passed.hash):
        return _bad(passed, passed.seq + 1, f"the chain ends here, the head names seq {stored.seq}")
    return VerifyReport(events=passed.seq, last=passed)


def _source(
    session: Session,
) -> tuple[Callable[[bool], Iterator[list[tuple[Any, ...]]]], Callable[[Any], str]]:
    """The rows in batches, by the bare driver, and how it gives an instant as text."""
    connection = session.connection()
    dialect = connection.dialect.name
    bare: Any = connection.connection.driver_connection
    cursor = bare.cursor() if dialect == "sqlite" else bare.cursor(binary=True)

    def batches(deep: bool) -> Iterator[list[tuple[Any, ...]]]:  # noqa: FBT001
        query = _QUERIES[dialect, deep]
        # in a pipeline the server reads the next rows while these are hashed
        with nullcontext() if dialect == "sqlite" else bare.pipeline():
            cursor.execute(query, (_BEFORE_ALL, _BATCH))
            while rows := cursor.fetchall():
                cursor.execute(query, (rows[-1][0], _BATCH))
                yield rows
        cursor.close()

    return batches, str if dialect == "sqlite" else _postgres_instant


@lru_cache(maxsize=64)  # one transaction's events share theirs, and effect is mostly at once
def _postgres_instant(sent: bytes) -> str:
    since = dt.timedelta(microseconds=int.from_bytes(sent, "big", signed=True))
    return (_POSTGRES_EPOCH + since).isoformat(timespec="microseconds")[:26] + "Z"


def _odd_copies(row: tuple[Any, ...], instant: Callable[[Any], str]) -> str:
    """The names of the typed copies that are not what the body says; "" = none."""
    until = None if row[7] is None else instant(row[7])
    return odd_copies(row[2].decode(), row[5], instant(row[6]), until, row[8:])
