"""Metering on real parts: what a NAS accounts to FreeRADIUS becomes usage in the ledger."""

from __future__ import annotations

import datetime as dt
import json
import subprocess

import pytest
from lab_rig import LOGIN
from product_rig import Product

GB = 10**9
WORD = 1 << 32
SESSION = "usage-1"


def account(product: Product, kind: str, at: dt.datetime, seconds: int, down: int, up: int) -> None:
    """Send one accounting packet as the NAS does, and hear FreeRADIUS's answer."""
    server = product.lab.server("radius", "freeradius")
    words = {
        "Acct-Status-Type": kind,
        "Acct-Session-Id": f'"{SESSION}"',
        "User-Name": f'"{LOGIN}"',
        "NAS-IP-Address": "192.0.2.77",
        "NAS-Port-Id": '"acc2"',
        "Event-Timestamp": int(at.timestamp()),
        "Acct-Session-Time": seconds,
        "Acct-Output-Octets": down % WORD,
        "Acct-Output-Gigawords": down // WORD,
        "Acct-Input-Octets": up % WORD,
        "Acct-Input-Gigawords": up // WORD,
    }
    told = subprocess.run(
        ("radclient", "-r", "3", "-t", "20", f"{server['address']}:{server['acct_port']}", "acct",
         "-S", server["secret_file"]),
        input=",".join(f"{name}={value}" for name, value in words.items()),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Accounting-Response" in told.stdout, told.stdout + told.stderr


@pytest.fixture
def began() -> dt.datetime:
    """The full hour that began four hours ago or a little more."""
    now = dt.datetime.now(dt.UTC)
    return now.replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=4)


def test_what_freeradius_accounts_is_in_the_ledger_once(
    product: Product, began: dt.datetime
) -> None:
    """Goal: gigawords, interims and the stop of a session of two hours, hour by hour.

    Method: radclient to the lab's FreeRADIUS, its radacct, `usage radius`, the ledger.
    """
    minutes = dt.timedelta(minutes=1)
    account(product, "Start", began + 5 * minutes, 0, 0, 0)
    account(product, "Interim-Update", began + 45 * minutes, 40 * 60, 5 * GB, 10)
    account(product, "Interim-Update", began + 75 * minutes, 70 * 60, 6 * GB, 20)
    query = "select acctoutputoctets, acctstoptime is null from radius.radacct"
    assert product.rows(f"{query} where acctsessionid = %s", SESSION) == [(6 * GB, True)]
    first = json.loads(product.good("usage", "radius", "--json"))
    assert first["read"]["readings"] == 1  # radacct keeps the newest of a session
    account(product, "Stop", began + 100 * minutes, 95 * 60, 9 * GB, 30)
    assert product.rows(f"{query} where acctsessionid = %s", SESSION) == [(9 * GB, False)]
    product.good("usage", "radius")
    again = json.loads(product.good("usage", "radius", "--json"))
    assert again["read"]["readings"] == again["counted"]["events"] == 0
    posted = product.rows(
        "select effective_at, unit, sum(quantity) from public.billing_event"
        " where service_id = 'line-2' and type in ('usage.recorded', 'usage.corrected')"
        ' and body like \'%%"meter":"down"%%\' group by effective_at, unit order by effective_at'
    )
    assert sum(row[2] for row in posted) == 9 * GB
    assert {row[1] for row in posted} == {"byte"}
    shown = json.loads(product.good("usage", "show", "line-2", "--json"))
    assert sum(one["quantity"] for one in shown["windows"] if one["meter"] == "down") == 9 * GB
    product.good("ledger", "replay", "--check")
