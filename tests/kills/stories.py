"""What is killed, where and how often: a list of stories that one seed decides."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

SWEPT = 0.62  # of all kills at the most: the rest hit at random
LATER_MS = 250  # a kill at a random moment comes so long after an edge at the most
GONE = 0.08  # of the random stories: the lease names a machine that nobody can ask any more
SERVICES = {"set": 3, "parts": 4}  # of each kind; any other changes one
KINDS = {  # with their weights
    "tier": 4,
    "set": 4,
    "parts": 3,
    "suspend": 2,
    "resume": 1,
    "terminate": 2,
    "activate": 1,
    "rollback": 2,
}
FIRST_RECOVERY_EDGE = 3  # what lies before it only reads the store
BEGINNINGS = ("forward", "back")  # a kill right after the decision, and right before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a process is killed: at an edge by its number or name, or `later_ms` after it."""

    at: str
    later_ms: int = 0

    def options(self) -> tuple[str, ...]:
        """The words for `lab.cut`."""
        later = ("--later", str(self.later_ms)) if self.later_ms else ()
        return ("--list", "--at", self.at, *later)

    def __str__(self) -> str:
        return f"{self.at}+{self.later_ms}ms" if self.later_ms else self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One order that is killed at the first cut, and its recoveries at the others.

    Even numbers are for SQLite, odd ones for PostgreSQL. `gone` = before the last recovery the
    leases are made to look like those of another boot of the machine.
    """

    number: int
    kind: str
    cuts: tuple[Cut, ...]
    gone: bool = False

    @property
    def services(self) -> int:
        """How many services it needs."""
        return SERVICES.get(self.kind, 1)

    def __str__(self) -> str:
        cuts = ", ".join(map(str, self.cuts))
        return f"story {self.number}: {self.kind} cut at {cuts}{', leases gone' * self.gone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """How many edges a command has: the tier change, and recovery from either side of it."""

    first: int  # the number of the edge `before intent`
    tier: int
    recovery: Mapping[str, int]  # by beginning


def make_stories(seed: int, kills: int, spans: Spans) -> tuple[Story, ...]:
    """Return stories with at least so many cuts: every edge once, then random ones.

    Where `kills` is too small for that, the edges are a sample.
    """
    rng = random.Random(seed)  # noqa: S311 - a seed is what it is for
    swept = list(_sweep(spans))
    rng.shuffle(swept)
    # half of the edges meet the one database in runs with an even seed, half in the others
    if seed % 2:
        swept.reverse()
    chosen: list[tuple[str, tuple[Cut, ...], bool]] = []
    planned = 0
    for cuts in swept:
        if planned + len(cuts) > SWEPT * kills:
            break
        chosen.append(("tier", cuts, False))
        planned += len(cuts)
    while planned < kills:
        kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        cuts = tuple(_random_cuts(rng, spans))
        chosen.append((kind, cuts, rng.random() < GONE))
        planned += len(cuts)
    rng.shuffle(chosen)
    return tuple(
        Story(number=number, kind=kind, cuts=cuts, gone=gone)
        for number, (kind, cuts, gone) in zip(count(1), chosen, strict=False)
    )


def _sweep(spans: Spans) -> Iterator[tuple[Cut, ...]]:
    for edge in range(spans.first, spans.tier + 1):
        yield (Cut(at=str(edge)),)
    for beginning, at in zip(BEGINNINGS, ("after decision", "before decision"), strict=True):
        for edge in range(FIRST_RECOVERY_EDGE, spans.recovery[beginning] + 1):
            yield (Cut(at=at), Cut(at=str(edge)))


def _random_cuts(rng: random.Random, spans: Spans) -> Iterator[Cut]:
    recoveries = rng.choices((0, 1, 2), (40, 45, 15))[0]
    last = max(spans.recovery.values())
    for place in range(1 + recoveries):
        low, high = (spans.first, spans.tier) if place == 0 else (FIRST_RECOVERY_EDGE, last)
        later = rng.randrange(1, LATER_MS) if rng.random() < 0.5 else 0
        # a moment after the last edges might lie after the end
        edge = rng.randrange(low, high - 10 if later else high + 1)
        yield Cut(at=str(edge), later_ms=later)
