"""What may still be on its way to a NAS: who is written down, for how long, who is forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import SQLModel, select

from orchestrator.astray import AGAIN_S, Outbox, astray, astray_left, doubt
from orchestrator.database import database_now, reading, writing
from orchestrator.journal import session_name
from orchestrator.office import Office, open_office
from orchestrator.rows import ChangeRow, ExceptionRow, ParticipantRow
from orchestrator.settings import Settings
from tests.orchestrator import paper
from tests.orchestrator.test_leases import Moving
from tests.schema import create_schema
from workflows import CoaReply

T0 = dt.datetime(2026, 6, 1, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
WINDOW_S = 300
SET, OTHER = "set-1", "set-2"
ACK, SILENCE = CoaReply(kind="ACK"), CoaReply(kind="SILENCE", copies=3)


@pytest.fixture
def clock() -> Moving:
    """The office's clock, which stands still until a test moves it."""
    return Moving()


@pytest.fixture
def office(tmp_path: Path, clock: Moving) -> Iterator[Office]:
    """An office over an empty store."""
    url = f"sqlite:///{tmp_path / 'bandmaster.db'}"
    made = open_office(Settings(database_url=url, coa_window_s=WINDOW_S))
    create_schema(made.engine)
    yield replace(made, clock=clock)
    made.engine.dispose()


def part(name: str, sent_at: dt.datetime | None = None, set_id: str = SET) -> ParticipantRow:
    return paper.part(set_id, name, "session", service_id="svc-1", sent_at=sent_at)


def change(
    change_id: str, state: str, applied_at: dt.datetime | None = None, set_id: str = SET
) -> ChangeRow:
    return paper.change(set_id, change_id, state, applied_at=applied_at)


def asked(
    participant: str, set_id: str = SET, resolved_at: dt.datetime | None = None
) -> ExceptionRow:
    given = {"exception_id": f"x-{participant}-{set_id}", "resolved_at": resolved_at}
    return paper.doubt(paper.change(set_id, "ch-1"), participant, **given)


def put(office: Office, *rows: SQLModel) -> None:
    with writing(office.engine) as session:
        session.add_all(rows)


def sent(office: Office, set_id: str = SET) -> dict[str, dt.datetime | None]:
    with reading(office.engine) as session:
        rows = session.exec(select(ParticipantRow).where(ParticipantRow.set_id == set_id))
        return {row.name: row.sent_at for row in rows}


# --- what a pass sends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "open_"),
    [
        (ACK, False),
        (CoaReply(kind="NAK", error_cause=407), False),
        (CoaReply(kind="ACK", copies=2), True),
        (CoaReply(kind="NAK", copies=3), True),
        (CoaReply(kind="SILENCE", copies=1), True),
        (SILENCE, True),
    ],
)
def test_only_the_one_copy_that_was_answered_cannot_arrive_any_more(
    office: Office, reply: CoaReply, *, open_: bool
) -> None:
    outbox = Outbox(office=office, set_id=SET, left=[])
    outbox.heard("one", reply)
    assert outbox.unanswered == ({"one"} if open_ else set())


def test_all_that_will_be_sent_stands_in_the_store_first(office: Office) -> None:
    """W1: once for all that are left, and for nobody else."""
    put(office, *(part(name) for name in ("one", "two", "done", "not applied")))
    put(office, part("one", set_id=OTHER))
    outbox = Outbox(office=office, set_id=SET, left=["one", "two", "done"])
    outbox.done("done")
    outbox.ahead("not applied")
    outbox.ahead("done")
    assert set(sent(office).values()) == {None}
    outbox.ahead("one")
    found = sent(office)
    assert found["one"] == found["two"]
    assert found["one"] is not None
    assert (found["done"], found["not applied"]) == (None, None)
    assert sent(office, OTHER) == {"one": None}


def test_who_answered_is_forgotten_and_who_did_not_is_kept(office: Office) -> None:
    """Each of them by itself: what was doubted before, or sent by somebody else since, still is."""
    before, since, end = T0, T0 + 60 * SECOND, T0 + 90 * SECOND
    names = ("answered", "doubted", "silent", "sent since")
    put(office, *(part(name, before if name == "doubted" else None) for name in names))
    put(office, part("nobody's", before), *(part(name, before, OTHER) for name in names))
    outbox = Outbox(office=office, set_id=SET, left=list(names))
    outbox.ahead("answered")
    with writing(office.engine) as session:
        row = session.get_one(ParticipantRow, (SET, "sent since"))
        row.sent_at = since
        session.add(row)
    for name in names:
        outbox.heard(name, SILENCE if name == "silent" else ACK)
    with writing(office.engine) as session:
        outbox.keep(session, end)
    assert sent(office) == {
        "answered": None,
        "doubted": before,
        "silent": end,
        "sent since": since,
        "nobody's": before,
    }
    assert set(sent(office, OTHER).values()) == {before}


def test_a_pass_that_was_sent_nothing_keeps_nothing(office: Office) -> None:
    put(office, part("one"), part("two", T0))
    with writing(office.engine) as session:
        Outbox(office=office, set_id=SET, left=["one", "two"]).keep(session, T0 + SECOND)
    assert sent(office) == {"one": None, "two": T0}


def test_what_was_doubted_before_a_long_pass_still_is_after_it(
    office: Office, clock: Moving
) -> None:
    """The pass writes down its own sending several times, and takes back no more than that."""
    put(office, part("doubted", T0), part("new"))
    outbox = Outbox(office=office, set_id=SET, left=["doubted", "new"])
    for name in ("doubted", "new", "new"):
        outbox.ahead(name)
        assert sent(office)["doubted"] != T0
        outbox.heard(name, ACK)
        clock.now_s += 2 * AGAIN_S
    with writing(office.engine) as session:
        outbox.keep(session, T0 + SECOND)
    assert sent(office) == {"doubted": T0, "new": None}


def test_what_was_sent_last_before_a_crash_may_arrive_for_a_whole_window(
    office: Office, clock: Moving
) -> None:
    """Goal: who died wrote down no less than he sent. Method: the last request before AGAIN_S."""
    put(office, part("one"))
    outbox = Outbox(office=office, set_id=SET, left=["one"])
    with reading(office.engine) as session:
        begun = database_now(session)
    outbox.ahead("one")
    clock.now_s += AGAIN_S - 0.1
    outbox.ahead("one")
    last = begun + (AGAIN_S - 0.1) * SECOND
    with reading(office.engine) as session:
        assert astray(office, session, SET, begun) == {"one": WINDOW_S}
        for after_s in (0, 1, WINDOW_S - 1, WINDOW_S):
            left_s = astray(office, session, SET, last + after_s * SECOND)["one"]
            assert left_s >= WINDOW_S - after_s


def test_what_is_decided_and_not_applied_may_have_been_sent_just_now(office: Office) -> None:
    """Who takes a set over knows nothing of its last worker's requests, but from where they go."""
    put(
        office,
        change("committed", "COMMITTED"),
        change("reversed", "REVERSED"),
        change("applied", "COMMITTED", T0),
        change("closed", "CLOSED"),
        change("aborted", "ABORTED"),
        change("undecided", "INTENT"),
        change("elsewhere", "COMMITTED", None, OTHER),
    )
    ids = ("committed", "reversed", "applied", "closed", "aborted", "undecided", "elsewhere")
    put(office, *(part(session_name(each)) for each in ids), part("committed", T0))
    put(office, *(part(session_name(each), set_id=OTHER) for each in ids))
    with writing(office.engine) as session:
        doubt(session, SET)
        now = database_now(session)
    found = sent(office)
    assert found.pop("committed") == T0  # a device, whatever its name
    doubted = {name: at for name, at in found.items() if at is not None}
    assert doubted.keys() == {session_name("committed"), session_name("reversed")}
    assert all(abs(now - at) < 5 * SECOND for at in doubted.values())
    assert set(sent(office, OTHER).values()) == {None}


# --- for how long --------------------------------------------------------------------------------


def test_a_request_may_arrive_until_its_window_ends(office: Office) -> None:
    """RFC 5176 section 6.3: at the end of the window it is dropped, and a part of a second counts.

    A clock that was set back makes no wait longer than a window.
    """
    ages = {"at the end": 300.0, "nearly": 299.5, "over": 300.5, "fresh": 0.0, "ahead": -3600.0}
    put(office, *(part(name, T0 - age * SECOND) for name, age in ages.items()))
    put(office, part("never sent"), part("elsewhere", T0, OTHER))
    with reading(office.engine) as session:
        left = astray(office, session, SET, T0)
    assert left == {"nearly": 0.5, "fresh": 300.0, "ahead": 300.0}


def _ago(office: Office, name: str, seconds: int) -> ParticipantRow:
    with reading(office.engine) as session:
        return part(name, database_now(session) - seconds * SECOND)


def test_where_nothing_is_on_its_way_nothing_is_waited_for(office: Office) -> None:
    put(office, part("answered"), _ago(office, "old", WINDOW_S + 1))
    with reading(office.engine) as session:
        assert astray_left(office, session, SET) == 0


def test_the_last_one_that_can_arrive_is_waited_for(office: Office) -> None:
    """Nobody waits for what a person is asked: by an open question, and about this very set."""
    put(
        office,
        _ago(office, "first", 200),
        _ago(office, "last", 100),
        _ago(office, "asked about", 0),
        asked("asked about"),
        asked("last", resolved_at=T0),
        asked("last", OTHER),
    )
    with reading(office.engine) as session:
        assert 195 < astray_left(office, session, SET) <= 200


def test_where_a_person_is_asked_about_all_nothing_is_waited_for(office: Office) -> None:
    put(office, _ago(office, "one", 0), _ago(office, "two", 10), asked("one"), asked("two"))
    with reading(office.engine) as session:
        assert astray_left(office, session, SET) == 0
