"""One sample a platform: a line on a device, its neighbours, and a model that takes commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import device_templates
from device_templates import Objects
from tests.device_templates.template_models import (
    JunosModel,
    Model,
    SmartaxModel,
    TcModel,
    golden,
)

ACME = "acme_olt"  # platform N+1: no file of the project but these tests knows the name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A line, its neighbours on the same device, the line of the golden upgrade, and a device."""

    objects: Objects
    others: tuple[Objects, ...]
    golden: Objects
    model: Callable[[], Model]
    shipped: bool = field(default=True)


def _junos() -> Model:
    lines = [line for line in golden("juniper_junos", "committed").splitlines() if line]
    return JunosModel(line for line in lines if line.startswith("set ") and " version " not in line)


def _smartax() -> Model:
    rates = {10: 20_000, 11: 100_000}
    return SmartaxModel(
        traffic_tables=[
            {"index": index, "cir_kbps": kbps, "pir_kbps": kbps} for index, kbps in rates.items()
        ],
        service_ports=[
            {"index": 100 + n, "vlan": 100, "fsp": "0/1/0", "ont": n, "gem": 1}
            | {"inbound": 10, "outbound": 11}
            for n in range(4)
        ],
    )


_UNIT: Objects = {"interface": "ge-0/0/1", "unit": 1042}
_LINE: Objects = {"interface": "sub1", "class_minor": "10"}
_PORTS = Sample(
    objects={"service_port": 101},
    others=tuple({"service_port": number} for number in (100, 102, 103)),
    golden={"service_port": 22},
    model=_smartax,
)
SAMPLES = {
    "juniper_junos": Sample(
        objects=_UNIT,
        others=tuple({**_UNIT, "unit": unit} for unit in (1043, 1044)),
        golden=_UNIT,
        model=_junos,
    ),
    "huawei_smartax": _PORTS,
    "linux_tc": Sample(
        objects=_LINE,
        others=({**_LINE, "interface": "sub2"},),
        golden=_LINE,
        model=lambda: TcModel(("sub1", "sub2")),
    ),
    ACME: Sample(
        objects=_PORTS.objects,
        others=_PORTS.others,
        golden=_PORTS.golden,
        model=_smartax,
        shipped=False,
    ),
}


def drop_in(folder: Path) -> Path:
    """Write the made-up vendor's folder: a maker who sells the same shelf under another name."""
    model = Path(device_templates.__path__[0], "huawei_smartax")
    made = folder / ACME
    shutil.copytree(model, made, ignore=shutil.ignore_patterns("__pycache__"))
    reading = made / "reading.py"
    text = reading.read_text("utf-8")
    assert text.count("huawei_smartax") == 1  # the name of the folder, given once
    reading.write_text(text.replace("huawei_smartax", ACME), "utf-8")
    return made
