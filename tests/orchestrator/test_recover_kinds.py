"""Kills around the decision on PostgreSQL, of every kind of order, and inside recovery itself."""

from __future__ import annotations

import json
from functools import partial

import pytest

from lab.servers.postgres import Postgres
from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import (
    KILLED,
    NEW,
    at_rest,
    in_lanes,
    one_of_two,
    recover,
)
from tests.orchestrator.field import Field
from tests.orchestrator.rig import Truth, truth
from tests.orchestrator.test_change import set_password

TIER = ("service", "tier")
AROUND = (
    "before intent",
    "after intent",
    "after commit on bng-fra-1",
    "after line to olt-fra-1",
    "before decision",
    "after decision",
    "after saving on olt-fra-1",
    "after coa",
    "before applied",
    "after applied",
)


def cut_tier(edge: str, field: Field, service_id: str) -> None:
    ended = field.run(*TIER, service_id, NEW, "--yes", at=edge)
    assert ended.code == KILLED, ended.err
    recover(field)
    one_of_two(field, service_id, decided=AROUND.index(edge) > AROUND.index("before decision"))


@pytest.mark.timeout(600)
def test_a_kill_around_the_decision_on_postgresql(
    start_field: StartField, postgres_server: Postgres, postgres_database: str
) -> None:
    """Intent, decision and close: the same two worlds as on SQLite."""
    url = postgres_server.url("migrate", postgres_database)
    lane = start_field(url=url, services=len(AROUND), olts=1, save_s=0.05)
    in_lanes([lane], [(edge, partial(cut_tier, edge)) for edge in AROUND])


# --- a second cut, inside recovery ---------------------------------------------------------------

PAIRS = (
    ("after intent", "before epoch"),
    ("after line to olt-fra-1", "after abort decision"),
    ("after line to olt-fra-1", "after abort bng-fra-1,olt-fra-1"),
    ("before decision", "after line to olt-fra-1"),
    ("before decision", "after commit on bng-fra-1"),
    ("before decision", "before close"),
    ("after decision", "after epoch"),
    ("after decision", "after commit on bng-fra-1"),
    ("after decision", "before saving on olt-fra-1"),
    ("after commit on bng-fra-1", "after load on bng-fra-1"),
    ("after confirm bng-fra-1", "before coa"),
    ("after saving on olt-fra-1", "after coa"),
    ("after coa", "after close"),
)


def cut_twice(first: str, second: str, field: Field, service_id: str) -> None:
    ended = field.run(*TIER, service_id, NEW, "--yes", at=first)
    assert ended.code == KILLED, ended.err
    again = field.run("recover", at=second)
    assert again.code == KILLED, again.err
    recover(field)
    decided = truth(field.rig, service_id).plan == NEW
    one_of_two(field, service_id, decided=decided)
    assert decided == (first in _DECIDED)


_DECIDED = {"after decision", "after confirm bng-fra-1", "after saving on olt-fra-1", "after coa"}


@pytest.mark.timeout(600)
def test_a_kill_inside_recovery_is_mended_by_the_next(start_field: StartField) -> None:
    lanes = [start_field(services=len(PAIRS), olts=1, save_s=0.05) for _ in range(2)]
    tasks = [(f"{first}, {second}", partial(cut_twice, first, second)) for first, second in PAIRS]
    in_lanes(lanes, tasks)


# --- every kind of order -------------------------------------------------------------------------

KINDS = ("suspend", "resume", "terminate", "activate", "rollback")
EDGES = ("before decision", "after decision", "after saving on olt-fra-1")


def cut_kind(kind: str, edge: str, field: Field, service_id: str) -> None:
    words = bring_to_start(field, kind, service_id)
    before = truth(field.rig, service_id)
    ended = field.run(*words, "--yes", at=edge)
    assert ended.code == KILLED, ended.err
    recover(field)
    if edge == "before decision":
        assert truth(field.rig, service_id) == before
        assert field.run(*words, "--yes").code == 0
        recover(field)
    ends_right(truth(field.rig, service_id), before, kind)
    at_rest(field)


def bring_to_start(field: Field, kind: str, service_id: str) -> tuple[str, ...]:
    """Bring a service where this kind of order can begin; return the order's words."""
    first = {"resume": "suspend", "activate": "terminate"}.get(kind)
    if first:
        assert field.run("service", first, service_id, "--yes").code == 0
        recover(field)
    if kind == "rollback":
        assert field.run(*TIER, service_id, NEW, "--yes").code == 0
        recover(field)
        return ("change", "rollback", _newest_change(field, service_id))
    if kind == "activate":
        set_password(field.rig, f"user{service_id.rpartition('-')[2]}@isp")
        return ("service", "activate", service_id, "--plan", NEW)
    return ("service", kind, service_id)


def _newest_change(field: Field, service_id: str) -> str:
    listed = field.run("change", "list", "--service", service_id, "--json")
    assert listed.code == 0, listed.err
    return str(json.loads(listed.out)["changes"][0]["change_id"])


def ends_right(seen: Truth, before: Truth, kind: str) -> None:
    """Say what each kind ends as, on devices, in rows and in the ledger."""
    assert (seen.bng, seen.olt) == (seen.bng_startup, seen.olt_saved)
    event, state, rate, group = {
        "suspend": ("service.suspended", "active", (1_000, 1_000), "suspended@juniper_junos"),
        "resume": ("service.resumed", "active", (100_000, 20_000), "fiber-100@juniper_junos"),
        "terminate": ("service.terminated", "terminated", (0, 0), ""),
        "activate": ("service.activated", "active", (500_000, 100_000), "fiber-500@juniper_junos"),
        "rollback": ("tier.changed", "active", (100_000, 20_000), "fiber-100@juniper_junos"),
    }[kind]
    assert seen.events == (*before.events, event)
    assert seen.olt == rate
    assert seen.group == group
    assert seen.state == ("suspended" if kind == "suspend" else state)
    assert seen.session in ((0, 0), rate)


@pytest.mark.timeout(600)
def test_every_kind_of_order_survives_a_kill(start_field: StartField) -> None:
    tasks = [(f"{kind}, {edge}", partial(cut_kind, kind, edge)) for kind in KINDS for edge in EDGES]
    lanes = [start_field(services=len(tasks), olts=1, save_s=0.05) for _ in range(2)]
    in_lanes(lanes, tasks)
