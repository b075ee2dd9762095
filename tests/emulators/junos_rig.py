"""A Junos device with two tiers and one subscriber, and real NAPALM drivers for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import napalm
from jnpr.junos.exception import ConnectClosedError, RpcTimeoutError
from ncclient.transport.errors import TransportError

from lab.emulators.base import DeviceSpec
from lab.emulators.fleet import Fleet

PORT = 8830
UNIT = "interfaces ge-0/0/1 unit 1042 family inet policer"
OLD = f"set {UNIT} output DOWN-50M"
NEW = f"set {UNIT} output DOWN-100M"
TOKEN = "0197a3f2.1"

CONFIG = f"""
set system host-name bng1
set firewall policer DOWN-50M if-exceeding bandwidth-limit 50m
set firewall policer DOWN-50M if-exceeding burst-size-limit 625k
set firewall policer DOWN-50M then discard
set firewall policer DOWN-100M if-exceeding bandwidth-limit 100m
set firewall policer DOWN-100M if-exceeding burst-size-limit 625k
set firewall policer DOWN-100M then discard
set interfaces ge-0/0/1 unit 1042 description "line of service 1042"
set interfaces ge-0/0/1 unit 1042 vlan-id 1042
set {UNIT} input DOWN-50M
{OLD}
"""
SESSION = {
    "user": "alice@isp",
    "acct_session_id": "s-1",
    "ip": "100.64.0.2",
    "interface": "pp0.3221225472",
    "service": "bandmaster(50000k,10000k)",
}

Driver = Any


def bng(subnet: str, number: int = 1, **options: Any) -> DeviceSpec:
    """The spec of device `bng<number>`; its clock stands still unless `speed` is given."""
    return DeviceSpec(
        name=f"bng{number}",
        kind="junos",
        address=f"{subnet}.{number}",
        port=PORT,
        username="bandmaster",
        password="wrong-horse",
        options={"config": CONFIG, "speed": 0, **options},
    )


@contextmanager
def opened(spec: DeviceSpec, *, timeout_s: int = 10, **optional: Any) -> Iterator[Driver]:
    """An open NAPALM driver; it is closed even if the device no longer answers."""
    arguments = {"port": spec.port, **optional}
    driver = napalm.get_network_driver("junos")(
        spec.address, spec.username, spec.password, timeout=timeout_s, optional_args=arguments
    )
    driver.open()
    try:
        yield driver
    finally:
        shut(driver)


def shut(driver: Driver) -> None:
    """Close a driver whose device may be gone."""
    driver.session_config_lock = False
    try:
        driver.close()
    except (ConnectClosedError, RpcTimeoutError, TransportError):
        driver.device._conn._session.transport.close()


def prepare(driver: Driver, line: str = NEW, *, revert_in_s: int = 60) -> None:
    """Load one line and commit it confirmed, with the token in the log."""
    driver.load_merge_candidate(config=line)
    driver.commit_config(message=TOKEN, revert_in=revert_in_s)


def runs(fleet: Fleet, line: str, device: str = "bng1") -> bool:
    """True if the device's running configuration has the set line."""
    return line in fleet.control(device, "dump")["running"]


def calls(fleet: Fleet, device: str = "bng1", since: int = 0) -> list[str]:
    """What arrived over NETCONF, by name."""
    entries = fleet.control(device, "log", since=since)["entries"]
    return [entry["what"] for entry in entries if "#" in entry["who"]]


def wait_until(done: Callable[[], bool], turns: int = 3000) -> None:
    """Ask the fleet again and again, each time through its loop, until it says so."""
    for _ in range(turns):
        if done():
            return
    message = "the device did not get there"
    raise AssertionError(message)
