"""What the model's world is made of: one change, two devices, a session, a store, its workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ALWAYS = -1  # a budget that is never used up
BEFORE_REVERSAL = 2
OPEN = ("INTENT", "COMMITTED", "ABORTED", "REVERSED")
TO_DO = ("prepare", "confirm", "save", "abort")
PASSING = ("lost",)  # a device that is away: nothing is claimed about it, the change stays open


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The protocol's rules, each of which can be taken away."""

    write_ahead: bool = True  # W1: the intent is durable before the first byte
    verify: bool = True  # every device is read before the decision
    decide_first: bool = True  # W2: no confirm before a durable COMMIT
    coa_after: bool = True  # W2: no CoA before a durable COMMIT
    one_transaction: bool = True  # decision, ledger and RADIUS rows together
    abort_row: bool = True  # W8: an abort is a row on the decision's key
    unique: bool = True  # one decision a change, reversal and close only from the state they claim
    epoch: bool = True  # W7: who recovers shuts out every older worker's transactions first
    goal_once: bool = True  # W9: the close claims the goal that its pass began with
    drain: bool = True  # W4: nothing read is believed while an older request may land
    read_back: bool = True  # W5: an OK is a hint
    undo_reads: bool = True  # W3: a request without an answer may have been done
    save: bool = True  # W6: what runs is saved before it counts
    compare: bool = True  # W10: a section that is neither old nor new is never written over
    settle: bool = True  # W11: logins that read other rows end before the close
    settle_again: bool = True  # W11 after a reversal, too
    astray: bool = True  # W11, too: a CoA that nobody answered is waited for before the close
    follow_up: bool = True  # a session is driven also where a device was left to a person
    excuse: bool = True  # what is not at its goal is named by an exception
    lease: bool = True  # W12, W13: one worker at a time
    answer_lease: bool = True  # who carries out a person's answer is such a worker
    accept_alone: bool = True  # what a person accepts is one participant: the others are driven
    synchronous: bool = True  # W14: a COMMIT that was answered is never lost
    post_only_decided: bool = True  # recovery never bills because of what a device shows


class Armed(NamedTuple):
    """A device that goes back by itself unless confirmed (native confirm, or a dead man's job)."""

    running: int = 0  # 0 = the old tier, 1 = the new one
    saved: int = 0
    pending: bool = False


class Plain(NamedTuple):
    """A device with nothing but inverse commands: two lines, each its own step."""

    first: int = 0
    second: int = 0
    saved_first: int = 0
    saved_second: int = 0
    edited: bool = False  # a person has changed our section
    dead: bool = False  # refuses whatever it is told

    def running(self) -> str:
        if self.edited:
            return "OTHER"
        return word(self.first, self.second)

    def saved(self) -> str:
        return word(self.saved_first, self.saved_second)


class Online(NamedTuple):
    """The subscriber's session and a login in flight: -1 = none, else the rate it has."""

    session: int = 0
    login: int = -1


class Store(NamedTuple):
    """The database: the change's row, the decision, the ledger's net tier, the RADIUS rows."""

    state: str = ""
    verdict: str = ""
    net: int = 0
    rows: int = 0
    applied: int = 0  # 1 = since the last decision, BEFORE_REVERSAL = since the one before
    excused: str = ""  # participants that an exception names, in order
    accepted: str = ""  # those of them that a person has left as they are
    asked: bool = False  # a person has wanted the closed change driven again
    spoilt: str = ""  # what has happened that never may


Tx = tuple[str, ...]
Message = tuple[str, str]  # to "N", "X", "S": a verb; to "DB" never: those are `Tx`


class Worker(NamedTuple):
    """A process: where it stands, and what it knows."""

    at: str
    tx: Tx = ()  # the transaction whose answer it waits for
    n: str = ""  # its next step with the armed device; "!" at the end = sent, no answer yet
    x: str = ""
    s: str = ""
    ok: bool = True  # nothing has been seen that forbids the COMMIT
    was: str = ""  # the change's state at the start of its pass
    closing: bool = False
    stale: bool = False  # another worker has raised the epoch


class State(NamedTuple):
    """All of it. `late` and `lost_tx` are under way although nobody waits for them any more."""

    store: Store
    n: Armed
    x: Plain
    s: Online
    late: tuple[Message, ...]
    late_tx: tuple[Tx, ...]
    workers: tuple[Worker, ...]  # the one that counts; behind it one that should not be there
    left: tuple[int, ...]  # fault budgets, in the order of FAULTS


FAULTS = (
    *("crash", "reload", "timer", "human_commit", "edit", "dead", "refuse", "unread"),
    *("lose", "session", "stop", "extend", "takeover", "failover", "answer", "accept", "retry"),
)


def word(first: int, second: int) -> str:
    """Say where two lines stand together."""
    return ("OLD", "NEW")[first] if first == second else "MIXED"


def goal_of(was: str) -> int:
    """Return which tier a change in this state is driven to."""
    return int(was in ("COMMITTED", "CLOSED COMMIT"))


def doubted(store: Store) -> str:
    """Return the participants that a person is asked about."""
    return "".join(name for name in store.excused if name not in store.accepted)


def violation(state: State) -> str:
    """Return which invariant (P1..P12 of the protocol) the state breaks, or nothing."""
    store = state.store
    if store.spoilt:
        return store.spoilt
    decided = int(store.verdict == "COMMIT" and not store.state.endswith("REVERSED"))
    if store.net != decided:
        return "P4 the ledger differs from the decision"
    if store.rows != store.net:
        return "P5 RADIUS rows differ from the ledger"
    if not store.state.startswith("CLOSED"):
        return ""
    broken = (text for is_broken, text in _at_close(state) if is_broken)
    return next(broken, "") or _under_way(state)


def _at_close(state: State) -> Iterator[tuple[bool, str]]:
    """What a closed change promises of whoever no exception names."""
    n, x, s, goal = state.n, state.x, state.s, state.store.net
    apart = "billed, not live" if goal else "live, not billed"
    if "N" not in state.store.excused:
        yield n.running != goal, f"P1 {apart} on the armed device"
        yield n.pending, "P6 closed with a timer running"
        yield n.saved != goal, "P7 a reload would undo it on the armed device"
    if "X" not in state.store.excused:
        wanted = ("OLD", "NEW")[goal]
        # by the lines themselves: an edit between the last reading and the close is nobody's fault
        yield word(x.first, x.second) != wanted, f"P1 {apart} on the plain device"
        yield x.saved() != wanted, "P7 a reload would undo it on the plain device"
    if "S" not in state.store.excused:
        yield s.session not in (-1, goal), "P9 a session runs at another tier after the close"


def _under_way(state: State) -> str:
    for to, _verb in (*state.late, *(m for w in state.workers for m in flights(w))):
        given_up = to in state.store.accepted  # it was away: nothing could be called back
        if not given_up and (not state.store.asked or to not in doubted(state.store)):
            return "P10 a request is still under way after the close"
    return ""


def flights(worker: Worker) -> tuple[Message, ...]:
    """Return the requests whose answer a worker waits for."""
    return tuple(
        (to, slot[:-1])
        for to, slot in (("N", worker.n), ("X", worker.x), ("S", worker.s))
        if slot.endswith("!")
    )


def put(state: State, place: int, worker: Worker) -> State:
    """Return the state with this worker in its place."""
    workers = state.workers
    return state._replace(workers=(*workers[:place], worker, *workers[place + 1 :]))
