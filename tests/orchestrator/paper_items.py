"""Changes on paper: items, and sets in the journal, without a plan or a device that speaks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import Engine

from billing_bridge import MoneyPreview
from inventory import UNKNOWN_RATE, Rate, new_id
from orchestrator.coordinator import _intend
from orchestrator.database import writing
from workflows import ChangeKind, Handle, Order, PlanItem, ServicePoint, SessionPart

TODAY = dt.date(2026, 6, 1)
RATES = {
    "t100": Rate(down_kbps=100_000, up_kbps=20_000),
    "t500": Rate(down_kbps=500_000, up_kbps=100_000),
}


def point(plan_code: str, state: str = "active") -> ServicePoint:
    """Where a service stands; a plan's code ends with its tier's, as in `day-t100`."""
    tier = plan_code.rpartition("-")[2]
    return ServicePoint(
        plan_code=plan_code, tier_code=tier, state=state, rate=RATES.get(tier, UNKNOWN_RATE)
    )


def item(
    service_id: str,
    before: ServicePoint,
    after: ServicePoint,
    kind: ChangeKind = "tier",
    *,
    version: int = 1,
    reverses: str = "",
    today: dt.date = TODAY,
    session: tuple[SessionPart, ...] = (),
) -> PlanItem:
    """One service from before to after; nothing is sent for it anywhere."""
    order = Order(
        order_id=new_id(),
        idempotency_key=new_id(),
        kind=kind,
        service_id=service_id,
        plan_code=after.plan_code,
        actor="tester",
        reason_code="requested",
        reverses=reverses,
    )
    money = MoneyPreview(
        lines=(),
        net_minor=0,
        currency="EUR",
        exponent=2,
        period_from=today,
        period_until=today + dt.timedelta(days=30),
        then_minor=0,
        then_months=1,
    )
    return PlanItem(
        order=order,
        account_id="A-EUR",
        address="",
        service_version=version,
        before=before,
        after=after,
        devices=(),
        radius=(),
        session=session,
        money=money,
        monthly_delta_minor=0,
        price_version_id="",
        priced_for_date=today,
    )


def upgrade_of(service_id: str, today: dt.date = TODAY) -> PlanItem:
    """From 100 to 500 Mbit/s, of plans that are billed by the day."""
    return item(service_id, point("day-t100"), point("day-t500"), today=today)


def begin(store: Engine, items: Sequence[PlanItem], devices: Sequence[str] = ("bng-1",)) -> str:
    """Write the intent of a set of these items; return its id."""
    set_id = new_id()
    handles = {
        name: Handle(device=name, platform="", token=f"{set_id}.1", items=(), revert_after_s=300)
        for name in devices
    }
    with writing(store) as session:
        _intend(session, set_id, f"plan of {set_id}", 1, tuple(items), handles)
    return set_id
