"""What an append rests on when the ledger is longer than one event: keys, versions and time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_facts import at, lifecycle, usage
from sqlalchemy import Engine

from billing_bridge import append, find_by_key, ledger_head, tail
from inventory import KeyConflict
from orchestrator.database import reading, writing


def test_a_key_is_known_however_long_ago_it_was_used(engine: Engine) -> None:
    """Not only that of the newest event: the rest of a repeated batch is recorded behind it."""
    old, new = usage(1), usage(3)
    with writing(engine) as session:
        (first,) = append(session, [old], at(0))
        append(session, [usage(2)], at(1))
    with writing(engine) as session:
        again = append(session, [old, new, old], at(2))
        assert ledger_head(session).seq == 3
    assert (again[0], again[2]) == (first, first)
    assert (again[1].seq, again[1].event_id) == (3, new.event_id)
    with pytest.raises(KeyConflict), writing(engine) as session:
        append(session, [usage(1, quantity=999)], at(3))


def test_a_key_belongs_to_its_source(engine: Engine) -> None:
    """Two sources that choose the same key mean two events, each of which is known again."""
    ours = usage(1)
    theirs = replace(usage(1, quantity=2000), source="mediation")
    with writing(engine) as session:
        made = append(session, [ours, theirs], at(0))
        append(session, [usage(2)], at(1))
    with writing(engine) as session:
        assert append(session, [theirs, ours], at(2)) == (made[1], made[0])
        assert append(session, [ours], at(2)) == made[:1]
        assert append(session, [theirs], at(2)) == made[1:]
        assert ledger_head(session).seq == 3
        assert find_by_key(session, "mediation", theirs.idempotency_key) == made[1]


def test_what_counts_no_version_hides_none(engine: Engine) -> None:
    """Usage and others' changes stand behind a service's last change: its next version follows."""
    with writing(engine) as session:
        append(session, [lifecycle("service.activated", 1)], at(0))
        append(session, [usage(1), usage(2)], at(1))
        append(session, [lifecycle("service.activated", 1, service_id="svc-2")], at(2))
    with writing(engine) as session:
        (made,) = append(session, [lifecycle("tier.changed", 2, tier="t300")], at(3))
    assert (made.seq, made.service_version) == (5, 2)


def test_time_never_steps_back_behind_any_event(engine: Engine) -> None:
    """The newest event of all is the bound, not an older one of the same service."""
    with writing(engine) as session:
        append(session, [lifecycle("service.activated", 1)], at(0))
        append(session, [usage(1, service_id="svc-2")], at(10))
    with writing(engine) as session:
        (made,) = append(session, [lifecycle("tier.changed", 2, tier="t300")], at(5))
    assert made.recorded_at == at(10)


def test_a_page_of_the_ledger_holds_a_hundred_events(engine: Engine) -> None:
    """Who does not say how many wants no more than that at once, and begins at the first one."""
    with writing(engine) as session:
        append(session, [usage(number) for number in range(101)], at(0))
    with reading(engine) as session:
        page = tail(session)
        rest = tail(session, after_seq=page[-1].seq)
    assert [each.seq for each in page] == list(range(1, 101))
    assert [each.seq for each in rest] == [101]
