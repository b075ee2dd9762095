"""The simulation itself: one seed is one story, nothing is broken, and what is broken is found."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .__main__ import story
from .faults import Act, Scenario, draw
from .mutants import MUTANTS, play_without, removed
from .places import ORDERS, PLACES
from .pool import all_edges
from .run import Result, Theatre, theatre
from .shrink import shrink
from .trace import quiet

ROOT = Path(__file__).resolve().parents[2]
TOLD = """
import hashlib
from tests.simulation.__main__ import story
from tests.simulation.faults import draw
from tests.simulation.run import theatre
with theatre() as stage:
    for seed in (3, 5):
        print(hashlib.sha256(story(stage.play(draw(seed))).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Theatre]:
    """The simulated ports in place of the real ones, for this module only."""
    with theatre() as found:
        yield found


def digest(result: Result) -> str:
    return hashlib.sha256(story(result).encode()).hexdigest()


def mutant(name: str) -> int:
    return next(number for number, each in enumerate(MUTANTS) if each.name == name)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_quiet_change_is_done_everywhere(stage: Theatre, place: str) -> None:
    for order in ORDERS:
        for proration in ("day", "second"):
            result = stage.play(replace(quiet(place, order), proration=proration))
            assert result.violations == [], story(result)
            assert result.endings == Counter(done=len(PLACES[place].services)), story(result)


def test_a_seed_is_one_story(stage: Theatre) -> None:
    """Goal: every failure can be told again. Method: twice here, and in two other processes."""
    here = [digest(stage.play(draw(seed))) for seed in (3, 5)]
    assert [digest(stage.play(draw(seed))) for seed in (3, 5)] == here
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number}
        told = subprocess.run(
            [sys.executable, "-c", TOLD],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.split() == here


def test_some_seeds_break_no_promise(stage: Theatre) -> None:
    endings: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    for seed in range(1, 26):
        result = stage.play(draw(seed))
        assert result.violations == [], story(result)
        endings += result.endings
        injected += result.injected
    assert endings["done"] > 10, endings
    assert endings["aborted"] > 3, endings
    assert len(injected) > 10, injected


@pytest.mark.parametrize("place", ["static", "inverse", "deadman"])
def test_a_worker_may_die_at_an_edge(stage: Theatre, place: str) -> None:
    """A sample; `make sim` cuts every edge of every place."""
    for at in range(3, all_edges(stage, place), 43):
        result = stage.play(quiet(place, "up", Act("any", at, "kill")))
        assert result.violations == [], story(result)
        assert result.injected == Counter(kill=1)


@pytest.mark.parametrize("place", ["static", "inverse", "deadman"])
def test_a_worker_may_sleep_on_its_way_in(stage: Theatre, place: str) -> None:
    """Goal: no write after a takeover. Method: stopped for long at logins and locks, then woken."""
    for at in (1, 9, 10, 11, 14):
        acts = (Act("device", 8, "unanswered"), Act("device", at, "stop", 400.0))
        scenario = Scenario(seed=1, place=place, order="up", watcher="elsewhere", acts=acts)
        result = stage.play(scenario)
        assert result.violations == [], story(result)


def test_a_worker_may_sleep_at_a_lock(stage: Theatre) -> None:
    """Goal: who slept through a takeover and a close writes nothing, at the lock of his drain."""
    acts = (
        Act("device", 11, "recover elsewhere", target=5),
        Act("device", 32, "kill", 30.0, 2),
        Act("device", 45, "stop", 90.0, 4),
    )
    result = stage.play(
        Scenario(seed=3457, place="junos", order="up", quantum=3, watcher="elsewhere", acts=acts)
    )
    assert result.violations == [], story(result)
    assert any("before lock" in text for _, _, text in result.story), story(result)
    assert any("lease is over" in text for _, _, text in result.story), story(result)


@pytest.mark.parametrize("place", ["junos", "token", "both"])
def test_a_coa_that_comes_late_comes_before_the_close(stage: Theatre, place: str) -> None:
    """Goal: P10 for a datagram that cannot be called back. Method: held back for 90 s."""
    for what in ("late", "late+kill"):
        for acts in ((1,), (1, 3), (2,)):
            scenario = quiet(place, "up", *(Act("radius", at, what, 90.0) for at in acts))
            result = stage.play(scenario)
            assert result.violations == [], story(result)
            assert result.endings["done"] == 1, story(result)


@pytest.mark.parametrize(
    "scenario",
    [
        # the NAS is away when its device is accepted: the session still has to follow
        Scenario(
            seed=161,
            place="junos",
            order="up",
            acts=(Act("device", 30, "box away", 700.0, 1), Act("sql", 258, "answer")),
            answer="accept",
        ),
        # recovery is at work when a person accepts: the change is not closed under its hands
        Scenario(
            seed=90,
            place="set3",
            order="up",
            watcher="elsewhere",
            acts=(Act("sql", 279, "answer"), Act("device", 20, "reload", 40.0, 3)),
            answer="accept",
        ),
    ],
)
def test_accepting_one_participant_leaves_no_other_behind(
    stage: Theatre, scenario: Scenario
) -> None:
    result = stage.play(scenario)
    assert result.violations == [], story(result)
    assert result.injected["answered accept"] > 0, story(result)


def test_what_our_timer_takes_back_is_not_confirmed_for_others(stage: Theatre) -> None:
    """Goal: one line put back confirms no other. Method: Junos refuses, one OLT is away."""
    acts = (
        Act("commit", 19, "reload", 400.0, 5),
        Act("device", 46, "box refuses", 120.0),
        Act("device", 50, "sent+kill", 45.0, 5),
    )
    result = stage.play(Scenario(seed=94830, place="set3", order="up", quantum=1, acts=acts))
    assert result.violations == [], story(result)
    assert result.endings == {"aborted": 3}, story(result)


def test_a_dead_worker_reaches_nothing(stage: Theatre) -> None:
    """Goal: a kill is a kill. Method: no request of the worker after it, in a traced run."""
    result = stage.play(quiet("both", "up", Act("any", 170, "kill")), traced=True)
    (place,) = (n for n, step in enumerate(result.steps) if step.event == "kill")
    assert result.steps[place].actor == "A"
    senders = [step.actor for step in result.steps[place + 1 :] if step.event == "request"]
    assert set(senders) == {"R0"}


def test_a_late_commit_lands_and_wins(stage: Theatre) -> None:
    """Goal: nobody aborts what is decided. Method: the COMMIT lands while recovery is asking."""
    endings = set()
    for after_s in (0.01, 0.3, 2.0):
        for at in range(5, 14):
            act = Act("commit", at, "late+kill", after_s)
            result = stage.play(quiet("static", "up", act))
            assert result.violations == [], story(result)
            endings |= set(result.endings)
    assert {"done", "aborted"} <= endings


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("ledger in a second transaction", "P5"),
        ("no write-ahead intent", "P2"),
        ("CoA before the decision", "P9"),
        ("no save", "P7"),
        ("key not unique", "P14"),
    ],
)
def test_a_removed_rule_is_missed(stage: Theatre, name: str, promise: str) -> None:
    """The rules that are missed at once; `make sim-mutants` removes all of them."""
    found = MUTANTS[mutant(name)]
    seeds = (play_without(stage, found, found.hunt(seed)) for seed in range(1, 40))
    first = next(result for result in seeds if result.violations)
    assert first.promise == promise, story(first)


def test_a_failure_is_shrunk_to_what_matters(stage: Theatre) -> None:
    """Four acts, of which one kill is to blame where recovery bills what it sees."""
    acts = (
        Act("device", 22, "kill"),
        Act("device", 70, "human edit beside"),
        Act("commit", 9, "lost"),
        Act("sql", 400, "relogin", 1.0),
    )
    with removed(MUTANTS[mutant("recovery posts what it sees")]):
        long = stage.play(
            Scenario(seed=9, place="junos", order="up", quantum=10, elsewhere=True, acts=acts)
        )
        assert long.promise
        short = shrink(stage.play, long)
        assert short.promise == long.promise
        assert [act.what for act in short.scenario.acts] == ["kill"]
        assert short.scenario.quantum == 1_000_000
        assert digest(stage.play(short.scenario)) == digest(short)
