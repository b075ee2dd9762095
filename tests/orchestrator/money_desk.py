"""A person who bills: accounts in three currencies and a service whose device nobody speaks to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.desk import Desk, bare_desk

ISP = """
legal_entities:
- {code: nordnetz, name: Nordnetz GmbH, address: "Hafenstrasse 12, 20457 Hamburg"}
accounts:
- {id: A-EUR, name: Jansen, address: Deichweg 3, time_zone: Europe/Berlin, cycle_day: 1,
   legal_entity: nordnetz, currency: EUR}
- {id: A-JPY, name: Sato, address: Chuo 1, time_zone: Asia/Tokyo, cycle_day: 1,
   legal_entity: nordnetz, currency: JPY}
- {id: A-KWD, name: Salem, address: Salmiya 9, time_zone: Asia/Kuwait, cycle_day: 1,
   legal_entity: nordnetz, currency: KWD}
tiers:
- {code: t100, down_mbps: 100, up_mbps: 20}
plans:
- {code: fiber-100, name: Fiber 100, tier: t100, currency: EUR,
   prices: [{from: 2025-01-01, amount: "29.99"}]}
devices:
- {name: bng-1, role: bng, platform: juniper_junos, host: 192.0.2.11, port: 830, username: noc,
   password: env:BM_NOBODY_ASKS}
services:
- {id: svc-1, account: A-EUR, plan: fiber-100, active_since: 2026-01-15, billing_from: 2026-02-01,
   attachments: [{role: bng, device: bng-1, interface: ge-0/0/1, unit: 1}]}
"""


def money_desk(folder: Path, engine: Engine, patch: pytest.MonkeyPatch) -> Desk:
    """Set the tables up and import the accounts, with the commands that a person would use."""
    desk = bare_desk(folder, engine, patch)
    desk.good("init", "--database", engine.url.render_as_string(hide_password=False))
    desk.write("isp.yaml", ISP)
    desk.good("inventory", "import", "isp.yaml")
    return desk


def told(desk: Desk, *arguments: str, code: int = 0) -> Any:
    """Run a command that must end with `code`; return its JSON."""
    return json.loads(desk.good(*arguments, "--json", code=code).out)
