"""Turns and time: every worker is a thread that runs only while the scheduler gives it the turn.

Nothing here is random and nothing waits for a real clock: who runs next is decided by simulated
time, by the order of arrival, and by the acts that a scenario lists.
"""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

START = dt.datetime(2027, 3, 10, 11, 0, tzinfo=dt.UTC)  # the simulated database's clock at 0 s
STEP_LIMIT = 60_000  # turns and edges of one run: what needs more hangs

Event = Callable[[], None]


class Killed(BaseException):
    """The process of this worker is gone: no handler of the program may catch it."""


class Hung(Exception):
    """Nobody can go on, or nobody comes to an end."""


def _closed() -> threading.Lock:
    """Return a gate that whoever is let through closes behind itself."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class Hand:
    """A thread that does the work of one worker after another: a new one each time costs more."""

    idle: ClassVar[list[Hand]] = []

    def __init__(self) -> None:
        self._work: Event = lambda: None
        self._wanted = _closed()
        threading.Thread(target=self._always, daemon=True).start()

    @classmethod
    def lend(cls) -> Hand:
        """Return a thread that has nothing to do."""
        return cls.idle.pop() if cls.idle else cls()

    def begin(self, work: Event) -> None:
        """Let it do this, and be idle again."""
        self._work = work
        self._wanted.release()

    def _always(self) -> None:
        while True:
            self._wanted.acquire()
            self._work()
            self._work = lambda: None  # it knows the whole world of its run
            self.idle.append(self)


os.register_at_fork(after_in_child=Hand.idle.clear)  # threads stay with the parent


@dataclass(slots=True, eq=False)
class Process:
    """One incarnation of the program on a host: killed as a whole, stopped as a whole."""

    name: str
    host: str
    pid: int
    alive: bool = True
    stopped_until_s: float = 0.0
    workers: list[Worker] = field(default_factory=list)


class Worker:
    """One thread of a process."""

    def __init__(self, scheduler: Scheduler, process: Process, name: str, body: Event) -> None:
        self.process = process
        self.name = name
        self.done = False
        self.error: BaseException | None = None
        self.wake_s = 0.0
        self.waits: Callable[[], bool] | None = None
        self.eager = False  # it slept or waited: it goes on as soon as it can
        self._scheduler = scheduler
        self._body = body
        self._turn = _closed()
        self._begun = False

    def give_turn(self) -> None:
        """Let it run until it gives the turn back."""
        if self._begun:
            self._turn.release()
        else:
            self._begun = True
            Hand.lend().begin(self.run)

    def take_turn(self) -> None:
        """Wait for the turn; raises Killed where there will be no other."""
        self._turn.acquire()
        if not self.process.alive:
            raise Killed

    def run(self) -> None:
        """Do its work to the end, however that comes."""
        try:
            if self.process.alive:
                self._body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - told to whoever judges the run
            self.error = error
        self.done = True
        self._scheduler.hand_on(self)

    def ready(self, now_s: float) -> bool:
        """Say whether it could run now."""
        if not self.process.alive:
            return True  # to be told so
        if now_s < self.process.stopped_until_s or now_s < self.wake_s:
            return self.waits is not None and now_s >= self.process.stopped_until_s and self.waits()
        return True

    def next_s(self) -> float:
        """The earliest time at which it could run without anybody else's doing."""
        return max(self.wake_s, self.process.stopped_until_s)


class Scheduler:
    """Gives turns, counts edges, moves the clock."""

    def __init__(self, starts_s: float = 0.0) -> None:
        self.born = START + dt.timedelta(seconds=starts_s)
        self.now_s = 0.0
        self.current: Worker | None = None
        self.edges = 0
        self.counts: dict[str, int] = {}
        self.at_edge: Callable[[str, str, int, int], None] = lambda *_: None
        self.story: list[tuple[float, str, str]] = []
        self._workers: list[Worker] = []
        self._events: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self._steps = 0
        self._slice = 0
        self._until: Callable[[], bool] = lambda: True
        self._back = _closed()
        self._hung: Hung | None = None
        self.quantum = 1_000_000  # edges a worker may pass while others could run

    # --- time

    def utc(self) -> dt.datetime:
        """The simulated database's clock."""
        return self.born + dt.timedelta(seconds=self.now_s)

    def at(self, when_s: float, event: Event) -> None:
        """Do something in the world at a time."""
        heapq.heappush(self._events, (when_s, next(self._order), event))

    def pass_time(self, seconds: float) -> None:
        """Let a little time pass while the current worker keeps the turn."""
        self._move_to(self.now_s + seconds)

    def _move_to(self, when_s: float) -> None:
        while self._events and self._events[0][0] <= when_s:
            at_s, _, event = heapq.heappop(self._events)
            self.now_s = max(self.now_s, at_s)
            event()
        self.now_s = max(self.now_s, when_s)

    # --- what workers call

    def tell(self, who: str, text: str) -> None:
        """Add a line to the story."""
        self.story.append((self.now_s, who, text))

    def me(self) -> Worker:
        """The worker whose turn it is."""
        worker = self.current
        if worker is None:
            raise Hung("a port was used outside of any worker")
        return worker

    def alive(self) -> None:
        """Raise Killed in a worker whose process is gone: its ports are closed."""
        if not self.me().process.alive:
            raise Killed

    def edge(self, kind: str, what: str, cost_s: float = 0.0) -> None:
        """Stand at a numbered edge: time passes, and what the scenario wants happens here."""
        worker = self.me()
        if not worker.process.alive:
            raise Killed
        self._step()
        self.edges += 1
        count = self.counts.get(kind, 0) + 1
        self.counts[kind] = count
        if cost_s:
            self._move_to(self.now_s + cost_s)
        self.at_edge(kind, what, count, self.edges)
        if not worker.process.alive:
            raise Killed
        if len(self._workers) > 1 or worker.process.stopped_until_s:
            self._slice += 1
            spent = self._slice >= self.quantum
            if self.now_s < worker.process.stopped_until_s or self._others_due(worker, spent):
                self.give_way()

    def _others_due(self, worker: Worker, spent: bool) -> bool:
        now = self.now_s
        return any((spent or w.eager) and w is not worker and w.ready(now) for w in self._workers)

    def give_way(self) -> None:
        """Let every other worker that can run run first."""
        worker = self.me()
        self._workers.remove(worker)
        self._workers.append(worker)
        self._switch(worker)

    def sleep(self, seconds: float) -> None:
        """Sleep in simulated time."""
        self.wait(lambda: False, seconds)

    def wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is true or the time is over; says whether it is true."""
        worker = self.me()
        self.alive()
        if until():
            return True
        worker.waits, worker.wake_s, worker.eager = until, self.now_s + timeout_s, True
        try:
            self._switch(worker)
        finally:
            worker.waits, worker.wake_s, worker.eager = None, 0.0, False
        return until()

    def _switch(self, worker: Worker) -> None:
        if self.hand_on(worker):
            self.alive()
        else:
            worker.take_turn()

    def hand_on(self, worker: Worker) -> bool:
        """End this worker's turn and begin the next one's; says whether that is its own again.

        The next one is chosen by whoever gives the turn away: a thread less to wake each time.
        """
        self.current = None
        if worker.done:
            self._workers.remove(worker)
            if isinstance(worker.error, Hung):
                self._hung = worker.error
        chosen = None if self._hung else self._choose()
        if chosen is None:
            self._back.release()
        elif chosen is not worker:
            chosen.give_turn()
        return chosen is worker

    def _choose(self) -> Worker | None:
        """Return whose turn it is, None where whoever judges is to go on."""
        try:
            if self._until():
                return None
            self._step()
            self.current = worker = self._pick()
        except Hung as hung:
            self._hung = hung
            return None
        self._slice = 0
        return worker

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEP_LIMIT:
            raise Hung(f"no end after {STEP_LIMIT} steps")

    # --- workers and processes

    def start(self, process: Process, name: str, body: Event) -> Worker:
        """Add a worker to a process; it runs when its turn comes."""
        worker = Worker(self, process, name, body)
        process.workers.append(worker)
        self._workers.append(worker)
        return worker

    def kill(self, process: Process) -> None:
        """End a process at once; its threads find out when they next have the turn."""
        process.alive = False

    def run(self, until: Callable[[], bool]) -> None:
        """Give turns until something is true. Called by whoever judges, not by a worker."""
        self._until, self._hung = until, None
        worker = self._choose()
        if worker is not None:
            worker.give_turn()
            self._back.acquire()
        if self._hung is not None:
            raise self._hung

    def _pick(self) -> Worker:
        while True:
            found = [worker for worker in self._workers if worker.ready(self.now_s)]
            if found:
                return min(found, key=lambda w: (w.process.alive, not w.eager))
            times = [worker.next_s() for worker in self._workers if worker.process.alive]
            if not times:
                raise Hung("no worker is left, and what is waited for has not come")
            soonest = min(times)
            if self._events and self._events[0][0] < soonest:
                self._move_to(self._events[0][0])  # it may be what somebody waits for
            else:
                self._move_to(soonest)

    def bury(self) -> None:
        """End every worker that is left: nothing of a run outlives it."""
        for worker in list(self._workers):
            worker.process.alive = False
        self.run(lambda: not self._workers)


class Spawn:
    """What the leases know as `threading`: their renewals are a worker of the scheduler."""

    def __init__(self, scheduler: Callable[[], Scheduler]) -> None:
        self._scheduler = scheduler

    def Event(self) -> SimEvent:  # noqa: N802 - the name that is called
        """A flag that can be waited for."""
        return SimEvent(self._scheduler())

    def Thread(self, *, target: Event, name: str, **_more: Any) -> SimThread:  # noqa: N802
        """A thread of the calling worker's process."""
        return SimThread(self._scheduler(), target, name)


class SimEvent:
    """threading.Event in simulated time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False

    def set(self) -> None:
        """Raise the flag."""
        self._set = True

    def wait(self, timeout: float) -> bool:
        """Wait for the flag."""
        return self._scheduler.wait(lambda: self._set, timeout)


class SimThread:
    """threading.Thread as a worker."""

    def __init__(self, scheduler: Scheduler, target: Event, name: str) -> None:
        self._scheduler, self._target, self._name = scheduler, target, name
        self._worker: Worker | None = None

    def start(self) -> None:
        """Begin."""
        self._worker = self._scheduler.start(self._scheduler.me().process, self._name, self._target)

    def join(self) -> None:
        """Wait for its end."""
        worker = self._worker
        assert worker is not None
        self._scheduler.wait(lambda: worker.done, 3600)
