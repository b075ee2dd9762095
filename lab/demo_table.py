"""The demo's last word: every service as devices, RADIUS rows, live session and ledger have it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab.emulators.base import Json
from lab.emulators.control import ControlClient
from lab.small_isp import TIERS, SmallIsp

MEGA = 1000


def closing_table(console: Console, devices: ControlClient, isp: SmallIsp, database: Path) -> bool:
    """Print the table; True when all sides of every service agree.

    Nothing here goes through bandmaster: devices are asked by their control socket, the store by
    plain SQL, so that the program cannot vouch for itself.
    """
    store = sqlite3.connect(database)
    bng = devices.call(isp.bng, "dump")
    table = Table(title="Devices = RADIUS rows = live session = ledger", title_justify="left")
    for column in ("service", "BNG", "OLT", "RADIUS group", "session", "ledger", ""):
        table.add_column(column)
    agreed = True
    for service_id in isp.ids():
        number = int(service_id.rpartition("-")[2])
        sides = (
            _policers(bng, number),
            _port(devices, isp, number),
            _group(store, number),
            _session(devices, isp, number),
            _ledger(store, service_id),
        )
        same = len({side[1] for side in sides}) == 1
        agreed = agreed and same
        verdict = "[green]agree[/]" if same else "[red]DIFFER[/]"
        table.add_row(service_id, *(side[0] for side in sides), verdict)
    store.close()
    console.print()
    console.print(table)
    return agreed


Side = tuple[str, tuple[int, int]]


def _rates(down_kbps: int, up_kbps: int) -> Side:
    return f"{down_kbps // MEGA}/{up_kbps // MEGA}", (down_kbps, up_kbps)


def _policers(bng: Json, number: int) -> Side:
    found = {}
    for database in ("running", "startup"):
        for line in bng[database]:
            if line.startswith(f"set interfaces ge-0/0/1 unit {number} ") and " policer " in line:
                found[database, line.split()[-2]] = line.rpartition("-")[2]
    down, up = (int(found["running", way].removesuffix("M")) for way in ("output", "input"))
    if (found["startup", "output"], found["startup", "input"]) != (f"{down}M", f"{up}M"):
        return "unsaved", (0, 0)
    return _rates(down * MEGA, up * MEGA)


def _port(devices: ControlClient, isp: SmallIsp, number: int) -> Side:
    olt = devices.call(isp.olt_of(number), "dump")
    port = olt["running"]["service_ports"][str(number)]
    if port != olt["saved"]["service_ports"][str(number)]:
        return "unsaved", (0, 0)
    tables = olt["running"]["traffic_tables"]
    return _rates(*(tables[str(port[way])]["cir_kbps"] for way in ("outbound", "inbound")))


def _group(store: sqlite3.Connection, number: int) -> Side:
    query = "select groupname from radusergroup where username = ?"
    (group,) = store.execute(query, (f"user{number}@isp",)).fetchone()
    return group, TIERS[group.partition("@")[0]][:2]


def _session(devices: ControlClient, isp: SmallIsp, number: int) -> Side:
    sessions = devices.call(isp.bng, "sessions")["sessions"]
    found = next(row for row in sessions if row["user"] == f"user{number}@isp")
    return _rates(found["down_kbps"], found["up_kbps"])


def _ledger(store: sqlite3.Connection, service_id: str) -> Side:
    query = "select body from billing_event where service_id = ? order by seq desc limit 1"
    (body,) = store.execute(query, (service_id,)).fetchone()
    tier = json.loads(body)["payload"]["tier"]
    return tier, TIERS[tier][:2]
