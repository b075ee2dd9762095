"""SNMP collection: counters a second, against net-snmp's snmpbulkwalk that asks for the same.

Against snmpd with SNMPv3, and against a thousand emulated agents with SNMPv2c in one other process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Claim, run
from inventory import SecretRef, SnmpTarget
from lab.servers.daemon import LabError
from lab.snmp_agents import SnmpAgents, interface_rows
from workflows import Polled, PollTarget, poll_devices

COMMUNITY, USER, AUTH, PRIV = "public", "bandmaster", "auth-passphrase", "priv-passphrase"
INTERFACES = 20
COUNTERS = 4  # of an interface: octets in and out, the last restart, the speed
IN_FLIGHT = 20
IF_X = "1.3.6.1.2.1.31.1.1.1"
WALKED = ("1", "6", "10", "15", "19")  # the columns that a poll asks for
V2C = SnmpTarget(version="2c", community=SecretRef(ref="test:x"), allow_v2c=True)
V3 = SnmpTarget(user=USER, auth=SecretRef(ref="test:a"), priv=SecretRef(ref="test:p"))
SECRETS = {"test:x": COMMUNITY, "test:a": AUTH, "test:p": PRIV}
AGENTS = """
import sys
from benchmarks.snmp_collect import INTERFACES, rows
from lab.snmp_agents import SnmpAgents
with SnmpAgents(0, rows()) as agents:
    print(agents.port, flush=True)
    sys.stdin.read()
"""


def measure(*, quick: bool) -> Iterator[Claim]:
    """Take the measurements."""
    yield from _emulated(40 if quick else 1_000)
    yield from _snmpd(3 if quick else 20)


def rows() -> dict[tuple[int, ...], tuple[int, int | bytes]]:
    """What each emulated agent has."""
    names = {number: f"ge-0/0/1.{number}" for number in range(1, INTERFACES + 1)}
    return interface_rows(names, octets=1 << 62)


def _emulated(devices: int) -> Iterator[Claim]:
    hosts = [f"127.90.{number // 250}.{number % 250 + 1}" for number in range(devices)]
    with _agents() as port:
        targets = [_target(host, V2C, port, [f"ge-0/0/1.{n}" for n in range(1, INTERFACES + 1)])
                   for host in hosts]  # fmt: skip
        ours = _timed(lambda: _poll(targets))
        with ThreadPoolExecutor(max_workers=IN_FLIGHT) as side_by_side:
            walks = [["-v2c", f"-c{COMMUNITY}", f"{host}:{port}"] for host in hosts]
            plain = _timed(lambda: list(side_by_side.map(_walk, walks)))
    read = devices * INTERFACES * COUNTERS
    yield from _claims(f"{devices} emulated agents", read, ours, plain)


def _snmpd(rounds: int) -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as folder, _daemon(Path(folder)) as port:
        names = _names(port)
        targets = [_target("127.0.0.1", V3, port, names)]
        ours = _timed(lambda: [_poll(targets) for _ in range(rounds)])
        login = ["-v3", "-lauthPriv", "-aSHA-256", "-xAES", f"-u{USER}", f"-A{AUTH}", f"-X{PRIV}"]
        plain = _timed(lambda: [_walk([*login, f"127.0.0.1:{port}"]) for _ in range(rounds)])
    yield from _claims("snmpd, SNMPv3", rounds * len(names) * COUNTERS, ours, plain)


def _claims(what: str, read: int, ours_s: float, plain_s: float) -> Iterator[Claim]:
    yield Claim(what=f"counters from {what}", measured=f"{read / ours_s:,.0f}/s")
    yield Claim(what="the same by snmpbulkwalk", measured=f"{read / plain_s:,.0f}/s")
    yield Claim(what="as many as snmpbulkwalk", measured=f"x {plain_s / ours_s:.2f}")


def _target(host: str, snmp: SnmpTarget, port: int, names: Sequence[str]) -> PollTarget:
    at = SnmpTarget(
        port=port,
        version=snmp.version,
        user=snmp.user,
        auth=snmp.auth,
        priv=snmp.priv,
        community=snmp.community,
        allow_v2c=snmp.allow_v2c,
    )
    return PollTarget(device=host, host=host, snmp=at, interfaces=frozenset(names))


def _poll(targets: Sequence[PollTarget]) -> tuple[Polled, ...]:
    polled = poll_devices(targets, lambda ref: SECRETS[ref.ref], in_flight=IN_FLIGHT)
    for one in polled:
        if one.why_not or one.missing:
            message = f"{one.device}: {one.why_not or one.missing}"
            raise RuntimeError(message)
    return polled


def _walk(login: Sequence[str]) -> list[str]:
    """What a script with net-snmp would do: a walk a column."""
    out: list[str] = []
    for column in WALKED:
        argv = ["snmpbulkwalk", "-On", "-Cr10", *login, f"{IF_X}.{column}"]
        out += subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return out


def _names(port: int) -> list[str]:
    login = ["-v3", "-lauthPriv", "-aSHA-256", "-xAES", f"-u{USER}", f"-A{AUTH}", f"-X{PRIV}"]
    argv = ["snmpbulkwalk", "-OQUv", *login, f"127.0.0.1:{port}", f"{IF_X}.1"]
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return [line.strip('" ') for line in found.splitlines()]


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


@contextmanager
def _agents() -> Iterator[int]:
    agents = subprocess.Popen(
        [sys.executable, "-c", AGENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if agents.stdout is None:
            raise RuntimeError("the agents have no voice")
        yield int(agents.stdout.readline())
    finally:
        agents.communicate("")


@contextmanager
def _daemon(folder: Path) -> Iterator[int]:
    """A private snmpd on a loopback port; LabError where none is installed."""
    with SnmpAgents(0, {}) as free:
        port = free.port
    config = folder / "snmpd.conf"
    config.write_text(
        f"agentaddress udp:127.0.0.1:{port}\n"
        f"createUser {USER} SHA-256 {AUTH} AES {PRIV}\nrouser {USER} priv\n",
        encoding="utf-8",
    )
    try:
        daemon = subprocess.Popen(
            ["snmpd", "-f", "-Lo", "-C", "-c", str(config)],
            env={"PATH": "/usr/sbin:/usr/bin", "SNMP_PERSISTENT_DIR": str(folder), "MIBS": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise LabError("snmpd is not installed: make servers") from error
    try:
        for _ in range(50):
            try:
                _names(port)
                break
            except subprocess.CalledProcessError:
                time.sleep(0.1)
        yield port
    finally:
        daemon.terminate()
        daemon.wait()


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
