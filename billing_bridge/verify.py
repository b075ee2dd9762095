"""Proving the chain: nothing missing, nothing altered, nothing cut off behind an anchor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from inventory import DatabaseProblem

from .beside import outcome, store_of, walking
from .event import Head
from .stored import EVENTS, HEAD
from .walk import BEFORE_ALL, Part, Place, Walked, place_of, walk

_HEAD = select(HEAD.c.seq, HEAD.c.hash)
_LAST = select(func.max(EVENTS.c.seq))
_SHARE = 50_000  # events that are worth a process


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """How many events hold, and the first that does not; `problem` "" = all of them hold.

    `bad_seq` is the first place at which something is wrong, 0 = nothing is.
    """

    events: int
    last: Head
    bad_seq: int = 0
    problem: str = ""


def verify(
    session: Session,
    *,
    deep: bool = False,
    anchors: Sequence[Head] = (),
    processes: int = 1,
    share: int = _SHARE,
) -> VerifyReport:
    """Walk the whole chain and say whether it holds; use one read transaction (one snapshot).

    Checked: seq 1..n without gaps, each prev_hash, each hash over the stored text, recorded_at
    never stepping back, the head row, and that the chain passes through every anchor kept outside
    the database. `deep` also compares every typed copy and payload_hash with the body.
    `processes` above 1 lets others walk parts of at least about `share` events. They see what is
    committed, so give it only where this transaction has written nothing. The report is the same.
    """
    connection = session.connection()
    dialect = connection.dialect.name
    stored = connection.execute(_HEAD).one_or_none()
    last: int = connection.execute(_LAST).scalar() or 0
    named = tuple(sorted((anchor.seq, anchor.hash) for anchor in anchors if anchor.seq))
    whole = Part(start=Place(), after=BEFORE_ALL, upto=last, deep=deep, anchors=named)
    bare: Any = connection.connection.driver_connection
    try:
        walked = _walk(dialect, bare, whole, _joins(last, processes, share))
    except connection.dialect.loaded_dbapi.Error as error:
        said = str(error).strip().partition("\n")[0]
        remedy = "See that the database is reachable and has room, then verify again."
        raise DatabaseProblem("database", said, remedy) from error
    passed = Head(seq=walked.place.seq, hash=walked.place.hash)
    bad_seq, problem = walked.bad_seq, walked.problem
    if not problem:
        beyond = [seq for seq, _ in named if not 0 < seq <= passed.seq]
        problem = _end(passed, stored, beyond)
        bad_seq = passed.seq + 1 if problem else 0
    return VerifyReport(events=passed.seq, last=passed, bad_seq=bad_seq, problem=problem)


def _joins(last: int, processes: int, share: int) -> list[int]:
    """Return the seqs after which another process goes on; none where that does not pay."""
    others = min(processes - 1, last // share)
    if others < 1:
        return []
    # this process is at work already while the others start
    own = (last + others * share * 2 // 5) // (others + 1)
    return [own + (last - own) * number // others for number in range(others)]


def _walk(dialect: str, bare: Any, whole: Part, joins: Sequence[int]) -> Walked:
    """Walk the parts side by side and hold each to the one before it."""
    starts = [place_of(dialect, bare, seq) for seq in joins]
    parts = _cut(whole, [start for start in starts if start])
    with ExitStack() as stack:
        helpers = []
        if len(parts) > 1 and (store := store_of(dialect, bare)).address:
            with suppress(OSError):  # no room for more processes: this one walks it all
                helpers = stack.enter_context(walking(store, parts[1:]))
        walked = walk(dialect, bare, parts[0])
        for number, part in enumerate(parts[1:]):
            if walked.problem:
                break
            place = walked.place
            # a part that began elsewhere than the one before it ended proves nothing
            found = outcome(helpers[number]) if helpers and part.start == place else None
            walked = found or walk(dialect, bare, replace(part, start=place, after=place.seq))
    return walked


def _cut(whole: Part, starts: Sequence[Place]) -> list[Part]:
    ends = [*(start.seq for start in starts), whole.upto]
    parts = [replace(whole, upto=ends[0], anchors=_within(whole, BEFORE_ALL, ends[0]))]
    for start, end in zip(starts, ends[1:], strict=True):
        held = _within(whole, start.seq, end)
        parts.append(replace(whole, start=start, after=start.seq, upto=end, anchors=held))
    return parts


def _within(whole: Part, after: int, upto: int) -> tuple[tuple[int, bytes], ...]:
    return tuple(anchor for anchor in whole.anchors if after < anchor[0] <= upto)


def _end(passed: Head, stored: Any, beyond: Sequence[int]) -> str:
    """Say what is wrong with the end of a chain of which every link holds, "" = nothing."""
    if beyond:
        return f"the chain ends here, but an anchor names seq {max(beyond)}"
    if stored is None:
        return "the head row is missing"
    if (stored.seq, bytes(stored.hash)) != (passed.seq, passed.hash):
        return f"the chain ends here, the head names seq {stored.seq}"
    return ""
