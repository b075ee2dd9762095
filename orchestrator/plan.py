"""Planning: orders in, a frozen and stored change plan out; devices are read, nothing is sent."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from billing_bridge import (
    Charged,
    FoldedService,
    Step,
    billed_now,
    charged_history,
    find_by_services,
    fold_service,
    full_price,
    last_version,
    preview,
    with_step,
)
from device_templates import AccessSession, Objects, ProfileSeen, Reading, Section
from inventory import (
    SUSPENDED_TIER,
    Account,
    BandmasterError,
    Device,
    DeviceProblem,
    Plan,
    RadiusLogin,
    Refused,
    SecretRef,
    Service,
    ServiceState,
    Tier,
    UnknownName,
    WrongUse,
    accounts_many,
    list_devices,
    list_plans,
    list_tiers,
    local_date,
    new_id,
    password_refs,
    read_logins,
    services_many,
)
from workflows import (
    ENDS,
    ChangePlan,
    Order,
    PlanItem,
    View,
    check_start,
    design,
    no_fence,
    plan_json,
)

from .apply import blocked, blocked_many, close_applied, held_by, order_outcomes
from .database import database_now, reading, writing
from .journal import find_order, refuse_other_payload
from .office import Office
from .outcome import ItemOutcome
from .rows import PlanRow


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the store says of everything that is to be planned, read in one snapshot."""

    now: dt.datetime
    services: Mapping[str, Service]
    accounts: Mapping[str, Account]
    plans: Mapping[str, Plan]
    tiers: Mapping[str, Tier]
    devices: Mapping[str, Device]
    logins: Mapping[str, RadiusLogin]
    passwords: Mapping[str, SecretRef]  # by service_id
    folded: Mapping[str, FoldedService]
    billed: Mapping[str, int]  # of the period that holds today, where it was billed
    blocked: Mapping[str, BandmasterError]


def make_plan(
    office: Office, orders: tuple[Order, ...], *, skip: bool, all_or_nothing: bool = False
) -> ChangePlan:
    """Return a frozen, stored plan for these orders; nothing is sent to any device.

    With `skip` (filters and files) a service that cannot be changed is left out and named in
    `skipped`; without it the first problem is raised. Raises WrongUse where nothing is left.
    """
    if not orders:
        raise WrongUse("change plan", "names no service", "Name a service, a file or a filter.")
    _refuse_twice(orders)
    office.check_store()
    close_applied(office, tuple(order.service_id for order in orders))
    with reading(office.engine) as session:
        known = _know(session, orders)
    skipped: dict[str, str] = {}
    left = _sieve(orders, skipped, skip, lambda order: _check(known, order))
    readings, sessions = _look(office, known, left)
    items: list[PlanItem] = []

    def add(order: Order) -> None:
        items.append(_design(known, order, readings, sessions))

    left = _sieve(left, skipped, skip, add)
    if not items:
        why = "; ".join(sorted(set(skipped.values()))[:3])
        raise WrongUse("change plan", f"nothing is left to change: {why}")
    plan = ChangePlan(
        plan_id=new_id(),
        created_at=known.now,
        expires_at=known.now + dt.timedelta(hours=office.settings.plan_hours),
        items=tuple(items),
        skipped=tuple(sorted(skipped.items())),
        all_or_nothing=all_or_nothing,
    )
    _store(office, plan)
    return plan


def known_outcome(office: Office, order: Order) -> tuple[ItemOutcome, ...]:
    """Return what became of the same order under the same key before; () = start afresh (P14).

    Raises KeyConflict where the key was used for another request, and OpenChange while the
    earlier change is not settled.
    """
    with reading(office.engine) as session:
        stored = find_order(session, order.idempotency_key)
        if stored is None:
            return ()
        refuse_other_payload(stored, order)
        tries = order_outcomes(session, (stored,))
        if any(item.ending == "in doubt" for item in tries):
            problem = blocked(session, order.service_id)
            if problem is not None:
                raise problem
        return tuple(item for item in tries if item.ending in ("done", "reversed"))


def _refuse_twice(orders: tuple[Order, ...]) -> None:
    seen: set[str] = set()
    for order in orders:
        if order.service_id in seen:
            raise WrongUse(
                order.service_id, "is named twice", "Name each service once in a change plan."
            )
        seen.add(order.service_id)


def _sieve(
    orders: tuple[Order, ...],
    skipped: dict[str, str],
    skip: bool,  # noqa: FBT001
    act: Callable[[Order], None],
) -> tuple[Order, ...]:
    """Act on each order; what cannot be done is left out, or raised where nothing may be."""
    left = []
    for order in orders:
        try:
            act(order)
        except BandmasterError as problem:
            if not skip:
                raise
            skipped[order.service_id] = str(problem)
            continue
        left.append(order)
    return tuple(left)


def _know(session: Session, orders: tuple[Order, ...]) -> _Known:
    service_ids = [order.service_id for order in orders]
    services = services_many(session, service_ids)
    logins = [service.login for service in services if service.login]
    events = find_by_services(session, service_ids)
    stops: dict[str, BandmasterError] = {}
    places = {s.service_id: {place.device for place in s.attachments} for s in services}
    if held_by(session, set().union(*places.values())) is not None:
        for service_id, names in places.items():
            held = held_by(session, names)
            stops |= {service_id: held} if held is not None else {}
    stops |= blocked_many(session, tuple(service_ids))
    now = database_now(session)
    accounts = accounts_many(session, {service.account_id for service in services})
    paying = {s.service_id: accounts[s.account_id] for s in services}
    days = {name: (payer, local_date(now, payer.time_zone)) for name, payer in paying.items()}
    return _Known(
        now=now,
        services={service.service_id: service for service in services},
        accounts=accounts,
        plans={plan.code: plan for plan in list_plans(session)},
        tiers={tier.code: tier for tier in list_tiers(session)},
        devices={device.name: device for device in list_devices(session)},
        logins=read_logins(session, logins),
        passwords=password_refs(session, service_ids),
        folded={
            service_id: fold_service(service_id, events.get(service_id, ()))
            for service_id in service_ids
        },
        billed=billed_now(session, days),
        blocked=stops,
    )


def _check(known: _Known, order: Order) -> None:
    if order.service_id in known.blocked:
        raise known.blocked[order.service_id]
    check_start(order, known.services[order.service_id])
    if order.plan_code and order.plan_code not in known.plans:
        near = ", ".join(sorted(known.plans)[:8])
        raise UnknownName(f"plan {order.plan_code}", "is not in the catalogue", f"Plans: {near}")
    _check_password(known, order)


def _check_password(known: _Known, order: Order) -> None:
    """Refuse to charge for a login that nobody could log in with."""
    login = known.services[order.service_id].login
    if order.kind != "activate" or not login or known.logins[login].has_password:
        return
    if not known.passwords[order.service_id].ref:
        raise Refused(
            order.service_id,
            f"has the login {login} but no password, so nobody could use what is charged",
            "Add `password: env:NAME` (or file:, keyring:) to the service and import it again.",
        )


def _look(
    office: Office, known: _Known, orders: tuple[Order, ...]
) -> tuple[
    dict[str, tuple[tuple[Objects, ...], Reading | DeviceProblem]],
    dict[str, dict[str, tuple[AccessSession, ...]] | DeviceProblem],
]:
    """Read every device that carries one of the services, once, and the sessions of the logins."""
    wanted: dict[str, tuple[Objects, ...]] = {}
    logins: dict[str, tuple[str, ...]] = {}
    for order in orders:
        service = known.services[order.service_id]
        for place in service.attachments:
            if place.objects:
                wanted[place.device] = (*wanted.get(place.device, ()), dict(place.objects))
            if place.role == "bng" and service.login:
                logins[place.device] = (*logins.get(place.device, ()), service.login)
    devices = tuple(known.devices[name] for name in sorted(wanted.keys() | logins.keys()))
    with office.crew(devices, no_fence) as crew:
        readings = crew.sections(wanted)
        sessions = crew.sessions(logins)
    return {name: (wanted[name], readings[name]) for name in wanted}, sessions


def _design(
    known: _Known,
    order: Order,
    readings: Mapping[str, tuple[tuple[Objects, ...], Reading | DeviceProblem]],
    sessions: Mapping[str, dict[str, tuple[AccessSession, ...]] | DeviceProblem],
) -> PlanItem:
    service = known.services[order.service_id]
    account = known.accounts[service.account_id]
    folded = known.folded[order.service_id]
    after = _goal(order, service, folded)
    view = View(
        service=service,
        account=account,
        tier_now=known.tiers.get(service.tier_code),
        tier_then=known.tiers[known.plans[after.plan_code].tier_code],
        suspended=known.tiers.get(SUSPENDED_TIER),
        plan_then=after.plan_code,
        state_then=after.state,
        platforms={
            place.device: known.devices[place.device].platform for place in service.attachments
        },
        found={
            place.device: _section(readings, place.device, dict(place.objects))
            for place in service.attachments
            if place.objects
        },
        group_now=known.logins[service.login].group if service.login else "",
        sessions=_sessions(sessions, service),
        today=local_date(known.now, account.time_zone),
    )
    charged = charged_history(folded, known.plans, account.time_zone)
    pinned = _pinned(known, order, after, account.time_zone)
    then = _then(known, order, after, pinned)
    billed = known.billed.get(service.service_id)
    money = preview(account, known.plans, folded, then, on=view.today, billed_minor=billed)
    delta = _full_price(known, charged_history(then, known.plans, account.time_zone), view.today)
    delta -= _full_price(known, charged, view.today)
    return design(order, view, money, delta, pinned)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Goal:
    plan_code: str
    state: ServiceState
    folded: FoldedService  # the history that the change would leave, where it takes an event back


def _goal(order: Order, service: Service, folded: FoldedService) -> _Goal:
    if not order.reverses:
        plan_code = order.plan_code or service.plan_code
        return _Goal(plan_code=plan_code, state=ENDS[order.kind], folded=folded)
    left = replace(folded, history=tuple(s for s in folded.history if s.event_id != order.reverses))
    if not left.history:
        return _Goal(plan_code=service.plan_code, state="none", folded=left)
    last = left.history[-1]
    return _Goal(plan_code=last.plan_code, state=last.state, folded=left)


def _section(
    readings: Mapping[str, tuple[tuple[Objects, ...], Reading | DeviceProblem]],
    device: str,
    objects: Objects,
) -> tuple[Section, tuple[ProfileSeen, ...]]:
    wanted, reading_ = readings[device]
    if isinstance(reading_, DeviceProblem):
        raise reading_
    return reading_.sections[wanted.index(objects)], reading_.profiles


def _sessions(
    sessions: Mapping[str, dict[str, tuple[AccessSession, ...]] | DeviceProblem],
    service: Service,
) -> tuple[AccessSession, ...]:
    for place in service.attachments:
        found = sessions.get(place.device) if place.role == "bng" else None
        if isinstance(found, DeviceProblem):
            raise found
        if found is not None:
            return found.get(service.login, ())
    return ()


def _pinned(known: _Known, order: Order, goal: _Goal, zone_name: str) -> str:
    """Return the price version a new use of the plan is pinned to; "" under any other policy.

    A rollback brings back the terms that the plan was charged by, not those of today.
    """
    if order.kind not in ("activate", "tier") or order.reverses:
        return ""
    plan, today = known.plans[goal.plan_code], local_date(known.now, zone_name)
    if order.rolls_back:
        return last_version(goal.folded, known.plans, zone_name, plan.code)
    if plan.price_policy != "pinned":
        return ""
    try:
        return plan.price_on(today).price_version_id
    except LookupError as error:
        raise WrongUse(plan.code, f"has no price on {today}", "Import one first.") from error


def _then(known: _Known, order: Order, goal: _Goal, pinned: str) -> FoldedService:
    """Return the service as the ledger will tell it after the change."""
    if order.reverses:
        return goal.folded
    step = Step(
        since=max([known.now, *(step.since for step in goal.folded.history)]),
        plan_code=goal.plan_code,
        tier_code=known.plans[goal.plan_code].tier_code,
        state=goal.state,
        event_id=order.order_id,
        price_version_id=pinned,
        reason_code=order.reason_code,
    )
    return with_step(goal.folded, step)


def _full_price(known: _Known, charged: Sequence[Charged], today: dt.date) -> int:
    try:
        return full_price(charged, known.plans, today)
    except LookupError:
        return 0


def _store(office: Office, plan: ChangePlan) -> None:
    with writing(office.engine) as session:
        session.add(
            PlanRow(
                plan_id=plan.plan_id,
                plan_hash=plan.plan_hash(),
                status="open",
                created_at=plan.created_at,
                expires_at=plan.expires_at,
                body=json.dumps(plan_json(plan), sort_keys=True, ensure_ascii=False),
            )
        )
