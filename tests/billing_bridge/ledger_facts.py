"""Events as tests need them, with everything that a test does not speak of filled in."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Engine, text
from sqlmodel import SQLModel

from billing_bridge import (
    BillingEvent,
    ConsumerCursor,
    LedgerHead,
    NewEvent,
    ddl,
    service_payload,
    undo_ddl,
)
from inventory import new_id, table_of

T0 = dt.datetime(2026, 6, 1, 12, 0, tzinfo=dt.UTC)
PAYLOADS = {
    "usage.recorded": {"meter": "down", "revision": 1},
    "credit.issued": {"credit_id": "cr-1"},
    "charge.issued": {"charge_id": "ch-1"},
}
PLAN_OF = {"t100": "fiber-100", "t300": "fiber-300", "t500": "fiber-500"}


TABLES = [table_of(row) for row in (BillingEvent, LedgerHead, ConsumerCursor)]


def make_ledger(engine: Engine) -> None:
    with engine.begin() as connection:
        SQLModel.metadata.create_all(connection, tables=TABLES)
        for statement in ddl(engine.dialect.name):
            connection.exec_driver_sql(statement)


def take_guards_away(engine: Engine, *damage: str) -> None:
    """Do what only an owner of the tables can: drop the triggers, then run the statements."""
    with engine.begin() as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if engine.dialect.name == "sqlite":
            for name in connection.execute(text(names)).scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        for statement in (*undo_ddl(engine.dialect.name), *damage):
            connection.execute(text(statement))


def at(minutes: int) -> dt.datetime:
    return T0 + dt.timedelta(minutes=minutes)


def event(kind: str, service_id: str = "svc-1", **given: Any) -> NewEvent:
    order = given.pop("order", new_id())
    filled: dict[str, Any] = {
        "event_id": new_id(),
        "source": "bandmaster",
        "idempotency_key": f"{order}:{kind}",
        "type": kind,
        "account_id": "A-1",
        "service_id": service_id,
        "actor": "noc",
        "reason_code": "requested",
        "payload": PAYLOADS.get(kind, {}),
    }
    return NewEvent(**(filled | given))


def lifecycle(
    kind: str, version: int, state: str = "active", tier: str = "t100", **given: Any
) -> NewEvent:
    payload = given.pop("payload", None) or service_payload(
        plan=given.pop("plan", PLAN_OF.get(tier, "")), tier=tier, state=state
    )
    if kind == "service.adopted":
        payload["billing_from"] = given.pop("billing_from", "2026-06-01")
    elif kind != "reconciliation.adopted":
        given.setdefault("change_id", new_id())
    return event(kind, service_version=version, payload=payload, **given)


def usage(number: int, service_id: str = "svc-1", quantity: int = 1000) -> NewEvent:
    return event(
        "usage.recorded",
        service_id,
        order=f"use-{number}",
        quantity=quantity,
        unit="byte",
        reason_code="metered",
    )
