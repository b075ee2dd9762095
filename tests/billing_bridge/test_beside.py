"""Verifying with several processes: the same report as by one, wherever something is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from ledger_facts import at, lifecycle, take_guards_away, usage
from sqlalchemy import Engine, text, update
from sqlmodel import Session, col

from billing_bridge import BillingEvent, Head, VerifyReport, append, ledger_head, tail, verify
from billing_bridge.event import body_text, chain_hash
from inventory import instant_text
from orchestrator.database import reading, writing

EVENTS = 40
APART: dict[str, int] = {"processes": 3, "share": 10}
# walked apart as 1..16, 17..28 and 29..40
JOIN = (16, 17)


@pytest.fixture
def open_book(engine: Engine) -> Engine:
    """A ledger whose owner has taken its guards away."""
    for minute in range(0, EVENTS, 4):
        with writing(engine) as session:
            story = [lifecycle("service.activated", 1, service_id=f"svc-{minute}")]
            append(session, [*story, *(usage(minute + n) for n in range(3))], at(minute))
    take_guards_away(engine)
    return engine


def both(engine: Engine, *, deep: bool = False, anchors: Sequence[Head] = ()) -> VerifyReport:
    """The report, which is the same by one process as by three."""
    with reading(engine) as session:
        alone = verify(session, deep=deep, anchors=anchors)
    with reading(engine) as session:
        assert verify(session, deep=deep, anchors=anchors, **APART) == alone
    return alone


def test_a_good_chain_holds_however_it_is_walked(open_book: Engine) -> None:
    with reading(open_book) as session:
        head = ledger_head(session)
        events = tail(session, limit=EVENTS)
    anchors = [Head(seq=event.seq, hash=event.hash) for event in events]
    for deep in (False, True):
        report = both(open_book, deep=deep, anchors=anchors)
        assert (report.events, report.last, report.bad_seq) == (EVENTS, head, 0)


@pytest.mark.parametrize("apart", [{"processes": 2, "share": 40}, {"processes": 5, "share": 1}])
def test_every_way_to_part_the_chain_gives_one_report(
    open_book: Engine, apart: dict[str, int]
) -> None:
    with reading(open_book) as session:
        assert verify(session, **apart) == verify(session)


@pytest.mark.parametrize("seq", JOIN)
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE billing_event SET body = replace(body, 'noc', 'boc') WHERE seq = :seq",
        "UPDATE billing_event SET hash = payload_hash WHERE seq = :seq",
        "UPDATE billing_event SET prev_hash = payload_hash WHERE seq = :seq",
        "UPDATE billing_event SET recorded_at = '2020-01-01T00:00:00.000000Z' WHERE seq = :seq",
        "UPDATE billing_event SET seq = seq + 1000 WHERE seq = :seq",
        "DELETE FROM billing_event WHERE seq = :seq",
    ],
)
def test_damage_at_a_join_is_found_where_it_is(open_book: Engine, damage: str, seq: int) -> None:
    with writing(open_book) as session:
        session.execute(text(damage), {"seq": seq})
    report = both(open_book)
    assert (report.bad_seq, report.events) == (seq, seq - 1)
    assert report.problem


def test_a_cut_off_tail_is_found(open_book: Engine) -> None:
    with writing(open_book) as session:
        session.execute(text("DELETE FROM billing_event WHERE seq = 40"))
    report = both(open_book)
    assert (report.bad_seq, report.problem) == (40, "the chain ends here, the head names seq 40")


@pytest.mark.parametrize("seq", [17, 40])
def test_a_copy_that_differs_is_found_in_every_part(open_book: Engine, seq: int) -> None:
    with writing(open_book) as session:
        damage = "UPDATE billing_event SET actor = 'eve' WHERE seq >= :seq"
        session.execute(text(damage), {"seq": seq})
    assert both(open_book).problem == ""
    report = both(open_book, deep=True)
    assert (report.bad_seq, report.problem) == (seq, "copies differ from the body: actor")


@pytest.mark.parametrize("seq", JOIN)
def test_an_anchor_is_held_to_in_every_part(open_book: Engine, seq: int) -> None:
    with reading(open_book) as session:
        good = [Head(seq=event.seq, hash=event.hash) for event in tail(session, limit=EVENTS)]
    report = both(open_book, anchors=[*good, Head(seq=seq, hash=bytes(32))])
    assert (report.bad_seq, report.events) == (seq, seq - 1)
    assert "anchor names" in report.problem


def test_of_several_faults_the_first_is_named(open_book: Engine) -> None:
    """Goal: no order of looking hides the earlier fault. Method: one of each kind."""
    seq = 16
    with reading(open_book) as session:
        wrong = Head(seq=seq + 1, hash=ledger_head(session).hash)
    copy = "UPDATE billing_event SET actor = 'eve' WHERE seq = :seq"
    with writing(open_book) as session:
        session.execute(text(copy), {"seq": seq})
    assert both(open_book, deep=True, anchors=[wrong]).bad_seq == seq
    assert both(open_book, anchors=[wrong]).bad_seq == seq + 1
    with writing(open_book) as session:
        session.execute(text("DELETE FROM billing_event WHERE seq = 5"))
    assert both(open_book, deep=True, anchors=[wrong]).bad_seq == 5


def forge(engine: Engine, first: int, **change: Any) -> None:
    """Rewrite the chain from `first` on, whose values are changed, so that every link fits."""
    with reading(engine) as session:
        events = tail(session, first - 1, EVENTS)
    previous = events[0].prev_hash
    for event in events:
        values = change if event.seq == first else {}
        body = values.get("body", event.body)
        recorded = values.get("recorded_at", event.recorded_at)
        own = chain_hash(previous, event.seq, instant_text(recorded), body)
        row = update(BillingEvent).where(col(BillingEvent.seq) == event.seq)
        changed = {"body": body, "recorded_at": recorded, "prev_hash": previous, "hash": own}
        with writing(engine) as session:
            session.connection().execute(row.values(**changed))
            session.execute(text("UPDATE ledger_head SET hash = :own"), {"own": own})
        previous = own


def test_time_that_steps_back_over_a_join_is_found(open_book: Engine) -> None:
    forge(open_book, 17, recorded_at=at(0))
    report = both(open_book)
    assert (report.bad_seq, report.problem) == (17, "recorded_at steps back")


@pytest.mark.parametrize("body", ["", "[]", body_text({"actor": "eve"})])
def test_a_forged_body_of_any_shape_is_named_and_not_stumbled_over(
    open_book: Engine, body: str
) -> None:
    forge(open_book, 22, body=body)
    report = both(open_book, deep=True)
    assert report.bad_seq == 22
    assert report.problem.startswith("copies differ from the body")


@pytest.mark.parametrize("name", ["body", "prev_hash", "hash", "recorded_at"])
def test_a_value_that_was_taken_away_is_found(open_book: Engine, name: str) -> None:
    """On SQLite a column cannot come to hold NULL without another table: it is emptied."""
    sqlite = open_book.dialect.name == "sqlite"
    empty = "NULL" if not sqlite else "''" if name in ("body", "recorded_at") else "zeroblob(32)"
    damage = [f"UPDATE billing_event SET {name} = {empty} WHERE seq = 17"]  # noqa: S608
    if not sqlite:
        damage.insert(0, f"ALTER TABLE billing_event ALTER COLUMN {name} DROP NOT NULL")
    with writing(open_book) as session:
        for statement in damage:
            session.execute(text(statement))
    assert both(open_book).bad_seq == 17
    with reading(open_book) as session:
        assert verify(session, deep=True).bad_seq == 17


def test_a_hash_of_another_length_is_found(open_book: Engine) -> None:
    """Goal: no row is read for another by values that spell each other's bytes."""
    sqlite = open_book.dialect.name == "sqlite"
    longer = "zeroblob(64)" if sqlite else "prev_hash || hash"
    damage = [
        "UPDATE billing_event SET hash = substr(hash, 1, 31) WHERE seq = 17",
        f"UPDATE billing_event SET prev_hash = {longer} WHERE seq = 17",  # noqa: S608
    ]
    if sqlite:
        damage = ["PRAGMA ignore_check_constraints = ON", *damage]
    else:
        damage = ["ALTER TABLE billing_event DROP CONSTRAINT billing_event_hashes", *damage]
    with writing(open_book) as session:
        for statement in damage:
            session.execute(text(statement))
    assert both(open_book).bad_seq == 17


def test_other_processes_walk_and_they_see_what_is_committed(open_book: Engine) -> None:
    """Goal: the parts are really walked elsewhere. Method: a fault that this transaction hides."""
    damage = text("UPDATE billing_event SET actor = 'eve' WHERE seq IN (20, 40)")
    with open_book.connect() as connection:
        connection.execute(damage)
        session = Session(bind=connection)
        assert verify(session, deep=True).bad_seq == 20
        assert verify(session, deep=True, **APART).problem == ""
        connection.rollback()


def test_the_transaction_goes_on_after_a_broken_chain(open_book: Engine) -> None:
    with writing(open_book) as session:
        session.execute(text("DELETE FROM billing_event WHERE seq = 2"))
    with reading(open_book) as session:
        for deep in (False, True):
            assert verify(session, deep=deep, **APART).bad_seq == 2
        assert ledger_head(session).seq == EVENTS


def test_a_process_that_cannot_be_started_is_done_without(
    open_book: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert both(open_book, deep=True).events == EVENTS


def test_a_process_that_cannot_reach_the_store_is_done_without(
    open_book: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: an interpreter that ends at once with a failure."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert both(open_book, deep=True).events == EVENTS


def test_the_password_is_not_among_the_arguments(
    open_book: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Method: an interpreter that writes down what it is told by arguments and environment."""
    seen = tmp_path / "seen"
    spy = tmp_path / "python"
    spy.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} > {seen}\nexit 1\n')
    spy.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(spy))
    with reading(open_book) as session:
        assert verify(session, processes=2, share=10).events == EVENTS
    said = seen.read_text()
    assert re.search(r"\bserve\b", said)
    assert (open_book.url.password or "no password at all") not in said
