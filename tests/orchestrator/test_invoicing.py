"""What an account is billed: in advance and in arrears, once, and corrected when it was wrong."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.orchestrator.billing_world import World, make_world, said, sold


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """An account of the first of the month, and two plans billed in advance."""
    made = make_world(empty_engine)
    made.sell(sold("f100", 3000), sold("f500", 6000), sold("later", 3000, bill_in="arrears"))
    made.account()
    return made


def test_the_first_bill_has_the_days_so_far_and_the_next_period(world: World) -> None:
    world.starts("svc-1", "f100", "2026-03-17T10:00")
    outcome = world.run("2026-04-01")
    assert outcome.issued == 1
    ((invoice, lines),) = world.billed()
    assert said(lines) == [
        ("recurring", "f100", "2026-03-17", "2026-04-01", 1452),  # 15 of 31 days
        ("recurring", "f100", "2026-04-01", "2026-05-01", 3000),
    ]
    assert (invoice.number, invoice.state) == ("isp-000001", "final")
    assert (invoice.net_minor, invoice.tax_minor, invoice.total_minor) == (4452, 890, 5342)
    assert world.run("2026-04-01").issued == 0
    assert world.run("2026-04-30").issued == 0
    assert world.run("2026-05-01").issued == 1
    assert said(world.billed()[1][1]) == [
        ("recurring", "f100", "2026-05-01", "2026-06-01", 3000),
    ]


def test_a_change_is_credited_and_charged_on_the_next_bill(world: World) -> None:
    world.starts("svc-1", "f100", "2026-03-01T00:00")
    world.run("2026-04-01")
    world.does("svc-1", "tier.changed", "f500", "2026-04-16T12:00")
    world.run("2026-05-01")
    lines = world.billed()[1][1]
    assert said(lines) == [
        ("correction", "f100", "2026-04-16", "2026-05-01", -1500),
        ("recurring", "f500", "2026-04-16", "2026-05-01", 3000),
        ("recurring", "f500", "2026-05-01", "2026-06-01", 6000),
    ]
    assert (lines[0].numerator, lines[0].denominator) == (-15, 30)


def test_arrears_bill_what_is_over(world: World) -> None:
    world.starts("svc-1", "later", "2026-03-17T10:00")
    world.run("2026-04-01")
    world.run("2026-05-01")
    assert [said(lines) for _, lines in world.billed()] == [
        [("recurring", "later", "2026-03-17", "2026-04-01", 1452)],
        [("recurring", "later", "2026-04-01", "2026-05-01", 3000)],
    ]
