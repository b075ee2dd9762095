"""RADIUS accounting: cumulative records of one session become bytes, each counted once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from inventory import Refused

RecordKind = Literal["start", "interim", "stop"]
SplitMode = Literal["at_record", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingRecord:
    """What a NAS said of a session: counters since its start, in bytes.

    `at` is Event-Timestamp, else the time of receipt less Acct-Delay-Time; `session_s` is
    Acct-Session-Time, -1 = not given. Acct-Input is what the user sent: up.
    """

    at: dt.datetime
    kind: RecordKind
    down_bytes: int = 0
    up_bytes: int = 0
    session_s: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a session's counters were at an instant; never lower than before."""

    at: dt.datetime
    down_bytes: int
    up_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUsage:
    """One session: `readings` ascend, the last one tells its bytes.

    `odd` names the records that were left out: a counter that went back, a word after the stop;
    `left_out` are those records, in the same order.
    """

    start: dt.datetime
    closed: bool
    readings: tuple[Reading, ...]
    odd: tuple[str, ...]
    left_out: tuple[AccountingRecord, ...] = ()

    @property
    def down_bytes(self) -> int:
        """What the user has received."""
        return self.readings[-1].down_bytes

    @property
    def up_bytes(self) -> int:
        """What the user has sent."""
        return self.readings[-1].up_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Bytes of both directions."""

    down_bytes: int
    up_bytes: int


def read_session(records: Iterable[AccountingRecord]) -> SessionUsage:
    """Return what the records of one session say, in whatever order and how often they came.

    Counters are cumulative, so the usage is the furthest reading, never a sum. Records are put in
    the order of the session's own time. What goes back or follows the stop changes nothing. A
    lost start is told by the session's time. Raises Refused where there is no record.
    """
    known = set(records)
    if not known:
        raise Refused("session", "has no accounting record")
    start = _start(known)
    ordered = sorted(known, key=lambda record: _place(record, start))
    stops = [_place(record, start)[0] for record in ordered if record.kind == "stop"]
    closed_at = max(stops, default=dt.datetime.max.replace(tzinfo=dt.UTC))
    readings = [Reading(at=start, down_bytes=0, up_bytes=0)]
    odd: list[str] = []
    left_out: list[AccountingRecord] = []
    for record in ordered:
        at, last = _place(record, start)[0], readings[-1]
        if at > closed_at:
            odd.append(f"{record.kind} at {at:%Y-%m-%dT%H:%M:%SZ} follows the stop")
        elif record.down_bytes < last.down_bytes or record.up_bytes < last.up_bytes:
            odd.append(f"{record.kind} at {at:%Y-%m-%dT%H:%M:%SZ} counts less than before")
        else:
            readings.append(Reading(at=at, down_bytes=record.down_bytes, up_bytes=record.up_bytes))
            continue
        left_out.append(record)
    return SessionUsage(
        start=start,
        closed=bool(stops),
        readings=tuple(readings),
        odd=tuple(odd),
        left_out=tuple(left_out),
    )


def split_usage(
    session: SessionUsage, boundary: dt.datetime, mode: SplitMode = "at_record"
) -> tuple[Volume, Volume]:
    """Return a session's bytes before and after a boundary; both add up to the whole.

    `at_record`: what grew between two records belongs where the later one lies. `linear`: it is
    shared by time, whole bytes, the rest after the boundary.
    """
    down = up = 0
    for before, after in pairwise(session.readings):
        grown = (after.down_bytes - before.down_bytes, after.up_bytes - before.up_bytes)
        if after.at <= boundary:
            down, up = down + grown[0], up + grown[1]
        elif mode == "linear" and before.at < boundary:
            part, whole = boundary - before.at, after.at - before.at
            down, up = down + grown[0] * part // whole, up + grown[1] * part // whole
    return (
        Volume(down_bytes=down, up_bytes=up),
        Volume(down_bytes=session.down_bytes - down, up_bytes=session.up_bytes - up),
    )


def _start(records: set[AccountingRecord]) -> dt.datetime:
    told = [record.at for record in records if record.kind == "start"]
    told = told or [
        record.at - dt.timedelta(seconds=record.session_s)
        for record in records
        if record.session_s >= 0
    ]
    return min(told or [record.at for record in records])


def _place(record: AccountingRecord, start: dt.datetime) -> tuple[dt.datetime, int, int, int]:
    """Where a record stands in its session; of two at one instant the one that counts more."""
    at = record.at
    if record.session_s >= 0:
        at = start + dt.timedelta(seconds=record.session_s)
    return at, record.down_bytes + record.up_bytes, record.down_bytes, record.kind == "stop"
