"""Runs scenarios: prepares each place once, plays the acts, lets recovery work, asks the judge."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from inventory import BandmasterError, new_id
from orchestrator.answers import answer_exception
from orchestrator.apply import apply_plan, load_plan
from orchestrator.database import reading
from orchestrator.exceptions import list_open
from orchestrator.imports import import_files
from orchestrator.interrupt import Interrupts
from orchestrator.plan import known_outcome, make_plan
from orchestrator.recover import recover
from orchestrator.rollback import Undo, plan_rollback
from workflows import Order

from .boxes import Box, human_value, unlock
from .faults import COMMIT_FAULTS, Act, Scenario
from .judge import PERSON, Judge, Violation
from .places import PLACES, Place, line_of, login_of
from .scheduler import Hung, Process, Worker
from .store import Store
from .trace import Recorder, Step
from .world import Stage, World, installed

PLAN_OF = {"up": "fiber-1000", "down": "fiber-100", "activate": "fiber-1000"}
KIND_OF = {"up": "tier", "down": "tier"}  # the others are called as they are
RECOVERIES_UNDER_FAULTS = 3
RECOVERIES_AT_PEACE = 8
PEACE_S = 120.0  # between two of those: timers of people end, sessions are forgotten
WATCH_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A place with an order planned: the store's bytes and the plan's id."""

    image: bytes
    plan_id: str


@dataclass(slots=True, kw_only=True)
class Result:
    """What a run came to."""

    scenario: Scenario
    violations: list[Violation]
    story: list[tuple[float, str, str]]
    edges: dict[str, int]
    endings: Counter[str]
    injected: Counter[str]
    lasted_s: float
    steps: list[Step] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)  # edges in order, where listed

    @property
    def promise(self) -> str:
        """The first promise that was broken, or ""."""
        return self.violations[0].promise if self.violations else ""


class Theatre:
    """Everything that runs share: the store's engine and the prepared places."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._store = Store()
        self._prepared: dict[tuple[Place, str], Prepared] = {}

    def prepared(self, place: Place, order: str) -> Prepared:
        """Import the place's inventory and plan the order, once."""
        key = (place, order)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(place, order)
        return self._prepared[key]

    def set_for(self, scenario: Scenario) -> tuple[Place, Prepared]:
        """Return the place of a scenario, and what is prepared there."""
        place = PLACES[scenario.place].set_for(scenario.order, scenario.proration)
        return place, self.prepared(place, scenario.order)

    def _prepare(self, place: Place, order: str) -> Prepared:
        store = self._store
        world = self._stage.world = World(store, place, 7, born_s=-3600.0)
        store.load(b"", None)
        office = world.office(world.process("setup"))
        found: list[str] = []

        def body() -> None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "inventory.yaml"
                path.write_text(place.inventory(), "utf-8")
                import_files(office, (path,), "simulation")
            orders = tuple(_order(each, order) for each in place.ids())
            found.append(make_plan(office, orders, skip=False).plan_id)

        worker = world.scheduler.start(world.process("setup"), "main", body)
        world.scheduler.run(lambda: worker.done)
        if worker.error is not None:
            raise worker.error
        return Prepared(image=store.image(), plan_id=found[0])

    def sweep(self) -> None:
        """Collect what the runs so far have left; what they have found stays, and is no garbage."""
        self._stage.world = None
        self._store.load(b"", None)
        self._store.killed = lambda _process: None
        gc.collect()
        gc.freeze()

    def play(self, scenario: Scenario, *, traced: bool = False, listed: bool = False) -> Result:
        """Run one scenario to its end."""
        place, prepared = self.set_for(scenario)
        world = self._stage.world = World(self._store, place, scenario.seed, scenario.starts_s)
        self._store.load(prepared.image, world.scheduler)
        play = _Play(world, scenario, prepared.plan_id, traced=traced)
        play.listed = listed
        return play.run()


def _order(service_id: str, order: str) -> Order:
    key = new_id()
    return Order(
        order_id=key,
        idempotency_key=key,
        kind=KIND_OF.get(order, order),  # type: ignore[arg-type]
        service_id=service_id,
        plan_code=PLAN_OF.get(order, ""),
        actor="simulation",
        reason_code="requested",
    )


class _Play:
    """One run while it goes on."""

    def __init__(
        self, world: World, scenario: Scenario, plan_id: str, *, traced: bool = False
    ) -> None:
        self.world = world
        self.scenario = scenario
        self.plan_id = plan_id
        self.judge = Judge(world)
        self.recorder = Recorder(world, self.judge, scenario.order) if traced else None
        self.judge.recorder = self.recorder
        if self.recorder:
            world.noted = self.recorder.add
        self.injected: Counter[str] = Counter()
        self.mains: list[Worker] = []
        self.listed = False
        self.passed: list[tuple[str, str]] = []
        self.interrupts = Interrupts()
        self.home = "host-c" if scenario.elsewhere else "host-a"
        self.deferred: list[Act] = []
        self.peace = False
        self.acts: dict[tuple[str, int], list[Act]] = {}
        for act in scenario.acts:
            self.acts.setdefault((act.edge, act.at), []).append(act)

    def run(self) -> Result:
        """Play it."""
        world, scheduler = self.world, self.world.scheduler
        scheduler.quantum = self.scenario.quantum
        scheduler.at_edge = self._edge
        self.judge.begin()
        if self.recorder:
            self.recorder.look()
        try:
            self._start("A", "host-a", self._apply)
            if self.scenario.watcher:
                host = "host-a" if self.scenario.watcher == "same host" else "host-b"
                self._start("W", host, self._watch)
            self._play_out()
            for number in range(RECOVERIES_UNDER_FAULTS):
                if not self._open():
                    break
                self._start(f"R{number}", self.home, self._recover)
                self._play_out()
            self._make_peace()
            self.judge.at_rest()
            if self.scenario.answer and self._asked():
                self._start(f"{PERSON}9", self.home, self._answer)
                self._play_out()
                self._recover_at_peace()
                self.judge.at_rest()
            if self.scenario.undo and not self.judge.violations and not self._asked():
                self._start("U", self.home, self._undo)
                self._play_out()
                self._recover_at_peace()
                self.judge.at_rest()
            elif self.scenario.again and not self.judge.violations:
                self._order_again()
        except Hung as hung:
            self.judge.blame("P12", str(hung))
        finally:
            with contextlib.suppress(Hung):
                scheduler.bury()
            self.judge.end()
        return Result(
            scenario=self.scenario,
            violations=self.judge.violations,
            story=scheduler.story,
            edges=dict(scheduler.counts),
            endings=self._endings(),
            injected=self.injected,
            lasted_s=world.scheduler.now_s,
            steps=self.recorder.steps if self.recorder else [],
            passed=self.passed,
        )

    # --- workers

    def _start(self, name: str, host: str, body: Callable[[Process], None]) -> None:
        process = self.world.process(name, host)

        def act() -> None:
            self.world.noted(name, "start")
            try:
                body(process)
            except BandmasterError as problem:
                self.world.scheduler.tell(name, f"ends: {type(problem).__name__}: {problem}")
            else:
                self.world.scheduler.tell(name, "ends")
            self.world.noted(name, "end")

        self.mains.append(self.world.scheduler.start(process, "main", act))

    def _apply(self, process: Process) -> None:
        apply_plan(self.world.office(process), self.interrupts, self.plan_id)

    def _recover(self, process: Process) -> None:
        recover(self.world.office(process), wait_settle=True)

    def _answer(self, process: Process) -> None:
        """A person answers every exception that is open."""
        office = self.world.office(process)
        with reading(office.engine) as session:
            rows = list_open(session)
        for row in rows:
            offered = self.scenario.answer in row.actions.split(",")
            action = self.scenario.answer if offered else "accept"
            with contextlib.suppress(BandmasterError):
                answer_exception(office, row.exception_id, action, "joe", "told so")
                self.injected[f"answered {action}"] += 1

    def _undo(self, process: Process) -> None:
        """What the command line does with a rollback of the first service's change."""
        office = self.world.office(process)
        found = self.judge.look.execute(
            "SELECT change_id FROM change WHERE outcome = 'done' AND service_id = ?",
            (self._service_id(0),),
        ).fetchone()
        if found is not None:
            undo = Undo(actor="joe", reason="by mistake", as_never=self.scenario.undo == "as never")
            plan = plan_rollback(office, found["change_id"], undo)
            self._shown()
            apply_plan(office, Interrupts(), plan.plan_id)
            self.injected[self.scenario.undo] += 1

    def _watch(self, process: Process) -> None:
        office = self.world.office(process)
        for _ in range(WATCH_ROUNDS):
            with contextlib.suppress(BandmasterError):
                recover(office)
            office.clock.sleep(office.settings.watch_s)

    def _play_out(self) -> None:
        """Until every main worker has ended, and what it ended with."""
        self.world.scheduler.run(lambda: all(worker.done for worker in self.mains))
        for worker in self.mains:
            if worker.error is not None:
                lines = traceback.format_exception(worker.error)
                self.judge.blame("crash", "".join(lines))
        self.mains.clear()

    def _open(self) -> int:
        return self._count("change WHERE state <> 'CLOSED'")

    def _asked(self) -> int:
        return self._count("exception_item WHERE resolved_at IS NULL")

    def _count(self, rows: str) -> int:
        found: int = self.judge.look.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]  # noqa: S608
        return found

    def _make_peace(self) -> None:
        """Faults cease; then recovery must come to an end."""
        self.peace = True
        world = self.world
        world.fault = world.store.commit_fault = world.store.statement_fault = ""
        self._wait(PEACE_S)  # what is on its way arrives
        self._recover_at_peace()

    def _recover_at_peace(self) -> None:
        for number in range(RECOVERIES_AT_PEACE):
            if number and not self._open():
                break
            self._start(f"P{number}", self.home, self._recover_in_peace)
            self._play_out()
            self._wait(PEACE_S)

    def _wait(self, seconds: float) -> None:
        self._start("time", "host-p", lambda _p: self.world.scheduler.sleep(seconds))
        self._play_out()

    def _recover_in_peace(self, process: Process) -> None:
        if self._open():
            recover(self.world.office(process), wait_settle=True)

    def _order_again(self) -> None:
        """Another order, then the first one's repetition: it must come to nothing (P14)."""
        first = self.judge.charges()
        self._start("N", "host-a", partial(self._ask, _order(self._service_id(0), "down")))
        self._play_out()
        before = self.judge.charges()
        self._start("again", "host-a", self._ask_first)
        self._play_out()
        self.judge.ordered_once(first, before)

    def _ask_first(self, process: Process) -> None:
        with reading(self.world.store.engine) as session:
            plan, _ = load_plan(session, self.plan_id)
        self._ask(plan.items[0].order, process)

    def _ask(self, order: Order, process: Process) -> None:
        """What the command line does with an order and its key."""
        office = self.world.office(process)
        if not known_outcome(office, order):
            plan = make_plan(office, (order,), skip=False)
            self._shown()
            apply_plan(office, Interrupts(), plan.plan_id)
            recover(office, wait_settle=True)

    def _shown(self) -> None:
        """A new plan names a person's lines as well: whoever applies it has seen them."""
        for box in self.world.boxes.values():
            box.humans.clear()

    def _endings(self) -> Counter[str]:
        world = self.world
        with contextlib.closing(world.store.look()) as look:
            found = Counter(
                row["outcome"] if row["state"] == "CLOSED" else "open"
                for row in look.execute("SELECT outcome, state FROM change")
            )
            left = look.execute(
                "SELECT count(DISTINCT change_id) FROM exception_item WHERE resolved_at IS NULL"
            ).fetchone()[0]
        if left:
            found["exception"] += left
        return found or Counter(["nothing started"])

    # --- acts

    def _edge(self, kind: str, what: str, count: int, number: int) -> None:
        if self.recorder:
            self.recorder.look()
        if self.listed:
            self.passed.append((kind, what))
        if self.peace:
            return
        if self.deferred and kind in ("sql", "commit"):
            due = [act for act in self.deferred if not self._waits(act, kind)]
            self.deferred = [act for act in self.deferred if act not in due]
            for act in due:
                self._do(act, what)
        for key in ((kind, count), ("any", number)):
            for act in self.acts.get(key, ()):
                if self._waits(act, kind):
                    self.deferred.append(act)
                else:
                    self._do(act, what)

    def _waits(self, act: Act, kind: str) -> bool:
        """Whether an act has to wait for an edge outside of what nobody claims to survive.

        A worker that is stopped between its last look at its lease and a datagram, and a person
        who edits between compare and write on a box without a lock (W10), which is also while a
        line is on its way to it.
        """
        if act.what == "stop":
            return kind == "radius"
        if not act.what.startswith("human edit") or self._box(act).confirms:
            return False
        return kind == "device" or self._box(act).under_way > 0

    def _service_id(self, place: int) -> str:
        return self.world.place.ids()[place]

    def _box(self, act: Act) -> Box:
        boxes = list(self.world.boxes.values())
        return boxes[act.target % len(boxes)]

    def _service(self, act: Act) -> str:
        ids = self.world.place.ids()
        return ids[act.target % len(ids)]

    def _do(self, act: Act, where: str) -> None:
        world, scheduler = self.world, self.world.scheduler
        me = scheduler.me()
        what = act.what
        self.injected[what] += 1
        if act.edge == "commit" and what in COMMIT_FAULTS:
            world.store.commit_fault, world.store.late_s = what, act.value
        elif act.edge in ("device", "radius") and what not in ("kill", "stop"):
            if not self._do_world(act):
                world.fault, world.late_s = what, act.value
        elif what == "kill":
            if act.value:
                self._linger(me.process, act.value)
            world.kill_here(where)
        elif what == "stop":
            scheduler.tell(me.process.name, f"is stopped for {act.value:.0f} s {where}")
            me.process.stopped_until_s = scheduler.now_s + act.value
            world.noted(me.process.name, "stop")
        else:
            self._do_world(act)

    def _linger(self, process: Process, seconds: float) -> None:
        """The host is cut off: its sessions stay on the devices for a while."""
        world = self.world
        for box in world.boxes.values():
            for login in box.logins:
                if login.process is process:
                    login.lingers = True
                    world.scheduler.at(world.scheduler.now_s + seconds, partial(box.log_out, login))

    def _do_world(self, act: Act) -> bool:  # noqa: C901, PLR0912
        """What happens outside of the program; says whether it was such a thing."""
        world, scheduler = self.world, self.world.scheduler
        box, what = self._box(act), act.what
        line = line_of(box.kind, self._service(act))
        if what == "box away":
            scheduler.tell(box.name, f"away for {act.value:.0f} s")
            box.away_until_s = scheduler.now_s + act.value
        elif what == "box refuses":
            scheduler.tell(box.name, f"refuses every write for {act.value:.0f} s")
            box.refuses_until_s = scheduler.now_s + act.value
        elif what == "database away":
            scheduler.tell("database", f"away for {act.value:.0f} s")
            world.store.away_until_s = scheduler.now_s + act.value
        elif what == "statement lost":
            world.store.statement_fault = what
        elif what == "reload":
            box.reload(act.value)
        elif what == "human edit":
            if any(key.startswith(f"{line}/") for key in box.running):
                box.human_edit(*human_value(box, line))
        elif what == "human edit beside":
            box.human_edit("9999/note", "x")
        elif what == "human commit":
            if box.confirms:
                box.human_edit("", "")
        elif what == "human confirmed":
            if box.confirms:
                box.human_edit("9999/note", "y", confirmed_s=60)
        elif what == "human lock":
            if box.confirms and box.holder is None:
                box.holder = "a person"
                scheduler.at(scheduler.now_s + act.value, lambda: unlock(box))
        elif what == "relogin":
            if world.place.logins:
                world.relogin(login_of(self._service(act)), min(act.value, 19.0))
        elif what == "interrupt":
            self.interrupts.requested = True
        elif what.startswith("recover"):
            host = "host-d" if what.endswith("elsewhere") else "host-a"
            self._start(f"X{len(world.processes)}", host, self._recover)
        elif what.startswith("apply"):
            host = "host-d" if what.endswith("elsewhere") else "host-a"
            self._start(f"Y{len(world.processes)}", host, self._apply)
        elif what == "answer":
            self._start(f"{PERSON}{len(world.processes)}", "host-a", self._answer)
        else:
            return False
        return True


@contextlib.contextmanager
def theatre() -> Iterator[Theatre]:
    """The simulated ports are in place while this lasts; garbage is collected between runs."""
    with installed() as stage:
        gc.disable()
        gc.freeze()  # what is there by now is no garbage: it need not be looked through each time
        try:
            yield Theatre(stage)
        finally:
            gc.unfreeze()
            gc.enable()
