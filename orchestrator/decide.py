"""The decision: services, RADIUS rows, decision rows and ledger events in one transaction.

The only writer of services, RADIUS authorisation rows and lifecycle events (decisions.md D13).
Every function works in the caller's transaction and takes the ledger's head lock last.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from sqlalchemy import bindparam, insert, update
from sqlmodel import Session, col

from billing_bridge import (
    Evidence,
    LedgerEvent,
    NewEvent,
    append,
    find_by_services,
    fold_without,
    service_payload,
    shift_payload,
)
from inventory import (
    Account,
    Adoption,
    Service,
    ServiceState,
    SoldAs,
    StalePlan,
    Tier,
    WrongUse,
    accounts_many,
    keep_services,
    list_devices,
    list_plans,
    list_tiers,
    local_date,
    new_id,
    services_many,
    sold_as,
)
from workflows import PlanItem

from .authorise import bind_adopted, write_radius
from .database import database_now
from .journal import OpenSet, find_decided_at, move
from .rows import ChangeRow, DecisionRow, OrderRow

SOURCE = "bandmaster"
EVENT_TYPES = {
    "activate": "service.activated",
    "tier": "tier.changed",
    "suspend": "service.suspended",
    "resume": "service.resumed",
    "terminate": "service.terminated",
}


def commit_set(
    session: Session,
    opened: OpenSet,
    evidence: Mapping[str, Sequence[Evidence]],
    passwords: Mapping[str, str],
) -> tuple[LedgerEvent, ...]:
    """Decide COMMIT for every change of the set and post what is owed for it.

    `evidence` is what the devices read back, by service_id; `passwords` are those of logins that
    appear in radcheck for the first time. Raises StalePlan where a service moved or the date the
    price was made for has passed: the caller rolls back and decides ABORT.
    """
    now = database_now(session)
    items = [opened.items[change.change_id] for change in opened.changes]
    accounts = accounts_many(session, {item.account_id for item in items})
    for service_id, why in stale_prices(items, accounts, now).items():
        raise StalePlan(service_id, why, "Plan it again.")
    before = services_many(session, [item.order.service_id for item in items])
    plans = sold_as(session, {c for i in items for c in (i.before.plan_code, i.after.plan_code)})
    undone = _without(session, {i.order.service_id: i.order.reverses for i in items})
    moves = []
    for service, item in zip(before, items, strict=True):
        if service.version != item.service_version:
            raise StalePlan(service.service_id, "has moved on meanwhile", "Plan it again.")
        if item.after.state == "active" and _tier(item) != plans[item.after.plan_code].tier:
            raise StalePlan(item.after.tier_code, "has other rates by now", "Plan it again.")
        after = undone.get(service.service_id)
        moves.append((service, after or _after(service, item, now, accounts[item.account_id])))
    keep_services(session, moves)
    write_radius(session, items, passwords, back=False)
    _write_decisions(session, opened, "COMMIT", now)
    began = opened.first_write_at or now
    events = [
        replace(
            _event(plans, opened.orders[change.order_id], change, item, after, evidence),
            effective_at=_effective(plans, item, now, began),
        )
        for change, item, (_, after) in zip(opened.changes, items, moves, strict=True)
    ]
    return append(session, events, now)


def stale_prices(
    items: Sequence[PlanItem], accounts: Mapping[str, Account], now: dt.datetime
) -> dict[str, str]:
    """Say which services' plans were priced for another local date than today, by service_id."""
    return {
        item.order.service_id: f"was priced for {item.priced_for_date}, and that date has passed"
        for item in items
        if local_date(now, accounts[item.account_id].time_zone) != item.priced_for_date
    }


def _effective(
    plans: Mapping[str, SoldAs], item: PlanItem, now: dt.datetime, began: dt.datetime
) -> dt.datetime:
    """Return when a change counts from: a cut billed by the second counts from its first line.

    For plans billed by the day both instants lie on one local date, or the decision is abort (D4).
    """
    plan = plans.get(item.before.plan_code)
    by_second = plan is not None and plan.proration == "second"
    return began if by_second and not item.gives_more() else now


def abort_set(session: Session, opened: OpenSet, refusals: Mapping[str, str]) -> None:
    """Decide ABORT: a row on the decision's key, not an absence (W8). Posts nothing.

    `refusals` says why by service_id; the others are aborted with them. IntegrityError means that
    a COMMIT has landed after all.
    """
    now = database_now(session)
    everyone = refusals.get("*", "undone with its set")
    _write_decisions(session, opened, "ABORT", now)
    reasons = [
        {"the_id": c.change_id, "why": refusals.get(c.service_id, everyone)} for c in opened.changes
    ]
    mine = col(ChangeRow.change_id) == bindparam("the_id")
    why = update(ChangeRow).where(mine).values(refusal=bindparam("why"))
    session.connection().execute(why, reasons)


def _write_decisions(session: Session, opened: OpenSet, verdict: str, now: dt.datetime) -> None:
    change_ids = tuple(change.change_id for change in opened.changes)
    each = {"set_id": opened.set_id, "verdict": verdict, "decided_at": now}
    session.execute(insert(DecisionRow), [{"change_id": name, **each} for name in change_ids])
    state = {"COMMIT": "COMMITTED", "ABORT": "ABORTED"}[verdict]
    move(session, change_ids, opened.epoch, "INTENT", state=state)


def reverse_changes(
    session: Session,
    opened: OpenSet,
    change_ids: tuple[str, ...],
    why: str,
    passwords: Mapping[str, str],
) -> tuple[LedgerEvent, ...]:
    """Take back decided changes that a device refused: the events leave the fold, sum 0 (D5).

    `passwords` (by service_id) are for logins whose rows the change had removed.
    """
    now = database_now(session)
    changes = [change for change in opened.changes if change.change_id in change_ids]
    # the settle time begins anew: logins may have read the rows that are taken back (W11)
    moved = {"state": "REVERSED", "outcome": "reversed", "refusal": why, "applied_at": None}
    move(session, change_ids, opened.epoch, "COMMITTED", **moved)
    items = [opened.items[change.change_id] for change in changes]
    orders = opened.orders
    services = services_many(session, [change.service_id for change in changes])
    restored = _without(
        session, {change.service_id: orders[change.order_id].event_id for change in changes}
    )
    keep_services(session, [(service, restored[service.service_id]) for service in services])
    write_radius(session, items, passwords, back=True)
    events = [
        _draft(
            "event.reversed",
            change.order_id,
            restored[change.service_id],
            change_id=change.change_id,
            reverses_event_id=orders[change.order_id].event_id,
            actor=orders[change.order_id].actor,
            reason_code="undone",
        )
        for change in changes
    ]
    return append(session, events, now)


def shift_effect(
    session: Session, opened: OpenSet, change: ChangeRow, verified_at: dt.datetime
) -> tuple[LedgerEvent, ...]:
    """Post that an upgrade took effect later than decided, where that is another date (D4).

    Nothing is posted for a downgrade, for the same local date (day plans) or the same instant.
    The service's version counts on, because the fold must see the shift in order.
    """
    item = opened.items[change.change_id]
    account = accounts_many(session, {item.account_id})[item.account_id]
    decided_at = find_decided_at(session, change.change_id)
    sold = sold_as(session, (item.after.plan_code,))[item.after.plan_code]
    later = verified_at > decided_at and (
        sold.proration == "second"
        or local_date(verified_at, account.time_zone) > local_date(decided_at, account.time_zone)
    )
    if not later or not item.gives_more() or item.order.reverses:
        return ()
    order = opened.orders[change.order_id]
    before = services_many(session, [change.service_id])[0]
    began = verified_at if item.order.kind == "activate" else before.active_since
    after = replace(before, version=before.version + 1, active_since=began)
    keep_services(session, [(before, after)])
    shift = _draft(
        "service.effect_shifted",
        change.order_id,
        after,
        change_id=change.change_id,
        actor=order.actor,
        reason_code="late_effect",
        payload=shift_payload(
            _payload(after), shifts=order.event_id, was=decided_at, to=verified_at
        ),
    )
    return append(session, [shift], database_now(session))


def accept_as_is(
    session: Session, change: ChangeRow, actor: str, exception_id: str
) -> tuple[LedgerEvent, ...]:
    """Post that a person accepted a device as it is; what is owed stays as the ledger has it."""
    before = services_many(session, [change.service_id])[0]
    if before.state == "none":
        return ()
    after = replace(before, version=before.version + 1)
    keep_services(session, [(before, after)])
    event = _draft(
        "reconciliation.adopted",
        exception_id,  # names the change; a change may have several exceptions to accept
        after,
        actor=actor,
        reason_code="accepted",
    )
    return append(session, [event], database_now(session))


def adopt(
    session: Session, adoptions: Sequence[Adoption], passwords: Mapping[str, str], actor: str
) -> tuple[LedgerEvent, ...]:
    """Take services that were live before us into the ledger; nothing is sent (D3).

    Their RADIUS rows are written in the same transaction; a foreign group with other rates
    refuses the row, and with it the import.
    """
    if not adoptions:
        return ()
    _refuse_future(session, adoptions)
    before = services_many(session, [adoption.service_id for adoption in adoptions])
    tiers = {tier.code: tier for tier in list_tiers(session)}
    plans = {plan.code: plan for plan in list_plans(session)}
    devices = {device.name: device for device in list_devices(session)}
    events = []
    moves = []
    for service, adoption in zip(before, adoptions, strict=True):
        plan = plans[adoption.plan_code]
        after = replace(
            service,
            plan_code=plan.code,
            tier_code=plan.tier_code,
            state=_state(adoption.state),
            version=service.version + 1,
            active_since=adoption.active_since,
            billing_from=adoption.billing_from,
        )
        moves.append((service, after))
        events.append(
            _draft(
                "service.adopted",
                f"import:{service.service_id}",
                after,
                effective_at=adoption.active_since,
                actor=actor,
                reason_code="import",
                payload=_payload(
                    after, price_policy=plan.price_policy, billing_from=adoption.billing_from
                ),
            )
        )
    bind_adopted(session, [after for _, after in moves], tiers, devices, passwords)
    keep_services(session, moves)
    return append(session, events, database_now(session))


def _refuse_future(session: Session, adoptions: Sequence[Adoption]) -> None:
    now = database_now(session)
    for adoption in adoptions:
        if adoption.active_since > now:
            raise WrongUse(
                adoption.service_id,
                f"cannot have been active since {adoption.active_since:%Y-%m-%d}: not yet",
                "Leave active_since out, and activate it when its time comes.",
            )


def _tier(item: PlanItem) -> Tier:
    return Tier(code=item.after.tier_code, rate=item.after.rate)


def _after(service: Service, item: PlanItem, now: dt.datetime, account: Account) -> Service:
    born = service.state in ("none", "terminated")
    return replace(
        service,
        plan_code=item.after.plan_code,
        tier_code=item.after.tier_code,
        state=_state(item.after.state),
        version=service.version + 1,
        active_since=now if born else service.active_since,
        billing_from=local_date(now, account.time_zone) if born else service.billing_from,
    )


def _without(session: Session, taken_back: Mapping[str, str]) -> dict[str, Service]:
    """Return the services as they are when the ledger forgets one event of each (D5).

    `taken_back` maps service_id to event_id; services with "" are left out.
    """
    wanted = [service_id for service_id, event_id in taken_back.items() if event_id]
    events = find_by_services(session, wanted)
    found = {}
    for service in services_many(session, wanted):
        service_id = service.service_id
        folded = fold_without(service_id, events[service_id], taken_back[service_id])
        found[service_id] = replace(
            service,
            plan_code=folded.plan_code,
            tier_code=folded.tier_code,
            state=folded.state,
            version=folded.version,
            active_since=folded.active_since,
            billing_from=folded.billing_from,
        )
    return found


def _state(text: str) -> ServiceState:
    (state,) = (known for known in get_args(ServiceState) if known == text)
    return state  # type: ignore[no-any-return]  # checked above


def _payload(service: Service, **more: Any) -> dict[str, Any]:
    return service_payload(
        plan=service.plan_code, tier=service.tier_code, state=service.state, **more
    )


def _draft(kind: str, key: str, service: Service, **more: Any) -> NewEvent:
    """Return an event of a service as it is after it; `key` makes it one of its kind for ever."""
    filled: dict[str, Any] = {"event_id": new_id(), "payload": _payload(service)} | more
    return NewEvent(
        source=SOURCE,
        idempotency_key=f"{key}:{kind}",
        type=kind,
        account_id=service.account_id,
        service_id=service.service_id,
        service_version=service.version,
        **filled,
    )


def _event(
    plans: Mapping[str, SoldAs],
    order: OrderRow,
    change: ChangeRow,
    item: PlanItem,
    after: Service,
    evidence: Mapping[str, Sequence[Evidence]],
) -> NewEvent:
    born = item.order.kind == "activate" and not item.order.reverses
    policy = plans[after.plan_code].price_policy if after.plan_code else ""
    return _draft(
        "event.reversed" if item.order.reverses else EVENT_TYPES[item.order.kind],
        change.order_id,
        after,
        event_id=order.event_id,
        change_id=change.change_id,
        reverses_event_id=item.order.reverses,
        actor=order.actor,
        reason_code=order.reason_code,
        price_version_id=item.price_version_id,
        payload=_payload(
            after,
            price_policy=policy,
            rolls_back=item.order.rolls_back,
            billing_from=after.billing_from if born else None,
            evidence=tuple(evidence.get(change.service_id, ())),
        ),
    )
