"""Walks every state of a model, breadth first, and finds the shortest way to a broken invariant."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass

from .protocol import Model
from .world import State, violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an exploration brought. `story` leads to `broken`, or to a state that ends nowhere."""

    states: int
    edges: int
    broken: str
    story: tuple[str, ...]
    ends: dict[str, int]  # how many states are closed, by what they ended with


def explore(model: Model, limit: int = 2_000_000) -> Found:
    """Visit every reachable state, until an invariant is broken; then look for dead ends.

    Raises RuntimeError over `limit` states: a search that was cut short proves nothing.
    """
    first = model.start()
    number = {first: 0}
    order = [first]
    came: list[tuple[int, str]] = [(0, "")]
    froms, tos = array("I"), array("I")
    queue = deque([0])
    while queue:
        here = queue.popleft()
        state = order[here]
        broken = violation(state)
        if broken:
            return _found(order, froms, broken, _story(came, here))
        for label, after in model.steps(state):
            there = number.get(after)
            if there is None:
                there = number[after] = len(order)
                if there > limit:
                    msg = f"more than {limit} states"
                    raise RuntimeError(msg)
                order.append(after)
                came.append((here, label))
                queue.append(there)
            froms.append(here)
            tos.append(there)
    stuck = _stuck(model, order, froms, tos)
    if stuck is not None:
        return _found(order, froms, "P12 no end can be reached", _story(came, stuck))
    return _found(order, froms, "", ())


def _found(order: list[State], edges: array[int], broken: str, story: tuple[str, ...]) -> Found:
    ends: dict[str, int] = {}
    for state in order:
        store = state.store
        if store.state.startswith("CLOSED"):
            reversed_ = "REVERSED" if store.state != "CLOSED" else store.verdict
            name = f"{reversed_}{' with exception' if store.excused else ''}"
            ends[name] = ends.get(name, 0) + 1
    return Found(states=len(order), edges=len(edges), broken=broken, story=story, ends=ends)


def _story(came: list[tuple[int, str]], place: int) -> tuple[str, ...]:
    labels = []
    while place:
        place, label = came[place]
        labels.append(label)
    return tuple(reversed(labels))


def _stuck(model: Model, order: list[State], froms: array[int], tos: array[int]) -> int | None:
    """Return the first state from which no end can be reached (P12)."""
    start = array("Q", bytes(8 * (len(order) + 1)))
    for to in tos:
        start[to + 1] += 1
    for place in range(len(order)):
        start[place + 1] += start[place]
    fill, sources = array("Q", start), array("I", bytes(4 * len(tos)))
    for source, to in zip(froms, tos, strict=True):
        sources[fill[to]] = source
        fill[to] += 1
    good = bytearray(len(order))
    todo = [place for place, state in enumerate(order) if model.is_end(state)]
    for place in todo:
        good[place] = 1
    while todo:
        place = todo.pop()
        for source in sources[start[place] : start[place + 1]]:
            if not good[source]:
                good[source] = 1
                todo.append(source)
    found = good.find(0)
    return None if found < 0 else found
