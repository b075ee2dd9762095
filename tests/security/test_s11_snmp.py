"""S11: SNMP reads only, version 3 with both keys unless a device says otherwise by name.

Reading itself, wrong keys and silence are in tests/workflows/test_transport_snmp.py.
"""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator

import pytest
import yaml

from inventory import SecretRef, SnmpTarget
from tests.desk import refused
from tests.tree import BESIDE, ROOMS, imports, modules, source, tree
from workflows.transports import read_evidence

from .conftest import Guarded

COMMUNITY = "canary-community-Zq7"


@pytest.fixture
def agent(subnet: str) -> Iterator[socket.socket]:
    """A port that answers nothing and keeps all it is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((f"{subnet}.8", 0))
        made.settimeout(0)
        yield made


def sent(agent: socket.socket) -> list[bytes]:
    """What has come so far."""
    found = []
    while True:
        try:
            found.append(agent.recv(4096))
        except BlockingIOError:
            return found


def read(agent: socket.socket, target: SnmpTarget) -> str:
    """Ask; return why nothing was read."""
    host = agent.getsockname()[0]
    return read_evidence(target, host, lambda _ref: COMMUNITY, "ge-0/0/1", timeout_s=0.5).why_not


def test_v2c_without_its_flag_sends_nothing(agent: socket.socket) -> None:
    port = agent.getsockname()[1]
    target = SnmpTarget(port=port, version="2c", community=SecretRef(ref="test:x"))
    assert "not allowed" in read(agent, target)
    assert sent(agent) == []


def test_v3_never_sends_a_key_or_a_community(agent: socket.socket) -> None:
    """The control: it does ask, and what it sends is no secret."""
    target = SnmpTarget(
        port=agent.getsockname()[1],
        user="noc",
        auth=SecretRef(ref="test:x"),
        priv=SecretRef(ref="test:x"),
        community=SecretRef(ref="test:x"),
        allow_v2c=True,
    )
    assert "no answer" in read(agent, target)
    asked = sent(agent)
    assert asked
    assert all(COMMUNITY.encode() not in data for data in asked)
    assert all(data[2:5] == b"\x02\x01\x03" for data in asked)  # version 3, and no other


@pytest.mark.parametrize(
    ("snmp", "words"),
    [
        ({"version": "2c", "community": "env:X"}, "allow_v2c: true"),
        ({"version": "2c", "community": "env:X", "allow_v2c": False}, "allow_v2c: true"),
        ({"version": "2c", "allow_v2c": True}, "community"),
        ({"version": "1", "community": "env:X", "allow_v2c": True}, "version"),
        ({"version": "2c", "community": "public", "allow_v2c": True}, "community"),
        ({"user": "noc"}, "auth"),
        ({"user": "noc", "auth": "env:A"}, "priv"),
        ({"auth": "env:A", "priv": "env:P"}, "user"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_inventory_without_encryption_is_refused(
    guarded: Guarded, snmp: dict[str, object], words: str
) -> None:
    """Goal: v1 never, v2c only by its flag, v3 only with both keys. Method: the import."""
    desk = guarded.desk
    value = yaml.safe_load((desk.folder / "inventory.yaml").read_text("utf-8"))
    value["devices"][0]["snmp"] = {"port": 161, **snmp}
    desk.write("bad.yaml", yaml.safe_dump(value))
    refused(desk, ("inventory", "import", "bad.yaml"), 2, words)


SPEAKERS = {"workflows/transports/snmp.py", "workflows/transports/snmp_poll.py"}


def test_two_modules_speak_snmp_and_they_only_read() -> None:
    """Goal: no set, no trap, no weak algorithm. Method: imports and names in the syntax tree."""
    users = {
        path
        for path in modules(*ROOMS, *BESIDE)
        for module, _ in imports(path)
        if module.partition(".")[0] in ("pysnmp", "easysnmp", "puresnmp")
    }
    assert users == SPEAKERS
    names = {name for path in SPEAKERS for module, name in imports(path) if "pysnmp" in module}
    assert {name for name in names if name.endswith("_cmd")} == {"bulk_cmd", "get_cmd"}
    assert {name for name in names if name.startswith("USM_")} == {
        "USM_AUTH_HMAC192_SHA256",
        "USM_PRIV_CFB128_AES",
    }
    calls = {
        ast.unparse(node.func).rpartition(".")[2]
        for path in SPEAKERS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
    }
    calls -= {"set", "set_exception_handler"}  # Python's own
    assert not [name for name in calls if "set" in name.lower() or "trap" in name.lower()]
    for path in modules(*ROOMS):
        assert "snmpset" not in source(path), path
