"""Many runs on all cores: each worker process has a theatre of its own, results come as counts."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .faults import Act, Scenario, draw
from .places import PLACES
from .run import Result, Theatre, theatre

Task = int | Scenario  # a seed, or a scenario made by hand
PART = 20  # runs between two collections of garbage


@dataclass(slots=True)
class Tally:
    """What some runs came to, added up."""

    runs: int = 0
    edges: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    failed: list[Scenario] = field(default_factory=list)

    def count(self, result: Result) -> None:
        """Add one run."""
        self.runs += 1
        self.edges.update(result.edges)
        self.endings += result.endings
        self.injected += result.injected
        if result.violations:
            self.failed.append(result.scenario)

    def add(self, other: Tally) -> None:
        """Add some runs."""
        self.runs += other.runs
        self.edges += other.edges
        self.endings += other.endings
        self.injected += other.injected
        self.failed += other.failed


_stage: list[Theatre] = []
_open: list[object] = []


def _begin() -> None:
    context = theatre()
    _stage.append(context.__enter__())
    _open.append(context)  # it lasts as long as the process


def _play(tasks: Sequence[Task]) -> Tally:
    tally = Tally()
    for task in tasks:
        tally.count(_stage[0].play(draw(task) if isinstance(task, int) else task))
    _stage[0].sweep()
    return tally


def play_all(tasks: Iterable[Task], *, workers: int = 0, stop_after: int = 3) -> Tally:
    """Play every task, on all cores; stops early after some failures."""
    total = Tally()
    parts = list(_parts(tasks))  # made here: what makes them may play runs of its own
    context = multiprocessing.get_context("fork")
    with context.Pool(workers or os.cpu_count() or 1, initializer=_begin) as pool:
        for part in pool.imap_unordered(_play, parts):
            total.add(part)
            if stop_after and len(total.failed) >= stop_after:
                pool.terminate()
                break
    return total


def _parts(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    part: list[Task] = []
    for task in tasks:
        part.append(task)
        if len(part) == PART:
            yield part
            part = []
    if part:
        yield part


def all_edges(stage: Theatre, place: str, *, watcher: str = "", order: str = "up") -> int:
    """Return how many edges a change and its closing pass have."""
    seen = stage.play(Scenario(seed=1, place=place, order=order, watcher=watcher))
    assert not seen.violations
    return sum(seen.edges.values())


def single_edges() -> Iterator[Scenario]:
    """Every edge killed once, with recovery afterwards, and with one on another host beside."""
    with theatre() as stage:
        for name in PLACES:
            for at in range(1, all_edges(stage, name) + 1):
                for watcher in ("", "elsewhere"):
                    act = Act("any", at, "kill")
                    yield Scenario(seed=1, place=name, order="up", watcher=watcher, acts=(act,))


def effects(stage: Theatre, place: str, *acts: Act) -> list[int]:
    """Return the edges right after something happened outside of the process."""
    seen = stage.play(Scenario(seed=1, place=place, order="up", acts=acts), listed=True)
    return [
        number
        for number, (kind, what) in enumerate(seen.passed, start=1)
        if what.startswith("after") and kind != "sql"
    ]


def pairs(place: str) -> Iterator[Scenario]:
    """Every pair of kills at a place: one after each effect, and one after each of what follows.

    Between two effects (a COMMIT that landed, a request that was executed) nothing outside of the
    process changes: one edge stands for all of those.
    """
    with theatre() as stage:
        found = [
            (Act("any", first, "kill"), Act("any", second, "kill"))
            for first in effects(stage, place)
            for second in effects(stage, place, Act("any", first, "kill"))
            if second > first
        ]
    for acts in found:
        yield Scenario(seed=1, place=place, order="up", acts=acts)


def some_pairs(place: str, number: int) -> Iterator[Scenario]:
    """A sample of pairs of kills, at any edges."""
    with theatre() as stage:
        count = all_edges(stage, place)
    rng = random.Random(number)  # noqa: S311 - a sample, not a secret
    for _ in range(number):
        first = rng.randint(1, count)
        acts = (Act("any", first, "kill"), Act("any", first + rng.randint(1, count), "kill"))
        yield Scenario(seed=1, place=place, order="up", acts=acts)
