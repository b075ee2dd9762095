"""Nornir drives the devices: one wire per device, verbs and reads side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from nornir.core import Nornir
from nornir.core.configuration import Config
from nornir.core.inventory import ConnectionOptions
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.core.plugins.runners import RunnerPlugin
from nornir.core.task import Result, Task
from nornir.plugins.runners import ThreadedRunner

from device_templates import AccessSession, Objects, Platform, Reading, platform
from inventory import Device, DeviceProblem, SnmpTarget, nornir_inventory

from .observe import NOT_READ, observe, read_sections, read_sessions
from .participant import Handle, Observation, Reply, Resolver, Wire, WireContext
from .transports import SnmpEvidence, connect, preload, read_evidence

WIRE = "bandmaster_wire"
T = TypeVar("T")


class WireConnection:
    """Nornir's connection plugin: opens a wire by the device's platform."""

    connection: Wire

    def open(
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        """Open the wire that `extras` describes; Nornir's own credentials are never filled in."""
        _ = hostname, username, password, port, platform, configuration
        found = extras or {}
        wire = connect(found["context"], found["platform"])
        wire.open()
        self.connection = wire

    def close(self) -> None:
        """Let go of the device."""
        self.connection.close()


class Fence(Protocol):
    """Called just before a device is used; raises when this worker may not do so any more (W13)."""

    def __call__(self) -> None:
        """Return quietly while it is allowed."""


def no_fence() -> None:
    """The fence of who only reads and needs no lease for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewSettings:
    """How a crew reaches its devices."""

    resolve: Resolver
    known_hosts: str
    workers: int = 50


class Crew:
    """The devices of one run. Use as a context manager; every wire is closed at its end.

    After a verb whose outcome is unknown the wire is dropped, and the next read opens a new one
    and drains first (rules W3, W4 of the commit protocol).
    """

    def __init__(
        self,
        devices: tuple[Device, ...],
        settings: CrewSettings,
        *,
        fence: Fence = no_fence,
        runner: RunnerPlugin | None = None,
    ) -> None:
        self._devices = {device.name: device for device in devices}
        self._fence = fence
        self._undrained: set[str] = set()
        ConnectionPluginRegister.register(WIRE, WireConnection)
        preload(platform(device.platform) for device in devices)
        hosts = nornir_inventory(devices)
        for device in devices:
            hosts.hosts[device.name].connection_options[WIRE] = ConnectionOptions(
                extras={
                    "context": WireContext(
                        device=device,
                        resolve=settings.resolve,
                        known_hosts=settings.known_hosts,
                        timeout_s=device.timeout_s,
                        may_send=fence,
                    ),
                    "platform": platform(device.platform),
                }
            )
        self._nornir = Nornir(
            inventory=hosts,
            config=Config(),
            runner=runner or ThreadedRunner(num_workers=settings.workers),
        )
        self._resolve = settings.resolve

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every wire."""
        for host in self._nornir.inventory.hosts.values():
            host.close_connections()

    def may_send(self) -> None:
        """Raise where this worker may not send any more; for what is sent past the wires (CoA)."""
        self._fence()

    def distrust(self, names: frozenset[str]) -> None:
        """Drain these devices before the next read: somebody else may have been driving them."""
        self._undrained |= names

    def prepare(self, handles: Mapping[str, Handle]) -> dict[str, Reply]:
        """Make running NEW on every device of the mapping."""
        return self._verb("prepare", handles)

    def verb(self, verb: str, handles: Mapping[str, Handle]) -> dict[str, Reply]:
        """Send one of the wire's verbs to every device of the mapping."""
        return self._verb(verb, handles)

    def observe(
        self, handles: Mapping[str, Handle], *, startup: bool = True
    ) -> dict[str, Observation]:
        """Read every device of the mapping; what cannot be read says so in its observation."""
        used = {name for name in handles if self._is_open(name)}
        found = self._observe(handles, startup=startup)
        # a session that was open may have ended since, with a reload: a new one can tell
        again = {n: handles[n] for n, seen in found.items() if n in used and _is_unread(seen)}
        return found | self._observe(again, startup=startup)

    def _observe(self, handles: Mapping[str, Handle], *, startup: bool) -> dict[str, Observation]:
        def look(wire: Wire, kind: Platform, name: str) -> Observation:
            handle = handles[name]
            if name in self._undrained:
                reply = wire.drain(handle)
                if reply.verdict != "SENT":
                    self._drop(name)
                    return _unread(handle, f"older sessions may still act: {reply.reason}")
                self._undrained.discard(name)
            seen = observe(wire, kind, handle, startup=startup)
            if _is_unread(seen):
                self._drop(name)
            return seen

        found = self._each(frozenset(handles), look)
        return {
            name: seen if isinstance(seen, Observation) else _unread(handles[name], str(seen))
            for name, seen in found.items()
        }

    def sections(
        self, wanted: Mapping[str, tuple[Objects, ...]]
    ) -> dict[str, Reading | DeviceProblem]:
        """Read what runs for these objects on each device."""
        return self._each(
            frozenset(wanted), lambda wire, kind, name: read_sections(wire, kind, wanted[name])
        )

    def sessions(
        self, logins: Mapping[str, tuple[str, ...]]
    ) -> dict[str, dict[str, tuple[AccessSession, ...]] | DeviceProblem]:
        """Read the live sessions of these logins on each NAS."""
        return self._each(
            frozenset(logins), lambda wire, kind, name: read_sessions(wire, kind, logins[name])
        )

    def send_profiles(self, lines: Mapping[str, tuple[str, ...]]) -> dict[str, Reply]:
        """Make profiles on each device (no subscriber is touched)."""
        found = self._each(
            frozenset(lines), lambda wire, _kind, name: wire.send_profiles(lines[name])
        )
        return {name: _reply(seen) for name, seen in found.items()}

    def check(self) -> dict[str, str]:
        """Log in to every device; "" where that works, else what is wrong."""
        found = self._each(frozenset(self._devices), lambda _wire, _kind, _name: "")
        return {name: str(seen) for name, seen in found.items()}

    def evidence(self, interfaces: Mapping[str, str]) -> dict[str, SnmpEvidence]:
        """Read SNMP evidence of one interface per device; silence is part of the answer."""

        def ask(task: Task) -> Result:
            device = self._devices[task.host.name]
            target: SnmpTarget = device.snmp
            return Result(
                host=task.host,
                result=read_evidence(target, device.host, self._resolve, interfaces[device.name]),
            )

        return self._run(frozenset(interfaces), ask)

    def _verb(self, verb: str, handles: Mapping[str, Handle]) -> dict[str, Reply]:
        def send(wire: Wire, _kind: Platform, name: str) -> Reply:
            reply: Reply = getattr(wire, verb)(handles[name])
            return reply

        found = self._each(frozenset(handles), send)
        replies = {name: _reply(seen) for name, seen in found.items()}
        for name, reply in replies.items():
            if reply.verdict == "UNKNOWN":
                self._undrained.add(name)
                self._drop(name)
        return replies

    def _is_open(self, name: str) -> bool:
        return WIRE in self._nornir.inventory.hosts[name].connections

    def _drop(self, name: str) -> None:
        if self._is_open(name):
            with contextlib.suppress(DeviceProblem):
                self._nornir.inventory.hosts[name].close_connection(WIRE)

    def _each(
        self, names: frozenset[str], act: Callable[[Wire, Platform, str], T]
    ) -> dict[str, T | DeviceProblem]:
        def body(task: Task) -> Result:
            device = self._devices[task.host.name]
            # reads as well: a login or a lock of ours would be in the way of who took over
            self._fence()
            try:
                wire: Wire = task.host.get_connection(WIRE, task.nornir.config)
                # a worker may have been stopped on its way in: from here on whoever takes over
                # finds this session when it drains, and waits for it or ends it
                self._fence()
                found: T | DeviceProblem = act(wire, platform(device.platform), device.name)
            except DeviceProblem as problem:
                # a wire that failed once is not believed again: the next use opens a new one
                self._drop(device.name)
                found = problem
            return Result(host=task.host, result=found)

        return self._run(names, body)

    def _run(self, names: frozenset[str], body: Callable[[Task], Result]) -> dict[str, Any]:
        """Run a body on some hosts and unwrap; the one place where Nornir's results are opened."""
        if not names:
            return {}
        chosen = self._nornir.filter(filter_func=lambda host: host.name in names)
        results = chosen.run(task=body, on_failed=True)
        for result in results.values():
            if result[0].exception is not None:
                raise result[0].exception  # a bug is not a result
        return {name: result[0].result for name, result in results.items()}


def _reply(seen: Reply | DeviceProblem) -> Reply:
    """A device that could not even be opened was sent nothing."""
    return seen if isinstance(seen, Reply) else Reply(verdict="REFUSED", reason=str(seen))


def _is_unread(seen: Observation) -> bool:
    return seen.pending == "UNKNOWN"


def _unread(handle: Handle, why: str) -> Observation:
    return Observation(
        pending="UNKNOWN",
        items={item.service_id: NOT_READ for item in handle.items},
        evidence={"problem": why},
    )
