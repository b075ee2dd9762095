"""The commit protocol as transitions: what each worker may do next, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .people import People
from .surroundings import Surroundings
from .world import (
    ALWAYS,
    BEFORE_REVERSAL,
    FAULTS,
    OPEN,
    PASSING,
    TO_DO,
    Armed,
    Online,
    Plain,
    Rules,
    State,
    Store,
    Tx,
    Worker,
    flights,
    goal_of,
    put,
)

Step = tuple[str, State]
WORDS = ("OLD", "NEW")
SESSIONS_OF = ("COMMITTED", "COMMIT", "REVERSED")  # an aborted change has raised none


class Model(People):
    """One change between one armed and one plain device, a session, a store and its workers.

    A step's label starts with "~" where nobody who watches the workers can see it. Every other
    label is one event of a recorded run. Of a second worker's labels the first word is "beside".
    """

    def __init__(
        self,
        budget: Mapping[str, int] | None = None,
        rules: Rules | None = None,
        *,
        parts: str = "NXS",
        token: bool = True,
        **kinds: bool,
    ) -> None:
        """`parts`: who takes part, of an armed device, a plain one and a session.

        `token`: the armed device knows whose timer runs. `kinds`: see `Surroundings`.
        """
        self.parts = parts
        self.rules = rules or Rules()
        self.budget = {"timer": ALWAYS, "lose": ALWAYS} | dict(budget or {})
        self.surroundings = Surroundings(self.rules, token=token, **kinds)
        self.token = token

    def start(self) -> State:
        """Return the world before the change; its first worker has its leases."""
        left = tuple(self.budget.get(name, 0) for name in FAULTS)
        worker = Worker(at="compare N")
        online = Online(session=0 if "S" in self.parts else -1)
        return State(Store(), Armed(), Plain(), online, (), (), (worker,), left)

    def steps(self, state: State) -> Iterator[Step]:
        """Return every next step: of the surroundings, and of each worker."""
        if state.store.spoilt:
            return
        yield from self.surroundings.steps(state)
        if state.workers[0].at == "":
            if state.store.state in OPEN:
                yield "starts recovery", put(state, 0, Worker(at="take over"))
            yield from self._people(state)
        else:
            yield from self._ends(state)
        for place, worker in enumerate(state.workers):
            if worker.at:
                before = "beside " if place else ""
                for label, after in self._work(state, place, worker):
                    yield (label if label[0] == "~" else before + label), after

    def is_end(self, state: State) -> bool:
        """Say whether nothing is owed to anybody: closed, or never begun."""
        return state.store.state.startswith("CLOSED") or (
            state.store.state == "" and state.workers[0].at == ""
        )

    def _ends(self, state: State) -> Iterator[Step]:
        left = self.surroundings.spend(state, "crash")
        if left is not None:
            yield "dies", gone(left, 0)
        left = self.surroundings.spend(state, "takeover")
        if left is not None and state.store.state in OPEN:
            if self.rules.lease:  # the old one may not send any more: all it sent is orphaned
                yield "is taken over", gone(left, 0)
            elif len(left.workers) == 1:
                beside = (Worker(at="take over"), left.workers[0])
                yield "is joined by a recovery", left._replace(workers=beside)
        if not self.rules.answer_lease and len(state.workers) == 1:
            yield from self._barges_in(state)

    # ---- one worker's program

    def _work(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        if worker.tx:
            yield from self._transaction(state, place, worker)
            return
        waits = flights(worker)
        for to, verb in waits:
            yield from self._answers(state, place, worker, to, verb)
        if waits and worker.at != "act":
            return
        where = worker.at.partition(" ")[0]
        yield from getattr(self, f"_at_{where}")(state, place, worker)

    def _at_compare(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        to = worker.at[-1]
        on = "compare X" if to == "N" else "intend"
        if to not in self.parts:
            yield "~has none", put(state, place, worker._replace(at=on))
            return
        for seen in self._seen(state, place, to, startup=False):
            good = seen[0] == "OLD" and seen[2] == "NONE"
            if good or (not self.rules.compare and seen[0] != "UNREADABLE"):
                after = worker._replace(at=on)
            else:
                after = Worker(at="")
            yield reading(to, seen), put(self._read(state, seen), place, after)

    def _at_intend(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        on = worker._replace(at="wave N")
        if not self.rules.coa_after:
            yield from self._sends(state, place, worker._replace(at="intend", s="coa 1"), "s")
        if self.rules.write_ahead:
            yield "begins intent", put(state, place, on._replace(tx=("intent",)))
        else:
            yield "~skips the intent", put(state, place, on)

    def _at_wave(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        left = self.surroundings.spend(state, "stop")
        if left is not None and worker.ok:
            yield "~a person asks to stop", put(left, place, worker._replace(ok=False))
        if not worker.ok:
            yield "~sends no more", put(state, place, worker._replace(at="verify N"))
            return
        to = worker.at[-1]
        if to not in self.parts:
            on = "wave X" if to == "N" else "verify N"
            yield "~has none", put(state, place, worker._replace(at=on))
            return
        slot = to.lower()
        yield from self._sends(state, place, _set(worker, slot, "prepare"), slot)

    def _at_early(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        yield from self._sends(state, place, worker._replace(n="confirm"), "n")

    def _at_verify(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        to = worker.at[-1]
        on = "verify X" if to == "N" else "decide"
        wanted = ("NEW", "-", "OURS" if to == "N" and self.rules.decide_first else "NONE")
        if not self.rules.verify or to not in self.parts:
            yield "~does not look", put(state, place, worker._replace(at=on))
            return
        for seen in self._seen(state, place, to, startup=False):
            after = worker._replace(at=on, ok=worker.ok and seen == wanted)
            yield reading(to, seen), put(self._read(state, seen), place, after)

    def _at_decide(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        if not worker.ok:
            yield "~decides against it", put(state, place, worker._replace(at="shut out"))
            return
        left = self.surroundings.spend(state, "stop")
        if left is not None:
            yield "~a person asks to stop", put(left, place, worker._replace(at="shut out"))
        left = self.surroundings.spend(state, "extend")
        if left is not None:
            yield from self._sends(left, place, worker._replace(n="extend"), "n")
        yield "begins commit", put(state, place, worker._replace(tx=("commit",)))

    def _at_rows(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        yield "begins rows", put(state, place, worker._replace(tx=("rows",), at="pass"))

    def _at_shut(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        if self.rules.abort_row:
            yield "begins epoch", put(state, place, worker._replace(tx=("epoch",), at="abort"))
        else:
            yield "~presumes abort", put(state, place, worker._replace(at="pass", ok=False))

    def _at_abort(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        if state.store.verdict:
            after = worker._replace(at="pass", ok=False)
            yield f"~finds {state.store.verdict}", put(state, place, after)
        else:
            yield "begins abort", put(state, place, worker._replace(tx=("abort",), ok=False))

    def _at_take(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        yield "begins epoch", put(state, place, worker._replace(tx=("epoch",), at="ask"))

    def _at_ask(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        store = state.store
        if not store.verdict:
            on = "shut out"
            if not self.rules.post_only_decided and state.n.running:
                yield (
                    "begins post",
                    put(state, place, worker._replace(tx=("post",), at="shut out")),
                )
            yield "~finds no decision", put(state, place, worker._replace(at=on, ok=False))
            return
        yield f"~finds {store.verdict}", put(state, place, worker._replace(at="pass", ok=False))

    def _at_pass(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        """The goal is read here, once; who has just verified knows what it will see."""
        was, again = state.store.state, worker.at == "pass again"
        if again and was == "CLOSED":
            was = f"CLOSED {state.store.verdict}"
        if was not in OPEN and not again:
            yield "~finds it closed", put(state, place, Worker(at=""))
            return
        if was not in OPEN:
            state = state._replace(store=state.store._replace(asked=True))
        known = worker.ok and was == "COMMITTED"
        n, x = ("confirm", "save") if known else ("read", "read")
        if known and not self.rules.decide_first:
            n = "read"
        n, x = n if "N" in self.parts else "done", x if "X" in self.parts else "done"
        accepted = state.store.accepted
        n, x = "" if "N" in accepted else n, "" if "X" in accepted else x
        begun = worker._replace(at="look", was=was, n=n, x=x, s="", ok=False)
        aborted = was in ("ABORTED", "INTENT")
        for closing in self._may_close(state, worker) if aborted or not again else (False,):
            yield (
                f"~begins a pass to {WORDS[goal_of(was)]}",
                put(state, place, begun._replace(closing=closing)),
            )

    def _may_close(self, state: State, worker: Worker) -> tuple[bool, ...]:
        """An abort is closed at once; the rest by a recovery, when the settle time is over."""
        store = state.store
        if store.state in ("ABORTED", "INTENT"):
            return (True,)
        if "S" not in self.parts and not worker.ok:
            return (False, True)  # nothing to settle: a recovery closes at once
        if not store.applied or worker.ok or worker.was:
            again = worker.was == "COMMITTED" and not self.rules.settle_again
            return (worker.closing,) if again else (False,)
        if store.applied == BEFORE_REVERSAL:
            return False, True
        if state.s.login not in (-1, store.rows) and self.rules.settle:
            return (False,)
        return (False,) if self._is_astray(state) else (False, True)

    def _is_astray(self, state: State) -> bool:
        """Whether a CoA may still arrive: by the clock, which only ever says so for too long."""
        return self.rules.astray and any(to == "S" for to, _ in state.late)

    def _at_look(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        for slot in ("n", "x"):
            if getattr(worker, slot) == "read":
                yield from self._looks(state, place, worker, slot)
                return
        on = "act" if {worker.n, worker.x} & set(TO_DO) else "over"
        yield "~acts", put(state, place, worker._replace(at=on))

    def _looks(self, state: State, place: int, worker: Worker, slot: str) -> Iterator[Step]:
        goal = goal_of(self._was(state, worker))
        last = getattr(worker, slot) == "last"
        for seen in self._seen(state, place, slot.upper(), startup=True):
            step = next_step(goal, seen, self.rules)
            if last and step != "done":
                step = "lost" if seen[0] == "UNREADABLE" else "refused"
            after = _set(worker, slot, step)
            yield reading(slot.upper(), seen), put(self._read(state, seen), place, after)

    def _at_act(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        slots = {"n": worker.n, "x": worker.x}
        sent = {slot[:-1] for slot in slots.values() if slot.endswith("!")}
        if not sent:
            for name, slot in slots.items():
                if slot == "last":
                    yield from self._looks(state, place, worker, name)
                    return
        todo = [name for name, slot in slots.items() if slot in TO_DO]
        for name in todo:
            if not sent or sent == {slots[name]}:  # one verb goes to all its devices at once
                yield from self._sends(state, place, worker, name)
        if not todo and not sent:
            yield "~looks again", put(state, place, worker._replace(at="look"))

    def _at_over(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        slots = (worker.n, worker.x)
        if worker.was == "COMMITTED" and "refused" in slots:
            undo = worker._replace(tx=("reverse",), at="pass")
            yield "begins reversal", put(state, place, undo)
        elif worker.was.split()[-1] not in SESSIONS_OF or not self._follows(state, slots):
            yield "~leaves the session", put(state, place, worker._replace(at="write"))
        else:
            yield "~turns to the session", put(state, place, worker._replace(at="live"))

    def _follows(self, state: State, slots: tuple[str, str]) -> bool:
        """A session is driven unless a device is away: the change then stays open anyway."""
        if "S" not in self.parts or "S" in state.store.accepted:
            return False
        if self.rules.follow_up:
            return not set(slots) & set(PASSING)
        return slots == ("done", "done")

    def _at_live(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        goal = goal_of(self._was(state, worker))
        again = worker.at == "live again"
        left = self.surroundings.spend(state, "unread")
        if left is not None:
            after = worker._replace(at="write", s="lost")
            yield "reads S UNREADABLE", put(left, place, after)
        seen = state.s.session
        label = f"reads S {'none' if seen < 0 else WORDS[seen]}"
        if seen in (-1, goal):
            yield label, put(state, place, worker._replace(at="write", s="done"))
        elif again:
            yield label, put(state, place, worker._replace(at="write", s="left"))
        else:
            yield label, put(state, place, worker._replace(at="coa", s=f"coa {goal}"))

    def _at_coa(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        yield from self._sends(state, place, worker, "s")

    def _at_write(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        """Exceptions, applied and closed, in one transaction."""
        was = self._was(state, worker)
        ends = (("N", worker.n), ("X", worker.x), ("S", worker.s))
        doubts = "".join(name for name, end in ends if end not in ("done", ""))
        clear = "".join(name for name, end in ends if end == "done")
        reached = "lost" not in (worker.n, worker.x, worker.s)
        astray = self._is_astray(state)
        does = "" if not reached else "close" if worker.closing and not astray else "apply"
        if was.startswith("CLOSED"):
            does, clear = "", clear.replace("S", "" if astray else "S")
        tx = ("write", was, does, doubts if self.rules.excuse else "", clear)
        yield "begins write", put(state, place, worker._replace(tx=tx, at="write"))

    def _was(self, state: State, worker: Worker) -> str:
        return worker.was if self.rules.goal_once else state.store.state

    # ---- reading and asking

    def _seen(
        self, state: State, place: int, to: str, *, startup: bool
    ) -> Iterator[tuple[str, str, str]]:
        """Yield what a reading may show: (running, startup, pending); drained first (W4)."""
        if "unread" in self.budget and self.surroundings.spend(state, "unread") is not None:
            yield "UNREADABLE", "-", "UNKNOWN"
        others = (w for index, w in enumerate(state.workers) if index != place)
        busy = [m for w in others for m in flights(w)]
        if self.rules.drain and any(who == to for who, _ in (*state.late, *busy)):
            return
        if to == "N":
            running, saved = WORDS[state.n.running], WORDS[state.n.saved]
            pending = "OURS" if state.n.pending else "NONE"
        else:
            running, saved, pending = state.x.running(), state.x.saved(), "NONE"
        yield running, saved if startup else "-", pending

    def _read(self, state: State, seen: tuple[str, str, str]) -> State:
        if seen[0] != "UNREADABLE":
            return state
        return self.surroundings.spend(state, "unread") or state

    def _sends(self, state: State, place: int, worker: Worker, slot: str) -> Iterator[Step]:
        verb = getattr(worker, slot)
        after = put(state, place, _set(worker, slot, verb + "!"))
        yield f"sends {verb} to {slot.upper()}", after

    def _answers(
        self, state: State, place: int, worker: Worker, to: str, verb: str
    ) -> Iterator[Step]:
        """The device does what it was asked and says so, refuses, or the worker gives up."""
        for after, verdict in self.surroundings.does(state, to, verb):
            label = f"{verb} to {to} {verdict}"
            for heard in self._heard(worker, to, verb, verdict):
                yield label, put(after, place, heard)
        left = self.surroundings.spend(state, "lose")
        if left is not None:
            verdict = "SILENCE" if to == "S" else "UNKNOWN"
            orphaned = left._replace(late=_with(left.late, (to, verb)))
            for heard in self._heard(worker, to, verb, verdict):
                yield f"{verb} to {to} {verdict}", put(orphaned, place, heard)

    def _heard(self, worker: Worker, to: str, verb: str, verdict: str) -> tuple[Worker, ...]:
        """Return what the worker may make of an answer."""
        slot, sent = to.lower(), verdict == "SENT"
        where = worker.at.partition(" ")[0]
        if where != "act":
            return (self._heard_once(worker, to, where, sent=sent),)
        if sent:
            after = "read"
            if not self.rules.read_back:
                after = "save" if verb == "confirm" else "done"
            return (_set(worker, slot, after),)
        if verdict == "UNKNOWN" and verb == "abort" and not self.rules.undo_reads:
            return (_set(worker, slot, "done"),)
        # the third refusal is the last: how many there were is not counted here
        return _set(worker, slot, "read"), _set(worker, slot, "last")

    def _heard_once(self, worker: Worker, to: str, where: str, *, sent: bool) -> Worker:
        if where == "intend":
            return worker._replace(s="", at="wave N", tx=("intent",))
        if where == "coa":
            return worker._replace(at="live again", s="")
        if where == "wave":
            ok = worker.ok and (sent or to == "X")
            early = to == "N" and sent and not self.rules.decide_first
            on = "early" if early else "wave X" if to == "N" and ok else "verify N"
            return _set(worker, to.lower(), "")._replace(at=on, ok=ok)
        if where == "early":
            return worker._replace(at="wave X" if sent else "verify N", ok=sent, n="")
        return worker._replace(at="decide", ok=worker.ok and sent, n="")

    # ---- the store

    def _transaction(self, state: State, place: int, worker: Worker) -> Iterator[Step]:
        tx, name = worker.tx, worker.tx[0]
        waiting = worker._replace(tx=())
        after, ok = self.surroundings.lands(state, tx, stale=worker.stale)
        if ok:
            yield f"{name} done", put(after, place, self._decided(waiting, tx))
        else:
            lost = name == "commit" and not worker.stale  # the other verdict stands on the key
            on = waiting._replace(at="shut out", ok=False) if lost else Worker(at="")
            yield f"{name} conflicts", put(after, place, on)
        left = self.surroundings.spend(state, "lose")
        if left is None:
            return
        orphaned = left if name == "epoch" else left._replace(late_tx=_with(left.late_tx, tx))
        ends = [Worker(at="")]
        if name == "commit" or (name in ("epoch", "abort") and worker.at == "abort"):
            ends.append(waiting._replace(at="shut out", ok=False))
        for end in ends:
            yield f"{name} fails", put(orphaned, place, end)

    def _decided(self, worker: Worker, tx: Tx) -> Worker:
        if tx[0] == "commit":
            return worker._replace(at="pass" if self.rules.one_transaction else "rows")
        if tx[0] == "abort":
            return worker._replace(at="pass")
        if tx[0] in ("epoch", "accept"):
            return worker._replace(stale=False)
        return Worker(at="") if tx[0] == "write" else worker


def _set(worker: Worker, slot: str, value: str) -> Worker:
    if slot == "n":
        return worker._replace(n=value)
    return worker._replace(x=value) if slot == "x" else worker._replace(s=value)


def next_step(goal: int, seen: tuple[str, str, str], rules: Rules) -> str:
    """Return the one next verb for a device seen like this, or how its part of the pass ends."""
    running, startup, pending = seen
    if running == "UNREADABLE":
        return "lost"
    if running == "OTHER" and rules.compare:
        return "other"
    if goal:
        if running == "MIXED":
            return "abort"
        if running != "NEW":
            return "prepare"
        if pending == "OURS":
            return "confirm"
    elif running != "OLD" or pending == "OURS":
        return "abort"
    return "done" if startup == WORDS[goal] or not rules.save else "save"


def reading(to: str, seen: tuple[str, str, str]) -> str:
    """Return a reading as the event it is."""
    return (
        f"reads {to} {' '.join(seen)}"
        if seen[0] not in ("UNREADABLE", "OTHER")
        else (f"reads {to} {seen[0]}")
    )


def gone(state: State, place: int) -> State:
    """The worker is no more; what it has sent is still under way."""
    worker = state.workers[place]
    late = state.late
    for message in flights(worker):
        late = _with(late, message)
    late_tx = state.late_tx
    if worker.tx and worker.tx[0] != "epoch":
        late_tx = _with(late_tx, worker.tx)
    return put(state._replace(late=late, late_tx=late_tx), place, Worker(at=""))


def _with(things: tuple[Any, ...], more: Any) -> tuple[Any, ...]:
    return tuple(sorted({*things, more}))
