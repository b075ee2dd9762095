"""Walking a part of the chain: every link recomputed from the stored text, in flat memory."""

from __future__ import annotations

import datetime as dt
import hashlib
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any

from .copies import odd_copies
from .event import EMPTY_HASH

BEFORE_ALL = -(2**63)
_BATCH = 500  # rows at a time: more of them would not stay in a core's own cache
_POSTGRES_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_NEVER = (2**63 - 1).to_bytes(8, "big")  # how PostgreSQL sends infinity
# The driver is asked for bytes as they are stored: decoding rows costs more than hashing them.
# PostgreSQL sends an instant as 64 bits of microseconds.
_SQLITE = """
SELECT seq, recorded_at, CAST(body AS BLOB), prev_hash, hash
FROM billing_event WHERE seq > ? AND seq <= ? ORDER BY seq"""
_SQLITE_DEEP = """
SELECT seq, recorded_at, CAST(body AS BLOB), prev_hash, hash, payload_hash,
       effective_at, effective_until, event_id, source, idempotency_key, type, schema_version,
       account_id, service_id, service_version, change_id, price_version_id, quantity, unit,
       amount_minor, currency, exponent, reverses_event_id, actor, reason_code
FROM billing_event WHERE seq > ? AND seq <= ? ORDER BY seq"""
_POSTGRES = """
COPY (SELECT seq, recorded_at, prev_hash, hash, body
FROM public.billing_event WHERE seq > {} AND seq <= {} ORDER BY seq) TO STDOUT (FORMAT binary)"""
_POSTGRES_DEEP = """
SELECT seq, timestamptz_send(recorded_at), textsend(body), prev_hash, hash, payload_hash,
       timestamptz_send(effective_at), timestamptz_send(effective_until),
       event_id, source, idempotency_key, type, schema_version,
       account_id, service_id, service_version, change_id, price_version_id, quantity, unit,
       amount_minor, currency, exponent, reverses_event_id, actor, reason_code
FROM public.billing_event WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s"""
# Rows lie in the order of the chain's index. A planner without statistics sorts them all the same,
# which costs the server more than reading them; until the transaction ends it may not.
_IN_ORDER = b"SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"
# A row of a binary COPY: its number of fields, then each field behind its length, the body last.
_ROW = Struct(">hiqi8si32si32si")
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the chain: an event's seq, hash, and when it was recorded as text."""

    seq: int = 0
    hash: bytes = EMPTY_HASH
    stamp: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one walk goes through: the rows above `start` (`after` = all below it too) to `upto`.

    `anchors` are (seq, hash) that the chain must pass through, by seq.
    """

    start: Place
    after: int
    upto: int
    deep: bool
    anchors: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """How far the chain holds, and what is wrong with event `bad_seq`; 0 = nothing is."""

    place: Place
    bad_seq: int = 0
    problem: str = ""


def walk(dialect: str, bare: Any, part: Part) -> Walked:
    """Follow a part of the chain over a driver's own connection, in its transaction."""
    instant: Callable[[Any], str] = str if dialect == "sqlite" else _postgres_instant
    place = part.start
    for rows in _rows(dialect, bare, part):
        before = place
        place, problem = _follow(before, [row[:5] for row in rows] if part.deep else rows, instant)
        good = rows[: place.seq - before.seq]
        found = [(place.seq + 1, problem)] if problem else []
        found += _off_anchor(good, before.seq, part.anchors)
        if part.deep:
            found += _odd_row(good, instant)
        if found:
            bad_seq, problem = min(found)
            held = bad_seq - before.seq - 1
            last = Place(seq=bad_seq - 1, hash=good[held - 1][4]) if held else before
            return Walked(place=last, bad_seq=bad_seq, problem=problem)
    return Walked(place=place)


def place_of(dialect: str, bare: Any, seq: int) -> Place | None:
    """Return the stored place of an event, unproved; None where there is no such row."""
    part = Part(start=Place(), after=seq - 1, upto=seq, deep=False, anchors=())
    rows = [row for batch in _rows(dialect, bare, part) for row in batch]
    if not rows:
        return None
    instant = str if dialect == "sqlite" else _postgres_instant
    return Place(seq=seq, hash=rows[0][4], stamp=instant(rows[0][1]))


def _follow(start: Place, rows: Sequence[Row], instant: Callable[[Any], str]) -> tuple[Place, str]:
    """Follow the rows as far as they hold; say why the next one does not, "" = all hold."""
    blank, number_bytes = hashlib.sha256(), Struct(">Q").pack  # a copy costs less than a new one
    seq, previous, stamp = start.seq, start.hash, start.stamp
    sent: Any = None
    prefix = b""
    problem = ""
    for number, recorded, body, prev_hash, own_hash in rows:
        if recorded != sent:  # events of one transaction share their instant
            sent = recorded
            earlier, stamp = stamp, instant(sent)
            prefix = f"{stamp} ".encode()
            if stamp < earlier:
                problem, stamp = "recorded_at steps back", earlier
                break
        link = blank.copy()
        link.update(previous + number_bytes(seq + 1) + prefix + (body or b""))
        computed = link.digest()
        if own_hash != computed or prev_hash != previous or number != seq + 1:
            problem = _why(number, seq + 1, linked=prev_hash == previous)
            break
        seq, previous = number, computed
    return Place(seq=seq, hash=previous, stamp=stamp), problem


def _why(number: int, expected: int, *, linked: bool) -> str:
    if number != expected:
        return f"seq {expected} is missing, {number} is next"
    if not linked:
        return "prev_hash is not the hash of the event before"
    return "the stored text does not have the stored hash"


def _off_anchor(
    rows: Sequence[Row], after: int, anchors: Sequence[tuple[int, bytes]]
) -> list[tuple[int, str]]:
    """Return the first row that is not what an anchor names, if there is one."""
    begin, end = (bisect_left(anchors, (seq + 1,)) for seq in (after, after + len(rows)))
    for seq, own_hash in anchors[begin:end]:
        if rows[seq - after - 1][4] != own_hash:
            return [(seq, "is not the event that an anchor names")]
    return []


def _odd_row(rows: Sequence[Row], instant: Callable[[Any], str]) -> list[tuple[int, str]]:
    """Return the first row with a typed copy that is not what the body says, if there is one."""
    for row in rows:
        until = None if row[7] is None else instant(row[7])
        if odd := odd_copies(_text(row[2]), row[5], instant(row[6]), until, row[8:]):
            return [(row[0], f"copies differ from the body: {odd}")]
    return []


def _text(body: bytes | None) -> str:
    """Return a body as text: where it is none at all, one that no copies are like."""
    return (body or b"").decode(errors="replace")


@lru_cache(maxsize=64)  # one transaction's events share theirs, and effect is mostly at once
def _postgres_instant(sent: bytes | None) -> str:
    """Return an instant's fixed text; of NULL or infinity one that no body holds."""
    try:
        since = dt.timedelta(microseconds=int.from_bytes(sent or _NEVER, "big", signed=True))
        return (_POSTGRES_EPOCH + since).isoformat(timespec="microseconds")[:26] + "Z"
    except OverflowError:
        return "never"


def _rows(dialect: str, bare: Any, part: Part) -> Iterator[list[Row]]:
    if dialect == "sqlite":
        return _sqlite_rows(bare, part)
    _raise_if_failed(bare.pgconn.exec_(_IN_ORDER))
    return _selected_rows(bare, part) if part.deep else _copied_rows(bare, part)


def _sqlite_rows(bare: Any, part: Part) -> Iterator[list[Row]]:
    after = part.after
    try:
        for rows in _fetched(bare, part, after):
            after = rows[-1][0]
            yield rows
    except sqlite3.OperationalError:
        # bytes that are no UTF-8 any more end a query: read on as what no event can hold
        usual, bare.text_factory = bare.text_factory, _replaced
        try:
            yield from _fetched(bare, part, after)
        finally:
            bare.text_factory = usual


def _fetched(bare: Any, part: Part, after: int) -> Iterator[list[Row]]:
    cursor = bare.execute(_SQLITE_DEEP if part.deep else _SQLITE, (after, part.upto))
    while rows := cursor.fetchmany(_BATCH):
        yield rows
    cursor.close()


def _replaced(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _selected_rows(bare: Any, part: Part) -> Iterator[list[Row]]:
    # in a pipeline the server reads the next rows while these are hashed
    with bare.pipeline(), bare.cursor(binary=True) as cursor:
        cursor.execute(_POSTGRES_DEEP, (part.after, part.upto, _BATCH))
        while rows := cursor.fetchall():
            cursor.execute(_POSTGRES_DEEP, (rows[-1][0], part.upto, _BATCH))
            yield rows


def _copied_rows(bare: Any, part: Part) -> Iterator[list[Row]]:
    """Yield the rows as libpq hands them over: a cursor's way costs as much as the hashing."""
    libpq = bare.pgconn
    _raise_if_failed(libpq.exec_(_POSTGRES.format(part.after, part.upto).encode()))
    size, data = libpq.get_copy_data(0)
    data = data[len(_HEADER) :]
    rows: list[Row] = []
    try:
        while size > 0 and data != _TRAILER:
            rows.append(_copied_row(data))
            if len(rows) == _BATCH:
                yield rows
                rows = []
            size, data = libpq.get_copy_data(0)
    finally:
        while size > 0:  # to its end, also when left early: the connection is to go on
            size, _ = libpq.get_copy_data(0)
        while ended := libpq.get_result():
            _raise_if_failed(ended)
    yield rows


def _copied_row(data: bytes) -> Row:
    if len(data) >= _ROW.size:
        fields, one, number, two, sent, three, before, four, own, _ = _ROW.unpack_from(data)
        if fields == 5 and one == two == 8 and three == four == 32:  # noqa: PLR2004 - of _ROW
            return number, sent, data[_ROW.size :], before, own
    # somebody has taken a column's checks away: a length is another, or a value is NULL
    values: list[bytes | None] = []
    at = 2
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        values.append(None if size < 0 else data[at : at + size])
        at += max(size, 0)
    number, sent, before, own, body = values
    return int.from_bytes(number or b"", "big", signed=True), sent, body, before, own


def _raise_if_failed(result: Any) -> None:
    from psycopg.errors import error_from_result  # noqa: PLC0415 - SQLite needs no psycopg
    from psycopg.pq import ExecStatus  # noqa: PLC0415

    if result.status not in (ExecStatus.COPY_OUT, ExecStatus.COMMAND_OK):
        raise error_from_result(result)
