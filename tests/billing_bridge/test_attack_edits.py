"""1,000 random single edits of the ledger's rows: 1,000 are found, at the event that was edited."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attack_facts import COLUMNS, EVENTS, all_events, anchor, look, tell_story
from ledger_facts import take_guards_away
from sqlalchemy import Connection, Engine, text

SEED = 20261121
EDITS = 1000
TIMES = frozenset({"effective_at", "effective_until", "recorded_at"})
SMALL = frozenset({"schema_version", "exponent"})
ANY_TIME = dt.datetime(2026, 7, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One column of one row, what stood there and what stands there now."""

    seq: int
    column: str
    old: Any
    new: Any

    def first_bad(self) -> int:
        """The first place that is not right any more.

        An event that moved behind its place leaves a hole there; one before the first is in the
        way of the first.
        """
        return self.seq if self.column != "seq" or self.new > self.seq else 1

    def apply(self, connection: Connection, *, back: bool = False) -> None:
        """Write the new value, or the old one back."""
        now, value = (self.new, self.old) if back else (self.old, self.new)
        seq = now if self.column == "seq" else self.seq
        # a text that is not UTF-8 can only be given to SQLite as bytes that are said to be text
        raw = isinstance(value, bytes) and self.column not in HASHES
        given = "CAST(:value AS TEXT)" if raw else ":value"
        done = connection.execute(
            text(f"UPDATE billing_event SET {self.column} = {given} WHERE seq = :seq"),  # noqa: S608
            {"value": value, "seq": seq},
        )
        assert done.rowcount == 1


HASHES = frozenset({"payload_hash", "prev_hash", "hash"})


@pytest.fixture
def book(engine: Engine, tmp_path: Path) -> Engine:
    """Forty anchored events, then a table without guards, checks and types that are in the way."""
    tell_story(engine)
    anchor(engine, tmp_path / "anchors.jsonl")
    make = "CREATE TABLE loose AS SELECT * FROM billing_event"
    if engine.dialect.name == "postgresql":
        make = "CREATE TABLE loose (LIKE billing_event)"
    take_guards_away(
        engine,
        make,
        *(() if make.endswith("billing_event") else ("INSERT INTO loose TABLE billing_event",)),
        "DROP TABLE billing_event",
        "ALTER TABLE loose RENAME TO billing_event",
        "CREATE UNIQUE INDEX one_seq ON billing_event (seq)",
    )
    return engine


def edits(engine: Engine) -> Iterator[Edit]:
    """Yield the edits, each of a column and a row that the dice name."""
    dice = random.Random(SEED)  # noqa: S311
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM billing_event ORDER BY seq")).mappings().all()
    sqlite = engine.dialect.name == "sqlite"
    for number in range(EDITS):
        row = dice.choice(rows)
        column = COLUMNS[number % len(COLUMNS)]  # every column, as often as any other
        old = row[column]
        new = _moved(dice, column, old, sqlite=sqlite)
        yield Edit(seq=row["seq"], column=column, old=old, new=new)


def _moved(dice: random.Random, column: str, old: Any, *, sqlite: bool) -> Any:
    if column == "seq":
        return dice.choice((-1, 1)) * (EVENTS + dice.randrange(1, 1 << 40))
    if column in HASHES:
        return _flipped(dice, bytes(old), 8)
    if column in TIMES and not sqlite:
        return (old or ANY_TIME) + dt.timedelta(microseconds=1 << dice.randrange(40))
    if isinstance(old, int):
        return old ^ (1 << dice.randrange(14 if column in SMALL else 62))
    if not old:
        return chr(dice.randrange(0x20, 0x7F))
    if sqlite:
        return _flipped(dice, old.encode(), 8)  # any byte, also where it is no UTF-8 any more
    while "\0" in (flipped := _flipped(dice, old.encode(), 7).decode()):
        pass  # PostgreSQL stores no such text at all
    return flipped


def _flipped(dice: random.Random, stored: bytes, bits: int) -> bytes:
    changed = bytearray(stored)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(bits)
    return bytes(changed)


def test_every_one_of_a_thousand_edits_is_found(book: Engine, tmp_path: Path) -> None:
    """Goal: S7. Method: edit, verify as `ledger verify --anchors` does, put it back."""
    path = tmp_path / "anchors.jsonl"
    assert look(book, path).problem == ""
    missed, edited = [], set()
    for edit in edits(book):
        with book.begin() as connection:
            edit.apply(connection)
        report = look(book, path)
        if not report.problem or report.bad_seq != edit.first_bad():
            missed.append((edit, report))
        with book.begin() as connection:
            edit.apply(connection, back=True)
        edited.add(edit.column)
    assert missed == [], f"seed {SEED}: {len(missed)} of {EDITS}"
    assert edited == set(COLUMNS)
    assert look(book, path).problem == ""
    assert len(all_events(book)) == EVENTS
