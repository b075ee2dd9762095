"""Emulated devices for the tests of the transports; an emulator's own mistake fails its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from transport_rig import OLD, PASSWORD, USER, Rig, address, make_rig

from lab.emulators.base import DeviceSpec
from lab.emulators.fleet import Fleet

StartRig = Callable[[DeviceSpec], Rig]

UNITS = (1042, 1043)


@pytest.fixture
def start_rig(tmp_path: Path) -> Iterator[StartRig]:
    """Start the device of a spec; at the end its wires are closed and its crashes told."""
    rigs: list[Rig] = []
    with ExitStack() as stack:

        def start(spec: DeviceSpec) -> Rig:
            fleet = stack.enter_context(Fleet((spec,)))
            rigs.append(make_rig(fleet, spec, tmp_path))
            return rigs[-1]

        yield start
        for wire in (wire for rig in rigs for wire in rig.wires):
            wire.close()
    assert [crash for rig in rigs for crash in rig.fleet.crashes] == []


def junos_config() -> str:
    """A router with three rates of policers and two subscribers on the old tier."""
    lines = ["set system host-name bng1"]
    for name, kbps in (
        ("DOWN-100", OLD.down_kbps),
        ("UP-20", OLD.up_kbps),
        ("DOWN-200", 200_000),
        ("DOWN-500", 500_032),
        ("UP-100", 100_032),
    ):
        policer = f"set firewall policer {name}"
        lines.append(f"{policer} if-exceeding bandwidth-limit {kbps}k")
        lines.append(f"{policer} if-exceeding burst-size-limit 625k")
        lines.append(f"{policer} then discard")
    for unit in UNITS:
        path = f"set interfaces ge-0/0/1 unit {unit}"
        lines += [f"{path} vlan-id {unit}", f"{path} family inet policer input UP-20"]
        lines.append(f"{path} family inet policer output DOWN-100")
    return "\n".join(lines)


@pytest.fixture
def start_bng(start_rig: StartRig) -> Callable[..., Rig]:
    """Start a Junos router, its clock standing still unless `speed` is given."""

    def start(**options: Any) -> Rig:
        return start_rig(
            DeviceSpec(
                name="bng1",
                kind="junos",
                address=address(),
                port=8830,
                username=USER,
                password=PASSWORD,
                options={"config": junos_config(), "speed": 0, **options},
            )
        )

    return start


@pytest.fixture
def start_olt(start_rig: StartRig) -> Callable[..., Rig]:
    """Start a SmartAX with `count` service-ports, its clock standing still unless told."""

    def start(count: int = 10, **options: Any) -> Rig:
        rates = (OLD.up_kbps, OLD.down_kbps, 200_000, 100_032, 500_032)
        tables = [
            {"index": 20 + number, "name": f"R{kbps}", "cir_kbps": kbps, "pir_kbps": kbps}
            for number, kbps in enumerate(rates)
        ]
        ports = [
            {
                "index": index,
                "vlan": 100,
                "fsp": "0/1/0",
                "ont": index % 128,
                "gem": 1,
                "inbound": 20,
                "outbound": 21,
            }
            for index in range(1, count + 1)
        ]
        return start_rig(
            DeviceSpec(
                name="olt1",
                kind="smartax",
                address=address(),
                port=2222,
                username=USER,
                password=PASSWORD,
                options={
                    "hostname": "OLT1",
                    "speed": 0,
                    "traffic_tables": tables,
                    "service_ports": ports,
                    **options,
                },
            )
        )

    return start
