"""The simulated ISPs: one small inventory a kind of change, and what its devices hold at first."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from .boxes import Config

FIRST = 1001
ZONE = "America/New_York"  # its midnight is not that of the database's clock
TIERS = {
    "fiber-100": (100_000, 20_000, "29.99"),
    "fiber-500": (500_000, 100_000, "49.99"),
    "fiber-1000": (1_000_000, 200_000, "79.99"),
}
BASE = "fiber-500"
SUSPENDED = (1_000, 1_000)
PASSWORD = "SIM_PASSWORD"  # the variable that holds it, for every login
TABLE_OF = {1_000: "10", 20_000: "11", 100_000: "13", 200_000: "14", 500_000: "15"}
TABLE_OF |= {1_000_000: "16", 50_000: "12"}
PLATFORMS = {
    "junos": "juniper_junos",
    "token": "sim_token",
    "smartax": "huawei_smartax",
    "linux": "linux_tc",
}


Rates = tuple[int, int, str]  # down, up, state
BEGINS: dict[str, Rates] = {
    "active": (*TIERS[BASE][:2], "on"),
    "suspended": (*SUSPENDED, "on"),
    "none": (0, 0, "off"),
}
BEGINS_OF = {"activate": "none", "resume": "suspended"}  # every other order is for an active one


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which devices carry which services; `logins` = they have a login and a live session."""

    name: str
    services: tuple[tuple[str, ...], ...]  # the devices of each service
    logins: bool
    begins: str = "active"  # what every service is at first
    proration: str = "day"  # of every plan

    def set_for(self, order: str, proration: str) -> Place:
        """The place as it is before an order, with plans billed so."""
        return replace(self, begins=BEGINS_OF.get(order, "active"), proration=proration)

    def rates(self) -> Rates:
        """What every service may do at first."""
        return BEGINS[self.begins]

    def devices(self) -> dict[str, str]:
        """Every device's kind by its name (`junos-1` is of the kind `junos`)."""
        names = sorted({name for service in self.services for name in service})
        return {name: name.partition("-")[0] for name in names}

    def ids(self) -> tuple[str, ...]:
        """Every service's id."""
        return tuple(f"svc-{FIRST + n}" for n in range(len(self.services)))

    def config(self, device: str) -> Config:
        """What a device holds at first."""
        kind = device.partition("-")[0]
        config: Config = {}
        for service_id, devices in zip(self.ids(), self.services, strict=True):
            if device in devices:
                config |= self._section(kind, line_of(kind, service_id))
        return config

    def _section(self, kind: str, line: str) -> Config:
        if self.begins != "none":
            return section(kind, line, *self.rates())
        if kind in ("junos", "token"):
            return {f"{line}/state": "off"}  # a unit without a policer
        return section(kind, line, *TIERS[BASE][:2], "off")

    def inventory(self) -> str:
        """The inventory file."""
        return json.dumps(self._inventory())

    def _inventory(self) -> dict[str, Any]:
        return {
            "legal_entities": [{"code": "isp", "name": "ISP", "address": "Road 1", "tax_id": "X1"}],
            "accounts": [
                {
                    "id": f"A-{name}",
                    "name": f"Subscriber {name}",
                    "address": "Elm Street",
                    "time_zone": ZONE,
                    "cycle_day": 1,
                    "legal_entity": "isp",
                    "currency": "EUR",
                }
                for name in self.ids()
            ],
            "tiers": [
                {"code": code, "down_kbps": t[0], "up_kbps": t[1]} for code, t in TIERS.items()
            ]
            + [{"code": "suspended", "down_kbps": SUSPENDED[0], "up_kbps": SUSPENDED[1]}],
            "plans": [
                {
                    "code": code,
                    "name": code,
                    "tier": code,
                    "currency": "EUR",
                    "exponent": 2,
                    "proration": self.proration,
                    "prices": [{"from": "2025-01-01", "amount": t[2]}],
                }
                for code, t in TIERS.items()
            ],
            "devices": [self._device(*pair) for pair in self.devices().items()],
            "services": [
                self._service(*pair) for pair in zip(self.ids(), self.services, strict=True)
            ],
        }

    def _device(self, name: str, kind: str) -> dict[str, Any]:
        device: dict[str, Any] = {
            "name": name,
            "role": "olt" if kind == "smartax" else "bng",
            "platform": PLATFORMS[kind],
            "host": "127.9.9.9",
            "port": 22,
            "site": "sim",
            "username": "bandmaster",
            "password": "env:NONE",
            "timeout_s": 15,
        }
        if self.logins and kind != "smartax":
            device["coa"] = {"port": 3799, "secret": "env:NONE"}
        return device

    def _service(self, service_id: str, devices: tuple[str, ...]) -> dict[str, Any]:
        service: dict[str, Any] = {
            "id": service_id,
            "account": f"A-{service_id}",
            "attachments": [_attachment(device, service_id) for device in devices],
        }
        if self.begins != "none":
            service |= {"plan": BASE, "state": self.begins}
            service |= {"active_since": "2026-01-15", "billing_from": "2026-01-15"}
        if self.logins:
            service |= {"login": login_of(service_id), "password": f"env:{PASSWORD}"}
        return service


def login_of(service_id: str) -> str:
    """A service's login."""
    return f"{service_id}@isp"


def line_of(kind: str, service_id: str) -> str:
    """What a service's keys begin with on a device of that kind."""
    number = service_id.rpartition("-")[2]
    return f"acc{number}" if kind == "linux" else number


def section(kind: str, line: str, down: int, up: int, state: str = "on") -> Config:
    """What a line at these rates has on a device of that kind."""
    if kind == "smartax":
        found = {"inbound": TABLE_OF[up], "outbound": TABLE_OF[down], "state": state}
    elif kind == "linux":
        found = {"down": str(down), "up": str(up), "state": state}
    else:
        found = {"input": f"UP-{up // 1000}M", "output": f"DOWN-{down // 1000}M", "state": state}
    return {f"{line}/{leaf}": value for leaf, value in found.items()}


def _attachment(device: str, service_id: str) -> dict[str, Any]:
    kind = device.partition("-")[0]
    number = int(service_id.rpartition("-")[2])
    if kind == "smartax":
        return {"role": "olt", "device": device, "service_port": number}
    if kind == "linux":
        own: dict[str, Any] = {"interface": f"acc{number}", "class_minor": "10"}
    else:
        own = {"interface": "ge-0/0/1", "unit": number}
    return {"role": "bng", "device": device, **own}


PLACES = {
    place.name: place
    for place in (
        Place(name="junos", services=(("junos-1",),), logins=True),
        Place(name="static", services=(("junos-1",),), logins=False),
        Place(name="token", services=(("token-1",),), logins=True),
        Place(name="inverse", services=(("smartax-1",),), logins=False),
        Place(name="deadman", services=(("linux-1",),), logins=False),
        Place(name="both", services=(("junos-1", "smartax-1"),), logins=True),
        Place(name="mixed", services=(("linux-1", "smartax-1"),), logins=False),
        Place(
            name="set3",
            services=(
                ("junos-1", "smartax-1"),
                ("junos-1", "smartax-2"),
                ("junos-1", "smartax-1"),
            ),
            logins=True,
        ),
    )
}
ORDERS = ("up", "down", "suspend", "terminate", "activate", "resume")
