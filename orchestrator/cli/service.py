"""`bandmaster service`: what a line can do and what is charged for it, changed as one act."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk, options
from .act import Ways, plan_and_act
from .options import JsonFlag, command, new_group
from .output import data, say

if TYPE_CHECKING:
    from orchestrator.office import Office
    from workflows import ChangeKind, ChangePlan, Order

Id = Annotated[str, typer.Argument(help="The service.", metavar="SERVICE", show_default=False)]
Goal = Annotated[str, typer.Argument(help="The plan to reach.", metavar="PLAN", show_default=False)]
File = Annotated[
    Path | None, typer.Option(help="CSV with the columns service,plan.", metavar="CSV")
]
AtSite = Annotated[str, typer.Option(help="All services at a site.", metavar="SITE")]
OnPlan = Annotated[
    str, typer.Option("--plan", help="All services that have this plan.", metavar="PLAN")
]
OnDevice = Annotated[str, typer.Option(help="All services on a device.", metavar="DEVICE")]
To = Annotated[str, typer.Option(help="The plan that filtered services reach.", metavar="PLAN")]


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Start, change, stop services. Each shows its plan and asks first.")
    command(group, "activate", "service activate svc-2001 --plan fiber-100 --ticket CHG-88001")(
        activate
    )
    command(
        group,
        "tier",
        "service tier svc-1042 fiber-500 --ticket CHG-88123",
        "service tier --file changes.csv --plan-only",
        "service tier --site fra --plan fiber-100 --to fiber-200",
    )(tier)
    command(group, "suspend", 'service suspend svc-1042 --unpaid --reason "open since May"')(
        suspend
    )
    command(group, "resume", "service resume svc-1042")(resume)
    command(group, "terminate", "service terminate svc-1042 --ticket CHG-88200")(terminate)
    app.add_typer(group, name="service")


def activate(
    service: Id,
    plan: Annotated[str, typer.Option(help="The plan to begin with.", metavar="PLAN")],
    plan_only: options.PlanOnly = False,
    yes: options.Yes = False,
    ticket: options.Ticket = "",
    reason: options.Reason = "",
    idempotency_key: options.Key = "",
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Bind a tier to the service's line, let its login in and begin to charge."""
    asked = _Asked("activate", ticket, reason, idempotency_key)
    ways = Ways(plan_only=plan_only, yes=yes, undo=options.wants_undo(show), json=json)
    _one(asked, service, plan, ways)


def tier(
    service: Id = "",
    plan: Goal = "",
    file: File = None,
    site: AtSite = "",
    on_plan: OnPlan = "",
    device: OnDevice = "",
    to: To = "",
    plan_only: options.PlanOnly = False,
    yes: options.Yes = False,
    ticket: options.Ticket = "",
    reason: options.Reason = "",
    idempotency_key: options.Key = "",
    disconnect_if_needed: options.Disconnect = False,
    all_or_nothing: options.AllOrNothing = False,
    set_max: options.SetMax = 0,
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Give a service another plan: rate and price change together, or neither does.

    Name one SERVICE and its PLAN, or many services by --file, or by --site, --plan, --device and
    --to. The matched count is shown first. Above 20 services the count is typed to confirm.
    """
    from .selection import Filters, select_changes

    asked = _Asked("tier", ticket, reason, idempotency_key, disconnect=disconnect_if_needed)
    undo = options.wants_undo(show)
    ways = Ways(plan_only=plan_only, yes=yes, undo=undo, json=json, set_max=set_max)
    filters = Filters(site=site, plan=on_plan, device=device, to=to)
    pairs = select_changes(service, plan, file, filters)
    if pairs is None:
        _one(asked, service, plan, ways)
        return

    def make(office: Office) -> ChangePlan:
        from orchestrator.plan import make_plan

        chosen = pairs(office.engine)
        orders = tuple(asked.order(name, code, many=True) for name, code in chosen)
        return make_plan(office, orders, skip=True, all_or_nothing=all_or_nothing)

    _check_ticket(asked)
    plan_and_act(make, ways)


def suspend(
    service: Id,
    unpaid: Annotated[
        bool, typer.Option("--unpaid", help="For non-payment: the plan may charge on.")
    ] = False,
    plan_only: options.PlanOnly = False,
    yes: options.Yes = False,
    ticket: options.Ticket = "",
    reason: options.Reason = "",
    idempotency_key: options.Key = "",
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Take the line down to the tier `suspended`; the plan says what is charged meanwhile."""
    asked = _Asked("suspend", ticket, reason, idempotency_key, unpaid=unpaid)
    ways = Ways(plan_only=plan_only, yes=yes, undo=options.wants_undo(show), json=json)
    _one(asked, service, "", ways)


def resume(
    service: Id,
    plan_only: options.PlanOnly = False,
    yes: options.Yes = False,
    ticket: options.Ticket = "",
    reason: options.Reason = "",
    idempotency_key: options.Key = "",
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Give a suspended service its plan back and charge for it again."""
    asked = _Asked("resume", ticket, reason, idempotency_key)
    ways = Ways(plan_only=plan_only, yes=yes, undo=options.wants_undo(show), json=json)
    _one(asked, service, "", ways)


def terminate(
    service: Id,
    plan_only: options.PlanOnly = False,
    yes: options.Yes = False,
    ticket: options.Ticket = "",
    reason: options.Reason = "",
    idempotency_key: options.Key = "",
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Switch the line off, shut its login out and stop charging."""
    asked = _Asked("terminate", ticket, reason, idempotency_key)
    ways = Ways(plan_only=plan_only, yes=yes, undo=options.wants_undo(show), json=json)
    _one(asked, service, "", ways)


class _Asked:
    """What was asked for on the command line, ready to become orders."""

    def __init__(
        self,
        kind: ChangeKind,
        ticket: str,
        reason: str,
        key: str,
        *,
        disconnect: bool = False,
        unpaid: bool = False,
    ) -> None:
        self.kind = kind
        self.ticket = ticket
        self.reason = reason
        self.key = key
        self.disconnect = disconnect
        self.unpaid = unpaid

    def order(self, service: str, plan: str, *, many: bool = False) -> Order:
        """Return the order for one service; of many each gets a key of its own."""
        from inventory import new_id
        from workflows import Order

        identifier = new_id()
        key = f"{self.key}:{service}" if self.key and many else self.key
        return Order(
            order_id=identifier,
            idempotency_key=key or identifier,
            kind=self.kind,
            service_id=service,
            plan_code=plan,
            actor=desk.actor(),
            reason_code="non_payment" if self.unpaid else "requested",
            reason=self.reason,
            ticket=self.ticket,
            disconnect_if_needed=self.disconnect,
        )


def _one(asked: _Asked, service: str, plan: str, ways: Ways) -> None:
    """Act on one service, or tell the outcome that its key has had before."""
    from orchestrator.plan import make_plan

    order = asked.order(service, plan)
    if asked.key:
        _tell_known(order, ways)
    _check_ticket(asked)
    plan_and_act(lambda office: make_plan(office, (order,), skip=False), ways)


def _tell_known(order: Order, ways: Ways) -> None:
    """End with the stored outcome where the same request was made under the same key before."""
    from orchestrator.journal import short
    from orchestrator.plan import known_outcome

    with desk.office() as office:
        known = known_outcome(office, order)
    if not known:
        return
    for item in known:
        name = short(item.change_id, "c")
        say(f"{item.service_id}: {item.ending} before under this key, by change {name}.")
    if ways.json:
        data({"known": known, "exit_code": 0})
    raise typer.Exit(0)


def _check_ticket(asked: _Asked) -> None:
    from inventory import Refused
    from orchestrator.settings import load

    if load().require_ticket and not asked.ticket:
        raise Refused("--ticket", "is needed for every change here", "Add --ticket ID.")
