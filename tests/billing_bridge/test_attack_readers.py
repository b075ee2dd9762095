"""A consumer that reads for 30 s while 8 processes write misses nothing and sees nothing twice."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from ledger_writer import write_until
from sqlalchemy import Engine, text

from billing_bridge import advance, export_lines, position_of, read_batch, tail, verify
from billing_bridge.event import Head
from inventory import DatabaseProblem
from orchestrator.database import reading, writing

WRITERS = 8
SECONDS = 30.0
DRAW = 7  # one transaction in so many fails right before its end


@pytest.fixture
def writers() -> Iterator[ProcessPoolExecutor]:
    """Processes that are forked from one which has everything loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ledger_writer"])
    with ProcessPoolExecutor(WRITERS, mp_context=context) as pool:
        yield pool


def consume(engine: Engine, writing_: list[Future[int]]) -> int:
    """Read as a consumer does whose effects are in the same database; count what failed.

    Every event's effect is a row; a transaction that fails takes its effects along.
    """
    dice, failed = random.Random(1), 0  # noqa: S311
    while True:
        last_round = all(one.done() for one in writing_)
        try:
            with writing(engine) as session:
                batch = read_batch(session, "invoices", limit=dice.randint(1, 50))
                for event in batch:
                    effect = text("INSERT INTO effect (seq, event_id) VALUES (:seq, :event_id)")
                    session.execute(effect, {"seq": event.seq, "event_id": event.event_id})
                advance(session, "invoices", batch)
                if dice.randrange(DRAW) == 0:
                    raise DatabaseProblem("consumer", "died before its commit")  # noqa: TRY301
        except DatabaseProblem:
            failed += 1
            continue
        if last_round and not batch:
            return failed


def follow(engine: Engine, writing_: list[Future[int]]) -> list[int]:
    """Read plainly from the last seq that was seen, as `ledger tail --after` does."""
    seen: list[int] = []
    while True:
        last_round = all(one.done() for one in writing_)
        with reading(engine) as session:
            new = tail(session, after_seq=seen[-1] if seen else 0, limit=100)
        seen += [event.seq for event in new]
        if last_round and not new:
            return seen


def export(engine: Engine, writing_: list[Future[int]]) -> int:
    """Read lines, every one of which must follow the one before; return how many."""
    place, count = Head(), 0
    while True:
        last_round = all(one.done() for one in writing_)
        with reading(engine) as session:
            lines = list(export_lines(session, place, limit=100))
        count += len(lines)
        if lines:
            place = position_of(lines[-1])
        elif last_round:
            return count


@pytest.mark.timeout(600)
def test_a_consumer_misses_nothing_and_sees_nothing_twice(
    engine: Engine, writers: ProcessPoolExecutor
) -> None:
    """Goal: sequence order is commit order. Method: three kinds of readers beside eight writers."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE effect (seq bigint, event_id text)"))
    url = engine.url.render_as_string(hide_password=False)
    at_work = [writers.submit(write_until, url, number, SECONDS) for number in range(WRITERS)]
    with ThreadPoolExecutor(3) as pool:
        consumed = pool.submit(consume, engine, at_work)
        followed = pool.submit(follow, engine, at_work)
        exported = pool.submit(export, engine, at_work)
        total = sum(one.result() for one in at_work)
        assert consumed.result() > 0, "no transaction failed: that was no test"
        everything = list(range(1, total + 1))
        assert followed.result() == everything
        assert exported.result() == total
    with engine.connect() as connection:
        effects = connection.execute(text("SELECT seq, event_id FROM effect")).all()
    assert sorted(row.seq for row in effects) == everything
    with reading(engine) as session:
        recorded = {event.event_id for event in tail(session, limit=total + 1)}
        assert verify(session, deep=True).events == total
    assert {row.event_id for row in effects} == recorded
    assert len(recorded) == total > WRITERS
