"""Posts invoices, credit notes, credits and charges into a plain-text beancount journal, once each.

    python -m billing_bridge.examples.beancount_journal DATABASE_URL JOURNAL.beancount

It knows nothing but the views of the shared ledger (role `report`) and keeps its cursor in the
journal's own last line: a batch of postings and the cursor behind them are one write, so a process
that dies anywhere leaves either both or a tail that the next one cuts off.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text

BATCH = 500
_CURSOR = re.compile(rb"; ledger seq ([0-9]+) hash ([0-9a-f]{64})\n")
_OPENED = re.compile(rb"^1970-01-01 open (\S+)$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9]")
_EVENTS = text(
    "SELECT seq, event_id, type, account_id, recorded_at, amount_minor, currency, exponent,"
    " reverses_event_id, body, prev_hash, hash"
    " FROM ledger_event_v1 WHERE seq > :seq ORDER BY seq LIMIT :batch"
)
_HASH_AT = text("SELECT hash FROM ledger_event_v1 WHERE seq = :seq")
_BY_ID = text("SELECT type, reverses_event_id FROM ledger_event_v1 WHERE event_id = :event_id")
_GIVEN = text(
    "SELECT coalesce(sum(amount_minor), 0) FROM invoice_line_v1"
    " WHERE invoice_id = :invoice AND kind IN ('credit', 'charge')"
)


class StopError(Exception):
    """The ledger is not the one that this journal was written from: a person must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The last event that the journal holds: its seq and hash; 0 and zeros before the first."""

    seq: int = 0
    hash: str = "0" * 64

    def text(self) -> str:
        """The line that it is kept as."""
        return f"; ledger seq {self.seq} hash {self.hash}\n"


@dataclass(slots=True, kw_only=True)
class Journal:
    """An open journal, locked for this process, cut behind its last cursor."""

    descriptor: int
    cursor: Cursor
    opened: set[str]

    def add(self, entries: Sequence[Entry], cursor: Cursor) -> None:
        """Add a batch and the cursor behind it, in one write that is on the disk afterwards."""
        lines: list[str] = []
        for entry in entries:
            for account, _amount in entry.postings:
                if account not in self.opened:
                    self.opened.add(account)
                    lines.append(f"1970-01-01 open {account}\n")
            lines.append(entry.text())
        lines.append(cursor.text())
        _write_all(self.descriptor, "".join(lines).encode())
        os.fsync(self.descriptor)
        self.cursor = cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One balanced transaction: minor units by account, in one currency."""

    date: str
    title: str
    event_id: str
    seq: int
    currency: str
    exponent: int
    postings: tuple[tuple[str, int], ...]

    def text(self) -> str:
        """The transaction as beancount reads it."""
        head = f'{self.date} * "{self.title}"\n  event_id: "{self.event_id}"\n  seq: {self.seq}\n'
        rows = (
            f"  {account}  {_decimal(minor, self.exponent)} {self.currency}\n"
            for account, minor in self.postings
        )
        return f"\n{head}{''.join(rows)}"


def main(arguments: Sequence[str]) -> int:
    """Post everything that is new; return 0, or 1 where a person must look."""
    url, place = arguments
    engine = create_engine(url)
    try:
        with open_journal(Path(place)) as journal:
            count = post_new(engine, journal)
    except StopError as error:
        sys.stderr.write(f"{place}: {error}\n")
        return 1
    finally:
        engine.dispose()
    sys.stderr.write(f"{place}: {count} events, up to seq {journal.cursor.seq}\n")
    return 0


@contextmanager
def open_journal(place: Path) -> Iterator[Journal]:
    """Open or begin the journal, wait for any other process that has it, cut a torn tail off.

    Raises StopError for a file that holds something else: it is left as it is.
    """
    if not place.exists():
        _begin(place)
    descriptor = os.open(place, os.O_RDWR | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        held = place.read_bytes()
        cursors = list(_CURSOR.finditer(held))
        if not cursors:
            message = "holds no cursor, so it is no journal of this program"
            raise StopError(message)
        last = cursors[-1]
        os.ftruncate(descriptor, last.end())
        yield Journal(
            descriptor=descriptor,
            cursor=Cursor(seq=int(last[1]), hash=last[2].decode()),
            opened={account.decode() for account in _OPENED.findall(held[: last.end()])},
        )
    finally:
        os.close(descriptor)


def _begin(place: Path) -> None:
    """Put a journal there that has seen nothing, whole or not at all; somebody else's stays."""
    fresh = place.with_name(f"{place.name}.{os.getpid()}")
    fresh.write_text(f"; written by a program: include it, do not edit it\n{Cursor().text()}")
    with suppress(FileExistsError):
        os.link(fresh, place)
    fresh.unlink()


def post_new(engine: Engine, journal: Journal, batch: int = BATCH) -> int:
    """Post all events behind the journal's cursor; return how many were read."""
    count = 0
    while True:
        with engine.connect() as connection:
            rows = list(read_events(connection, journal.cursor, batch))
            if not rows:
                return count
            entries = [entry for row in rows for entry in entries_of(connection, row)]
        journal.add(entries, Cursor(seq=rows[-1].seq, hash=rows[-1].hash))
        count += len(rows)


def read_events(connection: Connection, after: Cursor, batch: int) -> Iterator[Any]:
    """Yield the next events, each link of the chain checked; StopError where one does not hold."""
    if after.seq and connection.execute(_HASH_AT, {"seq": after.seq}).scalar() != after.hash:
        message = f"seq {after.seq} is another event than this journal was written from"
        raise StopError(message)
    seq, last = after.seq, after.hash
    for row in connection.execute(_EVENTS, {"seq": after.seq, "batch": batch}):
        seq += 1
        said = f"{_instant(row.recorded_at)} {row.body}".encode()
        own = hashlib.sha256(bytes.fromhex(last) + seq.to_bytes(8, "big") + said).hexdigest()
        if (row.seq, row.prev_hash, row.hash) != (seq, last, own):
            message = f"seq {seq} of the ledger does not hold: bandmaster ledger verify"
            raise StopError(message)
        last = row.hash
        yield row


def entries_of(connection: Connection, row: Any) -> Iterator[Entry]:
    """Yield the transaction that an event is in these books, if it is one."""
    if row.type == "invoice.issued":
        yield from _invoice(connection, row, json.loads(row.body)["payload"])
    elif row.currency:
        title, income, amount = _given(connection, row)
        unbilled = account_of("Assets:Unbilled", row.account_id)
        yield _entry(row, title, row.currency, row.exponent, {unbilled: amount, income: -amount})


def _invoice(connection: Connection, row: Any, payload: Mapping[str, Any]) -> Iterator[Entry]:
    """An invoice or a credit note: what credits and charges in it were, is no longer unbilled."""
    given = int(connection.execute(_GIVEN, {"invoice": payload["invoice"]}).scalar_one())
    postings = {
        account_of("Assets:Receivable", row.account_id): payload["total_minor"],
        account_of("Assets:Unbilled", row.account_id): -given,
        "Income:Services": given - payload["net_minor"],
        "Liabilities:Tax": -payload["tax_minor"],
    }
    title = f"{payload['kind'].replace('_', ' ')} {payload['number']}"
    yield _entry(row, title, payload["currency"], payload["exponent"], postings)


def _given(connection: Connection, row: Any) -> tuple[str, str, int]:
    """Return title, account and amount of a credit, a charge or what takes one back.

    The amount is what the customer will owe for it: below 0 for a credit.
    """
    kind, reverses, taken_back = row.type, row.reverses_event_id, False
    while kind == "event.reversed":
        taken_back = True
        kind, reverses = connection.execute(_BY_ID, {"event_id": reverses}).one()
    word = kind.partition(".")[0]
    income = {"credit": "Expenses:Goodwill", "charge": "Income:Charges"}[word]
    amount = -row.amount_minor if word == "credit" else row.amount_minor
    return f"{word} taken back" if taken_back else word, income, amount


def _entry(
    row: Any, title: str, currency: str, exponent: int, postings: Mapping[str, int]
) -> Entry:
    return Entry(
        date=_instant(row.recorded_at)[:10],
        title=title,
        event_id=row.event_id,
        seq=row.seq,
        currency=currency,
        exponent=exponent,
        postings=tuple((account, minor) for account, minor in postings.items() if minor),
    )


def account_of(parent: str, account_id: str) -> str:
    """Return a customer's account: beancount's names know letters, digits and dashes alone."""
    spelled = "".join(
        char if _PLAIN.fullmatch(char) else "--" if char == "-" else f"-x{ord(char):02x}"
        for char in account_id
    )
    return f"{parent}:C-{spelled}"


def _decimal(minor: int, exponent: int) -> str:
    whole, part = divmod(abs(minor), 10**exponent)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole}.{part:0{exponent}d}" if exponent else f"{sign}{whole}"


def _instant(value: Any) -> str:
    """Return recorded_at as it was hashed: PostgreSQL gives a time, SQLite this text."""
    if isinstance(value, str):
        return value
    return str(value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _write_all(descriptor: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(descriptor, octets) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
