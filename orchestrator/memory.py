"""What this host has seen of the store: by it a database that was put back is noticed (D16)."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from billing_bridge import Head, head_at, ledger_head
from inventory import BadSettings, DatabaseProblem, Refused, UnknownName

from .database import reading
from .rows import SetRow, StoreRow

FILE = "store-seen.json"
_REMEDY = "Read the devices first: bandmaster recover --after-restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How far a store was when this host last looked; a copy of an earlier day lacks some of it."""

    epoch: int
    seq: int  # of the newest ledger event, 0 = none
    hash: str  # of that event, in hex
    set_id: str  # the newest change set that this host began, "" = none


class Memory(Protocol):
    """Where that is kept, outside the store."""

    def recall(self) -> Mapping[str, Seen]:
        """Return what was seen, by store_id."""

    def keep(self, store_id: str, seen: Seen) -> None:
        """Remember it; raises nothing, because a device may be waiting for its confirm."""


class FileMemory:
    """A small file beside the known host keys; replaced as a whole, so that it is never half."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self) -> Mapping[str, Seen]:
        """Return what was seen, by store_id; BadSettings where the file is not ours."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): Seen(**seen) for name, seen in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadSettings(
                str(self._path),
                f"cannot be read, so nobody knows whether the database was put back: {error}",
                "Move the file away, then read the devices: bandmaster recover --after-restore",
            ) from error

    def keep(self, store_id: str, seen: Seen) -> None:
        """Write it down, unless another process of this host has seen more by now."""
        with contextlib.suppress(OSError, BadSettings):
            known = dict(self.recall())
            before = known.get(store_id)
            if before is not None and before.epoch == seen.epoch:
                seen = replace(seen, set_id=max(seen.set_id, before.set_id))
                if before.seq > seen.seq:
                    seen = replace(seen, seq=before.seq, hash=before.hash)
            if before == seen or (before is not None and before.epoch > seen.epoch):
                return
            self._write({name: asdict(each) for name, each in (known | {store_id: seen}).items()})

    def _write(self, value: Mapping[str, object]) -> None:
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        # its owner's alone, whatever the umask: who could write it could hide a store put back
        made = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(made, "w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def check_store(engine: Engine, memory: Memory) -> None:
    """Refuse to go on where the store is older than what this host has seen of it.

    Then devices may have what the ledger has forgotten. Where all is well it is remembered.
    """
    known = memory.recall()  # before the store is read: another process may be adding to both
    with reading(engine) as session:
        row = find_store(session)
        head = ledger_head(session)
        problem = _problem(session, row, head, known.get(row.store_id))
    if problem:
        raise Refused("database", problem, _REMEDY)
    memory.keep(row.store_id, Seen(epoch=row.epoch, seq=head.seq, hash=head.hash.hex(), set_id=""))


def remember(
    engine: Engine, memory: Memory | None, *, set_id: str = "", head: Head | None = None
) -> None:
    """Remember the newest of the store, or a change set whose intent is durable by now.

    Where the store is away just then it is left alone: the next command remembers.
    """
    if memory is None:
        return
    with contextlib.suppress(DatabaseProblem), reading(engine) as session:
        row = find_store(session)
        found = head or ledger_head(session)
        seen = Seen(epoch=row.epoch, seq=found.seq, hash=found.hash.hex(), set_id=set_id)
        memory.keep(row.store_id, seen)


def find_store(session: Session) -> StoreRow:
    """Return the one row that says which store this is."""
    row = session.exec(select(StoreRow)).one_or_none()
    if row is None:
        raise DatabaseProblem("database", "does not say which store it is", "Put its copy back.")
    return row


def newest_set(session: Session) -> str:
    """Return the newest change set of the store, "" where there is none."""
    query = select(SetRow.set_id).order_by(col(SetRow.set_id).desc()).limit(1)
    return session.exec(query).first() or ""


def _problem(session: Session, row: StoreRow, head: Head, seen: Seen | None) -> str:
    if row.read_epoch != row.epoch:
        return "was put back, and its devices have not all been read since"
    if seen is None or row.epoch > seen.epoch:
        return ""  # new to this host, or another host has read the devices after a restore
    if row.epoch < seen.epoch or head.seq < seen.seq or not _has(session, seen):
        return (
            f"is older than what this host has seen (ledger seq {seen.seq}, now {head.seq}): "
            "was a copy put back? Devices may have what it has forgotten"
        )
    return ""


def _has(session: Session, seen: Seen) -> bool:
    """Say whether the store still holds the event and the change set that were seen."""
    try:
        same = head_at(session, seen.seq).hash.hex() == seen.hash
    except UnknownName:
        return False
    return same and (not seen.set_id or session.get(SetRow, seen.set_id) is not None)
