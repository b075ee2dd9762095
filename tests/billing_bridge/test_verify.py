"""Verifying: whatever somebody with power over the tables does to them is found and named."""

from __future__ import annotations

import random

import pytest
from ledger_facts import at, lifecycle, take_guards_away, usage
from sqlalchemy import Engine, text, update
from sqlmodel import Session, col

from billing_bridge import BillingEvent, Head, append, ledger_head, tail, verify
from billing_bridge.event import chain_hash
from inventory import instant_text
from orchestrator.database import reading, writing

EVENTS = 40


@pytest.fixture
def open_book(engine: Engine) -> Engine:
    """A ledger whose owner has taken its guards away."""
    for minute in range(0, EVENTS, 4):
        with writing(engine) as session:
            story = [lifecycle("service.activated", 1, service_id=f"svc-{minute}")]
            append(session, [*story, *(usage(minute + n) for n in range(3))], at(minute))
    with reading(engine) as session:
        assert verify(session, deep=True).problem == ""
    take_guards_away(engine)
    return engine


def tamper(engine: Engine, *statements: str) -> None:
    with writing(engine) as session:
        for statement in statements:
            session.execute(text(statement))


def test_an_untouched_chain_holds(engine: Engine) -> None:
    with reading(engine) as session:
        assert verify(session) == verify(session, deep=True)
        assert (verify(session).events, verify(session).last) == (0, Head())
    with writing(engine) as session:
        append(session, [usage(1), usage(2)], at(0))
    with reading(engine) as session:
        report = verify(session, anchors=[ledger_head(session)])
        assert (report.events, report.last, report.bad_seq) == (2, ledger_head(session), 0)


@pytest.mark.parametrize(
    ("statement", "bad_seq", "problem"),
    [
        ("UPDATE billing_event SET body = replace(body, 'noc', 'boc') WHERE seq = 7", 7, "text"),
        ("DELETE FROM billing_event WHERE seq = 9", 9, "missing"),
        ("UPDATE billing_event SET seq = 99 WHERE seq = 1", 1, "missing"),
        ("UPDATE billing_event SET prev_hash = hash WHERE seq = 5", 5, "prev_hash"),
        ("UPDATE billing_event SET hash = prev_hash WHERE seq = 5", 5, "hash"),
        ("DELETE FROM billing_event WHERE seq > 38", 39, "head names seq 40"),
        ("DELETE FROM ledger_head", 41, "head row"),
        ("UPDATE ledger_head SET seq = 39", 41, "head names seq 39"),
    ],
)
def test_tampering_is_found_at_its_first_event(
    open_book: Engine, statement: str, bad_seq: int, problem: str
) -> None:
    tamper(open_book, statement)
    with reading(open_book) as session:
        report = verify(session)
    assert report.bad_seq == bad_seq
    assert problem in report.problem


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_event SET actor = 'somebody' WHERE seq = 6",
        "UPDATE billing_event SET quantity = quantity + 1 WHERE seq = 6",
        "UPDATE billing_event SET service_id = 'svc-9' WHERE seq = 6",
        "UPDATE billing_event SET payload_hash = hash WHERE seq = 6",
        "UPDATE billing_event SET effective_at = '2026-06-02T00:00:00.000000Z' WHERE seq = 6",
        "UPDATE billing_event SET effective_until = effective_at WHERE seq = 6",
    ],
)
def test_a_copy_that_differs_from_the_body_is_found_by_deep(
    open_book: Engine, statement: str
) -> None:
    tamper(open_book, statement)
    with reading(open_book) as session:
        assert verify(session).problem == ""
        report = verify(session, deep=True)
    assert report.bad_seq == 6
    assert statement.split()[3] in report.problem


def test_a_rewritten_chain_whose_time_steps_back_is_found(open_book: Engine) -> None:
    """Somebody who can hash can forge links; time still has to go on."""
    with reading(open_book) as session:
        events = tail(session, limit=EVENTS)
    previous = events[5].hash
    for event in events[6:]:
        recorded = at(0) if event.seq == 9 else event.recorded_at
        own = chain_hash(previous, event.seq, instant_text(recorded), event.body)
        with writing(open_book) as session:
            session.connection().execute(
                update(BillingEvent)
                .where(col(BillingEvent.seq) == event.seq)
                .values(recorded_at=recorded, prev_hash=previous, hash=own)
            )
        previous = own
    with reading(open_book) as session:
        report = verify(session)
    assert (report.bad_seq, report.problem) == (9, "recorded_at steps back")


def test_an_anchor_finds_a_cut_tail_and_a_rewritten_chain(open_book: Engine) -> None:
    with reading(open_book) as session:
        middle, last = tail(session, after_seq=19, limit=1)[0], ledger_head(session)
    kept = Head(seq=middle.seq, hash=middle.hash)
    tamper(
        open_book,
        "DELETE FROM billing_event WHERE seq > 30",
        "UPDATE ledger_head SET seq = 30, hash = (SELECT hash FROM billing_event WHERE seq = 30)",
    )
    with reading(open_book) as session:
        assert verify(session, anchors=[kept]).problem == ""
        cut = verify(session, anchors=[kept, last])
        other = verify(session, anchors=[Head(seq=20, hash=last.hash)])
    assert (cut.bad_seq, other.bad_seq) == (31, 20)
    assert "anchor names seq 40" in cut.problem


def test_every_single_bit_of_a_row_matters(open_book: Engine) -> None:
    """1,000 random one-bit edits of stored bytes, each undone after it was found."""
    dice = random.Random(20260601)  # noqa: S311
    sqlite = open_book.dialect.name == "sqlite"
    with writing(open_book) as session:
        rows = session.execute(text("SELECT seq, body, prev_hash, hash FROM billing_event")).all()
    change = {
        "body": "UPDATE billing_event SET body = :value WHERE seq = :seq",
        "prev_hash": "UPDATE billing_event SET prev_hash = :value WHERE seq = :seq",
        "hash": "UPDATE billing_event SET hash = :value WHERE seq = :seq",
    }
    for _ in range(1000 if sqlite else 100):
        row, name = dice.choice(rows), dice.choice(sorted(change))
        stored = getattr(row, name)
        flipped = bytearray(stored.encode() if name == "body" else stored)
        flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(7)  # stays ASCII
        value = flipped.decode() if name == "body" else bytes(flipped)
        if not sqlite and name == "body" and "\0" in value:
            continue  # PostgreSQL stores no such text at all
        with open_book.connect() as connection:
            connection.execute(text(change[name]), {"value": value, "seq": row.seq})
            report = verify(Session(bind=connection))
            connection.rollback()
        assert report.bad_seq == row.seq, (row.seq, name)
