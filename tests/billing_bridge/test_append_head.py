"""The head of the chain: nothing is appended behind a head that is missing or names no event."""

from __future__ import annotations

import pytest
from ledger_facts import T0, TABLES, lifecycle, take_guards_away
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel

from billing_bridge import Head, append, head_at, ledger_head, lock_head, tail
from inventory import DatabaseProblem, LedgerBroken, UnknownName


def test_without_a_head_nothing_is_appended(empty_engine: Engine) -> None:
    """Tables alone are no ledger: whoever made them has not finished."""
    SQLModel.metadata.create_all(empty_engine, tables=TABLES)
    with Session(empty_engine) as session, pytest.raises(DatabaseProblem, match="no head row"):
        append(session, [lifecycle("service.activated", 1)], T0)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE ledger_head SET seq = 7", "UPDATE billing_event SET hash = prev_hash WHERE seq = 1"],
    ids=["names no event", "names another event"],
)
def test_behind_a_head_that_does_not_fit_nothing_is_appended(engine: Engine, damage: str) -> None:
    """A new event would be chained to something that was never there."""
    with Session(engine) as session, session.begin():
        append(session, [lifecycle("service.activated", 1)], T0)
    take_guards_away(engine, damage)
    with Session(engine) as session, pytest.raises(LedgerBroken, match="not the last event"):
        append(session, [lifecycle("service.activated", 1, service_id="svc-2")], T0)


def test_each_place_of_the_chain_can_be_named(engine: Engine) -> None:
    """Before the first event, an event, the newest one, and none behind it."""
    with Session(engine) as session, session.begin():
        (first,) = append(session, [lifecycle("service.activated", 1)], T0)
        append(session, [lifecycle("service.activated", 1, service_id="svc-2")], T0)
    with Session(engine) as session:
        assert head_at(session, 0) == Head()
        assert head_at(session, 1) == Head(seq=1, hash=first.hash)
        assert head_at(session, 2) == ledger_head(session)
        assert [each.seq for each in tail(session, after_seq=1)] == [2]
        with pytest.raises(UnknownName, match="seq 3"):
            head_at(session, 3)


def test_who_locks_the_head_is_told_the_newest_event(engine: Engine) -> None:
    """What is read behind it rests on all that is recorded, the caller's own events included."""
    with Session(engine) as session, session.begin():
        assert lock_head(session) == Head()
        (first,) = append(session, [lifecycle("service.activated", 1)], T0)
        assert lock_head(session) == Head(seq=1, hash=first.hash) == ledger_head(session)


def test_nothing_is_appended_behind_any_head(engine: Engine) -> None:
    """Who has nothing to say meets no difficulty: the second time there is an event before it."""
    with Session(engine) as session, session.begin():
        assert append(session, [], T0) == ()
        append(session, [lifecycle("service.activated", 1)], T0)
        assert append(session, [], T0) == ()
        assert ledger_head(session).seq == 1
