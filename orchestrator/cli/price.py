"""`bandmaster price`: what a plan costs one service, in place of what the catalogue says."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import desk
from .credit import EXIT_WAITING, Key, Reason
from .options import JsonFlag, command, new_group
from .output import data, say, table

if TYPE_CHECKING:
    from billing_bridge import CreditRow, Override
    from inventory import Plan

Service = Annotated[str, typer.Argument(help="The service.", metavar="SERVICE")]
Price = Annotated[str, typer.Argument(help="For a whole period of its plan.", metavar="PRICE")]


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Prices for one service, above a limit by two people.")
    command(
        group,
        "override",
        'price override svc-1042 19.90 --until 2027-03-01 --reason "spring offer"',
        'price override svc-1042 0 --from 2027-01-01 --until 2027-02-01 --reason "first month"',
    )(override)
    command(group, "list", "price list svc-1042")(list_)
    app.add_typer(group, name="price")


def override(
    service: Service,
    price: Price,
    reason: Reason,
    since: Annotated[
        str, typer.Option("--from", help="First date; today if left out.", metavar="DATE")
    ] = "",
    until: Annotated[
        str, typer.Option(help="First date at the catalogue's price again.", metavar="DATE")
    ] = "",
    key: Key = "",
    json: JsonFlag = False,
) -> None:
    """Let a service's plan cost something else from one date until another, and no longer.

    What was billed otherwise is corrected with the next bill. If it changes what is owed (without
    an end: in a year) by more than the setting credit_limit_minor it waits for another person
    (exit 3). What waits is approved and rejected, and what stands is taken back, as a credit is:
    bandmaster credit approve, reject, reverse. Another plan costs what the catalogue says.
    """
    from inventory import new_id
    from orchestrator.credits import PriceOrder
    from orchestrator.credits import override as act

    order = PriceOrder(
        service_id=service,
        price=price,
        since=_date(since, "--from"),
        until=_date(until, "--until"),
        reason=reason,
        idempotency_key=key or new_id(),
    )
    with desk.office() as office:
        row = act(office, order, desk.actor())
    _told(row, price, json=json)


def list_(service: Service, json: JsonFlag = False) -> None:
    """List the prices of a service that stand by the ledger, by date; what waits: credit list."""
    from billing_bridge import find_by_services, fold_service
    from inventory import find_service, list_plans
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        find_service(session, service)
        told = find_by_services(session, (service,))[service]
        found = sorted(fold_service(service, told).overrides, key=lambda each: each.since)
        plans = {plan.code: plan for plan in list_plans(session)}
    if json:
        data(found)
    elif found:
        table(("event", "plan", "price", "from", "until"), [_row(one, plans) for one in found])
    else:
        say(f"{service} costs what the catalogue says.")


def _date(text: str, option: str) -> dt.date | None:
    from inventory import WrongUse

    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise WrongUse(f"{option} {text}", "is no date", "Write it like 2027-03-01.") from None


def _told(row: CreditRow, price: str, *, json: bool) -> None:
    from inventory import money_text
    from orchestrator.journal import short

    shown = short(row.credit_id, "m")
    worth = money_text(row.amount_minor, row.currency, row.exponent)
    waits = row.state == "waiting"
    if json:
        data(row.model_dump(), acted=True)
    else:
        becomes = "waits for a second person" if waits else f"is {row.state}"
        say(f"{shown}: {row.currency} {price} for {row.service_id} {becomes}; worth {worth}.")
    if waits and not json:
        say(f"Another person runs: bandmaster credit approve {shown}")
    raise typer.Exit(EXIT_WAITING if waits else 0)


def _row(one: Override, plans: dict[str, Plan]) -> tuple[Any, ...]:
    from inventory import money_text
    from orchestrator.journal import short

    plan = plans[one.plan_code]
    price = money_text(one.price_minor, plan.currency, plan.exponent)
    ends = str(one.until or "-")
    return (short(one.event_id, "e"), one.plan_code, price, str(one.since), ends)
