"""The protocol holds in every state that its faults can lead to, and its rules are needed."""

from __future__ import annotations

from typing import Any

import pytest

from .explore import explore
from .protocol import Model
from .world import Rules

# faults at most; timers, lost requests and lost answers come as often as they like unless counted
BUDGETS: list[tuple[dict[str, int], dict[str, Any]]] = [
    ({"crash": 3}, {}),
    ({"crash": 1, "reload": 1}, {}),
    ({"crash": 1, "reload": 1}, {"own_save": True}),
    ({"crash": 1, "session": 1}, {}),
    ({"crash": 1, "session": 2, "lose": 2}, {}),
    ({"crash": 1, "refuse": 1}, {}),
    ({"crash": 1, "dead": 1}, {}),
    ({"crash": 1, "edit": 1}, {}),
    ({"crash": 1, "unread": 1, "lose": 2}, {}),
    ({"crash": 1, "takeover": 1, "human_commit": 1}, {}),
    ({"crash": 1, "human_commit": 1}, {"token": False}),
    ({"crash": 1, "stop": 1, "extend": 1}, {}),
    ({"edit": 1, "answer": 1, "session": 2, "lose": 1}, {}),
    ({"unread": 1, "accept": 1, "retry": 1, "session": 1, "lose": 1}, {}),
    ({"crash": 1, "edit": 1, "accept": 1, "retry": 1, "lose": 1}, {}),
    ({"crash": 1, "refuse": 1, "retry": 2, "lose": 1}, {}),
    ({"refuse": 1, "retry": 1, "session": 2, "lose": 2}, {}),
]


@pytest.mark.parametrize(
    ("budget", "devices"), BUDGETS, ids=[" ".join(f"{b}".split()) + f"{d}" for b, d in BUDGETS]
)
def test_nothing_breaks_and_an_end_is_always_in_reach(
    budget: dict[str, int], devices: dict[str, Any]
) -> None:
    found = explore(Model(budget, **devices))
    assert (found.broken, found.story) == ("", ())
    # it has been everywhere: a search that never commits, aborts or reverses proves nothing
    assert {"COMMIT", "ABORT", "REVERSED", "REVERSED with exception"} <= found.ends.keys()


# without the rule: what breaks, and after how many steps at the least
TAKEN: list[tuple[str, dict[str, int], dict[str, Any], str, int]] = [
    ("write_ahead", {}, {}, "P2", 5),
    ("decide_first", {}, {}, "P3", 8),
    ("coa_after", {}, {}, "P9", 4),
    ("one_transaction", {}, {}, "P5", 12),
    ("post_only_decided", {"crash": 1}, {}, "P4", 12),
    ("synchronous", {"failover": 1}, {}, "P3", 17),
    ("compare", {"edit": 1}, {}, "P8", 9),
    ("epoch", {"crash": 1}, {}, "P10", 37),
    ("abort_row epoch", {"crash": 1}, {}, "P10", 35),
    ("unique epoch", {"crash": 1}, {}, "P1", 30),
    ("goal_once epoch", {"crash": 1}, {}, "P10", 37),
    ("lease", {"takeover": 1}, {}, "P10", 20),
    ("drain", {"crash": 1}, {}, "P10", 20),
    ("undo_reads", {}, {}, "P1", 25),
    ("read_back", {}, {"token": False}, "P6", 46),
    ("save", {}, {}, "P7", 42),
    ("settle", {"session": 2}, {}, "P9", 41),
    ("settle_again", {"session": 2, "edit": 1, "answer": 1, "lose": 0}, {}, "P9", 60),
    ("astray", {"session": 1}, {}, "P10", 42),
    ("follow_up", {"edit": 1}, {}, "P9", 37),
    ("accept_alone", {"unread": 1, "accept": 1, "lose": 0}, {}, "P9", 28),
    ("answer_lease", {"edit": 1, "accept": 1, "lose": 0, "crash": 1}, {}, "P10", 62),
    ("excuse", {"dead": 1}, {}, "P1", 27),
]


@pytest.mark.parametrize(
    ("names", "budget", "devices", "broken", "steps"), TAKEN, ids=[row[0] for row in TAKEN]
)
def test_without_a_rule_something_breaks(
    names: str, budget: dict[str, int], devices: dict[str, Any], broken: str, steps: int
) -> None:
    rules = Rules(**dict.fromkeys(names.split(), False))
    found = explore(Model(budget, rules, **devices))
    assert (found.broken.partition(" ")[0], len(found.story)) == (broken, steps), found.story


@pytest.mark.parametrize("name", ["abort_row", "unique", "goal_once", "verify"])
def test_a_rule_that_another_one_backs_up(name: str) -> None:
    """The epoch shuts the same doors; reading before the decision only saves reversals."""
    found = explore(Model({"crash": 1, "lose": 2}, Rules(**{name: False})))
    assert (found.broken, found.story) == ("", ())
