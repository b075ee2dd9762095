"""S15: what is applied is the plan that was shown, over the devices that were read for it.

At the office (altered, cancelled, expired, applied twice, a stale line) this is tested in
tests/orchestrator/test_change.py; here by what a person can do, with every byte of a stored plan.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import pytest
from sqlalchemy import select, update

from inventory import StalePlan, table_of
from orchestrator.apply import load_plan
from orchestrator.database import reading
from orchestrator.office import open_office
from orchestrator.rows import PlanRow
from orchestrator.settings import load
from tests.desk import Desk

from .conftest import Guarded

PLANS = table_of(PlanRow)
PLANS_LEFT_OUT = frozenset({"change_plan", "service_order", "journal_step", "plan_set", "change"})
# what is kept for people and decides nothing
UNUSED = {("created_at",)}
ONE, BNG, OLT = "svc-1001", "bng-fra-1", "olt-fra-1"


def _plan(desk: Desk) -> str:
    """Make a plan and return the id that a person is shown."""
    told = desk.good("service", "tier", ONE, "fiber-500", "--plan-only", "--json", code=3)
    found: str = re.findall(r'"plan_id": "([^"]+)"', told.out)[0]
    return found


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every leaf of a JSON document."""
    if isinstance(value, dict):
        return [place for key in value for place in _leaves(value[key], (*path, key))]
    if isinstance(value, list) and value:
        return [p for number, each in enumerate(value) for p in _leaves(each, (*path, number))]
    return [path]


def _altered(value: Any, path: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(value))
    place = copy
    for step in path[:-1]:
        place = place[step]
    old = place[path[-1]]
    place[path[-1]] = (
        not old
        if isinstance(old, bool)
        else old + 1
        if isinstance(old, int)
        else f"{old}x"
        if isinstance(old, str)
        else "x"
    )
    return copy


def test_a_plan_with_any_leaf_altered_is_refused(guarded: Guarded) -> None:
    """Goal: the hash covers all of it. Method: every leaf of the stored plan, one after another."""
    desk = guarded.desk
    plan_id = _plan(desk)
    with desk.engine.begin() as connection:
        (row,) = connection.execute(select(PLANS)).all()
    document = json.loads(row.body)
    places = _leaves(document)
    assert len(places) > 40
    before = desk.world(but=PLANS_LEFT_OUT)
    office = open_office(load())
    believed = []
    for path in places:
        altered = json.dumps(_altered(document, path))
        with desk.engine.begin() as connection:
            connection.execute(update(PLANS).values(body=altered))
        with reading(office.engine) as session:
            try:
                load_plan(session, plan_id)
            except StalePlan:
                continue
        believed.append(path)
    office.engine.dispose()
    assert [path for path in believed if path not in UNUSED] == []
    told = desk.run("change", "apply", plan_id, "--yes")
    assert told.code == 5, told.text
    assert desk.world(but=PLANS_LEFT_OUT) == before


def test_a_plan_whose_columns_are_altered_is_refused(guarded: Guarded) -> None:
    """Goal: nobody lends a plan a longer life. Method: the row's own expiry, and its hash."""
    desk = guarded.desk
    plan_id = _plan(desk)
    before = desk.world(but=PLANS_LEFT_OUT)
    for values in (
        {"expires_at": dt.datetime(2099, 1, 1, tzinfo=dt.UTC)},
        {"plan_hash": "0" * 64},
        {"body": "{}"},
        {"body": "not JSON"},
    ):
        with desk.engine.begin() as connection:
            (row,) = connection.execute(select(PLANS)).all()
            connection.execute(update(PLANS).values(**values))
        told = desk.run("change", "apply", plan_id, "--yes")
        assert told.code == 5, (values, told.text)
        told.says("is not what was shown")
        with desk.engine.begin() as connection:
            old = {name: getattr(row, name) for name in values}
            connection.execute(update(PLANS).values(**old))
    assert desk.world(but=PLANS_LEFT_OUT) == before
    desk.good("change", "apply", plan_id, "--yes")  # as it was shown it is applied


@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_device_that_changed_since_is_not_written_over(guarded: Guarded, device: str) -> None:
    """Goal: the other half of S15. Method: somebody sets another rate between plan and apply."""
    desk = guarded.desk
    plan_id = _plan(desk)
    if device == BNG:
        lines = ["set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-1000M"]
        desk.control(BNG, "edit", lines=lines)
    else:
        desk.control(OLT, "edit", lines=["service-port 1001 adminstatus disable"])
    before = desk.world(but=PLANS_LEFT_OUT)[1]
    told = desk.run("change", "apply", plan_id, "--yes")
    assert told.code in (1, 5), told.text
    assert desk.devices() == before
