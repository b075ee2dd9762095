"""Reading the ledger from elsewhere: cursors, exports, and eight writers at once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger_facts import at, lifecycle, take_guards_away, usage
from sqlalchemy import Engine

from billing_bridge import (
    Head,
    advance,
    append,
    export_lines,
    head_at,
    ledger_head,
    position_of,
    read_batch,
    tail,
    verify,
)
from inventory import LedgerBroken, StalePlan, UnknownName, WrongUse
from orchestrator.database import reading, writing


def test_a_consumer_sees_every_event_once(engine: Engine) -> None:
    with writing(engine) as session:
        made = append(session, [usage(number) for number in range(7)], at(0))
    seen: list[int] = []
    for _ in range(4):
        with writing(engine) as session:
            batch = read_batch(session, "invoices", limit=3)
            advance(session, "invoices", batch)
            seen += [event.seq for event in batch]
    assert seen == [event.seq for event in made]
    with writing(engine) as session:
        assert len(read_batch(session, "another")) == 7


def test_a_batch_whose_transaction_fails_comes_again(engine: Engine) -> None:
    with writing(engine) as session:
        append(session, [usage(1), usage(2)], at(0))

    def fail_after_advancing() -> None:
        with writing(engine) as session:
            advance(session, "invoices", read_batch(session, "invoices"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_advancing()
    with writing(engine) as session:
        batch = read_batch(session, "invoices")
        advance(session, "invoices", batch)
        with pytest.raises(RuntimeError, match="not where this batch began"):
            advance(session, "invoices", batch)
    assert [event.seq for event in batch] == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE billing_event SET hash = prev_hash WHERE seq = 2",
        "DELETE FROM billing_event WHERE seq >= 2",
        "UPDATE billing_event SET body = replace(body, 'noc', 'xoc') WHERE seq = 3",
        "DELETE FROM billing_event WHERE seq = 3",
    ],
)
def test_a_consumer_stops_where_the_chain_is_another(engine: Engine, damage: str) -> None:
    with writing(engine) as session:
        append(session, [usage(number) for number in range(4)], at(0))
    with writing(engine) as session:
        advance(session, "invoices", read_batch(session, "invoices", limit=2))
    take_guards_away(engine, damage)
    with pytest.raises(LedgerBroken), writing(engine) as session:
        read_batch(session, "invoices")


def test_an_export_goes_on_where_its_last_line_stands(engine: Engine) -> None:
    with writing(engine) as session:
        made = append(
            session, [lifecycle("service.activated", 1), *(usage(n) for n in range(4))], at(3)
        )
    with reading(engine) as session:
        first = list(export_lines(session, Head(), limit=2))
        rest = list(export_lines(session, position_of(first[-1])))
        assert list(export_lines(session, head_at(session, 5))) == []
        with pytest.raises(UnknownName):
            head_at(session, 6)
        with pytest.raises(LedgerBroken):
            list(export_lines(session, Head(seq=2, hash=bytes(32))))
    lines = [json.loads(line) for line in (*first, *rest)]
    assert [line["id"] for line in lines] == [event.event_id for event in made]
    assert sorted(line["sequence"] for line in lines) == [line["sequence"] for line in lines]
    for line, event, raw in zip(lines, made, (*first, *rest), strict=True):
        assert (line["specversion"], line["source"]) == ("1.0", "bandmaster")
        assert (line["type"], line["subject"]) == (event.type, event.service_id)
        assert f'"data":{event.body}' in raw  # byte for byte what was hashed
        assert "\n" not in raw


def test_an_export_stops_where_the_chain_breaks(engine: Engine) -> None:
    with writing(engine) as session:
        append(session, [usage(number) for number in range(4)], at(0))
    take_guards_away(engine, "UPDATE billing_event SET body = replace(body, 'noc', 'xoc') "
                             "WHERE seq = 3")  # fmt: skip
    with pytest.raises(LedgerBroken), reading(engine) as session:
        list(export_lines(session, Head()))


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"sequence":"x","ledgerhash":"00"}'])
def test_a_foreign_line_is_no_position(line: str) -> None:
    with pytest.raises(WrongUse):
        position_of(line)


WRITERS = 8
EACH = 12


def test_eight_writers_make_one_gapless_chain_that_no_reader_outruns(engine: Engine) -> None:
    """Case L05: a reader that follows seq while eight write sees every event, in order."""
    done = threading.Event()
    seen: list[int] = []

    def write(writer: int) -> None:
        for number in range(EACH):
            with writing(engine) as session:
                append(session, [usage(writer * 1000 + number), usage(-writer * 1000 - number - 1)]
                       if writer else [usage(number)], at(number))  # fmt: skip

    def follow_along() -> None:
        while True:
            last_round = done.is_set()
            with reading(engine) as session:
                new = tail(session, after_seq=seen[-1] if seen else 0, limit=1000)
            seen.extend(event.seq for event in new)
            if last_round:
                return

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(follow_along)
        writers = [pool.submit(write, writer) for writer in range(WRITERS)]
        try:
            for each in writers:
                each.result()
        finally:
            done.set()
        reader.result()
    total = EACH * (2 * WRITERS - 1)
    assert seen == list(range(1, total + 1))
    with reading(engine) as session:
        assert verify(session, deep=True).events == total


def test_of_many_writers_of_one_request_one_records_it(engine: Engine) -> None:
    """And of many plans for one version of a service one is kept, the others are stale."""
    same = usage(1)

    def repeat(_: int) -> str:
        with writing(engine) as session:
            return append(session, [same], at(0))[0].event_id

    def compete(_: int) -> str:
        try:
            with writing(engine) as session:
                append(session, [lifecycle("service.activated", 1)], at(1))
        except StalePlan:
            return "stale"
        return "kept"

    with ThreadPoolExecutor(WRITERS) as pool:
        assert set(pool.map(repeat, range(WRITERS))) == {same.event_id}
        assert sorted(pool.map(compete, range(WRITERS))) == ["kept"] + ["stale"] * (WRITERS - 1)
    with reading(engine) as session:
        assert ledger_head(session).seq == 2
