"""Holds what was seen of a real run against the model, step by step, over everything unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .protocol import Model, gone
from .world import State, doubted

View = dict[str, tuple[str, ...]]  # by "db", "N", "X", "S"
LIMIT = 400_000  # states at once; more than that means that too much is left open
_PLACES = ("OLD", "NEW")
_RUNS = ("NONE", "OLD", "NEW")
# what a change of a device must be called in the model, by who is said to have made it
_BY = {"human": "person", "timer": "timer fires", "reload": "reloads"}


@dataclass(frozen=True, slots=True)
class Event:
    """One part of the world has changed, as it was seen from the outside, or a worker has ended.

    `part` is "db", "N", "X" or "S", and `now` what a `View` holds under it; or "worker".
    """

    by: str
    part: str
    now: tuple[str, ...] = ()

    def text(self) -> str:
        """One line."""
        return f"{self.by}: {self.part} {' '.join(each or '-' for each in self.now)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`illegal` is the number of the first event that the model has no step for, or -1.

    `states` is in how many states the model may have been at the most.
    """

    illegal: int
    states: int
    story: tuple[str, ...]

    def text(self) -> str:
        """The shortest prefix that the model does not allow."""
        return "\n".join(self.story)


def hold(model: Model, events: Iterable[Event]) -> Verdict:
    """Follow the events through every state that the model may be in.

    A step of the model that changes nothing visible may happen at any time; one that does must be
    the next event. After the close, what people and timers do is nobody's business any more.
    """
    here = _closure(model, {model.start()})
    most, story = len(here), []
    for number, event in enumerate(events):
        story.append(event.text())
        if event.part == "worker":
            here |= {gone(state, 0) for state in here if state.workers[0].at}
        elif not (event.by in (*_BY, "subscriber") and _is_closed(here)):
            here = _follow(model, here, event)
        if not here:
            return Verdict(number, most, tuple(story))
        here = _closure(model, here)
        most = max(most, len(here))
    return Verdict(-1, most, tuple(story))


def _is_closed(here: set[State]) -> bool:
    return all(state.store.state.startswith("CLOSED") for state in here)


def _follow(model: Model, here: set[State], event: Event) -> set[State]:
    after = set()
    for state in here:
        wanted = view(model, state) | {event.part: event.now}
        for label, found in model.steps(state):
            if _may_be(label, event) and view(model, found) == wanted:
                after.add(found)
    return after


def _may_be(label: str, event: Event) -> bool:
    if event.part not in ("N", "X"):
        return True
    if event.by in _BY:
        return _BY[event.by] in label
    return "timer fires" not in label and "reloads" not in label


def _closure(model: Model, states: set[State]) -> set[State]:
    """Everything that can be reached without anything visible happening."""
    found, todo = set(states), list(states)
    while todo:
        state = todo.pop()
        seen = view(model, state)
        for _label, after in model.steps(state):
            if after not in found and view(model, after) == seen:
                found.add(after)
                todo.append(after)
                if len(found) > LIMIT:
                    msg = f"more than {LIMIT} states at once"
                    raise RuntimeError(msg)
    return found


def view(model: Model, state: State) -> View:
    """What can be seen of a state from the outside."""
    store, n, x = state.store, state.n, state.x
    closed = store.state.startswith("CLOSED")
    running = x.running()
    return {
        "db": (
            "CLOSED" if closed else store.state,
            store.verdict,
            _PLACES[store.net],
            _PLACES[store.rows] if "S" in model.parts else "",
            _PLACES[store.net] if closed else "",
            doubted(store),
        ),
        "N": (_PLACES[n.running], _PLACES[n.saved], "OURS" if n.pending else "NONE"),
        "X": (running, x.saved() if running != "OTHER" else "", "NONE"),
        "S": (_RUNS[state.s.session + 1],),
    }
