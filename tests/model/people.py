"""People who answer exceptions: `reverse`, `accept` and `retry`, and who carries the answer out."""

from __future__ import annotations

from collections.abc import Iterator

from .surroundings import Surroundings
from .world import OPEN, State, Worker, doubted, put

Step = tuple[str, State]


class People:
    """The part of a model's programs that begins with an answer."""

    surroundings: Surroundings

    def _people(self, state: State) -> Iterator[Step]:
        """Somebody answers an exception: `reverse`, `accept` or `retry`."""
        store, asked = state.store, doubted(state.store)
        left = self.surroundings.spend(state, "answer")
        if left is not None and store.state == "COMMITTED" and asked:
            yield "starts a reversal", put(left, 0, Worker(at="undo"))
        left = self.surroundings.spend(state, "accept")
        for name in asked if left is not None else "":
            yield f"starts to accept {name}", put(left, 0, Worker(at=f"accept {name}"))
        left = self.surroundings.spend(state, "retry")
        if left is not None and asked:
            yield "starts a retry", put(left, 0, Worker(at="retry"))

    def _barges_in(self, state: State) -> Iterator[Step]:
        """The same beside a worker that is at work."""
        left = self.surroundings.spend(state, "accept")
        for name in doubted(state.store) if left and state.store.state in OPEN else "":
            workers = (Worker(at=f"accept {name}"), state.workers[0])
            yield f"is joined by who accepts {name}", left._replace(workers=workers)

    def _at_undo(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        """A person's answer to an exception: take it back."""
        yield "begins epoch", put(state, place, worker._replace(tx=("epoch",), at="undone"))

    def _at_undone(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        after = worker._replace(tx=("reverse",), at="pass", ok=False, was="COMMITTED")
        yield "begins reversal", put(state, place, after)

    def _at_accept(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        tx = ("accept", worker.at[-1])
        yield "begins accept", put(state, place, worker._replace(tx=tx, at="accepted", ok=False))

    def _at_accepted(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        over = doubted(state.store) or state.store.state not in OPEN
        on = Worker(at="") if over else worker._replace(at="pass")
        yield "~drives the others, or waits for their answers", put(state, place, on)

    def _at_retry(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        after = worker._replace(tx=("epoch",), at="pass again", ok=False)
        yield "begins epoch", put(state, place, after)
