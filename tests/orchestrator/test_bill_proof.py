"""L12: bills that stand hold what the ledger owed when they were made, and the gate sees if not."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine, insert, text

from billing_bridge import Found
from inventory import Refused, rows
from orchestrator.database import reading
from orchestrator.gate import check
from orchestrator.invoicing import draft_run, finalise, void_invoice
from tests.orchestrator.billing_world import BILLS, MARCH, World, make_world, quiet, sold

GB = 10**9


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """Two services billed in advance, one that pays for its volume, one for its rate."""
    made = make_world(empty_engine)
    made.sell(
        sold("f100", 3000),
        sold("f500", 6000),
        sold("metered", 1000, allowance_bytes=GB, block_bytes=GB, block_minor=50),
        sold("leased", 5000, commit_kbps=1000, burst_minor=300),
    )
    made.account()
    return made


def damage(world: World, *statements: str) -> None:
    """Do what only an owner of the tables can."""
    with world.engine.begin() as connection:
        if world.engine.dialect.name == "sqlite":
            names = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'invoice%'"
            for name in connection.execute(text(names)).scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            for table in ("invoice", "invoice_line"):
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            connection.execute(text(statement))


def told(found: list[Found]) -> list[tuple[str, str, int]]:
    return [(one.subject, one.what, one.money.at_risk_minor) for one in found]


def test_what_came_later_is_the_next_bills_and_no_fault(world: World) -> None:
    """Goal: no false alarm stops a run. Method: each reason for which bill and ledger now differ.

    A change, its backdating and late usage after the bill; a bill taken back; a line held.
    """
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.starts("svc-2", "metered", "2025-03-01T00:00")
    world.starts("svc-3", "leased", "2025-03-01T00:00")
    world.uses("svc-2", "down", "2025-03-05", 3 * GB)
    world.uses("svc-3", "p95", "2025-03-01", 3_000_000, days=31)
    held = world.holds("svc-3")
    world.run("2025-04-01")
    world.does("svc-1", "tier.changed", "f500", "2025-03-20T12:00")
    world.uses("svc-2", "down", "2025-03-07", 5 * GB)
    assert world.unlike_ledger("2025-04-02") == []
    world.frees(held)
    assert world.unlike_ledger("2025-04-02") == []
    world.run("2025-05-01")
    bills = BILLS.__class__(grace_hours=0, backdate_days=100_000, tax=BILLS.tax)
    for invoice in world.invoices(state="final"):
        void_invoice(world.engine, bills, invoice.invoice_id, "anna", "wrong account")
        assert world.unlike_ledger("2025-05-02") == []


def test_a_line_that_the_ledger_does_not_say_is_found_with_its_place(world: World) -> None:
    """Goal: sum(billed) = rate(fold). Method: each kind of line made wrong, with the bill's sum."""
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.starts("svc-2", "metered", "2025-03-01T00:00")
    world.starts("svc-3", "leased", "2025-03-01T00:00")
    world.uses("svc-2", "down", "2025-03-05", 3 * GB)
    world.uses("svc-3", "p95", "2025-03-01", 3_000_000, days=31)
    with world.engine.begin() as connection:
        row = {"service_id": "svc-2", "plan_code": "metered", "tier_code": "metered",
               "state": "active", "version": 1, "active_since": MARCH,
               "billing_from": MARCH.date()}  # fmt: skip
        connection.execute(insert(rows.SERVICE).values(row))
    world.run("2025-04-01")
    world.does("svc-1", "tier.changed", "f500", "2025-04-16T00:00")
    first = world.invoices()[0]
    damage(
        world,
        "UPDATE invoice_line SET amount_minor = amount_minor + 1 WHERE service_id = 'svc-1' "
        "AND period_from = '2025-03-01'",
        "UPDATE invoice_line SET amount_minor = amount_minor - 2 WHERE kind = 'usage'",
        "UPDATE invoice_line SET amount_minor = amount_minor + 1 WHERE kind = 'burst'",
    )
    found = world.unlike_ledger("2025-04-20")
    assert told(found) == [
        ("svc-1 f100 recurring 2025-03-01 to 2025-04-01",
         "svc-1: billed EUR 30.01 of 2025-03-01 to 2025-04-01, the ledger says EUR 30.00", -1),
        ("svc-2 metered usage 2025-03-01 to 2025-04-01",
         "svc-2: billed EUR 0.98 of 2025-03-01 to 2025-04-01, the ledger says EUR 1.00", 2),
        ("svc-3 leased burst 2025-03-01 to 2025-04-01",
         "svc-3: billed EUR 6.01 of 2025-03-01 to 2025-04-01, the ledger says EUR 6.00", -1),
    ]  # fmt: skip
    assert {(one.scope, one.blocks) for one in found} == {("run", True)}
    assert {one.command for one in found} == {f"bandmaster invoice show {first.number}"}


def test_a_line_that_is_gone_is_found_twice(world: World) -> None:
    """By what the ledger owes, and by the sum that the invoice was issued for."""
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.run("2025-04-01")
    world.run("2025-05-01")
    (first, _), (second, _) = world.billed()
    damage(world, "DELETE FROM invoice_line WHERE period_from = '2025-05-01'")
    assert told(world.unlike_ledger("2025-05-02")) == [
        ("svc-1 f100 recurring 2025-05-01 to 2025-06-01",
         "svc-1: billed EUR 0.00 of 2025-05-01 to 2025-06-01, the ledger says EUR 30.00", 3000),
        (f"sum {second.invoice_id}",
         "isp-000002: its lines add up to EUR 0.00, it was issued for EUR 30.00", 3000),
    ]  # fmt: skip
    damage(world, "UPDATE invoice SET net_minor = 1, total_minor = 1 + tax_minor")
    assert f"sum {first.invoice_id}" in {one.subject for one in world.unlike_ledger("2025-05-02")}


def test_a_check_of_wrong_bills_stops_the_next_run_and_names_the_place(world: World) -> None:
    """Goal: end to end, by the database's own clock. Method: this month, then one line altered."""
    with reading(world.engine) as session:
        today = session.execute(text("SELECT CURRENT_DATE")).scalar()
    month = dt.date.fromisoformat(str(today)).replace(day=1)
    last = (month - dt.timedelta(days=1)).replace(day=1)
    world.starts("svc-1", "f100", f"{last}T00:00")
    world.run(str(last))
    assert check(world.engine, "anna", lambda _n: None, proved_days=90).broken is False
    damage(
        world,
        "UPDATE invoice_line SET amount_minor = 2900",
        "UPDATE invoice SET net_minor = 2900, total_minor = 2900 + tax_minor",
    )
    check(world.engine, "anna", lambda _n: None, proved_days=90)
    drafted = draft_run(world.engine, BILLS, "isp", month, "anna", quiet)
    with pytest.raises(Refused, match=f"stopped by R-13: svc-1: billed EUR 29.00 of {last}"):
        finalise(world.engine, BILLS, drafted.run.run_id, "anna", quiet, early=True)
