"""The rows of a small ISP for tests of usage: three services, no device."""

from __future__ import annotations

from sqlalchemy import Engine, text

from tests.schema import create_schema

ROWS = """
INSERT INTO legal_entity VALUES ('isp', 'ISP', 'Elm Street 1', 'DE1');
INSERT INTO account VALUES ('A-1', 'Ada', 'Elm Street 4', '{zone}', 1, 'isp', 'EUR');
INSERT INTO tier VALUES ('t100', 100000, 20000, true);
INSERT INTO plan VALUES
  ('fiber-100', 'Fiber', 't100', 'EUR', 2, 1, 'advance', 'day', 'at_period_start', true),
  ('metered', 'Metered', 't100', 'EUR', 2, 1, 'advance', 'day', 'at_period_start', true),
  ('burst', 'Burst', 't100', 'EUR', 2, 1, 'advance', 'day', 'at_period_start', true);
INSERT INTO plan_terms VALUES
  ('fiber-100', 0, false, 0, 'stop', 'stop', 0, 'both', 0, 0, '', 0),
  ('metered', 0, false, 0, 'stop', 'stop', 1000, 'both', 1000, 0, '', 0),
  ('burst', 0, false, 0, 'stop', 'stop', 0, 'both', 0, 0, '', 20000);
INSERT INTO price_version VALUES
  ('fiber-100@1', 'fiber-100', '2026-01-01', 2999),
  ('metered@1', 'metered', '2026-01-01', 999),
  ('burst@1', 'burst', '2026-01-01', 9999);
INSERT INTO price_terms VALUES
  ('fiber-100@1', 0, 0, 0, 0), ('metered@1', 0, 50, 0, 0), ('burst@1', 0, 0, 0, 100);
"""
SERVICES = {"svc-1": "metered", "svc-2": "fiber-100", "svc-3": "burst"}


def make_isp(engine: Engine, zone: str = "UTC") -> None:
    """Make all tables and guards, and three services of one account; two have logins."""
    logins = {"svc-1": "ada@isp", "svc-2": "bob@isp"}
    create_schema(engine)
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
