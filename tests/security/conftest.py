"""A desk whose every credential is a canary: a text to be found nowhere but where it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from lab.small_isp import SmallIsp
from tests.conftest import StartFleet
from tests.desk import Desk, open_desk

DEVICE, COA = "canary-device-Zq7", "canary-coa-Zq7-octets"
AUTH, PRIV = "canary-auth-Zq7", "canary-priv-Zq7"
LOGIN, WRONG = "canary-login-Zq7", "canary-wrong-Zq7"
SILENT_PORT = 16_161  # nobody listens: SNMP is then "not read"


class CanaryIsp(SmallIsp):
    """The small ISP with SNMP on the BNG and a password for every login."""

    def secrets(self) -> dict[str, str]:
        """The environment that the inventory's references ask for."""
        return {**super().secrets(), "BM_AUTH": AUTH, "BM_PRIV": PRIV, "BM_LOGIN": LOGIN}

    def inventory(self) -> str:
        """The inventory file as YAML."""
        found: dict[str, Any] = yaml.safe_load(super().inventory())
        found["devices"][0]["snmp"] = {
            "port": SILENT_PORT,
            "user": "noc",
            "auth": "env:BM_AUTH",
            "priv": "env:BM_PRIV",
        }
        for service in found["services"]:
            service["password"] = "env:BM_LOGIN"
        return yaml.safe_dump(found, sort_keys=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A desk, and every secret it was given."""

    desk: Desk
    canaries: tuple[str, ...]

    def leaks(self, text: str) -> list[str]:
        """The canaries that a text holds."""
        return [canary for canary in self.canaries if canary in text]


@pytest.fixture
def guarded(
    tmp_path: Path,
    start_fleet: StartFleet,
    subnet: str,
    empty_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> Guarded:
    """The small ISP on both databases, all its credentials canaries."""
    isp = CanaryIsp(subnet=subnet, password=DEVICE, coa_secret=COA)
    fleet = start_fleet(*isp.specs())
    desk = open_desk(tmp_path, empty_engine, fleet, isp, monkeypatch)
    database = empty_engine.url.password
    assert database or empty_engine.dialect.name == "sqlite"
    canaries = (DEVICE, COA, AUTH, PRIV, LOGIN, WRONG, *([str(database)] if database else []))
    return Guarded(desk=desk, canaries=canaries)
