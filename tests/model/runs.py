"""Traces of simulated runs in the model's words, and which of its faults a scenario may bring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.simulation.faults import Act, Scenario
from tests.simulation.places import PLACES
from tests.simulation.trace import Step

from .conform import Event
from .protocol import Model
from .world import ALWAYS

ANSWERS = ("answer", "accept", "retry")
# which faults of the model an act of a scenario may show up as; any other act is not modelled
FAULTS_OF: dict[str, tuple[str, ...]] = {
    "kill": (),
    "stop": ("takeover", "unread", "refuse"),
    "lost": ("refuse", "unread"),
    "unanswered": ("refuse", "unread"),
    "late": ("refuse", "unread"),
    "late+kill": ("unread", "refuse"),
    "vanish+kill": (),
    "sent+kill": (),
    "refused": ("refuse", "unread"),
    "refused 503": ("refuse",),
    "refused 506": ("refuse",),
    "landed": (),
    "full": (),
    "vanish": (),
    "box away": ("refuse", "unread"),
    "database away": (),
    "statement lost": (),
    "reload": ("reload", "refuse", "unread"),
    "human edit": ("edit", "refuse"),
    "human edit beside": ("human_commit",),
    "human commit": ("human_commit",),
    "human lock": ("refuse", "unread"),
    "relogin": ("session",),
    "interrupt": ("stop",),
    "recover": (),
    "recover elsewhere": (),
    "answer": ANSWERS,
}
PARTS = {"junos": "N", "token": "N", "linux": "N", "smartax": "X"}
PLACES_HELD = ("junos", "static", "token", "inverse", "deadman", "both", "mixed")
ENDS_SESSION = ("suspend", "terminate")


def is_modelled(scenario: Scenario) -> bool:
    """Say whether the model has words for a scenario: one change, faults it knows."""
    acts = scenario.acts
    return (
        is_held(scenario.place, scenario.order)
        and not scenario.again
        and not scenario.undo
        and all(act.what in FAULTS_OF for act in acts)
        and not any(act.what == "human edit" and not _is_plain(scenario, act) for act in acts)
        and sum(act.what == "relogin" for act in acts) <= 1
    )


def is_held(place: str, order: str) -> bool:
    """Say whether the model has the participants, and their requests as one step each.

    It knows rows only where a session takes part, and an OLT's activation is two lines.
    """
    at = PLACES[place]
    bare = not at.logins and "smartax" not in at.devices().values()
    return place in PLACES_HELD and (order != "activate" or bare)


def _is_plain(scenario: Scenario, act: Act) -> bool:
    kinds = list(PLACES[scenario.place].devices().values())
    return PARTS[kinds[act.target % len(kinds)]] == "X"


def model_of(scenario: Scenario) -> Model:
    """The model with the participants of a scenario and the faults that its acts may bring."""
    place = PLACES[scenario.place]
    kinds = place.devices().values()
    parts = "".join(sorted(PARTS[kind] for kind in kinds))
    faults = {name for act in scenario.acts for name in FAULTS_OF[act.what]}
    if scenario.watcher or scenario.elsewhere:
        faults |= {"takeover"}
    if scenario.answer:  # to what is left at rest
        faults |= {*ANSWERS}
    budget = dict.fromkeys(faults, ALWAYS)
    return Model(
        budget,
        parts=parts + ("S" if place.logins else ""),
        own_save="linux" in kinds,
        ends_session=scenario.order in ENDS_SESSION,
    )


def events_of(steps: Iterable[Step]) -> Iterator[Event]:
    """Translate a trace; what tells nothing new in the model's words is left out."""
    last: dict[str, tuple[str, ...]] = {"db": ("", "", "OLD", "", "", "")}
    for step in steps:
        if step.event in ("kill", "end"):
            yield Event(step.actor, "worker", (step.event,))
            continue
        if step.event not in ("db", "device", "session"):
            continue
        if _is_half_done(step):
            continue
        part, now = _part(step)
        if last.get(part) != now and not (part == "db" and _is_first(last, now)):
            yield Event(step.actor, part, now)
        last[part] = now


def _is_half_done(step: Step) -> bool:
    """Say whether a dead man's job or the lines under it are half way: one step to the model."""
    return step.details.get("kind") == "linux" and step.details["running"] == "MIXED"


def _is_first(last: dict[str, tuple[str, ...]], now: tuple[str, ...]) -> bool:
    return now[0] == last["db"][0] == ""


def _part(step: Step) -> tuple[str, tuple[str, ...]]:
    facts = step.details
    if step.event == "session":
        return "S", (facts["live"],)
    if step.event == "device":
        part = PARTS[facts["kind"]]
        hidden = part == "X" and facts["running"] == "OTHER"
        # a job is armed before its first line and called off after its last
        early = facts["kind"] == "linux" and facts["running"] == "OLD"
        pending = "NONE" if early else facts["pending"]
        return part, (facts["running"], "" if hidden else facts["startup"], pending)
    names = {name.partition("-")[0]: name for name in facts["exceptions"].split(",") if name}
    named = "".join(sorted("S" if kind.startswith("session:") else PARTS[kind] for kind in names))
    whole = (facts["journal"], facts["decision"], facts["ledger"], facts["rows"], facts["goal"])
    return "db", (*whole, named)
