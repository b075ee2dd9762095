"""What people ask of the store: read-only views of plans, changes and subscribers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from billing_bridge import LedgerEvent, MoneyPreview, find_by_change
from inventory import UnknownName, money_text
from workflows import HandleItem, PlanItem, ServicePoint, item_from_json, plan_from_json

from .clock import process_start
from .database import database_now
from .journal import OPEN_STATES, list_steps, short
from .leases import Owner
from .rows import (
    ChangeRow,
    DecisionRow,
    ExceptionRow,
    LeaseRow,
    OrderRow,
    ParticipantRow,
    PlanRow,
    SetRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLine:
    """One change in a list; `net` is the money on the next invoice, for people."""

    change_id: str
    set_id: str
    service_id: str
    created_at: dt.datetime
    kind: str
    what: str
    state: str
    outcome: str
    actor: str
    ticket: str
    net_minor: int
    currency: str
    net: str
    refusal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One plan in a list."""

    plan_id: str
    plan_hash: str
    status: str
    created_at: dt.datetime
    expires_at: dt.datetime
    services: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLines:
    """What a change sends to one device, and what would undo it."""

    device: str
    platform: str
    forward: tuple[str, ...]
    inverse: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePart:
    """One change of a story: who asked for what, what became of it, its money."""

    change_id: str
    order_id: str
    idempotency_key: str
    service_id: str
    account_id: str
    kind: str
    what: str
    before: ServicePoint
    after: ServicePoint
    actor: str
    asked_at: dt.datetime
    reason_code: str
    reason: str
    ticket: str
    item_hash: str
    state: str
    outcome: str
    refusal: str
    verdict: str  # COMMIT, ABORT or "" while undecided
    created_at: dt.datetime
    decided_at: dt.datetime | None
    applied_at: dt.datetime | None
    closed_at: dt.datetime | None
    devices: tuple[DeviceLines, ...]
    login: str
    radius_group_before: str
    radius_group_after: str
    money: MoneyPreview
    events: tuple[LedgerEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the journal; `detail` as it was written."""

    at: dt.datetime
    kind: str
    participant: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionLine:
    """One exception of a story."""

    exception_id: str
    change_id: str
    participant: str
    cause: str
    wanted: str
    seen: str
    actions: str
    opened_at: dt.datetime
    resolved_at: dt.datetime | None
    resolution: str
    resolved_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything about a change set, or about one change of it."""

    set_id: str
    plan_id: str
    plan_hash: str
    attempt: int
    created_at: dt.datetime
    services: int  # in the whole set
    changes: tuple[ChangePart, ...]
    steps: tuple[Step, ...]
    exceptions: tuple[ExceptionLine, ...]


def list_changes(
    session: Session, *, service_id: str = "", open_only: bool = False, limit: int = 20
) -> tuple[ChangeLine, ...]:
    """Return the newest changes, newest first."""
    query = select(ChangeRow, OrderRow).where(col(ChangeRow.order_id) == col(OrderRow.order_id))
    if service_id:
        query = query.where(col(ChangeRow.service_id) == service_id)
    if open_only:
        query = query.where(col(ChangeRow.state).in_(OPEN_STATES))
    found = session.exec(query.order_by(col(ChangeRow.change_id).desc()).limit(limit))
    return tuple(_change_line(change, order) for change, order in found)


def _change_line(change: ChangeRow, order: OrderRow) -> ChangeLine:
    item = item_from_json(change.item)
    money = item.money
    return ChangeLine(
        change_id=change.change_id,
        set_id=change.set_id,
        service_id=change.service_id,
        created_at=change.created_at,
        kind=order.kind,
        what=move_text(item),
        state=change.state,
        outcome="repair" if change.kind == "repair" else change.outcome,
        actor=order.actor,
        ticket=order.ticket,
        net_minor=money.net_minor,
        currency=money.currency,
        net=money_text(money.net_minor, money.currency, money.exponent),
        refusal=change.refusal,
    )


def open_plans(session: Session, limit: int = 20) -> tuple[PlanLine, ...]:
    """Return the plans that can still be applied, newest first."""
    query = select(PlanRow).where(
        col(PlanRow.status) == "open", col(PlanRow.expires_at) > database_now(session)
    )
    rows = session.exec(query.order_by(col(PlanRow.plan_id).desc()).limit(limit))
    return tuple(_plan_line(row) for row in rows)


def _plan_line(row: PlanRow) -> PlanLine:
    plan = plan_from_json(json.loads(row.body))
    first = plan.items[0]
    rest = f" and {len(plan.items) - 1} more" if len(plan.items) > 1 else ""
    return PlanLine(
        plan_id=row.plan_id,
        plan_hash=row.plan_hash,
        status=row.status,
        created_at=row.created_at,
        expires_at=row.expires_at,
        services=len(plan.items),
        what=f"{first.order.service_id} {move_text(first)}{rest}",
    )


def unsettled(session: Session) -> int:
    """Return how many change sets wait for recovery: neither applied nor driven by a worker.

    A set that is applied and only waits for its closing pass is nobody's worry.
    """
    open_sets = session.exec(
        select(ChangeRow.set_id)
        .where(col(ChangeRow.state).in_(OPEN_STATES), col(ChangeRow.applied_at).is_(None))
        .distinct()
    ).all()
    if not open_sets:
        return 0
    now = database_now(session)
    driven = [row.purpose for row in session.exec(select(LeaseRow)) if _lives(row, now)]
    return sum(not any(short(set_id, "s") in purpose for purpose in driven) for set_id in open_sets)


def _lives(row: LeaseRow, now: dt.datetime) -> bool:
    """Whether a lease's holder may still be at work; of this host's processes that is known."""
    here = Owner(owner="")
    if (row.host, row.boot_id, row.pid_namespace) == (here.host, here.boot_id, here.pid_namespace):
        return process_start(row.pid) == row.pid_start
    return row.until > now


def set_of_change(session: Session, change_id: str) -> str:
    """Return the set a change belongs to; UnknownName if there is no such change."""
    row = session.get(ChangeRow, change_id)
    if row is None:
        raise UnknownName(change_id, "is not a change", "See: bandmaster change list")
    return row.set_id


def change_story(session: Session, set_id: str, change_id: str = "") -> Story:
    """Return the story of a set; with `change_id` only that change's part of it."""
    row = session.get(SetRow, set_id)
    if row is None:
        raise UnknownName(set_id, "is not a change set", "See: bandmaster change list")
    everyone = session.exec(
        select(func.count()).select_from(ChangeRow).where(col(ChangeRow.set_id) == set_id)
    ).one()
    query = select(ChangeRow).where(col(ChangeRow.set_id) == set_id)
    if change_id:
        query = query.where(col(ChangeRow.change_id) == change_id)
    changes = session.exec(query.order_by(col(ChangeRow.change_id))).all()
    plan = session.get(PlanRow, row.plan_id)
    names = {change.service_id: change.change_id for change in changes}
    return Story(
        set_id=set_id,
        plan_id=row.plan_id,
        plan_hash=plan.plan_hash if plan else "",
        attempt=row.attempt,
        created_at=row.created_at,
        services=everyone,
        changes=tuple(_change_part(session, change) for change in changes),
        steps=_steps(session, set_id, names, whole=not change_id),
        exceptions=_exceptions(session, tuple(names.values())),
    )


def _change_part(session: Session, change: ChangeRow) -> ChangePart:
    order = session.get_one(OrderRow, change.order_id)
    decision = session.get(DecisionRow, change.change_id)
    item = item_from_json(change.item)
    return ChangePart(
        change_id=change.change_id,
        order_id=order.order_id,
        idempotency_key=order.idempotency_key,
        service_id=change.service_id,
        account_id=item.account_id,
        kind=order.kind,
        what=move_text(item),
        before=item.before,
        after=item.after,
        actor=order.actor,
        asked_at=order.created_at,
        reason_code=order.reason_code,
        reason=order.reason,
        ticket=order.ticket,
        item_hash=change.item_hash,
        state=change.state,
        outcome="repair" if change.kind == "repair" else change.outcome,
        refusal=change.refusal,
        verdict=decision.verdict if decision else "",
        created_at=change.created_at,
        decided_at=decision.decided_at if decision else None,
        applied_at=change.applied_at,
        closed_at=change.closed_at,
        devices=tuple(_lines(part.device, part.platform, part.item) for part in item.devices),
        login=item.radius[0].login if item.radius else "",
        radius_group_before=item.radius[0].group_before if item.radius else "",
        radius_group_after=item.radius[0].group_after if item.radius else "",
        money=item.money,
        events=find_by_change(session, change.change_id),
    )


def _lines(device: str, platform: str, item: HandleItem) -> DeviceLines:
    return DeviceLines(device=device, platform=platform, forward=item.forward, inverse=item.inverse)


def _steps(
    session: Session, set_id: str, names: Mapping[str, str], *, whole: bool
) -> tuple[Step, ...]:
    """Return a set's steps, or of them those that concern one change and its devices."""
    devices = {
        row.name
        for row in session.exec(
            select(ParticipantRow).where(
                col(ParticipantRow.set_id) == set_id, col(ParticipantRow.role) == "device"
            )
        )
        if whole or _carries(row, names)
    }
    steps = []
    for row in list_steps(session, set_id):
        detail = json.loads(row.detail)
        of = detail.get("change", "")
        if not whole and of and of not in names.values():
            continue
        if not whole and not of and row.participant and row.participant not in devices:
            continue
        if not whole and "rates" in detail:
            detail["rates"] = {k: v for k, v in detail["rates"].items() if k in names}
        steps.append(Step(at=row.at, kind=row.kind, participant=row.participant, detail=detail))
    return tuple(steps)


def _carries(row: ParticipantRow, names: Mapping[str, str]) -> bool:
    handle = json.loads(row.handle)
    return any(item["service_id"] in names for item in handle.get("items", ()))


def _exceptions(session: Session, change_ids: tuple[str, ...]) -> tuple[ExceptionLine, ...]:
    rows = session.exec(
        select(ExceptionRow)
        .where(col(ExceptionRow.change_id).in_(change_ids))
        .order_by(col(ExceptionRow.exception_id))
    )
    return tuple(
        ExceptionLine(
            exception_id=row.exception_id,
            change_id=row.change_id,
            participant=row.participant,
            cause=row.cause,
            wanted=row.wanted,
            seen=row.seen,
            actions=row.actions,
            opened_at=row.opened_at,
            resolved_at=row.resolved_at,
            resolution=row.resolution,
            resolved_by=row.resolved_by,
        )
        for row in rows
    )


def move_text(item: PlanItem) -> str:
    """Return from where to where, as people read it: `fiber-100 -> fiber-500`."""
    return f"{point_text(item.before)} -> {point_text(item.after)}"


def point_text(point: ServicePoint) -> str:
    """Return where a service stands, in a word or two."""
    if point.state == "active":
        return point.plan_code
    if point.state == "suspended":
        return f"{point.plan_code} suspended"
    return "no service" if point.state == "none" else point.state
