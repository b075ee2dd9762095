"""`bandmaster plan`: what is sold."""

from __future__ import annotations

import datetime as dt

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import data, table


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("What is sold: plans, their tiers and prices.")
    command(group, "list", "plan list")(list_)
    app.add_typer(group, name="plan")


def list_(json: JsonFlag = False) -> None:
    """List the plans with their rates and the price in force today."""
    from inventory import list_plans, list_tiers, money_text
    from orchestrator.database import database_now, reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        plans = list_plans(session)
        tiers = {tier.code: tier for tier in list_tiers(session)}
        today: dt.date = database_now(session).date()
    if json:
        data({"plans": plans, "tiers": tuple(tiers.values())})
        return
    rows = []
    for plan in plans:
        in_force = [price for price in plan.prices if price.valid_from <= today]
        price = (
            money_text(in_force[-1].amount_minor, plan.currency, plan.exponent)
            if in_force
            else f"from {plan.prices[0].valid_from}"
        )
        every = "month" if plan.period_months == 1 else f"{plan.period_months} months"
        rates = str(tiers[plan.tier_code].rate)
        rows.append(
            (
                plan.code,
                plan.tier_code,
                rates,
                f"{price} / {every}",
                plan.bill_in,
                f"by {plan.proration}",
                plan.name,
            )
        )
    table(("plan", "tier", "down/up", "price", "billed in", "prorated", "name"), rows)
