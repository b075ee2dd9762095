"""`python -m tests.simulation.mutants`: each rule of the protocol is removed, and must be missed.

A simulation that finds nothing proves nothing until it is seen to find what is known to be wrong.
Each mutant replaces functions of the program by name; the run prints, as a Markdown table, how
many seeds it took until a promise was broken. Rules that others back up are removed alone, where
nothing may be found, and together with their backing, where something must be.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

from . import rules
from .__main__ import say, story
from .faults import Act, Scenario, draw
from .run import Result, Theatre, theatre
from .shrink import shrink

Hunt = Callable[[int], Scenario]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A rule that is taken out, and where to look for what it was good for."""

    name: str
    rule: str
    remove: Callable[[rules.Put], None]
    hunt: Hunt = draw
    backed: bool = False  # others hold its promise: nothing may be found


# --- where to look


def at_places(*names: str) -> Hunt:
    """The usual seeds, at these places only."""

    def hunt(seed: int) -> Scenario:
        return replace(draw(seed), place=names[seed % len(names)])

    return hunt


def again(seed: int) -> Scenario:
    """Orders that are repeated."""
    return replace(draw(seed), again=True, order="up", acts=())


def sleepers(seed: int) -> Scenario:
    """A worker dies, or a request of it goes astray; another one sleeps, with others around."""
    rng = random.Random(seed)  # noqa: S311
    acts = [
        Act("device", rng.randint(10, 60), rng.choice(("kill", "lost", "unanswered", "late"))),
        Act(rng.choice(("device", "sql", "commit")), rng.randint(10, 200), "stop", 400.0),
    ]
    if rng.random() < 0.5:
        acts.append(Act("device", rng.randint(20, 90), "reload", 3.0, rng.randrange(2)))
    return Scenario(
        seed=seed,
        place=rng.choice(("static", "inverse", "deadman", "both", "mixed")),
        order="up",
        quantum=rng.choice((1, 10, 1_000_000)),
        elsewhere=rng.random() < 0.5,
        watcher=rng.choice(("", "elsewhere")),
        acts=tuple(acts),
    )


def sleepy_logins(seed: int) -> Scenario:
    """A worker sleeps on its way to a device, first or again, while somebody takes over."""
    rng = random.Random(seed)  # noqa: S311
    first = rng.randint(7, 20)
    acts = [Act("device", first + rng.randint(1, 5), "stop", 400.0)]
    if rng.random() < 0.7:
        acts.append(Act("device", first, rng.choice(("lost", "unanswered"))))
    return Scenario(
        seed=seed,
        place=rng.choice(("static", "inverse", "deadman")),
        order="up",
        watcher="elsewhere",
        acts=tuple(sorted(acts)),
    )


def dozing_confirm(seed: int) -> Scenario:
    """Killed around the decision; whoever recovers sleeps in a request for longer than a timer."""
    rng = random.Random(seed)  # noqa: S311
    return Scenario(
        seed=seed,
        place="static",
        order="up",
        acts=(
            Act("device", rng.randint(22, 30), "kill"),
            Act("device", rng.randint(28, 48), "stop", 400.0),
        ),
    )


def late_commits(seed: int) -> Scenario:
    """COMMITs that land late, in the hands of who takes over."""
    rng = random.Random(seed)  # noqa: S311
    return Scenario(
        seed=seed,
        place=rng.choice(("static", "inverse", "deadman", "mixed")),
        order="up",
        acts=(
            Act(
                "commit", rng.randint(5, 25), "late+kill", rng.choice((0.01, 0.02, 0.05, 0.3, 2.0))
            ),
        ),
    )


def late_coas(seed: int) -> Scenario:
    """CoA requests that the network holds back, beside one thing that the seed does anyway."""
    rng = random.Random(seed)  # noqa: S311
    acts = [
        Act("radius", at, rng.choice(("late", "late+kill")), rng.choice((20.0, 45.0, 90.0)))
        for at in rng.sample(range(1, 9), rng.randint(1, 3))
    ]
    others = [act for act in draw(seed).acts if act.edge in ("device", "commit", "sql")]
    return replace(
        draw(seed),
        place=rng.choice(("junos", "token", "both", "set3")),
        acts=tuple(sorted([*acts, *rng.sample(others, min(1, len(others)))])),
        undo=rng.choice(("", "rollback", "as never")),
    )


def late_or_asleep(seed: int) -> Scenario:
    """One of the two, in turn."""
    return late_commits(seed) if seed % 2 else sleepers(seed)


MUTANTS = (
    Mutant(
        name="ledger in a second transaction", rule="one transaction", remove=rules.ledger_apart
    ),
    Mutant(name="decide before prepare", rule="prepare, read, decide", remove=rules.decide_first),
    Mutant(name="no epoch", rule="W7", remove=rules.no_epoch, hunt=late_or_asleep),
    Mutant(name="no drain", rule="W4", remove=rules.no_drain),
    Mutant(name="trust the OK reply", rule="W5", remove=rules.trust_ok, hunt=dozing_confirm),
    Mutant(name="no write-ahead intent", rule="W1", remove=rules.no_write_ahead),
    Mutant(name="no save", rule="W6", remove=rules.no_save, hunt=at_places("inverse", "deadman")),
    Mutant(
        name="CoA before the decision", rule="W2", remove=rules.coa_first, hunt=at_places("junos")
    ),
    Mutant(
        name="no wait for a CoA on its way",
        rule="W11",
        remove=rules.no_wait_for_coa,
        hunt=late_coas,
    ),
    Mutant(name="no lease", rule="W12, W13", remove=rules.no_lease, hunt=sleepers),
    Mutant(name="lease asked once", rule="W13", remove=rules.asks_once, hunt=sleepy_logins),
    Mutant(name="recovery posts what it sees", rule="W8", remove=rules.posts_what_is_seen),
    Mutant(name="key not unique", rule="W16", remove=rules.key_not_unique, hunt=again),
    Mutant(name="no compare before write", rule="W10", remove=rules.no_compare),
    Mutant(
        name="no abort row", rule="W8", remove=rules.no_abort_row, hunt=late_commits, backed=True
    ),
    Mutant(name="any goal", rule="W9", remove=rules.any_goal, hunt=late_or_asleep, backed=True),
    Mutant(
        name="no compare-and-set",
        rule="W9",
        remove=rules.no_compare_and_set,
        hunt=late_or_asleep,
        backed=True,
    ),
    Mutant(
        name="no abort row, no epoch",
        rule="W8, W7",
        remove=rules.both(rules.no_abort_row, rules.no_epoch),
        hunt=late_commits,
    ),
    Mutant(
        name="any goal, no epoch",
        rule="W9, W7",
        remove=rules.both(rules.any_goal, rules.no_epoch),
        hunt=late_or_asleep,
    ),
    Mutant(
        name="no compare-and-set, no epoch",
        rule="W9, W7",
        remove=rules.both(rules.no_compare_and_set, rules.no_epoch),
        hunt=late_or_asleep,
    ),
)
LIMIT = 4_000  # seeds until a mutant counts as not found
BACKED = 300  # seeds that must find nothing where others hold the promise


@contextlib.contextmanager
def removed(mutant: Mutant) -> Iterator[None]:
    """The program without the rule."""
    with contextlib.ExitStack() as stack:

        def put(owner: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        mutant.remove(put)
        yield


def play_without(stage: Theatre, mutant: Mutant, scenario: Scenario) -> Result:
    """Play a scenario that the whole program has prepared by the program without the rule."""
    stage.set_for(scenario)
    with removed(mutant):
        return stage.play(scenario)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of a mutant."""

    name: str
    seeds: int
    promise: str  # "" = nothing was found
    story: str
    took_s: float

    def row(self, mutant: Mutant) -> str:
        """A row of the table."""
        what = self.promise or ("no violation, backed up" if mutant.backed else "**NOT FOUND**")
        return f"| {mutant.name} | {mutant.rule} | {what} | {self.seeds} |"


def look_for(number: int) -> Found:
    """Play the hunt's seeds until a promise is broken."""
    mutant = MUTANTS[number]
    began = time.monotonic()
    limit = BACKED if mutant.backed else LIMIT
    with theatre() as stage:
        play = partial(play_without, stage, mutant)
        for seed in range(1, limit + 1):
            result = play(mutant.hunt(seed))
            if seed % 20 == 0:
                stage.sweep()
            if result.violations:
                small = shrink(play, result)
                took_s = time.monotonic() - began
                return Found(
                    name=mutant.name,
                    seeds=seed,
                    promise=result.promise,
                    story=story(small),
                    took_s=took_s,
                )
    took_s = time.monotonic() - began
    return Found(name=mutant.name, seeds=limit, promise="", story="", took_s=took_s)


def main() -> int:
    """Remove every rule; 1 = one was not missed, or one that is backed up was."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("names", nargs="*", help="only mutants whose name holds one of these")
    parser.add_argument("--stories", action="store_true", help="tell the shrunk stories")
    given = parser.parse_args()
    chosen = [
        number
        for number, mutant in enumerate(MUTANTS)
        if not given.names or any(name in mutant.name for name in given.names)
    ]
    wrong = 0
    rows: dict[int, str] = {}
    context = multiprocessing.get_context("fork")
    with context.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for number, found in zip(chosen, pool.imap(look_for, chosen), strict=True):
            mutant = MUTANTS[number]
            rows[number] = found.row(mutant)
            wrong += bool(found.promise) == mutant.backed
            say(f"{rows[number]} {found.took_s:.0f} s")
            if given.stories and found.story:
                say(found.story)
    say("\n| rule removed | rule | broken promise | seeds |\n|---|---|---|---|")
    for number in chosen:
        say(rows[number])
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
