"""Counters of many devices at once: from agents of the same library, small ones, silent ones."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from snmp_agent import AUTH, COMMUNITY, PRIV, Agent, table
from transport_rig import address, free_port

from inventory import BadSettings, SecretRef, SnmpTarget
from lab.snmp_agents import SnmpAgents, interface_rows
from workflows import Polled, PollTarget, poll_devices

V2C = SnmpTarget(version="2c", community=SecretRef(ref=f"test:{COMMUNITY}"), allow_v2c=True)
V3 = SnmpTarget(user="noc", auth=SecretRef(ref=f"test:{AUTH}"), priv=SecretRef(ref=f"test:{PRIV}"))
NAMES = {number: f"ge-0/0/1.{number}" for number in range(1, 36)}


def resolve(ref: SecretRef) -> str:
    if ref.ref == "test:none":
        raise BadSettings("SNMP", "the secret is missing")
    return ref.ref.partition(":")[2]


def target(host: str, snmp: SnmpTarget, port: int, *names: str) -> PollTarget:
    return PollTarget(
        device=f"at {host}", host=host, snmp=replace(snmp, port=port), interfaces=frozenset(names)
    )


def poll(*targets: PollTarget, **given: Any) -> tuple[Polled, ...]:
    return poll_devices(targets, resolve, **({"timeout_s": 20} | given))


def test_v3_reads_what_is_wanted_and_says_what_is_not_there() -> None:
    host = address()
    with Agent(host, free_port(socket.SOCK_DGRAM, host), table(NAMES)) as agent:
        (read,) = poll(target(host, V3, agent.port, NAMES[7], NAMES[35], "xe-9"))
        (bad,) = poll(target(host, replace(V3, user="nobody"), agent.port, NAMES[7]))
    assert (read.why_not, read.missing) == ("", ("xe-9",))
    assert [(one.interface, one.in_octets, one.out_octets) for one in read.counters] == [
        (NAMES[35], 2**40 + 35, 2**41 + 35),
        (NAMES[7], 2**40 + 7, 2**41 + 7),
    ]
    assert {(one.uptime_cs, one.speed_mbps) for one in read.counters} == {(123_456, 1000)}
    assert (bad.counters, bool(bad.why_not)) == ((), True)


def test_many_devices_are_read_at_once_and_the_silent_ones_do_not_stop_the_others() -> None:
    """Goal: every device has its own end. Method: forty agents; mute, odd, refused, unknown."""
    hosts = [f"127.77.5.{number}" for number in range(1, 41)]
    all_names = tuple(NAMES.values())
    with SnmpAgents(0, interface_rows(NAMES, octets=1 << 62), COMMUNITY) as agents:
        twice = interface_rows(NAMES | {90: NAMES[1]})
        agents.set_rows(hosts[1], twice)
        narrow = {oid: value for oid, value in interface_rows(NAMES).items() if oid[10:11] != (6,)}
        agents.set_rows(hosts[2], narrow)
        agents.set_rows(hosts[3], {})
        targets = [target(host, V2C, agents.port, *all_names) for host in hosts]
        targets[4] = replace(targets[4], snmp=replace(targets[4].snmp, allow_v2c=False))
        no_secret = replace(targets[5].snmp, community=SecretRef(ref="test:none"))
        targets[5] = replace(targets[5], snmp=no_secret)
        found = poll(*targets, in_flight=3)
        agents.mute(hosts[0])
        (mute,) = poll(targets[0], timeout_s=0.3)
    assert [one.device for one in found] == [one.device for one in targets]
    assert {len(one.counters) for one in (found[0], *found[6:])} == {35}
    assert {one.counters[0].out_octets for one in found[6:]} == {2 * ((1 << 62) + 1)}
    assert (found[1].missing, len(found[1].counters)) == ((NAMES[1],), 34)
    assert (found[2].counters, len(found[2].missing)) == ((), 35)
    assert "sysUpTime" in found[3].why_not
    assert "not allowed" in found[4].why_not
    assert "secret is missing" in found[5].why_not
    assert mute.why_not == "no answer within 0.3 s"
    assert poll() == ()
