"""The product's own wires on the lab's BNG: netmiko, CoA and SNMP understand what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_rig import LOGIN, Json, RunningLab

from device_templates import AccessSession, platform
from inventory import CoaTarget, Device, Rate, SecretRef, SnmpTarget
from workflows import CoaReply, send_coa
from workflows.participant import Wire, WireContext
from workflows.transports import netmiko
from workflows.transports.snmp import read_evidence

LINUX = platform("linux_tc")


def resolved(ref: SecretRef) -> str:
    """The secret behind a file reference; empty if none is needed."""
    _, _, path = ref.ref.partition(":")
    return Path(path).read_text(encoding="ascii").strip() if path else ""


@pytest.fixture
def bng(lab: RunningLab) -> Device:
    """The lab's BNG as an inventory names it."""
    ssh, snmp, nas = (lab.server("bng", name) for name in ("sshd", "snmpd", "nas"))
    return Device(
        name="bng",
        role="bng",
        platform="linux_tc",
        host=ssh["address"],
        port=ssh["port"],
        username=ssh["username"],
        key_file=ssh["key_file"],
        snmp=SnmpTarget(
            port=snmp["port"],
            user=snmp["user"],
            auth=SecretRef(ref=f"file:{snmp['auth_passphrase_file']}"),
            priv=SecretRef(ref=f"file:{snmp['priv_passphrase_file']}"),
        ),
        coa=CoaTarget(port=nas["coa_port"], secret=SecretRef(ref=f"file:{nas['coa_secret_file']}")),
    )


@pytest.fixture
def wire(lab: RunningLab, bng: Device) -> Iterator[Wire]:
    """An open netmiko session that believes the lab's host key only."""
    known_hosts = lab.server("bng", "sshd")["known_hosts"]
    context = WireContext(device=bng, resolve=resolved, known_hosts=known_hosts, timeout_s=15)
    opened = netmiko.connect(context, LINUX)
    opened.open()
    yield opened
    opened.close()


def test_static_lines_are_read_back(wire: Wire) -> None:
    """Goal: linux_tc reads the lab's lines. Method: two lines whose rates the topology gives."""
    lines = tuple({"interface": name, "class_minor": "10"} for name in ("acc1", "acc3"))
    reading = LINUX.parse("running", lines, wire.ask(LINUX.read("running", lines)))
    assert [dict(section) for section in reading.sections] == [
        {"state": "on", "down_kbps": "50000", "up_kbps": "10000"},
        {"state": "on", "down_kbps": "20000", "up_kbps": "5000"},
    ]


def test_our_coa_moves_the_session_we_read(
    lab: RunningLab, bng: Device, wire: Wire, online: Json
) -> None:
    """Goal: read, CoA, read again agree with the agent. Method: our sender and our reader."""
    read, parse, coa = LINUX.session_read, LINUX.session_parse, LINUX.coa
    assert read
    assert parse
    assert coa

    def seen() -> tuple[AccessSession, ...]:
        return parse(LOGIN, wire.ask(read(LOGIN)))

    (session,) = seen()
    before, after = Rate(down_kbps=50000, up_kbps=10000), Rate(down_kbps=200000, up_kbps=50000)
    assert (session.acct_session_id, session.rate) == (online["session_id"], before)
    attributes = coa(before, after, False)  # noqa: FBT003 - not suspended
    reply = send_coa(bng, resolved(bng.coa.secret), session, attributes)
    assert reply == CoaReply(kind="ACK")
    assert seen()[0].rate == after
    assert send_coa(bng, resolved(bng.coa.secret), session, (), "disconnect").kind == "ACK"
    assert seen() == ()
    gone = send_coa(bng, resolved(bng.coa.secret), session, attributes)
    assert (gone.kind, gone.error_cause) == ("NAK", 503)
    assert lab.session("sessions") == {"sessions": []}


def test_snmp_evidence_is_read(bng: Device) -> None:
    """Goal: pysnmp with SHA-256 and AES-128 against net-snmp. Method: one interface by name."""
    evidence = read_evidence(bng.snmp, bng.host, resolved, "acc1", timeout_s=10)
    assert (evidence.read, evidence.why_not) == (True, "")
    assert evidence.sys_uptime_cs > 0
    assert evidence.if_high_speed_mbps == 10000
