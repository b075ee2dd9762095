"""Simulated runs of the real program are runs of the model; runs of a mutated program are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation import rules
from tests.simulation.faults import Act, Scenario, draw
from tests.simulation.judge import PERSON
from tests.simulation.places import ORDERS
from tests.simulation.trace import Step, quiet, tracing
from workflows import Crew, Reply

from .conform import Verdict, hold
from .runs import PLACES_HELD, events_of, is_held, is_modelled, model_of

Play = Callable[[Scenario], tuple[Step, ...]]
SEEDS = 60  # two thirds of them are of a kind that the model has words for


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Plays scenarios, all in one theatre."""
    with tracing() as played:
        yield played


def _hold(play: Play, scenario: Scenario) -> Verdict:
    return hold(model_of(scenario), events_of(play(scenario)))


@pytest.mark.parametrize(
    ("place", "order"), [(p, o) for p in PLACES_HELD for o in ORDERS if is_held(p, o)]
)
def test_a_quiet_run_is_one_of_the_model(play: Play, place: str, order: str) -> None:
    verdict = _hold(play, quiet(place, order))
    assert verdict.illegal == -1, verdict.text()
    assert "CLOSED COMMIT NEW" in verdict.story[-1] or "end" in verdict.story[-1]
    assert any("CLOSED COMMIT NEW" in line for line in verdict.story)


@pytest.mark.parametrize("seed", [s for s in range(1, SEEDS) if is_modelled(draw(s))])
def test_a_run_with_faults_is_one_of_the_model(play: Play, seed: int) -> None:
    verdict = _hold(play, draw(seed))
    assert verdict.illegal == -1, verdict.text()


@pytest.mark.parametrize("edge", range(10, 70, 4))
def test_a_run_that_is_killed_is_one_of_the_model(play: Play, edge: int) -> None:
    verdict = _hold(play, quiet("both", "up", Act("device", edge, "kill")))
    assert verdict.illegal == -1, verdict.text()


DISPUTED: dict[str, tuple[Act, ...]] = {
    "refused CoA": tuple(Act("radius", at, "refused") for at in (1, 3, 5)),
    "a person's edit": (Act("device", 40, "human edit", target=1),),
    "device away": (Act("device", 36, "box away", 700.0, 1), Act("sql", 300, "answer")),
}


@pytest.mark.parametrize("answer", ["accept", "retry", "reverse"])
@pytest.mark.parametrize("what", DISPUTED)
def test_what_a_person_answers_is_one_of_the_model(play: Play, what: str, answer: str) -> None:
    scenario = replace(quiet("both", "up", *DISPUTED[what]), answer=answer)
    steps = play(scenario)
    verdict = hold(model_of(scenario), events_of(steps))
    assert verdict.illegal == -1, verdict.text()
    assert any(step.actor.startswith(PERSON) for step in steps)


# --- a program with a rule taken out


def _confirm_at_once(put: rules.Put) -> None:
    """What is prepared is confirmed, before anybody has decided."""
    real = Crew.verb

    def verb(crew: Crew, name: str, handles: Mapping[str, Any]) -> dict[str, Reply]:
        replies = real(crew, name, handles)
        if name == "prepare":
            real(crew, "confirm", handles)
        return replies

    put(Crew, "verb", verb)


# what is wrong with each: the first event that the model has no step for
WRONG: dict[str, tuple[Callable[[rules.Put], None], Scenario, str]] = {
    "confirm before the decision": (_confirm_at_once, quiet("both", "up"), "N NEW NEW NONE"),
    "job called off before the decision": (
        _confirm_at_once,
        quiet("deadman", "up"),
        "N NEW OLD NONE",
    ),
    "session ended first": (rules.coa_first, quiet("both", "suspend"), "S NONE"),
    "ledger apart": (rules.ledger_apart, quiet("both", "up"), "db COMMITTED COMMIT OLD"),
    "no write-ahead": (rules.no_write_ahead, quiet("both", "up"), "N NEW OLD OURS"),
    "decide first": (rules.decide_first, quiet("both", "up"), "db COMMITTED COMMIT NEW"),
    "CoA first": (rules.coa_first, quiet("both", "up"), "S NEW"),
    "no save": (rules.no_save, quiet("both", "up"), "S NEW"),
    "recovery bills what it sees": (
        rules.posts_what_is_seen,
        quiet("both", "up", Act("device", 30, "kill")),
        "db INTENT - NEW",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mutated_program_is_not(play: Play, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remove, scenario, first = WRONG[name]
    remove(monkeypatch.setattr)
    verdict = _hold(play, scenario)
    assert verdict.illegal >= 0
    assert first in verdict.story[-1]
    assert len(verdict.story) == verdict.illegal + 1
