"""What a pass over a decided set writes down of what it found, and what it leaves to a person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text
from sqlmodel import col, select

from inventory import DatabaseProblem
from orchestrator import database
from orchestrator.database import make_engine, reading, writing
from orchestrator.drive import Stuck
from orchestrator.exceptions import MENDED
from orchestrator.journal import find_verdict
from orchestrator.live import Ending
from orchestrator.office import Office
from orchestrator.rows import ExceptionRow
from orchestrator.settle import _excuse, _open_exceptions, _Pass, ensure_decided
from tests.orchestrator.paper import (
    a_pass,
    a_set,
    arrived,
    change,
    doubt,
    driven,
    keep_set,
    paper_office,
    rows,
    stuck,
)
from tests.orchestrator.test_leases import Moving
from tests.orchestrator.test_store_faults import locked


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One store is enough: what the databases do differently is in test_store_faults.py."""
    return f"sqlite:///{tmp_path / 'bandmaster.db'}"


@pytest.fixture
def office(tmp_path: Path, empty_engine: Engine) -> Office:
    """An office over an empty store, where no time passes."""
    return paper_office(tmp_path, empty_engine, Moving())


# --- one verdict ---------------------------------------------------------------------------------


@pytest.fixture
def hurried(
    empty_engine: Engine, office: Office, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    """The same office, whose store says at once that it is locked."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)
    made = make_engine(str(empty_engine.url))
    yield replace(office, engine=made)
    made.dispose()


@pytest.mark.parametrize("free_after", [0, 1, 2])
def test_a_store_that_is_locked_is_asked_again_for_the_verdict(
    hurried: Office, empty_engine: Engine, free_after: int
) -> None:
    """F12: a COMMIT in flight holds the key for longer than a lock is waited for."""
    keep_set(empty_engine, "s-1", change("s-1", "a", "INTENT"))
    refused = []
    with contextlib.ExitStack() as stack:
        if free_after:
            stack.enter_context(locked(Path(str(empty_engine.url.database))))

        def note(_context: object) -> None:
            refused.append(True)
            if len(refused) == free_after:
                stack.close()

        event.listen(hurried.engine, "handle_error", note)
        assert ensure_decided(hurried, "s-1", {"a": "no licence"}) == "ABORT"
    assert len(refused) == free_after
    row = rows(empty_engine)["a"]
    assert (row.state, row.refusal) == ("ABORTED", "no licence")


def test_a_store_that_stays_locked_is_given_up_and_nothing_is_decided(
    hurried: Office, empty_engine: Engine
) -> None:
    keep_set(empty_engine, "s-1", change("s-1", "a", "INTENT"))
    refused = []
    event.listen(hurried.engine, "handle_error", lambda _context: refused.append(True))
    with (
        locked(Path(str(empty_engine.url.database))),
        pytest.raises(DatabaseProblem, match="locked"),
    ):
        ensure_decided(hurried, "s-1", {})
    assert len(refused) == 3
    with reading(empty_engine) as session:
        assert find_verdict(session, "s-1") == ""


def test_what_is_decided_is_not_decided_again(office: Office) -> None:
    """W8: whoever would abort a set that is committed hears that it is."""
    keep_set(office.engine, "s-1", change("s-1", "a", "COMMITTED"))
    assert ensure_decided(office, "s-1", {"*": "its worker died"}) == "COMMIT"
    assert rows(office.engine)["a"].state == "COMMITTED"


def test_a_verdict_that_nobody_can_read_is_none(office: Office) -> None:
    """The key is taken and no verdict stands on it: nothing is claimed."""
    keep_set(office.engine, "s-1", change("s-1", "a", "INTENT"))
    taken = "UNIQUE constraint failed"
    with writing(office.engine) as session:
        session.connection().execute(
            text(
                "CREATE TRIGGER refuses BEFORE INSERT ON decision"
                f" BEGIN SELECT RAISE(ABORT, '{taken}'); END"
            )
        )
    with pytest.raises(DatabaseProblem, match="gave no decision"):
        ensure_decided(office, "s-1", {})
    assert rows(office.engine)["a"].state == "INTENT"


# --- whose devices they are ----------------------------------------------------------------------


def test_a_change_is_judged_by_the_devices_that_carry_its_service(office: Office) -> None:
    """Not by those of another service of its set, of another goal, or that a person accepted."""
    opened = a_set(
        office,
        change("s-1", "a"),
        change("s-1", "b", "REVERSED"),
        bng=("a", "b"),
        near=("a",),
        far=("b",),
    )
    found = a_pass(
        opened,
        {
            ("bng", "NEW"): arrived(),
            ("bng", "OLD"): stuck("refused"),
            ("near", "NEW"): stuck("foreign section"),
            ("far", "OLD"): stuck("unreachable"),
            ("far", "NEW"): stuck("refused"),
        },
    )
    first, second = opened.changes
    assert found.of_change(first) == {"bng": arrived(), "near": stuck("foreign section")}
    assert found.of_change(second) == {"bng": stuck("refused"), "far": stuck("unreachable")}
    left = replace(found, accepted=frozenset({("a", "near"), ("b", "bng")}))
    left.devices = found.devices
    assert left.of_change(first) == {"bng": arrived()}
    assert left.of_change(second) == {"far": stuck("unreachable")}


# --- what a person is asked ----------------------------------------------------------------------

Asked = list[tuple[str, str]]


def excuse(office: Office, found: _Pass) -> tuple[bool, bool, Asked]:
    """Judge the first change; return what is said of it and what is open then."""
    row = found.changes[0]
    with writing(office.engine) as session:
        said = _excuse(session, found, row, _open_exceptions(session, "s-1"))
    return (*said, still_open(office))


def still_open(office: Office) -> Asked:
    with reading(office.engine) as session:
        found = session.exec(select(ExceptionRow).order_by(col(ExceptionRow.participant)))
        return [(row.participant, row.cause) for row in found if row.resolved_at is None]


def test_who_has_arrived_is_asked_about_no_more(office: Office) -> None:
    """Its exception ends; that of another participant stands."""
    mine = change("s-1", "a")
    opened = a_set(office, mine, bng=("a",), olt=("a",))
    with writing(office.engine) as session:
        session.add(doubt(mine, "bng"))
        session.add(doubt(mine, "olt"))
    found = a_pass(opened, {("bng", "NEW"): arrived()})
    assert excuse(office, found) == (False, False, [("olt", "refused")])
    with reading(office.engine) as session:
        ended = session.get_one(ExceptionRow, "x-a-bng")
    assert (ended.resolution, ended.resolved_by) == (MENDED, "recovery")


def test_each_device_that_is_stuck_is_asked_about(office: Office) -> None:
    """Whatever the others have come to, before it or after it."""
    opened = a_set(office, change("s-1", "a"), bng=("a",), mid=("a",), olt=("a",))
    found = a_pass(
        opened,
        {
            ("bng", "NEW"): arrived(),
            ("mid", "NEW"): stuck("foreign section"),
            ("olt", "NEW"): stuck("refused"),
        },
    )
    asked = [("mid", "foreign section"), ("olt", "refused")]
    assert excuse(office, found) == (True, False, asked)


@pytest.mark.parametrize(
    ("found", "away"),
    [
        (stuck("unreachable"), True),
        (stuck("foreign confirm"), True),
        (stuck("foreign section"), False),
        (stuck("refused"), False),
        (stuck("refused", "OURS"), True),  # our timer will take back what stands
        (stuck("foreign section", "OURS"), False),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_what_passes_by_itself_holds_the_close_up(
    office: Office, found: Stuck, place: int, *, away: bool
) -> None:
    """Nothing is claimed of a change with such a device, in whatever order they are looked at."""
    opened = a_set(office, change("s-1", "a"), bng=("a",), olt=("a",))
    ends = [stuck("refused"), stuck("refused")]
    ends[place] = found
    made = a_pass(opened, {("bng", "NEW"): ends[0], ("olt", "NEW"): ends[1]})
    assert excuse(office, made)[:2] == (True, away)


def test_what_a_person_has_accepted_excuses_that_change_alone(office: Office) -> None:
    """Its close posts no effect by a device that was left as it is; the other's close does."""
    opened = a_set(office, change("s-1", "a"), change("s-1", "b"), bng=("a", "b"))
    for accepted, excused in ((("a", "bng"), True), (("b", "bng"), False)):
        found = a_pass(opened, {("bng", "NEW"): arrived()}, frozenset({accepted}))
        assert excuse(office, found) == (excused, False, [])


# --- and of a live session -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "cause", "away"),
    [("exception", "session", False), ("unreachable", "unreachable", True)],
)
def test_a_session_that_is_not_at_its_rate_is_asked_about(
    office: Office, ending: Ending, cause: str, *, away: bool
) -> None:
    """A NAS that is away is read by a later pass; one that says no is a person's affair."""
    opened = a_set(office, change("s-1", "a"))
    found = a_pass(opened, {})
    found.live = driven(office, a=ending)
    assert excuse(office, found) == (True, away, [("session:a", cause)])


def test_a_device_that_is_away_is_so_whatever_the_session_says(office: Office) -> None:
    opened = a_set(office, change("s-1", "a"), bng=("a",))
    found = a_pass(opened, {("bng", "NEW"): stuck("unreachable")})
    found.live = driven(office, a="exception")
    assert excuse(office, found)[:2] == (True, True)


@pytest.mark.parametrize("ending", ["settled", "no session"])
@pytest.mark.parametrize(
    ("state", "astray", "asked"),
    [
        ("COMMITTED", False, False),
        ("COMMITTED", True, False),  # the change is held open until it can arrive no more
        ("CLOSED", False, False),
        ("CLOSED", True, True),  # nobody else waits for it
    ],
)
def test_a_session_at_its_rate_ends_its_exception(
    office: Office, ending: Ending, state: str, *, astray: bool, asked: bool
) -> None:
    """But a closed change is asked about for as long as an old request may still arrive."""
    row = change("s-1", "a", state, outcome="done")
    opened = a_set(office, row)
    with writing(office.engine) as session:
        session.add(doubt(row, "session:a", cause="session"))
    found = a_pass(opened, {})
    found.live = driven(office, a=ending)
    found.astray = frozenset({"session:a"}) if astray else frozenset({"session:b"})
    left = [("session:a", "session")] if asked else []
    assert excuse(office, found) == (asked, False, left)
