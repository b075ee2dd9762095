"""The simulated world of one run: devices, subscribers, processes, and the office each one gets."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, Task

import workflows.tasks
from device_templates import AccessSession, Platform, ReplyAttribute, discover
from inventory import Device, ids
from orchestrator import apply, imports, journal
from orchestrator import leases as leases_module
from orchestrator.leases import Leases, Owner
from orchestrator.office import Office
from orchestrator.secrets import SecretStore
from orchestrator.settings import Settings
from workflows import ChangePlan, CoaReply, Crew, CrewSettings, Fence
from workflows.participant import Wire, WireContext
from workflows.transports import connect as real_connect
from workflows.transports import napalm, netmiko
from workflows.transports.words import SaysNo

from .boxes import Box, Login
from .places import PASSWORD, Place, login_of
from .scheduler import START, Killed, Process, Scheduler, Spawn
from .sessions import SERVICE, CliSim, NetconfSim, ShellSim, TokenWire, make_platforms
from .store import Store

SETTLE_S = 30
AUTHENTICATION_S = 20.0  # of a login, which is less than the settle time
COA_TIMEOUT_S = 6.0
_FILTER = re.compile(r"(\d+)/(\d+)")


@dataclass(slots=True)
class Online:
    """A subscriber's live session."""

    identity: str
    down: int
    up: int


class World:
    """Everything outside the program."""

    def __init__(self, store: Store, place: Place, seed: int, born_s: float = 0.0) -> None:
        self.scheduler = Scheduler(born_s)
        self.store = store
        self.place = place
        self.boxes: dict[str, Box] = {
            name: Box(
                name=name,
                kind=kind,
                scheduler=self.scheduler,
                running=place.config(name),
                startup=place.config(name),
            )
            for name, kind in place.devices().items()
        }
        down, up, state = place.rates()
        self.online: dict[str, Online] = {}
        if place.logins and state == "on":
            self.online = {login_of(each): Online(f"id-{each}", down, up) for each in place.ids()}
        self.processes: dict[int, Process] = {}
        self.fault = ""
        self.late_s = 0.0
        self.sender = ""
        self.noted: Callable[[str, str], None] = lambda *_: None
        self.heard: Callable[[Box, Login, str], None] = lambda *_: None
        self.coa_done: Callable[[str, Online | None], None] = lambda *_: None
        self.coa_heard: Callable[[str, str], None] = lambda *_: None
        store.killed = lambda process: self.kill(process, "with its COMMIT on the way")
        self._stamp = START.timestamp() + born_s
        ids._last = 0  # identifiers begin anew with each world, or stories would differ
        self._bits = seed or 1

    # --- processes

    def process(self, name: str, host: str = "host-a") -> Process:
        """A new process on a host."""
        pid = 1000 + len(self.processes)
        process = Process(name=name, host=host, pid=pid)
        self.processes[pid] = process
        return process

    def process_start(self, pid: int) -> str:
        """When a process started, "" when it is gone: what the kernel of its host would say."""
        return f"start-{pid}" if self.processes[pid].alive else ""

    def kill(self, process: Process, why: str) -> None:
        """End a process: its sessions end, but for those on which something is on its way."""
        self.scheduler.tell(process.name, f"killed {why}")
        self.noted(process.name, "kill")
        self.scheduler.kill(process)
        self.store.forget(process)
        for box in self.boxes.values():
            for login in list(box.logins):
                if login.process is process and not login.lingers:
                    box.log_out(login)

    def kill_here(self, why: str) -> None:
        """End the process whose turn it is, now."""
        self.kill(self.scheduler.me().process, why)
        raise Killed

    # --- the network

    def take_fault(self) -> str:
        """What happens to the request that is sent now; "" = nothing."""
        fault, self.fault = self.fault, ""
        return fault

    def later(self, box: Box, login: Login, what: str, act: Callable[[], object]) -> None:
        """A request arrives after its sender has given up; its session lives until then."""
        login.lingers = True
        box.under_way += 1
        sender = self.scheduler.me().process.name

        def arrive() -> None:
            box.under_way -= 1
            if login.gone:
                return
            self.scheduler.tell(box.name, f"executes {what} late")
            self.sender = f"late {sender}"
            self.heard(box, login, what)
            with contextlib.suppress(SaysNo):
                act()
            box.log_out(login)

        self.scheduler.at(self.scheduler.now_s + self.late_s, arrive)

    # --- RADIUS

    def coa(
        self,
        device: Device,
        session: AccessSession,
        attributes: tuple[ReplyAttribute, ...],
        action: str,
    ) -> CoaReply:
        """Send one CoA or Disconnect to the simulated NAS."""
        scheduler = self.scheduler
        scheduler.edge("radius", f"before {action} for {session.login}")
        fault = self.take_fault()
        sender = scheduler.me().process.name

        def act() -> CoaReply:
            return self._coa(session, attributes, action)

        def arrive() -> None:
            self.coa_heard(session.login, sender)
            act()

        self.coa_heard(session.login, sender)
        if fault.startswith("late"):  # nothing can call it back
            scheduler.at(scheduler.now_s + self.late_s, arrive)
        answer = CoaReply(kind="SILENCE", text="no answer")
        if fault in ("", "unanswered", "sent+kill") and scheduler.now_s >= (
            self.boxes[device.name].away_until_s
        ):
            found = act()
            answer = found if not fault else answer
        if fault.startswith("refused"):
            cause = 506 if fault == "refused 506" else 503 if fault == "refused 503" else 407
            answer = CoaReply(kind="NAK", error_cause=cause, text="refused")
        if fault.endswith("+kill"):
            self.kill_here(f"with a {action} on its way")
        if answer.kind == "SILENCE":
            scheduler.sleep(COA_TIMEOUT_S)
        scheduler.edge("radius", f"after {action}: {answer.kind}", 0.02)
        return answer

    def _coa(
        self, session: AccessSession, attributes: tuple[ReplyAttribute, ...], action: str
    ) -> CoaReply:
        login = session.login
        live = self.online.get(login)
        if live is None or live.identity != session.acct_session_id:
            return CoaReply(kind="NAK", error_cause=503, text="session context not found")
        if action == "disconnect":
            del self.online[login]
            self.coa_done(login, None)
            return CoaReply(kind="ACK")
        for attribute in attributes:
            found = SERVICE.fullmatch(attribute.value)
            if attribute.name.startswith("ERX-Service-Activate") and found:
                live.down, live.up = int(found[1]), int(found[2])
        self.scheduler.tell("nas", f"{login} now has {live.down}/{live.up}")
        self.coa_done(login, live)
        return CoaReply(kind="ACK")

    def relogin(self, login: str, waits_s: float) -> None:
        """A subscriber's session drops; a new login reads the rows, and is up some time later."""
        self.online.pop(login, None)
        self.scheduler.tell("nas", f"{login} drops, and logs in again")
        answer = self._access_request(login)
        if answer is None:
            self.scheduler.tell("nas", f"{login} is rejected")
            return
        down, up = answer

        def come_up() -> None:
            self.online[login] = Online(f"id-{login}-{self.scheduler.now_s:.0f}", down, up)
            self.scheduler.tell("nas", f"{login} is up with {down}/{up}")

        self.scheduler.at(self.scheduler.now_s + waits_s, come_up)

    def _access_request(self, login: str) -> tuple[int, int] | None:
        with contextlib.closing(self.store.look()) as look:
            return access_rates(look, login)

    # --- what the program is given

    def settings(self) -> Settings:
        """Settings of every process."""
        return Settings(
            settle_s=SETTLE_S,
            lease_wait_s=5,
            lease_renew_s=4,
            lease_ttl_s=8,
            takeover_s=10,
            revert_after_s=60 * 5,
        )

    def office(self, process: Process) -> Office:
        """The office of one process."""

        def crew(devices: tuple[Device, ...], fence: Fence) -> Crew:
            settings = CrewSettings(resolve=_no_secret, known_hosts="", workers=4)
            runner = Runner(self.scheduler)
            return Crew(devices, settings, fence=fence, runner=runner)

        def tell(who: str, text: str) -> None:
            self.scheduler.tell(process.name, f"{who}: {text}")

        return SimOffice(
            engine=self.store.engine,
            settings=self.settings(),
            clock=SimClock(self.scheduler),
            secrets=SecretStore(Path()),
            crew=crew,
            coa=self.coa,
            tell=tell,
            process=process,
        )

    def time_ns(self) -> int:
        """The wall clock that makes identifiers."""
        return int((self._stamp + self.scheduler.now_s) * 1e9)

    def randbits(self, bits: int) -> int:
        """Digits of identifiers: by the seed, so that a story can be told twice."""
        self._bits = (self._bits * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._bits | self._bits << 17) % 2**bits


def access_rates(look: Any, login: str) -> tuple[int, int] | None:
    """What an Access-Request of a login is answered with, by the committed rows."""
    rows = look.execute(
        "SELECT r.value FROM radusergroup g JOIN radgroupreply r ON r.groupname = g.groupname"
        " WHERE g.username = ?",
        (login,),
    ).fetchall()
    for (value,) in rows:
        if found := SERVICE.fullmatch(value) or _FILTER.fullmatch(value):
            return int(found[1]), int(found[2])
    return None


def _no_secret(_ref: object) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimOffice(Office):
    """An office whose leases are held by a simulated process."""

    process: Process

    def leases(self, purpose: str) -> Leases:
        """Return leases under an owner of this process."""
        process = self.process
        owner = Owner(
            owner=f"{process.name}-{ids.new_id()}",
            host=process.host,
            boot_id=f"boot-{process.host}",
            pid_namespace="",
            pid=process.pid,
            pid_start=f"start-{process.pid}",
        )
        return Leases(self.engine, self.clock, self.settings, owner, purpose)


@dataclass(frozen=True, slots=True)
class SimClock:
    """The clock of a process."""

    scheduler: Scheduler

    def boottime_s(self) -> float:
        """Simulated seconds."""
        return self.scheduler.now_s

    def sleep(self, seconds: float) -> None:
        """Sleep in simulated time."""
        self.scheduler.sleep(seconds)


class Runner:
    """Nornir's runner: the task of each device is a worker of the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Run the task on each host."""
        result = AggregatedResult(task.name)
        scheduler = self._scheduler
        if len(hosts) == 1:
            result[hosts[0].name] = task.copy().start(hosts[0])
            return result
        process = scheduler.me().process
        found: dict[str, Any] = {}

        def body(host: Host) -> Callable[[], None]:
            def act() -> None:
                found[host.name] = task.copy().start(host)

            return act

        workers = [scheduler.start(process, host.name, body(host)) for host in hosts]
        scheduler.wait(lambda: all(worker.done for worker in workers), 10_000)
        for worker, host in zip(workers, hosts, strict=True):
            if worker.error is not None:
                raise worker.error
            result[host.name] = found[host.name]
        return result


class Stage:
    """What the patched places of the program look at: the world of the run that is going on."""

    world: World | None = None

    def now(self) -> World:
        """The world of now."""
        assert self.world is not None
        return self.world


def _cached_plan(
    read: Callable[[dict[str, Any]], ChangePlan],
) -> Callable[[dict[str, Any]], ChangePlan]:
    known = cache(lambda text: read(json.loads(text)))
    return lambda value: known(json.dumps(value, sort_keys=True))


@contextlib.contextmanager
def installed() -> Iterator[Stage]:
    """Put simulated ports in place of clocks, threads and sessions; nothing else is replaced."""
    stage = Stage()
    logging.getLogger("nornir").addHandler(logging.NullHandler())

    def world() -> World:
        return stage.now()

    def connect(context: WireContext, platform: Platform) -> Wire:
        if platform.transport == "sim_token":
            return TokenWire(context, platform)
        return real_connect(context, platform)

    platforms: Mapping[str, Platform] = make_platforms(discover.platforms())

    def sleep(pause_s: float) -> None:
        world().scheduler.sleep(pause_s)

    seconds = types.SimpleNamespace(
        monotonic=lambda: world().scheduler.now_s,
        sleep=sleep,
        time_ns=lambda: world().time_ns(),
    )
    digits = types.SimpleNamespace(randbits=lambda bits: world().randbits(bits))
    with contextlib.ExitStack() as stack:

        def put(owner: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        put(leases_module, "threading", Spawn(lambda: world().scheduler))
        put(leases_module, "process_start", lambda pid: world().process_start(pid))
        put(workflows.tasks, "connect", connect)
        put(workflows.tasks, "preload", lambda _platforms: None)
        put(discover, "platforms", lambda: platforms)
        put(imports, "platforms", lambda: platforms)
        put(napalm, "NetconfSession", lambda context, _o: NetconfSim(world(), context))
        put(netmiko, "CliSession", lambda context, _o: CliSim(world(), context))
        put(netmiko, "ShellSession", lambda context, _o: ShellSim(world(), context))
        put(netmiko, "time", seconds)
        # pure functions from text to frozen values: the same answer, found once
        put(journal, "item_from_json", cache(journal.item_from_json))
        put(apply, "plan_from_json", _cached_plan(apply.plan_from_json))
        put(ids, "time", seconds)
        put(ids, "secrets", digits)
        put(ids, "_last", 0)
        stack.enter_context(mock.patch.dict(os.environ, {PASSWORD: "not a secret"}))
        yield stage
