"""Emulated devices, wires to them through the real libraries, and handles made by the platforms."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paramiko

from device_templates import Platform, Reading, platform
from inventory import Device, Rate, SecretRef
from lab.emulators.base import DeviceSpec, Json
from lab.emulators.fleet import Fleet
from workflows.observe import observe, read_sections
from workflows.participant import Handle, HandleItem, Observation, Wire, WireContext
from workflows.transports import connect, enroll
from workflows.transports.hostkeys import HostKey

PASSWORD = "wrong-horse"
USER = "bandmaster"
OLD = Rate(down_kbps=100_032, up_kbps=20_032)
NEW = Rate(down_kbps=500_032, up_kbps=100_032)
SPOILT = Rate(down_kbps=200_000, up_kbps=20_032)  # what a person sets by hand
TOKEN = "0197a3f2-0000-7000-8000-000000000001.1"

# One block of loopback addresses per process, so that two test runs do not meet.
_numbers = itertools.count(1)


def address() -> str:
    """A loopback address that nothing else of this process uses."""
    number = next(_numbers)
    return f"127.{70 + os.getpid() % 64}.{1 + number // 250}.{1 + number % 250}"


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def host_key(line: str) -> HostKey:
    """The key of a public key line."""
    kind, text = line.split()[:2]
    return HostKey(kind=kind, base64=text)


class Rig:
    """One emulated device, its platform, and what is needed to open wires to it."""

    def __init__(self, fleet: Fleet, spec: DeviceSpec, kind: Platform, folder: Path) -> None:
        self.fleet = fleet
        self.spec = spec
        self.platform = kind
        self.known_hosts = str(folder / "known_hosts")
        self.wires: list[Wire] = []
        enroll(self.known_hosts, spec.address, spec.port, host_key(fleet.host_key))

    def control(self, do: str, /, **args: Any) -> Json:
        """One control verb of the emulator."""
        return self.fleet.control(self.spec.name, do, **args)

    def fault(self, verb: str, kind: str, arg: str = "", *, skip: int = 0, count: int = 1) -> None:
        """Arm one fault."""
        self.control("fault", verb=verb, kind=kind, arg=arg, skip=skip, count=count)

    def seen(self, since: int = 0) -> list[str]:
        """What clients sent, in order: names of calls, or lines."""
        entries = self.control("log", since=since)["entries"]
        ours = [entry for entry in entries if entry["who"].startswith(f"{USER}#")]
        return [entry["text"] if entry["what"] == "line" else entry["what"] for entry in ours]

    def last(self) -> int:
        """The number of the newest entry in the device's log."""
        return int(self.control("log")["last"])

    def context(self, **changes: Any) -> WireContext:
        """How to reach the device; keywords change the device's fields."""
        device = Device(
            **{
                "name": self.spec.name,
                "role": "bng",
                "platform": self.platform.name,
                "host": self.spec.address,
                "port": self.spec.port,
                "username": USER,
                "password": SecretRef(ref=f"test:{PASSWORD}"),
                "timeout_s": 10,
                **changes,
            }
        )
        return WireContext(
            device=device,
            resolve=lambda ref: ref.ref.partition(":")[2],
            known_hosts=self.known_hosts,
            timeout_s=device.timeout_s,
        )

    def wire(self, **changes: Any) -> Wire:
        """A wire, not yet open."""
        self.wires.append(connect(self.context(**changes), self.platform))
        return self.wires[-1]

    def open(self, **changes: Any) -> Wire:
        """An open wire."""
        wire = self.wire(**changes)
        wire.open()
        return wire

    def read(self, wire: Wire, *objects: dict[str, str | int]) -> Reading:
        """What runs for some objects."""
        return read_sections(wire, self.platform, objects)

    def handle(self, wire: Wire, *objects: dict[str, str | int], token: str = TOKEN) -> Handle:
        """A change of these objects to the new tier, made from what the device has now."""
        reading = self.read(wire, *objects)
        items = []
        for number, (one, before) in enumerate(zip(objects, reading.sections, strict=True)):
            after = self.platform.target(one, "active", NEW, before, reading.profiles)
            items.append(
                HandleItem(
                    service_id=f"s-{number}",
                    objects=tuple(one.items()),
                    before=before,
                    after=after,
                    forward=self.platform.render(one, before, after),
                    inverse=self.platform.render(one, after, before),
                )
            )
        return Handle(
            device=self.spec.name,
            platform=self.platform.name,
            token=token,
            items=tuple(items),
            revert_after_s=120,
        )

    def observed(self, handle: Handle) -> Observation:
        """The truth, read through a new wire."""
        wire = self.open()
        try:
            return observe(wire, self.platform, handle)
        finally:
            wire.close()


def make_rig(fleet: Fleet, spec: DeviceSpec, folder: Path) -> Rig:
    """The rig of an emulated device; the platform follows from the emulator's kind."""
    name = {"junos": "juniper_junos", "smartax": "huawei_smartax"}[spec.kind]
    return Rig(fleet, spec, platform(name), folder)


def wait_until(done: Callable[[], bool], turns: int = 5000, pause_s: float = 0.0) -> None:
    """Ask again and again until it is so; a question to another thread's loop needs no pause."""
    for _ in range(turns):
        if done():
            return
        time.sleep(pause_s)
    msg = "it did not come about"
    raise AssertionError(msg)


class Recorder(paramiko.ServerInterface):
    """What a false host would do: take every login and write the passwords down."""

    def __init__(self) -> None:
        self.passwords: list[str] = []
        self.users: list[str] = []

    def get_allowed_auths(self, username: str) -> str:
        """Passwords, please."""
        self.users.append(username)
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        """Write it down."""
        self.users.append(username)
        self.passwords.append(password)
        return paramiko.AUTH_FAILED


class FalseHost:
    """An SSH server with a host key of its own that records what clients tell it."""

    def __init__(self, host: str, port: int = 0) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self.heard = Recorder()
        self.host = host
        self.connections = 0
        self._listener = socket.create_server((host, port))
        self.port = int(self._listener.getsockname()[1])
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def host_key(self) -> HostKey:
        """Its public key."""
        return HostKey(kind=self.key.get_name(), base64=self.key.get_base64())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for transport in self._transports:
            transport.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            self._transports.append(transport)
            transport.start_server(event=threading.Event(), server=self.heard)
