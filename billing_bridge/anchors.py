"""Anchors: heads of the chain in a file outside the database, which nobody there can rewrite."""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from inventory import (
    BadFile,
    BadSettings,
    DatabaseProblem,
    LedgerBroken,
    WrongUse,
    instant_text,
    parse_instant,
)

from .event import EMPTY_HASH, Head
from .verify import verify

_NAMES = {"seq", "hash", "time"}
_LOOK = "Find out who changed the ledger or the file: bandmaster ledger verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The newest event at a time: what the chain must pass through for ever."""

    head: Head
    anchored_at: dt.datetime

    def line(self) -> str:
        """Return the anchor as its line of a file, without the end of the line."""
        time = instant_text(self.anchored_at)
        return json.dumps({"seq": self.head.seq, "hash": self.head.hash.hex(), "time": time})


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorFile:
    """A file of anchors that this process alone adds to while it is open."""

    path: Path
    anchors: tuple[Anchor, ...]
    descriptor: int

    def add(self, session: Session, anchored_at: dt.datetime, processes: int = 1) -> Anchor:
        """Write the head down, on the disk when this returns; use one read transaction.

        Begin that transaction after the file was opened: an anchor that another process has just
        written must be within its snapshot. `anchored_at` is the database's clock, `processes` how
        many may verify.
        Raises LedgerBroken where the chain does not hold or does not pass every anchor of the
        file, WrongUse where there is no event yet; neither writes a byte.
        """
        heads = [anchor.head for anchor in self.anchors]
        report = verify(session, anchors=heads, processes=processes)
        if report.problem:
            broken = f"nothing is anchored: at seq {report.bad_seq} {report.problem}"
            raise LedgerBroken(str(self.path), broken, _LOOK)
        if not report.last.seq:
            raise WrongUse("ledger", "holds no event that could be anchored", "Import first.")
        made = Anchor(head=report.last, anchored_at=anchored_at)
        _write_whole(self.descriptor, f"{made.line()}\n".encode("ascii"))
        return made


@contextmanager
def open_anchors(path: Path) -> Iterator[AnchorFile]:
    """Open a file of anchors for adding to it, made with mode 0600 if it is not there.

    Another process that adds is waited for. Raises BadSettings for a file that others can write
    or that is none, and what `read_anchors` raises for a line that is no anchor.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        _refuse_foreign(path, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        anchors = _parsed(path, _content(descriptor))
        if not anchors:
            _keep_name(path)
        yield AnchorFile(path=path, anchors=anchors, descriptor=descriptor)
    finally:
        os.close(descriptor)


def read_anchors(path: Path) -> tuple[Anchor, ...]:
    """Return a file's anchors, in its order; at least one.

    Raises WrongUse where the file is missing, cannot be read or holds no anchor (an emptied file
    must not pass for a promise that was kept), BadSettings where others can write it, BadFile for
    a line that is no anchor or contradicts the one before it.
    """
    try:
        with path.open("rb") as file:
            _refuse_foreign(path, file.fileno())
            anchors = _parsed(path, file.read())
    except OSError as error:
        raise _cannot(path, error) from error
    if not anchors:
        raise WrongUse(str(path), "holds no anchor", "Name the file of: bandmaster ledger anchor")
    return anchors


def agreeing(heads: Iterable[Head]) -> tuple[Head, ...]:
    """Return heads once each, by seq; WrongUse where two give one seq different hashes."""
    known: dict[int, Head] = {}
    for head in heads:
        if known.setdefault(head.seq, head) != head:
            raise WrongUse(
                f"anchors of seq {head.seq}",
                "give it different hashes: no chain passes both",
                "Find out which of them was written by you.",
            )
    return tuple(known[seq] for seq in sorted(known))


def _parsed(path: Path, content: bytes) -> tuple[Anchor, ...]:
    anchors: list[Anchor] = []
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        anchor = _anchor(line)
        if anchor is None:
            raise _bad(path, number, "is no anchor")
        if anchors and _contradicts(anchors[-1], anchor):
            raise _bad(path, number, "goes back behind the line before it")
        anchors.append(anchor)
    if rest:
        raise _bad(path, len(lines) + 1, "has no end: its writing was cut")
    return tuple(anchors)


def _anchor(line: bytes) -> Anchor | None:
    """Return the anchor that a line holds, None if it holds none."""
    try:
        found = json.loads(line.decode("ascii"))
        if not isinstance(found, dict) or found.keys() != _NAMES or type(found["seq"]) is not int:
            return None
        head = Head(seq=found["seq"], hash=bytes.fromhex(found["hash"]))
        anchored_at = parse_instant(found["time"])
    except (ValueError, TypeError):
        return None
    good = head.seq > 0 and len(head.hash) == len(EMPTY_HASH)
    return Anchor(head=head, anchored_at=anchored_at) if good else None


def _contradicts(before: Anchor, after: Anchor) -> bool:
    return after.head.seq < before.head.seq or (
        after.head.seq == before.head.seq and after.head.hash != before.head.hash
    )


def _bad(path: Path, number: int, problem: str) -> BadFile:
    text = f"{path}:{number}: {problem}"
    remedy = "Look at it beside a copy of the file; take out no more than a line that is cut."
    return BadFile(str(path), "is not a file of anchors", remedy, (text,))


def _cannot(path: Path, error: OSError) -> WrongUse:
    return WrongUse(str(path), f"cannot be opened: {error.strerror}", "Name another file.")


def _refuse_foreign(path: Path, descriptor: int) -> None:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise BadSettings(str(path), "is not a plain file", "Name another file.")
    if mode & 0o022:
        raise BadSettings(
            str(path),
            "others can write to it, so no anchor in it proves anything",
            f"Look at what is in it, then: chmod 600 {path}",
        )


def _content(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()


def _keep_name(path: Path) -> None:
    """Make a new file's name outlive a power cut: its own fsync does not promise that."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_whole(descriptor: int, line: bytes) -> None:
    """Write a line to its end and to the disk, or leave nothing of it."""
    before = os.fstat(descriptor).st_size
    problem = os.strerror(errno.ENOSPC)
    try:
        if os.write(descriptor, line) == len(line):
            os.fsync(descriptor)
            return
    except OSError as error:
        problem = str(error.strerror)
    with suppress(OSError):  # a file that can only grow keeps the torn line, which is refused
        os.ftruncate(descriptor, before)
    raise DatabaseProblem("anchor", f"not written: {problem}", "Make room, then anchor again.")
