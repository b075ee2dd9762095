"""The one step for a device seen in any state: the whole table, and what no row of it may do."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from orchestrator.drive import next_step
from workflows import Goal, ItemSeen, Observation, Seen
from workflows.participant import PendingSeen

GOALS: tuple[Goal, ...] = get_args(Goal)
SEEN: tuple[Seen, ...] = get_args(Seen)
PENDING: tuple[PendingSeen, ...] = get_args(PendingSeen)
STUCK = {"unreachable", "foreign section", "foreign confirm"}

# (goal, running): the step where pending is NONE, OURS, FOREIGN, UNKNOWN; "keep" looks at startup
TABLE = {
    ("NEW", "OLD"): ("prepare", "prepare", "foreign confirm", "unreachable"),
    ("NEW", "NEW"): ("keep", "confirm", "foreign confirm", "unreachable"),
    ("NEW", "MIXED"): ("abort", "abort", "foreign confirm", "unreachable"),
    ("NEW", "OTHER"): ("foreign section", "foreign section", "foreign section", "unreachable"),
    ("NEW", "UNREADABLE"): ("unreachable", "unreachable", "unreachable", "unreachable"),
    ("OLD", "OLD"): ("keep", "abort", "foreign confirm", "unreachable"),
    ("OLD", "NEW"): ("abort", "abort", "foreign confirm", "unreachable"),
    ("OLD", "MIXED"): ("abort", "abort", "foreign confirm", "unreachable"),
    ("OLD", "OTHER"): ("foreign section", "foreign section", "foreign section", "unreachable"),
    ("OLD", "UNREADABLE"): ("unreachable", "unreachable", "unreachable", "unreachable"),
}
EVERY = tuple(product(GOALS, SEEN, SEEN, PENDING))


def seen(running: Seen, startup: Seen, pending: PendingSeen) -> Observation:
    return Observation(pending=pending, items={"svc-1": ItemSeen(running=running, startup=startup)})


@pytest.mark.parametrize(("goal", "running", "startup", "pending"), EVERY)
def test_every_row(goal: Goal, running: Seen, startup: Seen, pending: PendingSeen) -> None:
    wanted = TABLE[goal, running][("NONE", "OURS", "FOREIGN", "UNKNOWN").index(pending)]
    if wanted == "keep":
        wanted = "done" if startup == goal else "save"
    assert next_step(goal, seen(running, startup, pending)) == wanted


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(GOALS, SEEN))
    assert set(PENDING) == {"NONE", "OURS", "FOREIGN", "UNKNOWN"}


@pytest.mark.parametrize(("goal", "running", "startup", "pending"), EVERY)
def test_nothing_is_sent_over_what_is_not_ours(
    goal: Goal, running: Seen, startup: Seen, pending: PendingSeen
) -> None:
    """P8: no verb over a stranger's section, a stranger's timer or what could not be read."""
    step = next_step(goal, seen(running, startup, pending))
    foreign = running in ("OTHER", "UNREADABLE") or pending in ("FOREIGN", "UNKNOWN")
    assert (step in STUCK) == foreign


@pytest.mark.parametrize(("goal", "running", "startup", "pending"), EVERY)
def test_done_is_the_goal_everywhere(
    goal: Goal, running: Seen, startup: Seen, pending: PendingSeen
) -> None:
    """P6, P7: done exactly where running and startup are at the goal and no timer of ours runs."""
    at_goal = (running, startup, pending) == (goal, goal, "NONE")
    assert (next_step(goal, seen(running, startup, pending)) == "done") == at_goal


@pytest.mark.parametrize(("goal", "running", "startup", "pending"), EVERY)
@pytest.mark.parametrize("armed", [True, False])
def test_an_obedient_device_arrives(
    goal: Goal, running: Seen, startup: Seen, pending: PendingSeen, *, armed: bool
) -> None:
    """P12: from any state that is ours the goal is reached in three steps, in either mechanism."""
    now = seen(running, startup, pending)
    if next_step(goal, now) in STUCK:
        return
    for _ in range(3):
        now = _after(now, next_step(goal, now), armed=armed)
    assert next_step(goal, now) == "done"


def _after(now: Observation, step: str, *, armed: bool) -> Observation:
    """What a device that does as it is told looks like afterwards."""
    item = now.items["svc-1"]
    pending = now.pending
    if step == "prepare":
        item, pending = replace(item, running="NEW"), "OURS" if armed else "NONE"
    elif step == "abort":
        item, pending = replace(item, running="OLD"), "NONE"
    elif step == "confirm":
        item, pending = replace(item, startup="NEW"), "NONE"
    elif step == "save":
        item = replace(item, startup=item.running)
    return Observation(pending=pending, items={"svc-1": item})


@pytest.mark.parametrize("first", SEEN)
@pytest.mark.parametrize("second", SEEN)
def test_services_of_one_device_are_taken_together(first: Seen, second: Seen) -> None:
    """The worst of them speaks for the device: nothing is sent where one cannot be trusted."""
    both = Observation(
        pending="NONE",
        items={
            "svc-1": ItemSeen(running=first, startup=first),
            "svc-2": ItemSeen(running=second, startup=second),
        },
    )
    step = next_step("NEW", both)
    if "UNREADABLE" in (first, second):
        assert step == "unreachable"
    elif "OTHER" in (first, second):
        assert step == "foreign section"
    elif "MIXED" in (first, second):
        assert step == "abort"
    else:
        assert step == ("done" if (first, second) == ("NEW", "NEW") else "prepare")
