"""SNMP evidence from a real agent of the same library, and from silence."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from snmp_agent import AUTH, COMMUNITY, PRIV, Agent, table
from transport_rig import address, free_port

from inventory import BadSettings, SecretRef, SnmpTarget
from workflows.transports import SnmpEvidence, read_evidence

NOW = dt.datetime(2026, 1, 1, 3, 0, tzinfo=dt.UTC)
NAMES = {number: f"ge-0/0/1.{number}" for number in range(1, 201)}
StartAgent = Callable[..., Agent]


@pytest.fixture
def start_agent() -> Iterator[StartAgent]:
    """Start an agent with the given rows; it ends with the test."""
    with ExitStack() as stack:

        def start(rows: dict[tuple[int, ...], Any]) -> Agent:
            host = address()
            return stack.enter_context(Agent(host, free_port(socket.SOCK_DGRAM, host), rows))

        yield start


def target(port: int, **changes: Any) -> SnmpTarget:
    """The agent's v3 user."""
    login = SnmpTarget(
        port=port,
        user="noc",
        auth=SecretRef(ref=f"test:{AUTH}"),
        priv=SecretRef(ref=f"test:{PRIV}"),
    )
    return replace(login, **changes)


def read(
    agent: Agent, interface: str = NAMES[137], timeout_s: float = 20, **changes: Any
) -> SnmpEvidence:
    """The evidence of one interface."""
    return read_evidence(
        target(agent.port, **changes),
        agent.host,
        lambda ref: ref.ref.partition(":")[2],
        interface,
        timeout_s=timeout_s,
        clock=lambda: NOW,
    )


def test_v3_reads_the_named_interface(start_agent: StartAgent) -> None:
    """Goal: the row is found by name, behind more rows than one answer holds; 64 bits arrive."""
    assert read(start_agent(table(NAMES))) == SnmpEvidence(
        read=True,
        at=NOW,
        sys_uptime_cs=123_456,
        if_high_speed_mbps=1000,
        in_octets=2**40 + 137,
        out_octets=2**41 + 137,
    )


def test_v2c_only_where_allowed(start_agent: StartAgent) -> None:
    """Goal: a community is sent only when the inventory says so."""
    agent = start_agent(table(NAMES))
    community = SecretRef(ref=f"test:{COMMUNITY}")
    assert "not allowed" in read(agent, version="2c", community=community).why_not
    assert read(agent, version="2c", community=community, allow_v2c=True).read


def test_missing_interface(start_agent: StartAgent) -> None:
    """Goal: the walk ends at the end of the table, wherever that is."""
    assert "no interface named xe-1" in read(start_agent(table(NAMES)), "xe-1").why_not
    assert "no interface" in read(start_agent(table({})), "xe-1").why_not


def test_missing_counters(start_agent: StartAgent) -> None:
    """Goal: an interface without 64-bit counters is not read, rather than read as 0."""
    assert "lacks a counter" in read(start_agent(table(NAMES, counters=False))).why_not


@pytest.mark.parametrize(
    "changes",
    [
        {"auth": SecretRef(ref="test:another-password")},
        {"priv": SecretRef(ref="test:another-password")},
        {"user": "nobody"},
    ],
)
def test_wrong_credentials(start_agent: StartAgent, changes: dict[str, Any]) -> None:
    """Goal: not read, and no secret in the reason."""
    found = read(start_agent(table(NAMES)), timeout_s=1, **changes)
    assert not found.read
    assert found.why_not
    assert "password" not in repr(found)


def test_silence_ends_in_time() -> None:
    """Goal: silence is "not read". Method: a socket that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((address(), 0))
        host, port = mute.getsockname()
        found = read_evidence(
            target(port), host, lambda _ref: AUTH, "ge-0/0/1", timeout_s=0.2, clock=lambda: NOW
        )
    assert found == SnmpEvidence(read=False, at=NOW, why_not="no answer within 0.2 s")


def test_never_raises() -> None:
    """Goal: no port, no secret, no such host: each is a reason, none an error."""

    def no_secret(_ref: SecretRef) -> str:
        raise BadSettings("SNMP", "the secret is missing")

    def why_not(where: SnmpTarget, host: str = "127.0.0.1", **more: Any) -> str:
        resolve = more.get("resolve", lambda _ref: AUTH)
        return read_evidence(where, host, resolve, "x", timeout_s=2).why_not

    assert "no SNMP port" in why_not(SnmpTarget())
    assert "secret is missing" in why_not(target(161), resolve=no_secret)
    assert "SNMP failed" in why_not(target(161), resolve=lambda _ref: "short")
    assert why_not(target(161), host="no.such.invalid")
