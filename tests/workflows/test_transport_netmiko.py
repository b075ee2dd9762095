"""The netmiko wire against an emulated SmartAX, through the unchanged library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from transport_rig import PASSWORD, FalseHost, Rig, address, free_port, wait_until

from inventory import HostKeyChanged, HostKeyUnknown, LoginRefused, SecretRef, Unreachable
from workflows.participant import Handle, Wire
from workflows.transports import cli_session, enroll, enrolled, netmiko

StartOlt = Callable[..., Rig]
Objects = dict[str, str | int]


def port(number: int) -> Objects:
    """A service-port as inventory objects."""
    return {"service_port": number}


@pytest.fixture
def olt(start_olt: StartOlt) -> Rig:
    """An OLT of ten service-ports whose clock stands still."""
    return start_olt()


@pytest.fixture
def wire(olt: Rig) -> Wire:
    """An open wire to it."""
    return olt.open()


@pytest.fixture
def handle(olt: Rig, wire: Wire) -> Handle:
    """A change of five service-ports to the new tier."""
    return olt.handle(wire, *(port(number) for number in range(1, 6)))


def rebinds(lines: list[str]) -> list[str]:
    """The lines that write to a service-port."""
    return [line for line in lines if line.startswith("service-port ")]


def test_the_whole_way(start_olt: StartOlt) -> None:
    """Goal: prepare, confirm, save, and a power cut brings back what was saved."""
    olt = start_olt(speed=1, save_s=0.0)
    wire = olt.open()
    handle = olt.handle(wire, *(port(number) for number in range(1, 6)))
    assert wire.prepare(handle).verdict == "SENT"
    assert wire.extend(handle).verdict == "SENT"
    assert wire.confirm(handle).verdict == "SENT"
    seen = olt.observed(handle)
    assert (seen.running(), seen.startup(), seen.pending) == ("NEW", "OLD", "NONE")
    assert wire.save(handle).verdict == "SENT"
    seen = olt.observed(handle)
    assert (seen.running(), seen.startup()) == ("NEW", "NEW")
    olt.control("reload")
    assert olt.observed(handle).running() == "NEW"


def test_save_waits_for_the_real_end(start_olt: StartOlt) -> None:
    """Goal: the prompt after `save` is not believed. Method: saving takes 0.5 s of a real clock."""
    olt = start_olt(save_s=0.5, speed=1)
    wire = olt.open()
    handle = olt.handle(wire, port(1))
    wire.prepare(handle)
    assert wire.save(handle).verdict == "SENT"
    assert olt.control("dump")["saved"]["service_ports"]["1"]["outbound"] == 24


def test_save_that_never_ends(olt: Rig, handle: Handle) -> None:
    """Goal: UNKNOWN when the end is not told in time."""
    brief = replace(
        olt.platform,
        transport_options={**olt.platform.transport_options, "save_timeout_s": 0.2},
    )
    wire = netmiko.connect(olt.context(), brief)
    olt.wires.append(wire)
    wire.open()
    assert wire.save(handle).verdict == "UNKNOWN"


def test_busy_device_refuses(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: somebody else's save in progress is a refusal in the device's words."""
    olt.fault("service-port *", "busy")
    reply = wire.prepare(handle)
    assert reply.verdict == "REFUSED"
    assert "System is busy" in reply.reason


def test_save_of_somebody_else_is_waited_for(
    start_olt: StartOlt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: an autosave of minutes takes nothing back; one that never ends is told as it is."""
    monkeypatch.setattr(cli_session, "BUSY_S", 0)
    olt = start_olt(save_s=0.0, speed=1)
    options = {**olt.platform.transport_options, "save_timeout_s": 0.3}
    wire = netmiko.connect(olt.context(), replace(olt.platform, transport_options=options))
    olt.wires.append(wire)
    wire.open()
    handle = olt.handle(wire, port(1))
    wire.prepare(handle)
    olt.fault("save", "busy", count=5)
    assert wire.save(handle).verdict == "SENT"
    assert olt.control("dump")["saved"]["service_ports"]["1"]["outbound"] == 24
    olt.fault("save", "busy", count=100_000)
    reply = wire.save(handle)
    assert reply.verdict == "REFUSED"
    assert "System is busy" in reply.reason


def test_refused_line_names_itself(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: line 3 of 5 refused: two applied, none after it sent, abort makes all OLD."""
    olt.fault("service-port 3 *", "refuse", "Failure: The traffic table does not exist")
    before = olt.last()
    reply = wire.prepare(handle)
    assert reply.verdict == "REFUSED"
    assert reply.reason.startswith("line 3 of 5 refused: Failure: The traffic table does not")
    assert "2 before it applied" in reply.reason
    assert len(rebinds(olt.seen(before))) == 3
    assert olt.observed(handle).running() == "MIXED"
    assert wire.abort(handle).verdict == "SENT"
    assert olt.observed(handle).running() == "OLD"


def test_line_with_a_caret(olt: Rig) -> None:
    """Goal: the other shape of a refusal is seen as well."""
    line = "traffic table ip index 99999 name bm-1"
    kind = replace(olt.platform, profile_owned=lambda _line: True)
    wire = netmiko.connect(olt.context(), kind)
    olt.wires.append(wire)
    wire.open()
    reply = wire.send_profiles((line,))
    assert reply.verdict == "REFUSED"
    assert "% Parameter error" in reply.reason


@pytest.mark.parametrize(
    ("kind", "applied"), [("drop_before", 2), ("drop_after", 3), ("drop_bytes", 3)]
)
def test_lost_connection(olt: Rig, wire: Wire, handle: Handle, kind: str, applied: int) -> None:
    """Goal: a dead connection is UNKNOWN at once; the next wire reads how far it went."""
    olt.fault("service-port 3 *", kind, "10" if kind == "drop_bytes" else "")
    reply = wire.prepare(handle)
    assert reply.verdict == "UNKNOWN"
    assert "line 3 of 5" in reply.reason
    before = olt.last()
    assert wire.abort(handle).verdict == "UNKNOWN"  # this wire sends nothing more
    assert olt.seen(before) == []
    wire.close()
    second = olt.open()
    assert second.drain(handle).verdict == "SENT"
    states = [item.running for item in olt.observed(handle).items.values()]
    assert states.count("NEW") == applied
    assert second.abort(handle).verdict == "SENT"
    assert olt.observed(handle).running() == "OLD"


@pytest.mark.parametrize("kind", ["hang_before", "hang_after", "alarm_echo"])
def test_line_without_an_answer(
    olt: Rig, wire: Wire, handle: Handle, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: silence, or an alarm inside the echo, is UNKNOWN; three states hide behind it."""
    monkeypatch.setattr(cli_session, "LINE_S", 0.3)
    olt.fault("service-port 3 *", kind)
    assert wire.prepare(handle).verdict == "UNKNOWN"
    wire.close()
    monkeypatch.undo()
    second = olt.open()
    assert second.drain(handle).verdict == "SENT"
    states = [item.running for item in olt.observed(handle).items.values()]
    assert states.count("NEW") == (2 if kind == "hang_before" else 3)
    assert second.abort(handle).verdict == "SENT"
    assert olt.observed(handle).running() == "OLD"


def test_line_that_happens_late(
    olt: Rig, wire: Wire, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: drain is not content while an older session may still act."""
    monkeypatch.setattr(netmiko, "DRAIN_WAIT_S", 0)
    olt.fault("service-port 3 *", "late", "30")
    assert wire.prepare(handle).verdict == "UNKNOWN"
    wire.close()
    second = olt.open()
    reply = second.drain(handle)
    assert (reply.verdict, "1 older session" in reply.reason) == ("UNKNOWN", True)
    olt.control("advance", seconds=30)
    third = olt.open()
    second.close()
    wait_until(lambda: third.drain(handle).verdict == "SENT", turns=50)
    assert third.abort(handle).verdict == "SENT"
    assert olt.observed(handle).running() == "OLD"


def test_drain_waits(olt: Rig, handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: SENT as soon as the other session of our user is gone. Method: it goes as we wait."""
    other = olt.control("login", user="bandmaster")["id"]
    olt.control("login", user="noc")  # a person does not matter
    for open_wire in olt.wires:
        open_wire.close()
    waits: list[float] = []

    def leave(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            olt.control("logout", id=other)

    wire = olt.open()
    monkeypatch.setattr(netmiko.time, "sleep", _only_drain(leave))
    assert wire.drain(handle).verdict == "SENT"
    assert waits


def _only_drain(act: Callable[[float], None]) -> Callable[[float], None]:
    """`time` is one module for all: react to the drain's own pause and let the others be short."""

    def sleep(seconds: float) -> None:
        if seconds == netmiko.DRAIN_POLL_S:
            act(seconds)

    return sleep


def test_alarms_between_lines_are_harmless(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: what the device says unasked is no refusal."""
    olt.fault("service-port *", "alarm", count=5)
    assert wire.prepare(handle).verdict == "SENT"
    assert olt.observed(handle).running() == "NEW"


def test_line_without_effect_is_seen(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: a device that agrees and does nothing is caught by reading, not by its words."""
    olt.fault("service-port 3 *", "silent")
    assert wire.prepare(handle).verdict == "SENT"
    assert olt.observed(handle).running() == "MIXED"


def test_section_that_differs_refuses(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: W10, what a person bound meanwhile is never overwritten, by no verb."""
    olt.control(
        "edit",
        lines=["service-port 2 inbound traffic-table index 20 outbound traffic-table index 22"],
    )
    before = olt.last()
    for verb in (wire.prepare, wire.abort):
        reply = verb(handle)
        assert reply.verdict == "REFUSED"
        assert "owned section differs for service s-1" in reply.reason
    assert rebinds(olt.seen(before)) == []


def test_line_of_another_service_is_not_sent(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: S4, a stored line that is not the item's own is stopped just before sending."""
    item = replace(handle.items[0], forward=handle.items[1].forward)
    before = olt.last()
    assert wire.prepare(replace(handle, items=(item,))).verdict == "REFUSED"
    assert olt.seen(before) == []


def test_verbs_may_be_repeated(olt: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: prepare twice, abort twice; the second abort sends no line."""
    assert [wire.prepare(handle).verdict for _ in range(2)] == ["SENT", "SENT"]
    assert wire.abort(handle).verdict == "SENT"
    before = olt.last()
    assert wire.abort(handle).verdict == "SENT"
    assert rebinds(olt.seen(before)) == []
    assert olt.observed(handle).running() == "OLD"


def test_profiles_are_saved(start_olt: StartOlt) -> None:
    """Goal: a profile that the platform asks for is made and kept."""
    olt = start_olt(speed=1, save_s=0.0)
    wire = olt.open()
    line = (
        "traffic table ip index 40 name bm-1024 cir 1024 pir 1024 "
        "priority 0 priority-policy local-setting"
    )
    assert wire.send_profiles((line,)).verdict == "SENT"
    assert "40" in olt.control("dump")["saved"]["traffic_tables"]


def test_paged_answers(start_olt: StartOlt) -> None:
    """Goal: pages are turned and leave no trace. Method: 600 rows on a device that pages at 512."""
    olt = start_olt(count=600, scroll_max=512)
    wire = olt.open()
    some = [port(number) for number in (1, 300, 511, 512, 513, 600)]
    reading = olt.read(wire, *some)
    assert {dict(section)["inbound"] for section in reading.sections} == {"20"}


def test_answer_without_end_is_cut(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a hostile device cannot fill our memory."""
    monkeypatch.setattr(cli_session, "MAX_ANSWER", 500)
    with pytest.raises(Unreachable, match="longer than 500"):
        wire.ask(("display current-configuration",))


def test_unknown_and_changed_host_get_no_password(olt: Rig) -> None:
    """Goal: no enrolled key: no connection. Another key: no user name, no password."""
    with FalseHost(address()) as false, FalseHost(address()) as other:
        with pytest.raises(HostKeyUnknown):
            olt.wire(host=false.host, port=false.port).open()
        assert false.connections == 0
        enroll(olt.known_hosts, false.host, false.port, other.host_key)
        with pytest.raises(HostKeyChanged, match="no password was sent"):
            olt.wire(host=false.host, port=false.port).open()
        (another_kind,) = enrolled(olt.known_hosts, olt.spec.address, olt.spec.port)
        enroll(olt.known_hosts, false.host, false.port, another_kind)
        with pytest.raises(HostKeyChanged):
            olt.wire(host=false.host, port=false.port).open()
        assert (false.heard.users, false.heard.passwords) == ([], [])
        enroll(olt.known_hosts, false.host, false.port, false.host_key)
        with pytest.raises(LoginRefused):
            olt.wire(host=false.host, port=false.port).open()
        assert false.heard.passwords == [PASSWORD]


def test_wrong_password(olt: Rig) -> None:
    """Goal: LoginRefused, and the secret stands nowhere."""
    with pytest.raises(LoginRefused) as caught:
        olt.wire(password=SecretRef(ref="test:not-the-password")).open()
    assert "not-the-password" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_nobody_there(olt: Rig) -> None:
    """Goal: a closed port is Unreachable."""
    host, number = address(), free_port()
    (key,) = enrolled(olt.known_hosts, olt.spec.address, olt.spec.port)
    enroll(olt.known_hosts, host, number, key)
    with pytest.raises(Unreachable, match=host):
        olt.wire(host=host, port=number).open()
