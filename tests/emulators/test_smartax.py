"""The SmartAX emulator driven by netmiko's own huawei_smartax class, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from netmiko.exceptions import ConfigInvalidException
from smartax_rig import (
    PLAIN,
    Rig,
    StartFleet,
    StartRig,
    columns,
    olt,
    ports,
    push,
    rebind,
    running_rigs,
)

from lab.emulators.base import Json
from lab.emulators.fleet import Fleet


@pytest.fixture
def start_rig(start_fleet: StartFleet, subnet: str) -> Iterator[StartRig]:
    """Starts a Rig by the options of its device."""
    with running_rigs(start_fleet, subnet) as start:
        yield start


# The healthy path.


def test_a_tier_change_is_bound_read_back_saved_and_survives_a_reboot(
    start_rig: StartRig,
) -> None:
    rig = start_rig(save_s=30)
    session = rig.connect()
    push(
        session,
        [
            f"traffic table ip index 30 name DOWN-300M cir 300000 pir 300000 {PLAIN}",
            rebind(3, down=30),
        ],
    )
    assert columns(session.send_command("display service-port all"), 3) == ["21", "30", "up"]
    one = session.send_command("display service-port 3")
    assert "Outbound table name  : DOWN-300M" in one
    line = "service-port 3 vlan 100 gpon 0/1/0 ont 3 gemport 1 multi-service user-vlan 100"
    line += " tag-transform translate inbound traffic-table index 21 outbound traffic-table index "
    assert line + "30" in session.send_command("display current-configuration")
    assert line + "20" in session.send_command("display saved-configuration")
    session.save_config()
    assert rig.bound(3, saved=True) == (21, 20)
    rig.control("advance", seconds=30)
    said = session.read_until_pattern("saved successfully", read_timeout=5)
    assert "percentage of saved data" in said
    assert line + "30" in session.send_command("display saved-configuration")
    rig.control("reload")
    assert rig.bound(3) == (21, 30)


def test_a_reboot_before_the_save_is_done_brings_the_old_configuration_back(
    start_rig: StartRig,
) -> None:
    rig = start_rig(save_s=30)
    session = rig.connect()
    push(session, [rebind(3)])
    session.save_config()
    rig.control("advance", seconds=29)
    assert rig.control("dump")["saving"]
    rig.control("reload")
    assert rig.bound(3) == (21, 20)
    rig.control("advance", seconds=60)
    assert rig.bound(3, saved=True) == (21, 20)
    assert rig.connect().send_command("display sysuptime").strip().startswith("System up time: 0 d")


def test_a_save_ends_by_itself_when_the_clock_runs(start_rig: StartRig) -> None:
    rig = start_rig(save_s=20, speed=100)
    session = rig.connect()
    push(session, [rebind(3)])
    session.save_config()
    session.read_until_pattern("saved successfully")
    assert rig.bound(3, saved=True) == (21, 22)


def test_disconnect_answers_the_log_out_question(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    session.config_mode()
    session.disconnect()
    assert rig.lines()[-3:] == ["return", "quit", "y"]


def test_one_direction_and_names_can_be_bound(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    push(session, ["service-port 1 outbound traffic-table index 22"])
    assert rig.bound(1) == (21, 22)
    push(session, ["service-port 1 inbound traffic-table name DOWN-100M"])
    assert rig.bound(1) == (20, 22)
    push(session, ["service-port 2 adminstatus disable"])
    assert columns(session.send_command("display service-port all"), 2) == ["21", "20", "down"]
    config = session.send_command("display current-configuration section bbs-config")
    assert "\n service-port 2 adminstatus disable" in config
    assert "traffic table" not in config
    push(session, ["service-port 2 adminstatus enable"])
    assert columns(session.send_command("display service-port all"), 2)[2] == "up"


def test_which_column_is_inbound_is_a_knob(start_rig: StartRig) -> None:
    session = start_rig(rx_is_inbound=False).connect()
    assert columns(session.send_command("display service-port all"), 1) == ["20", "21", "up"]
    one = session.send_command("display service-port 1")
    assert "RX                   : 20" in one
    assert "Inbound table name   : UP-20M" in one


def test_rates_are_rounded_down_to_the_granularity(start_rig: StartRig) -> None:
    session = start_rig(granularity_kbps=64, labels="Traffic Table").connect()
    said = push(
        session,
        [f"traffic table ip name T100 cir 100000 pir 100000 {PLAIN}"],
    )
    assert "Traffic Table Index  : 0" in said  # the lowest free index
    assert "CIR                  : 99968 kbps" in said
    listed = session.send_command("display traffic table ip from-index 0")
    assert "0    99968     3200976    99968     3200976    0    -           local-pri" in listed
    assert "6    off " in listed
    assert "Total Num : 5" in listed


def test_the_printed_configuration_can_be_typed_in_again(start_rig: StartRig) -> None:
    """Take every line away, then give back what the device had printed of itself."""
    rig = start_rig()
    session = rig.connect()
    push(session, ["service-port 2 adminstatus disable"])
    before = rig.control("dump")["running"]
    printed = session.send_command("display current-configuration")
    lines = [line.strip() for line in printed.splitlines() if line.startswith((" t", " s"))]
    push(session, [f"undo service-port {index}" for index in range(1, 13)])
    push(session, [f"undo traffic table ip index {index}" for index in (6, 20, 21, 22)])
    assert "No service virtual port" in session.send_command("display service-port all")
    push(session, lines)
    assert rig.control("dump")["running"] == before


# Refusals.


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (rebind(99), "Failure: The service virtual port does not exist"),
        (rebind(1, down=99), "Failure: The traffic table does not exist"),
        ("undo traffic table ip index 20", "Failure: The traffic table is being used"),
        (
            f"traffic table ip index 20 name X cir 64 pir 64 {PLAIN}",
            "Failure: The traffic table exists already",
        ),
        (
            f"traffic table ip index 40 name UP-20M cir 64 pir 64 {PLAIN}",
            "Failure: The traffic table name has existed already",
        ),
        (
            f"traffic table ip index 40 cir 128 pir 64 {PLAIN}",
            "Failure: The PIR must not be less than the CIR",
        ),
        ("traffic table ip index 40 name X cir 64 pir 64", "% Incomplete command"),
        ("service-port 1 inbound traffic-table index x", "% Parameter error"),
        (rebind(1) + " 7", "% Too many parameters"),
        ("exit", "% Unknown command"),
        (
            "service-port 1 vlan 5 gpon 0/1/0 ont 1 gemport 1 multi-service user-vlan 5",
            "Conflicted service virtual port index: 1",
        ),
    ],
)
def test_a_refused_line_raises_and_changes_nothing(
    start_rig: StartRig, line: str, text: str
) -> None:
    rig = start_rig()
    before = rig.control("dump")["running"]
    session = rig.connect()
    with pytest.raises(ConfigInvalidException):
        push(session, [line])
    assert text in session.send_config_set([line])
    assert rig.control("dump")["running"] == before


def test_the_caret_stands_below_the_first_wrong_word(start_rig: StartRig) -> None:
    session = start_rig().connect()
    text = session.send_command("display trafic table ip index 1", strip_command=False)
    caret = next(line for line in text.splitlines() if line.strip() == "^")
    assert len(caret) - 1 == len("OLT1#display ")


def test_a_batch_stops_at_the_refused_line_and_what_came_before_stays(
    start_rig: StartRig,
) -> None:
    rig = start_rig()
    session = rig.connect()
    with pytest.raises(ConfigInvalidException):
        push(session, [rebind(1), rebind(2), rebind(3, down=99), rebind(4)])
    assert [rig.bound(n)[1] for n in (1, 2, 3, 4)] == [22, 22, 20, 20]
    assert session.check_config_mode()


def test_a_line_can_be_refused_by_order(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb="service-port *", kind="refuse", skip=2, arg="Failure: Resource busy")
    with pytest.raises(ConfigInvalidException, match="command: service-port 3"):
        push(session, [rebind(n) for n in range(1, 6)])
    assert [rig.bound(n)[1] for n in range(1, 6)] == [22, 22, 20, 20, 20]
    push(session, [rebind(3)])
    assert rig.bound(3) == (21, 22)


def test_while_a_save_runs_changes_and_saves_are_refused_but_reads_are_not(
    start_rig: StartRig,
) -> None:
    rig = start_rig(save_s=10)
    session = rig.connect()
    session.save_config()
    with pytest.raises(ConfigInvalidException):
        push(session, [rebind(1)])
    session.exit_config_mode()
    assert "System is busy" in session.save_config()
    assert columns(session.send_command("display service-port all"), 1) == ["21", "20", "up"]
    assert "System is busy" in rig.control("edit", lines=[rebind(1)])["answers"][0]["text"]
    rig.control("advance", seconds=10)
    push(session, [rebind(1)])
    assert rig.bound(1) == (21, 22)


# Control and seeds.


def test_control_refuses_what_it_does_not_know(start_rig: StartRig) -> None:
    rig = start_rig()
    for do, args in (
        ("explode", {}),
        ("edit", {}),
        ("logout", {"id": 77}),
        ("set", {"save_s": "long"}),
        ("set", {"save": 3}),
        ("fault", {"kind": "unheard"}),
    ):
        with pytest.raises(ValueError, match=r"."):
            rig.control(do, **args)


@pytest.mark.parametrize(
    "options",
    [
        {"traffic_tables": [{"index": 1}]},
        {"traffic_tables": [], "service_ports": ports(1)},
        {"service_ports": [{**ports(1)[0], "colour": "red"}]},
        {"labels": 5},
        {"granularity": 64},
    ],
)
def test_a_wrong_seed_is_refused(options: Json) -> None:
    with pytest.raises(ValueError, match=r"."):
        Fleet([olt("127.50.0.1", **options)])


# Many.


def test_150_devices_in_one_process_are_driven_at_once(
    start_fleet: StartFleet, subnet: str
) -> None:
    """Rebind one service-port on each of 40 of 150 devices with 20 threads."""
    specs = [olt(f"{subnet}.{n}", name=f"olt{n}", count=64) for n in range(1, 151)]
    fleet = start_fleet(*specs)
    rigs = [Rig(fleet, spec) for spec in specs]

    def change(rig: Rig) -> tuple[int, int]:
        session = rig.connect()
        push(session, [rebind(7)])
        session.disconnect()
        return rig.bound(7)

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(change, rigs[:40])) == {(21, 22)}
    assert {rig.bound(7) for rig in rigs[40:]} == {(21, 20)}
