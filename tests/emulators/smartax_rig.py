"""A SmartAX of the fleet with netmiko sessions on it, for the tests of the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from netmiko import ConnectHandler
from netmiko.exceptions import ReadTimeout
from netmiko.huawei import HuaweiSmartAXSSH
from paramiko import Channel

from lab.emulators.base import DeviceSpec, Json
from lab.emulators.fleet import Fleet

ERRORS = r"Failure:|% (Unknown|Parameter|Incomplete|Too many)"
TABLES = [
    {"index": 20, "name": "DOWN-100M", "cir_kbps": 102_400, "pir_kbps": 102_400},
    {"index": 21, "name": "UP-20M", "cir_kbps": 20_480, "pir_kbps": 20_480},
    {"index": 22, "name": "DOWN-200M", "cir_kbps": 204_800, "pir_kbps": 204_800},
]
# What netmiko makes of an answer that never comes: it depends on when it notices.
LOST = (ReadTimeout, OSError, EOFError)
PLAIN = "priority 0 priority-policy local-setting"
StartFleet = Callable[..., Fleet]
StartRig = Callable[..., "Rig"]


def ports(count: int) -> list[Json]:
    """Service-ports 1..count, all bound to UP-20M and DOWN-100M."""
    return [
        {
            "index": index,
            "vlan": 100,
            "fsp": "0/1/0",
            "ont": index % 128,
            "gem": 1,
            "inbound": 21,
            "outbound": 20,
        }
        for index in range(1, count + 1)
    ]


def olt(address: str, name: str = "olt", count: int = 12, **options: Any) -> DeviceSpec:
    """An OLT whose clock stands still unless told otherwise: nothing in a test waits for it."""
    return DeviceSpec(
        name=name,
        kind="smartax",
        address=address,
        port=2222,
        username="bandmaster",
        password="secret",
        options={
            "hostname": "OLT1",
            "speed": 0,
            "traffic_tables": TABLES,
            "service_ports": ports(count),
            **options,
        },
    )


class Rig:
    """One running OLT, netmiko sessions on it, and its control."""

    def __init__(self, fleet: Fleet, spec: DeviceSpec) -> None:
        self._fleet = fleet
        self._spec = spec
        self.sessions: list[HuaweiSmartAXSSH] = []

    def control(self, do: str, **args: Any) -> Json:
        """One control verb."""
        return self._fleet.control(self._spec.name, do, **args)

    def connect(self, **options: Any) -> HuaweiSmartAXSSH:
        """A netmiko session in enable mode."""
        session = ConnectHandler(
            device_type="huawei_smartax",
            host=self._spec.address,
            port=self._spec.port,
            **{"username": "bandmaster", "password": "secret", **options},
        )
        self.sessions.append(session)
        session.enable()
        return session

    def bound(self, index: int, *, saved: bool = False) -> tuple[int, int]:
        """(inbound, outbound) tables of a service-port as the device's state has them."""
        config = self.control("dump")["saved" if saved else "running"]
        port = config["service_ports"][str(index)]
        return port["inbound"], port["outbound"]

    def lines(self, user: str = "bandmaster") -> list[str]:
        """Every line of a user that is not blank, in order."""
        entries = self.control("log")["entries"]
        mine = [e for e in entries if e["what"] == "line" and e["who"].startswith(f"{user}#")]
        return [e["text"] for e in mine if e["text"]]


@contextmanager
def running_rigs(start_fleet: StartFleet, subnet: str) -> Iterator[StartRig]:
    """A function that starts a Rig by its options; sessions are closed without ceremony."""
    rigs: list[Rig] = []

    def start(**options: Any) -> Rig:
        spec = olt(f"{subnet}.1", **options)
        rigs.append(Rig(start_fleet(spec), spec))
        return rigs[-1]

    yield start
    for session in (s for rig in rigs for s in rig.sessions):
        with suppress(OSError, EOFError):  # the device may have cut it
            session.paramiko_cleanup()


def rebind(index: int, down: int = 22, up: int = 21) -> str:
    """The line that binds a service-port to its tables."""
    return (
        f"service-port {index} inbound traffic-table index {up} outbound traffic-table index {down}"
    )


def push(session: HuaweiSmartAXSSH, lines: list[str], read_timeout: float = 5) -> str:
    """send_config_set with every kind of refusal raised."""
    text: str = session.send_config_set(lines, error_pattern=ERRORS, read_timeout=read_timeout)
    return text


def columns(text: str, index: int) -> list[str]:
    """RX, TX and STATE of one row of the service-port list."""
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == [str(index)])
    return row[-3:]


def everything(session: HuaweiSmartAXSSH) -> str:
    """What comes until the device closes the connection."""
    channel = session.remote_conn
    assert isinstance(channel, Channel)
    return b"".join(iter(lambda: channel.recv(4096), b"")).decode()
