"""A small ISP's rows, and usage of it, as tests need them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from ledger_facts import T0
from sqlalchemy import Engine, text

from billing_bridge import Posted, Rollup, record_usage
from orchestrator.database import writing

HOUR = dt.timedelta(hours=1)
ROWS = """
INSERT INTO legal_entity VALUES ('isp', 'ISP', 'Elm Street 1', 'DE1');
INSERT INTO account VALUES ('A-1', 'Ada', 'Elm Street 4', '{zone}', 1, 'isp', 'EUR');
INSERT INTO tier VALUES ('t100', 100000, 20000, true);
INSERT INTO plan VALUES
  ('fiber-100', 'Fiber', 't100', 'EUR', 2, 1, 'advance', 'day', 'at_period_start', true),
  ('metered', 'Metered', 't100', 'EUR', 2, 1, 'advance', 'day', 'at_period_start', true),
  ('burst', 'Burst', 't100', 'EUR', 2, 1, 'advance', 'day', 'at_period_start', true);
INSERT INTO plan_terms VALUES
  ('metered', 0, false, 0, 'stop', 'stop', 1000, 'both', 1000, 0, '', 0),
  ('burst', 0, false, 0, 'stop', 'stop', 0, 'both', 0, 0, '', 20000);
INSERT INTO price_version VALUES
  ('fiber-100@1', 'fiber-100', '2026-01-01', 2999),
  ('metered@1', 'metered', '2026-01-01', 999),
  ('burst@1', 'burst', '2026-01-01', 9999);
INSERT INTO price_terms VALUES ('metered@1', 0, 50, 0, 0), ('burst@1', 0, 0, 0, 100);
"""
SERVICES = {"svc-1": "metered", "svc-2": "fiber-100", "svc-3": "burst"}


def fill(engine: Engine, zone: str = "UTC") -> None:
    """Three services of one account, the first and second with logins ada@isp and bob@isp."""
    logins = {"svc-1": "ada@isp", "svc-2": "bob@isp"}
    with engine.begin() as connection:
        for statement in filter(str.strip, ROWS.format(zone=zone).split(";")):
            connection.execute(text(statement))
        for service_id, plan in SERVICES.items():
            login = logins.get(service_id, "")
            connection.execute(
                text("INSERT INTO line VALUES (:s, 'A-1', :l, '', '')"),
                {"s": service_id, "l": login},
            )
            connection.execute(
                text("INSERT INTO service VALUES (:s, :p, 't100', 'active', 1, :at, :on)"),
                {"s": service_id, "p": plan, "at": "2026-01-01T00:00:00.000000Z",
                 "on": "2026-01-01"},
            )  # fmt: skip


def hours(number: int) -> dt.datetime:
    """Full hours after 2026-06-01 12:00 UTC."""
    return T0 + number * HOUR


def rollup(number: int = 0, quantity: int = 1000, **given: Any) -> Rollup:
    """A window of an hour, `number` hours after the first."""
    filled: dict[str, Any] = {
        "service_id": "svc-1",
        "account_id": "A-1",
        "meter": "down",
        "since": hours(number),
        "until": hours(number + 1),
        "quantity": quantity,
        "unit": "byte",
        "source": "radius",
    }
    return Rollup(**(filled | given))


def record(engine: Engine, rollups: Sequence[Rollup], now: dt.datetime, **given: Any) -> Posted:
    with writing(engine) as session:
        return record_usage(session, rollups, now, actor="noc", **given)
