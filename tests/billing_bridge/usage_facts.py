"""A small ISP's rows, and usage of it, as tests need them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from ledger_facts import T0
from sqlalchemy import Engine

from billing_bridge import (
    RADIUS,
    Posted,
    Rollup,
    count_radius,
    record_usage,
    take_due,
    usage_check,
    used,
)
from orchestrator.database import reading, writing

HOUR = dt.timedelta(hours=1)


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


def count(engine: Engine, now: dt.datetime, limit: int = 1000) -> Posted:
    """Count everything that is due at `now` and over."""
    posted = Posted()
    while True:
        with writing(engine) as session:
            due = take_due(session, RADIUS, now, limit)
            if not due:
                return posted
            rollups, _ = count_radius(session, due, now)
            posted = record_usage(session, rollups, now, actor="noc")


def totals(engine: Engine, service_id: str = "svc-1") -> dict[tuple[int, str], int]:
    """What the ledger has of a service: (hour, meter) to bytes, without the zeros."""
    with reading(engine) as session:
        assert usage_check(session) == ()
        windows = used(session, [service_id], hours(-999), hours(999))[service_id]
    return {
        ((window.since - T0) // HOUR, window.meter): window.quantity
        for window in windows
        if window.quantity
    }
