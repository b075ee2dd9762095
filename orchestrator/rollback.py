"""Undoing a change: a new change back, or an event taken out of the ledger's fold (D5)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from billing_bridge import acts, find_by_service
from inventory import NotNewest, Refused, UnknownName, WrongUse, new_id
from workflows import ChangeKind, ChangePlan, Order, PlanItem, item_from_json

from .apply import close_applied
from .database import reading
from .journal import short
from .office import Office
from .plan import make_plan
from .rows import ChangeRow, OrderRow

BACK: dict[str, ChangeKind] = {
    "activate": "terminate",
    "tier": "tier",
    "suspend": "resume",
    "resume": "suspend",
    "terminate": "activate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How an undo is asked for: by whom, why, and whether the change shall count as never made."""

    actor: str
    reason: str = ""
    ticket: str = ""
    as_never: bool = False


def plan_rollback(
    office: Office, identifier: str, undo: Undo, *, service_id: str = ""
) -> ChangePlan:
    """Plan the way back of a change, or of every done change of a set (`service_id` picks one).

    Raises NotNewest where a service has a newer change, and WrongUse where nothing was done that
    could be undone.
    """
    with reading(office.engine) as session:
        rows = _rows(session, identifier, service_id)
    close_applied(office, tuple(row.service_id for row in rows))
    with reading(office.engine) as session:
        orders = tuple(_order(session, row, undo) for row in rows)
    return make_plan(office, orders, skip=False)


def _rows(session: Session, identifier: str, service_id: str) -> tuple[ChangeRow, ...]:
    found = session.exec(
        select(ChangeRow).where(
            (col(ChangeRow.change_id) == identifier) | (col(ChangeRow.set_id) == identifier)
        )
    ).all()
    if not found:
        raise UnknownName(identifier, "is not a change", "See: bandmaster change list")
    chosen = [row for row in found if service_id in ("", row.service_id)]
    if not chosen:
        raise UnknownName(service_id, f"has no change in {identifier}")
    done = tuple(row for row in chosen if row.outcome == "done")
    if not done:
        raise WrongUse(
            short(chosen[0].change_id, "c"),
            f"was not done but {chosen[0].outcome}, so there is nothing to undo",
            "See what happened: bandmaster change show " + short(chosen[0].change_id, "c"),
        )
    return done


def _order(session: Session, row: ChangeRow, undo: Undo) -> Order:
    order = session.get_one(OrderRow, row.order_id)
    event_id = _event_to_undo(session, row, order)
    item: PlanItem = item_from_json(row.item)
    if undo.as_never and not undo.reason:
        raise WrongUse("--as-never", "needs a reason", "Add --reason TEXT.")
    if undo.as_never and row.kind == "service" and item.order.reverses:
        raise Refused(short(row.change_id, "c"), "is itself an undo", "Order the tier wanted.")
    key = new_id()
    return Order(
        order_id=key,
        idempotency_key=key,
        kind=BACK[order.kind],
        service_id=row.service_id,
        plan_code=item.before.plan_code if BACK[order.kind] in ("tier", "activate") else "",
        actor=undo.actor,
        reason_code="as_never" if undo.as_never else "rollback",
        reason=undo.reason,
        ticket=undo.ticket,
        rolls_back="" if undo.as_never else event_id,
        reverses=event_id if undo.as_never else "",
    )


def _event_to_undo(session: Session, row: ChangeRow, order: OrderRow) -> str:
    """Return the change's event, which must be the service's newest act; NotNewest otherwise."""
    living = acts(find_by_service(session, row.service_id))
    newest = living[-1] if living else None
    if newest is None or newest.event_id != order.event_id:
        name = short(newest.change_id, "c") if newest else "none"
        raise NotNewest(
            row.service_id,
            f"has a newer change than {short(row.change_id, 'c')}: {name}",
            f"Undo that one first: bandmaster change rollback {name}",
        )
    return order.event_id
