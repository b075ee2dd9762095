"""Applying a plan: checks, sets cut to size, re-runs without what was refused (D2)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import replace

from sqlalchemy import bindparam, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, select

from billing_bridge import ledger_head
from inventory import OnHold, OpenChange, Refused, StalePlan, UnknownName, table_of
from workflows import ChangePlan, PlanItem, plan_from_json

from .coordinator import SetResult, run_set
from .database import database_now, reading, writing
from .exceptions import list_open
from .interrupt import Interrupts
from .journal import find_orders, list_open_changes, open_change, short
from .office import Office
from .outcome import ItemOutcome, Outcome
from .recover import outcomes, recover
from .rows import ChangeRow, HoldRow, OrderRow, PlanRow

_CHANGE = table_of(ChangeRow)
_PLAN = table_of(PlanRow)
_TRIES = (
    select_columns(_CHANGE.c.change_id, _CHANGE.c.set_id)
    .where(_CHANGE.c.order_id.in_(bindparam("order_ids", expanding=True)))
    .order_by(_CHANGE.c.change_id)
)
_HOLDS = select(HoldRow)
_BEGUN = update(_PLAN).where(_PLAN.c.plan_id == bindparam("the_plan")).values(status="applied")
RERUNS = 2
LINE_S = 0.05  # a slow box's time for one line; loopback emulators take a fifth of it


def load_plan(session: Session, plan_id: str) -> tuple[ChangePlan, PlanRow]:
    """Return a stored plan whose hash still is the one it was shown with; else StalePlan."""
    row = session.get(PlanRow, plan_id)
    if row is None:
        raise UnknownName(plan_id, "is not a change plan", "See: bandmaster change list")
    altered = StalePlan(
        plan_id, "is not what was shown: its stored text was changed", "Plan again."
    )
    try:
        plan = plan_from_json(json.loads(row.body))
    except (ValueError, KeyError, TypeError) as error:
        raise altered from error
    longer = row.expires_at > plan.expires_at  # a shorter life is no harm
    if plan.plan_id != row.plan_id or longer or plan.plan_hash() != row.plan_hash:
        raise altered
    return plan, row


def apply_plan(
    office: Office, interrupts: Interrupts, plan_id: str, *, set_max: int = 0
) -> Outcome:
    """Apply a frozen plan and return what became of each service.

    Applying it again skips what is done. Raises StalePlan, OnHold, OpenChange or LeaseHeld
    where nothing could be started at all.
    """
    started = office.clock.boottime_s()
    office.check_store()
    with reading(office.engine) as session:
        plan, row = load_plan(session, plan_id)
        done = done_before(session, plan)
        left = tuple(item for item in plan.items if item.order.service_id not in done)
        if left:
            _check_row(session, row)
    refuse_blocked(office, left)
    results: list[ItemOutcome] = list(done.values())
    with writing(office.engine) as session:
        session.connection().execute(_BEGUN, {"the_plan": plan_id})
    limit = set_max or office.settings.set_max
    for part in cut(left, limit, office.settings.revert_after_s / 2):
        results += _run_part(office, interrupts, plan, part)
        if interrupts.requested:
            break
    return Outcome(
        items=tuple(results),
        last_seq=_last_seq(office),
        elapsed_s=office.clock.boottime_s() - started,
    )


def cut(
    items: tuple[PlanItem, ...], limit: int, prepare_s: float
) -> tuple[tuple[PlanItem, ...], ...]:
    """Sort by (BNG, OLT, service) and cut into sets (D2).

    A set ends after `limit` services, or where one of its devices would take longer than
    `prepare_s` to prepare: a revert timer must not run out under the slowest of them.
    """

    def place(item: PlanItem) -> tuple[tuple[str, ...], str]:
        return (tuple(part.device for part in item.devices), item.order.service_id)

    parts: list[list[PlanItem]] = []
    spent: Counter[str] = Counter()
    for item in sorted(items, key=place):
        lines = Counter({part.device: len(part.item.forward) for part in item.devices})
        longest = max((spent + lines).values(), default=0) * LINE_S
        if not parts or len(parts[-1]) >= limit or longest > prepare_s:
            parts.append([])
            spent = Counter()
        parts[-1].append(item)
        spent += lines
    return tuple(tuple(part) for part in parts)


def _check_row(session: Session, row: PlanRow) -> None:
    if row.status == "cancelled":
        raise StalePlan(row.plan_id, "was cancelled", "Plan again.")
    if database_now(session) > row.expires_at:
        raise StalePlan(
            row.plan_id, f"has expired at {row.expires_at:%Y-%m-%d %H:%M}Z", "Plan again."
        )


def done_before(session: Session, plan: ChangePlan) -> dict[str, ItemOutcome]:
    """Return what earlier applies of the same orders ended with, by service (P14)."""
    orders = find_orders(session, [item.order.idempotency_key for item in plan.items])
    return {
        outcome.service_id: replace(outcome, earlier=True)
        for outcome in order_outcomes(session, tuple(orders.values()))
        if outcome.ending in ("done", "reversed")
    }


def order_outcomes(session: Session, orders: tuple[OrderRow, ...]) -> tuple[ItemOutcome, ...]:
    """Return what became of each try at these orders, oldest first."""
    if not orders:
        return ()
    where = {"order_ids": [order.order_id for order in orders]}
    tries = session.connection().execute(_TRIES, where)
    set_of = {row.change_id: row.set_id for row in tries}
    return tuple(
        outcome
        for set_id in dict.fromkeys(set_of.values())
        for outcome in outcomes(session, set_id)
        if outcome.change_id in set_of
    )


def refuse_blocked(office: Office, items: tuple[PlanItem, ...]) -> None:
    """Close what is only waiting for its closing pass; refuse what is held, open or disputed."""
    service_ids = tuple(item.order.service_id for item in items)
    close_applied(office, service_ids)
    with reading(office.engine) as session:
        problems = blocked_many(session, service_ids)
        for service_id in service_ids:
            if service_id in problems:
                raise problems[service_id]
        names = {part.device for item in items for part in item.devices}
        names |= {part.device for item in items for part in item.session}
        held = held_by(session, names)
        if held is not None:
            raise held


def close_applied(office: Office, service_ids: tuple[str, ...]) -> None:
    """Run the closing pass for services whose change is applied but not closed (D6)."""
    with reading(office.engine) as session:
        waiting = frozenset(
            change.service_id
            for change in list_open_changes(session, service_ids)
            if change.applied_at is not None
        )
    if waiting:
        office.tell("settle", f"closing the last change of {', '.join(sorted(waiting)[:3])} first")
        recover(office, wait_settle=True, service_ids=waiting)


def blocked(session: Session, service_id: str) -> OpenChange | None:
    """Return why a service can take no change now: an open change or an open exception."""
    return blocked_many(session, (service_id,)).get(service_id)


def blocked_many(session: Session, service_ids: tuple[str, ...]) -> dict[str, OpenChange]:
    """Return why services can take no change now, by service_id; the others are left out."""
    if not service_ids:
        return {}
    found = {
        row.service_id: OpenChange(
            row.service_id,
            f"has an open exception: {row.participant} {row.cause}",
            f"Settle it first: bandmaster exceptions show {row.exception_id}",
        )
        for row in reversed(list_open(session, service_ids=service_ids))  # the dearest stands
    }
    changes = list_open_changes(session, service_ids)
    return found | {change.service_id: open_change(change) for change in changes}


def held_by(session: Session, devices: AbstractSet[str]) -> OnHold | None:
    """Return the hold that stands in the way of these devices."""
    for row in session.exec(_HOLDS):
        if row.device == "*" or row.device in devices:
            where = "everything" if row.device == "*" else row.device
            return OnHold(
                where,
                f"is on hold since {row.since:%Y-%m-%d %H:%M}Z by {row.actor}: {row.reason}",
                "When that is over: bandmaster release"
                + ("" if row.device == "*" else f" --device {row.device}"),
            )
    return None


def _run_part(
    office: Office, interrupts: Interrupts, plan: ChangePlan, part: tuple[PlanItem, ...]
) -> list[ItemOutcome]:
    """Run one set; leave the refused ones out and run it again, at most twice, then by device."""
    refused: dict[str, ItemOutcome] = {}
    left = part
    for attempt in range(1, RERUNS + 2):
        result = run_set(office, interrupts, plan.plan_id, left, attempt)
        found = _set_outcomes(office, result, left)
        again = _may_rerun(plan, result, left) and not interrupts.requested
        if not again:
            return [*refused.values(), *found]
        refused |= {item.service_id: item for item in found if item.service_id in result.refusals}
        left = tuple(item for item in left if item.order.service_id not in result.refusals)
        office.tell("change set", f"{len(result.refusals)} refused, again with {len(left)}")
    return [*refused.values(), *_by_device(office, interrupts, plan, left)]


def _may_rerun(plan: ChangePlan, result: SetResult, left: tuple[PlanItem, ...]) -> bool:
    if plan.all_or_nothing or result.decided == "COMMIT" or not result.refusals:
        return False
    named = {item.order.service_id for item in left} & result.refusals.keys()
    return bool(named) and len(named) < len(left)


def _by_device(
    office: Office, interrupts: Interrupts, plan: ChangePlan, left: tuple[PlanItem, ...]
) -> list[ItemOutcome]:
    """The last resort of D2: each group of devices by itself, without another re-run."""
    groups: dict[tuple[str, ...], list[PlanItem]] = {}
    for item in left:
        groups.setdefault(tuple(part.device for part in item.devices), []).append(item)
    found: list[ItemOutcome] = []
    for group in groups.values():
        items = tuple(group)
        result = run_set(office, interrupts, plan.plan_id, items, RERUNS + 2)
        found += _set_outcomes(office, result, items)
    return found


def _set_outcomes(
    office: Office, result: SetResult, items: tuple[PlanItem, ...]
) -> list[ItemOutcome]:
    if result.set_id:
        with reading(office.engine) as session:
            found = outcomes(session, result.set_id)
        return [
            replace(item, reason=result.refusals.get(item.service_id, item.reason))
            for item in found
        ]
    if len(items) == 1:
        # nothing was started at all: the plan is simply not true any more
        raise StalePlan(
            items[0].order.service_id,
            next(iter(result.refusals.values())),
            "Nothing was touched.",
        )
    return [
        ItemOutcome(
            service_id=item.order.service_id,
            change_id="",
            ending="refused",
            reason=result.refusals.get(item.order.service_id, "left out with its set"),
        )
        for item in items
    ]


def _last_seq(office: Office) -> int:
    with reading(office.engine) as session:
        return ledger_head(session).seq


def cancel_plan(office: Office, plan_id: str) -> None:
    """Cancel a plan that was not applied; Refused if it was."""
    with writing(office.engine) as session:
        row = session.get(PlanRow, plan_id)
        if row is None:
            raise UnknownName(plan_id, "is not a change plan", "See: bandmaster change list")
        if row.status == "applied":
            raise Refused(
                short(plan_id, "p"),
                "has been applied",
                "To undo it: bandmaster change rollback CHANGE_ID",
            )
        row.status = "cancelled"
