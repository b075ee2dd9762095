"""Shrinking a failure: the same broken promise with as few acts as still show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .faults import Scenario
from .run import Result


def shrink(play: Callable[[Scenario], Result], failed: Result) -> Result:
    """Return the same failure with as few acts, and as plain a scenario, as still show it."""
    best = failed

    def same(scenario: Scenario) -> bool:
        nonlocal best
        found = play(scenario)
        if found.promise == failed.promise:
            best = found
            return True
        return False

    again = True
    while again:
        again = False
        for act in best.scenario.acts:
            rest = tuple(each for each in best.scenario.acts if each != act)
            if same(replace(best.scenario, acts=rest)):
                again = True
                break
    for plainer in ({"watcher": ""}, {"quantum": 1_000_000}, {"place": "junos"}, {"order": "up"}):
        if any(getattr(best.scenario, key) != value for key, value in plainer.items()):
            same(replace(best.scenario, **plainer))
    return best
