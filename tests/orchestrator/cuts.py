"""Cutting the real command line at its edges, and what must be true after one `recover`."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import select

from billing_bridge import verify
from orchestrator.clock import process_start
from orchestrator.database import reading
from orchestrator.exceptions import list_open
from orchestrator.recover import orphans
from orchestrator.rows import LeaseRow
from tests.orchestrator.field import Field
from tests.orchestrator.rig import at_tier, truth

KILLED = -9
OLD, NEW = "fiber-100", "fiber-500"
Task = Callable[[Field, str], None]


def list_edges(field: Field, *words: str) -> tuple[str, ...]:
    """Run a command to its good end and return the edges it passed, in order."""
    ended = field.run(*words, cut=("--list",))
    assert ended.code == 0, ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("edge ")]
    return tuple(line.partition(": ")[2] for line in lines)


def states(edges: tuple[str, ...], start: str) -> Iterator[int]:
    """Yield the edges, numbered from 1, at which the world is in a state of its own.

    That is the edge called `start` and, from there on, each one right after an effect: between the
    end of a call and the beginning of the next one nothing happens outside the process.
    """
    first = edges.index(start)
    yield first + 1
    for place in range(first + 1, len(edges)):
        if edges[place].startswith("after ") and edges[place - 1].startswith("before "):
            yield place + 1


def at_rest(field: Field) -> None:
    """Nothing open, nothing disputed, no lease of a living process, and a ledger that holds."""
    with reading(field.rig.office.engine) as session:
        assert orphans(session) == 0
        assert list_open(session) == ()
        leases = session.exec(select(LeaseRow)).all()
        assert [row for row in leases if process_start(row.pid) == row.pid_start] == []
        assert verify(session, deep=True).problem == ""


def one_of_two(field: Field, service_id: str, *, decided: bool) -> None:
    """Everything at the new tier with one event, or everything at the old one with none."""
    at_tier(field.rig, service_id, NEW if decided else OLD)
    events = ("service.adopted", "tier.changed") if decided else ("service.adopted",)
    assert truth(field.rig, service_id).events == events


def recover(field: Field) -> None:
    """Recovery needs one run, no person, and says so."""
    recovered = field.run("recover")
    assert recovered.code == 0, recovered.err
    at_rest(field)


def in_lanes(fields: list[Field], tasks: Iterable[tuple[str, Task]]) -> None:
    """Do all tasks, one at a time in each field, each with a service of its own.

    Raises AssertionError with every failure, by the name of its task.
    """
    left: queue.SimpleQueue[tuple[str, Task]] = queue.SimpleQueue()
    for named in tasks:
        left.put(named)
    problems: list[str] = []

    def lane(field: Field) -> None:
        for service_id in field.rig.isp.ids():
            try:
                name, task = left.get_nowait()
            except queue.Empty:
                return
            try:
                task(field, service_id)
            except AssertionError as problem:
                problems.append(f"{name} ({service_id}): {problem}")

    with ThreadPoolExecutor(len(fields)) as pool:
        list(pool.map(lane, fields))
    if problems:
        pytest.fail("\n\n".join(problems))
    assert left.empty()
