"""What the journal promises to who reads it: each set has its own, and its state moves once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update
from sqlmodel import col, select

from inventory import OpenChange, new_id
from orchestrator.database import make_engine, reading, writing
from orchestrator.decide import abort_set
from orchestrator.journal import (
    EpochLostError,
    bump_epoch,
    find_decided_at,
    find_verdict,
    keep_story,
    line,
    list_changes,
    list_open_sets,
    list_steps,
    load_set,
    move,
    session_name,
    short,
)
from orchestrator.rows import ChangeRow, DecisionRow, ParticipantRow
from tests.orchestrator.paper_items import begin, item, point, upgrade_of
from tests.schema import create_schema
from workflows import SessionPart

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    """An empty store."""
    engine = make_engine(f"sqlite:///{tmp_path / 'bandmaster.db'}")
    create_schema(engine)
    yield engine
    engine.dispose()


def epochs(store: Engine) -> dict[str, int]:
    """Under which epoch each service's change stands."""
    with reading(store) as session:
        return {row.service_id: row.epoch for row in session.exec(select(ChangeRow))}


def states(store: Engine) -> dict[str, str]:
    """In which state each service's change is."""
    with reading(store) as session:
        return {row.service_id: row.state for row in session.exec(select(ChangeRow))}


def write(store: Engine, service_id: str, **values: object) -> None:
    """Write something into a service's change, past the journal."""
    mine = col(ChangeRow.service_id) == service_id
    with writing(store) as session:
        session.connection().execute(update(ChangeRow).where(mine).values(values))


# --- epochs and states ---------------------------------------------------------------------------


def test_each_recovery_counts_one_epoch_on_and_no_other_set_feels_it(store: Engine) -> None:
    """W7: older workers of this set are shut out, and those of another one go on."""
    ours = begin(store, [upgrade_of("svc-1"), upgrade_of("svc-2")])
    begin(store, [upgrade_of("svc-3")])
    write(store, "svc-2", state="CLOSED", outcome="done")
    assert epochs(store) == {"svc-1": 1, "svc-2": 1, "svc-3": 1}
    for epoch in (2, 3):
        with writing(store) as session:
            bump_epoch(session, ours)
            assert load_set(session, ours).epoch == epoch
        assert epochs(store) == {"svc-1": epoch, "svc-2": 1, "svc-3": 1}


@pytest.mark.parametrize(("was", "epoch"), [("COMMITTED", 1), ("INTENT", 0), ("INTENT", 2)])
def test_a_state_moves_only_from_what_was_seen_and_under_ones_own_epoch(
    store: Engine, was: str, epoch: int
) -> None:
    """W7: one change of several that cannot move stops all of them."""
    set_id = begin(store, [upgrade_of("svc-1"), upgrade_of("svc-2")])
    with reading(store) as session:
        names = tuple(change.change_id for change in list_changes(session, set_id))
    with pytest.raises(EpochLostError), writing(store) as session:
        move(session, names, epoch, was, state="ABORTED")
    write(store, "svc-2", epoch=2)
    with pytest.raises(EpochLostError) as caught, writing(store) as session:
        move(session, names, 1, "INTENT", state="ABORTED")
    assert caught.value.exit_code == 6
    assert states(store) == {"svc-1": "INTENT", "svc-2": "INTENT"}
    with writing(store) as session:
        move(session, names[:1], 1, "INTENT", state="ABORTED")
    assert states(store) == {"svc-1": "ABORTED", "svc-2": "INTENT"}


# --- sets ----------------------------------------------------------------------------------------


def test_a_set_is_read_with_what_is_its_own(store: Engine) -> None:
    """Recovery has nothing else: its changes, what was ordered, and each device's handle."""
    begin(store, [upgrade_of("svc-9")], ["olt-9"])
    theirs = [upgrade_of("svc-1"), item("svc-2", point("day-t500"), point("day-t100"))]
    set_id = begin(store, theirs, ["bng-1", "olt-1"])
    begin(store, [upgrade_of("svc-8")], ["olt-8"])
    with reading(store) as session:
        found = load_set(session, set_id)
        assert [row.service_id for row in list_changes(session, set_id)] == ["svc-1", "svc-2"]
    assert (found.set_id, found.plan_id, found.attempt) == (set_id, f"plan of {set_id}", 1)
    assert [change.service_id for change in found.changes] == ["svc-1", "svc-2"]
    assert [found.items[change.change_id] for change in found.changes] == theirs
    orders = [found.orders[change.order_id] for change in found.changes]
    assert [order.idempotency_key for order in orders] == [
        each.order.idempotency_key for each in theirs
    ]
    assert {name: handle.device for name, handle in found.handles.items()} == {
        "bng-1": "bng-1",
        "olt-1": "olt-1",
    }
    assert found.first_write_at == found.changes[0].created_at


def test_a_live_session_takes_part_beside_the_devices(store: Engine) -> None:
    """Nobody has arrived anywhere when the intent is written, and nothing was sent."""
    part = SessionPart(device="bng-1", platform="", login="user1@isp", action="coa", attributes=())
    item_ = item("svc-1", point("day-t100"), point("day-t500"), session=(part,))
    set_id = begin(store, [item_, upgrade_of("svc-2")])
    with reading(store) as session:
        rows = {row.name: row for row in session.exec(select(ParticipantRow))}
        opened = load_set(session, set_id)
    live = session_name(opened.changes[0].change_id)
    assert {name: (row.role, row.service_id) for name, row in rows.items()} == {
        "bng-1": ("device", ""),
        live: ("session", "svc-1"),
    }
    for row in rows.values():
        assert (row.at_goal_since, row.settled, row.sent_at) == (None, False, None)
    assert opened.handles.keys() == {"bng-1"}


def test_one_open_change_of_a_service_stands_in_the_way_of_another(store: Engine) -> None:
    """W12: it is named, and nothing of the second intent is kept; a closed one is no obstacle."""
    first = begin(store, [upgrade_of("svc-1")])
    with reading(store) as session:
        name = short(list_changes(session, first)[0].change_id, "c")
    with pytest.raises(OpenChange, match=rf"svc-1: change {name} is not closed yet \(intent\)"):
        begin(store, [upgrade_of("svc-2"), upgrade_of("svc-1")])
    assert states(store) == {"svc-1": "INTENT"}
    write(store, "svc-1", state="CLOSED", outcome="aborted")
    begin(store, [upgrade_of("svc-1")])


def _order(store: Engine, applied: Mapping[str, dt.datetime | None]) -> list[str]:
    """In which order recovery takes three sets, by the names of their services."""
    sets = {begin(store, [upgrade_of(f"{n}-a"), upgrade_of(f"{n}-b")]): n for n in "123"}
    for service_id, at in applied.items():
        write(store, service_id, applied_at=at)
    with reading(store) as session:
        return [sets[set_id] for set_id in list_open_sets(session)]


@pytest.mark.parametrize("half", ["2-a", "2-b"])
def test_what_is_not_applied_whole_is_recovered_first(store: Engine, half: str) -> None:
    """Armed timers of a set would look like somebody else's to the closing pass of another."""
    assert _order(store, {"1-a": NOON, "1-b": NOON, half: NOON}) == ["2", "3", "1"]


def test_of_one_kind_the_oldest_set_is_recovered_first(store: Engine) -> None:
    assert _order(store, {}) == ["1", "2", "3"]
    for service_id in ("1-a", "1-b", "2-a", "2-b", "3-a", "3-b"):
        write(store, service_id, applied_at=NOON)
    write(store, "2-a", state="CLOSED", outcome="done")
    with reading(store) as session:
        found = list_open_sets(session)
    assert list(found) == sorted(found)
    assert len(found) == 3  # the other change of the second one is open
    write(store, "2-b", state="CLOSED", outcome="done")
    with reading(store) as session:
        assert len(list_open_sets(session)) == 2


# --- verdicts ------------------------------------------------------------------------------------


def test_a_verdict_is_that_of_its_set_alone(store: Engine) -> None:
    ours, theirs = (begin(store, [upgrade_of(name)]) for name in ("svc-1", "svc-2"))
    with writing(store) as session:
        opened = load_set(session, ours)
        abort_set(session, opened, {})
    with reading(store) as session:
        assert (find_verdict(session, ours), find_verdict(session, theirs)) == ("ABORT", "")
        decided_at = find_decided_at(session, opened.changes[0].change_id)
    with writing(store) as session:
        other = load_set(session, theirs)
        abort_set(session, other, {})
        later = update(DecisionRow).where(col(DecisionRow.set_id) == theirs)
        session.connection().execute(later.values(decided_at=NOON))
    with reading(store) as session:
        assert find_decided_at(session, opened.changes[0].change_id) == decided_at
        assert find_decided_at(session, other.changes[0].change_id) == NOON


# --- stories and names ---------------------------------------------------------------------------


def test_a_line_of_a_story_reads_alike_each_time_and_keeps_its_letters() -> None:
    """People search stories for a name as they write it, and compare one with another."""
    told = line("prepare", "olt-1", verdict="REFUSED", reason="Lüneburg läuft")
    assert told == line("prepare", "olt-1", reason="Lüneburg läuft", verdict="REFUSED")
    assert told["detail"] == '{"reason": "Lüneburg läuft", "verdict": "REFUSED"}'
    assert json.loads(told["detail"]) == {"reason": "Lüneburg läuft", "verdict": "REFUSED"}


def test_a_story_is_kept_where_the_store_is_there_and_stops_nobody(store: Engine) -> None:
    """A device that waits for its confirm is not left alone because a disk is full."""
    set_id = begin(store, [upgrade_of("svc-1")])
    at = keep_story(store, set_id, [line("prepare", "bng-1"), line("prepare", "olt-1")])
    assert at is not None
    with reading(store) as session:
        told = [(row.participant, row.at) for row in list_steps(session, set_id)]
    assert told[1:] == [("bng-1", at), ("olt-1", at)]
    assert keep_story(store, set_id, []) is None
    with reading(store) as session:
        assert len(list_steps(session, set_id)) == len(told)
    with store.begin() as connection:
        connection.execute(text("ALTER TABLE journal_step RENAME TO hidden"))
    assert keep_story(store, set_id, [line("prepare", "bng-1")]) is None


def test_what_people_are_shown_of_an_id_tells_ids_of_one_moment_apart() -> None:
    """An id's first sixteen digits are its time and its number within that: the rest is chance."""
    assert short("019790aa-1f00-7abc-9def-0123456789ab", "c") == "c-019790aa1f007abc"
    many = [new_id() for _ in range(200)]
    assert len({short(each, "c") for each in many}) == len(many)
