"""The money of a change plan is what the ledger says once the change is made."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from billing_bridge import Charged, charged_history, find_by_service, fold_service, full_price
from inventory import find_account, find_service, list_plans, local_date
from orchestrator.database import database_now, reading
from orchestrator.exceptions import list_open
from orchestrator.imports import import_files
from orchestrator.invoicing import draft_run, finalise, next_bill
from orchestrator.restore import after_restore
from orchestrator.rollback import Undo, plan_rollback
from tests.orchestrator.billing_world import BILLS, quiet
from tests.orchestrator.rig import Rig, truth
from workflows import ChangePlan

ONE = "svc-1001"
GOLD = """plans:
- code: gold
  name: Gold
  tier: fiber-500
  currency: EUR
  price_policy: pinned
  suspend: hold_fee
  suspend_unpaid: continue
  prices:
  - {from: 2025-01-01, amount: 40, hold: 5}
"""


def sell(rig: Rig, folder: Path, text: str) -> None:
    file = folder / "gold.yaml"
    file.write_text(text, encoding="utf-8")
    import_files(rig.office, (file,), "tester")


def charged(rig: Rig) -> Charged:
    """What is charged for the service now, by the ledger."""
    with reading(rig.office.engine) as session:
        service = find_service(session, ONE)
        zone = find_account(session, service.account_id).time_zone
        plans = {plan.code: plan for plan in list_plans(session)}
        folded = fold_service(ONE, find_by_service(session, ONE))
        today = local_date(database_now(session), zone)
    history = charged_history(folded, plans, zone)
    assert full_price(history, plans, today) == full_price(history[-1:], plans, today)
    return history[-1]


def today(rig: Rig) -> dt.date:
    with reading(rig.office.engine) as session:
        return database_now(session).date()


def net(plan: ChangePlan) -> tuple[int, int]:
    (item,) = plan.items
    return item.money.then_minor, item.monthly_delta_minor


def test_a_rollback_brings_back_the_price_that_was_pinned(rig: Rig, tmp_path: Path) -> None:
    """Goal: a mistaken change costs no contract its price. Method: the price rises meanwhile."""
    sell(rig, tmp_path, GOLD)
    assert rig.tier(ONE, "gold").exit_code() == 0
    assert charged(rig).price_version_id == "gold@2025-01-01"
    yesterday = today(rig) - dt.timedelta(days=1)
    sell(rig, tmp_path, GOLD + f"  - {{from: {yesterday}, amount: 60, hold: 5}}\n")
    outcome = rig.tier(ONE, "fiber-1000")
    assert outcome.exit_code() == 0
    back = plan_rollback(rig.office, outcome.items[0].change_id, Undo(actor="tester"))
    assert net(back)[0] == 4000
    assert rig.apply(back).exit_code() == 0
    assert truth(rig, ONE).plan == "gold"
    assert charged(rig).price_version_id == "gold@2025-01-01"
    # who orders it anew has the price of today
    assert rig.tier(ONE, "fiber-100").exit_code() == 0
    assert net(rig.plan(rig.order(ONE, "gold")))[0] == 6000


@pytest.mark.parametrize(
    ("reason", "then_minor", "delta", "charge"),
    [("requested", 500, -3500, "hold"), ("non_payment", 4000, 0, "service")],
)
def test_a_suspension_is_shown_and_charged_as_the_plan_says(
    rig: Rig, tmp_path: Path, reason: str, then_minor: int, delta: int, charge: str
) -> None:
    sell(rig, tmp_path, GOLD)
    assert rig.tier(ONE, "gold").exit_code() == 0
    plan = rig.plan(replace(rig.order(ONE, "", "suspend"), reason_code=reason))
    assert net(plan) == (then_minor, delta)
    assert rig.apply(plan).exit_code() == 0
    entry = charged(rig)
    assert (entry.plan_code, entry.charge) == ("gold", charge)
    assert entry.price_version_id == "gold@2025-01-01"
    back = rig.plan(rig.order(ONE, "", "resume"))
    assert net(back) == (4000, -delta)


def test_what_a_restore_finds_is_priced_as_it_is_charged(rig: Rig, tmp_path: Path) -> None:
    """Goal: a pinned contract is at stake at its own price. Method: the price rises meanwhile."""
    sell(rig, tmp_path, GOLD)
    assert rig.tier(ONE, "gold").exit_code() == 0
    yesterday = today(rig) - dt.timedelta(days=1)
    sell(rig, tmp_path, GOLD + f"  - {{from: {yesterday}, amount: 60, hold: 5}}\n")
    unit = "set interfaces ge-0/0/1 unit 1001 family inet policer"
    lines = [f"{unit} input UP-200M", f"{unit} output DOWN-1000M"]
    rig.fleet.control(rig.isp.bng, "edit", lines=lines)
    after_restore(rig.office, "tester")
    with reading(rig.office.engine) as session:
        (row,) = list_open(session)
    assert row.at_stake_minor == 7999 - 4000


def test_the_preview_is_what_the_next_invoice_says(rig: Rig) -> None:
    """Goal: a change plan counts what was really billed (D11). Method: bill, change, bill."""
    with reading(rig.office.engine) as session:
        account = find_account(session, find_service(session, ONE).account_id)
        on = local_date(database_now(session), account.time_zone)
    engine = rig.office.engine
    unbilled = rig.plan(rig.order(ONE, "fiber-1000")).items[0].money
    run = draft_run(engine, BILLS, account.legal_entity, on, "tester", quiet).run
    assert finalise(engine, BILLS, run.run_id, "tester", quiet, early=True).issued > 0
    plan = rig.plan(rig.order(ONE, "fiber-1000"))
    assert plan.items[0].money == unbilled  # the whole period was billed, as was assumed
    assert rig.apply(plan).exit_code() == 0
    again = rig.plan(rig.order(ONE, "fiber-100"))
    for expected in (plan, again):
        if expected is again:
            assert rig.apply(again).exit_code() == 0
        with reading(engine) as session:
            bills = next_bill(session, BILLS, account, on + dt.timedelta(days=40))
        money = expected.items[0].money
        now = [
            line.amount_minor
            for bill in bills
            for line in bill.lines
            if line.service_id == ONE and line.period_from == money.period_from
        ]
        assert sum(now) == money.net_minor
