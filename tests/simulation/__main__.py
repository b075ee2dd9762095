"""`python -m tests.simulation`: many seeds and every single edge, or one seed and its story."""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterable

from .faults import Scenario, draw
from .places import PLACES
from .pool import Tally, Task, pairs, play_all, single_edges, some_pairs
from .run import Result, theatre
from .shrink import shrink

SHOWN = 2  # failures that are shrunk and told


def say(text: str = "") -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def story(result: Result) -> str:
    """A run as people read it."""
    lines = [result.scenario.text()]
    lines += [f"{at_s:9.3f} {who:<10} {text}" for at_s, who, text in result.story]
    lines += [f"{v.promise} at {v.at_s:.3f} s: {v.text}" for v in result.violations]
    return "\n".join(lines)


def explain(failed: Iterable[Scenario]) -> None:
    """Shrink the first failures and tell their stories."""
    with theatre() as stage:
        for scenario in list(failed)[:SHOWN]:
            say(f"\nFAILED, shrunk from seed {scenario.seed} (SEED={scenario.seed} replays it):")
            say(story(shrink(stage.play, stage.play(scenario))))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judged(name: str, tasks: Iterable[Task]) -> Tally:
    """Play and print the figures; what other work takes of the cores is not in processor time."""
    began, spent = time.monotonic(), _children_s()
    tally = play_all(tasks)
    took, spent = time.monotonic() - began, _children_s() - spent
    times = f"{took:.0f} s, {spent:.0f} s of processor time"
    say(f"\n{name}: {tally.runs} runs in {times}, {len(tally.failed)} violations")
    for title, counts in (
        ("edges passed", tally.edges),
        ("changes ended", tally.endings),
        ("injected", tally.injected),
    ):
        told = ", ".join(f"{key} {count}" for key, count in counts.most_common())
        say(f"  {title}: {told}")
    if tally.failed:
        explain(tally.failed)
    return tally


def main() -> int:
    """Do what the words say; 1 = a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one seed and tell its story")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--edges", action="store_true", help="every single edge, and no seeds")
    parser.add_argument("--no-edges", action="store_true", help="only seeds")
    parser.add_argument("--pairs", choices=sorted(PLACES), help="every pair of kills at a place")
    parser.add_argument("--pairs-set", type=int, metavar="N", help="N pairs at set3")
    given = parser.parse_args()
    if given.seed is not None:
        with theatre() as stage:
            result = stage.play(draw(given.seed))
            say(story(result))
            if len(result.scenario.acts) > 1 and result.violations:
                say("\nshrunk:\n" + story(shrink(stage.play, result)))
        return bool(result.violations)
    if given.pairs:
        return bool(judged(f"pairs at {given.pairs}", pairs(given.pairs)).failed)
    if given.pairs_set:
        return bool(judged("pairs at set3", some_pairs("set3", given.pairs_set)).failed)
    failed = False
    if not given.no_edges:
        failed = bool(judged("single edges", single_edges()).failed)
    if not given.edges:
        seeds = itertools.islice(itertools.count(given.first), given.seeds)
        failed = bool(judged("seeds", seeds).failed) or failed
    return failed


if __name__ == "__main__":
    sys.exit(main())
