"""A small emulated ISP: one text for devices and inventory alike."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.emulators.base import DeviceSpec, Json

NETCONF_PORT = 8830
CLI_PORT = 2222
COA_PORT = 3799
FIRST = 1001
TIERS = {
    "fiber-100": (100_000, 20_000, "29.99"),
    "fiber-500": (500_000, 100_000, "49.99"),
    "fiber-1000": (1_000_000, 200_000, "79.99"),
}
SUSPENDED = (1_000, 1_000)


def midday_zone() -> str:
    """Return a time zone in which it is about noon: no run of tests meets a midnight there.

    A plan is priced for a local date and goes stale with it: at 23:59 one that is right is refused.
    """
    hours = dt.datetime.now(dt.UTC).hour - 12
    return f"Etc/GMT{hours:+d}"  # the sign of these names is that of the hours to go back


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallIsp:
    """One Junos BNG, some SmartAX OLTs, `services` subscribers spread over the OLTs in turn.

    Addresses are `subnet`.1 for the BNG and .11 onwards for the OLTs. `logins` = every service
    has a login and a live session on the BNG. Secrets are in the environment under the names in
    `secrets`.
    """

    subnet: str = "127.80.1"
    services: int = 4
    olts: int = 2
    logins: bool = True
    speed: float = 1
    save_s: float = 0.2
    password: str = "correct-horse-battery"
    coa_secret: str = "staple-of-sixteen-octets"
    plan: str = "fiber-100"
    cycle_day: int = 1
    time_zone: str = field(default_factory=midday_zone)
    timeout_s: int = 15  # what the inventory says of every device
    since: str = "2026-01-15"
    extra: Json = field(default_factory=dict)

    @property
    def bng(self) -> str:
        """The BNG's name."""
        return "bng-fra-1"

    def olt(self, number: int) -> str:
        """The name of OLT `number`, from 1."""
        return f"olt-fra-{number}"

    def ids(self) -> tuple[str, ...]:
        """Every service's id."""
        return tuple(f"svc-{number}" for number in self._numbers())

    def olt_of(self, number: int) -> str:
        """The name of the OLT that carries service number `number`."""
        return self.olt(self._olt_of(number))

    def secrets(self) -> dict[str, str]:
        """The environment that the inventory's references ask for."""
        return {"BM_DEVICE_PASSWORD": self.password, "BM_COA_SECRET": self.coa_secret}

    def specs(self) -> tuple[DeviceSpec, ...]:
        """The emulated devices."""
        return (self._bng_spec(), *(self._olt_spec(n) for n in range(1, self.olts + 1)))

    def inventory(self) -> str:
        """The inventory file as YAML, with every service live since `since`."""
        return yaml.safe_dump(self._inventory(), sort_keys=False)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `fleet.yaml` and `inventory.yaml` into a folder and return their paths."""
        fleet, inventory = folder / "fleet.yaml", folder / "inventory.yaml"
        devices = [
            {name: getattr(spec, name) for name in DeviceSpec.__dataclass_fields__}
            for spec in self.specs()
        ]
        fleet.write_text(yaml.safe_dump({"devices": devices}, sort_keys=False), encoding="utf-8")
        fleet.chmod(0o600)
        inventory.write_text(self.inventory(), encoding="utf-8")
        return fleet, inventory

    def _numbers(self) -> range:
        return range(FIRST, FIRST + self.services)

    def _olt_of(self, number: int) -> int:
        return 1 + (number - FIRST) % self.olts

    def _bng_spec(self) -> DeviceSpec:
        options: Json = {"config": self._junos(), "speed": self.speed}
        if self.logins:
            options["radius"] = {"port": COA_PORT, "secret": self.coa_secret}
            options["sessions"] = [self._session(number) for number in self._numbers()]
        return self._spec(self.bng, "junos", 1, NETCONF_PORT, options)

    def _spec(self, name: str, kind: str, host: int, port: int, options: Json) -> DeviceSpec:
        return DeviceSpec(
            name=name,
            kind=kind,
            address=f"{self.subnet}.{host}",
            port=port,
            username="bandmaster",
            password=self.password,
            options={**options, **self.extra.get(name, {})},
        )

    def _junos(self) -> str:
        rates = {*(t[:2] for t in TIERS.values()), SUSPENDED}
        lines = [f"set system host-name {self.bng}"]
        for name, kbps in sorted(
            {("DOWN", down) for down, _ in rates} | {("UP", up) for _, up in rates}
        ):
            policer = f"set firewall policer {name}-{kbps // 1000}M"
            lines += [
                f"{policer} if-exceeding bandwidth-limit {kbps // 1000}m",
                f"{policer} if-exceeding burst-size-limit 625k",
                f"{policer} then discard",
            ]
        down, up, _ = TIERS[self.plan]
        for number in self._numbers():
            unit = f"set interfaces ge-0/0/1 unit {number}"
            lines += [
                f"{unit} vlan-id {number}",
                f"{unit} family inet policer input UP-{up // 1000}M",
                f"{unit} family inet policer output DOWN-{down // 1000}M",
            ]
        return "\n".join(lines) + "\n"

    def _session(self, number: int) -> Json:
        down, up, _ = TIERS[self.plan]
        return {
            "user": f"user{number}@isp",
            "acct_session_id": f"8a{number}",
            "ip": f"100.64.{number // 250}.{number % 250 + 1}",
            "interface": f"pp0.{number}",
            "service": f"bandmaster({down}k,{up}k)",
        }

    def _olt_spec(self, olt: int) -> DeviceSpec:
        kbps = sorted({rate for t in TIERS.values() for rate in t[:2]} | set(SUSPENDED))
        tables = {rate: index for index, rate in enumerate(kbps, start=10)}
        down, up, _ = TIERS[self.plan]
        ports = [
            {
                "index": number,
                "vlan": 100,
                "fsp": "0/1/0",
                "ont": number % 128,
                "gem": 1,
                "inbound": tables[up],
                "outbound": tables[down],
            }
            for number in self._numbers()
            if self._olt_of(number) == olt
        ]
        options: Json = {
            "hostname": self.olt(olt).upper(),
            "speed": self.speed,
            "save_s": self.save_s,
            "traffic_tables": [
                {"index": index, "name": f"T{rate}", "cir_kbps": rate, "pir_kbps": rate}
                for rate, index in tables.items()
            ],
            "service_ports": ports,
        }
        return self._spec(self.olt(olt), "smartax", 10 + olt, CLI_PORT, options)

    def _inventory(self) -> dict[str, Any]:
        return {
            "legal_entities": [
                {"code": "isp", "name": "Example ISP", "address": "1 Fibre Road", "tax_id": "X1"}
            ],
            "accounts": [
                {
                    "id": f"A-{number}",
                    "name": f"Subscriber {number}",
                    "address": f"Elm Street {number}",
                    "time_zone": self.time_zone,
                    "cycle_day": self.cycle_day,
                    "legal_entity": "isp",
                    "currency": "EUR",
                }
                for number in self._numbers()
            ],
            "tiers": [
                {"code": code, "down_kbps": t[0], "up_kbps": t[1]} for code, t in TIERS.items()
            ]
            + [{"code": "suspended", "down_kbps": SUSPENDED[0], "up_kbps": SUSPENDED[1]}],
            "plans": [
                {
                    "code": code,
                    "name": code.replace("-", " ").title(),
                    "tier": code,
                    "currency": "EUR",
                    "exponent": 2,
                    "prices": [{"from": "2025-01-01", "amount": t[2]}],
                }
                for code, t in TIERS.items()
            ],
            "devices": [self._device(spec) for spec in self.specs()],
            "services": [self._service(number) for number in self._numbers()],
        }

    def _device(self, spec: DeviceSpec) -> Json:
        junos = spec.kind == "junos"
        device: Json = {
            "name": spec.name,
            "role": "bng" if junos else "olt",
            "platform": "juniper_junos" if junos else "huawei_smartax",
            "host": spec.address,
            "port": spec.port,
            "site": "fra",
            "username": spec.username,
            "password": "env:BM_DEVICE_PASSWORD",
            "timeout_s": self.timeout_s,
        }
        if junos and self.logins:
            device["coa"] = {"port": COA_PORT, "secret": "env:BM_COA_SECRET"}
        return device

    def _service(self, number: int) -> Json:
        service: Json = {
            "id": f"svc-{number}",
            "account": f"A-{number}",
            "plan": self.plan,
            "active_since": self.since,
            "billing_from": self.since,
            "attachments": [
                {"role": "bng", "device": self.bng, "interface": "ge-0/0/1", "unit": number},
                {
                    "role": "olt",
                    "device": self.olt(self._olt_of(number)),
                    "service_port": number,
                },
            ],
        }
        if self.logins:
            service["login"] = f"user{number}@isp"
        return service
