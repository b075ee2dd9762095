"""What is sold, as it is written, kept and refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from inventory_rig import load, parse
from sqlalchemy import Engine
from test_importers_parse import problems, write

from inventory import BadFile, Plan, find_plan, list_plans
from orchestrator.database import reading

BEGIN = """tiers:
- {code: t, down_mbps: 500, up_mbps: 100}
- {code: slow, down_mbps: 10, up_mbps: 2}
plans:
"""
FULL = (
    BEGIN
    + """- code: pro
  name: Pro
  tier: t
  currency: EUR
  period_months: 3
  bill_in: arrears
  month_days: 30
  last_day_billed: true
  min_billable_days: 1
  suspend: hold_fee
  suspend_unpaid: continue
  allowance: {include: 1000 GB, counts: down, block: 50 GiB}
  fair_use: {after: 2 TB, tier: slow}
  commit: {mbps: 20}
  prices:
    - {from: 2026-06-15, amount: 32.99, hold: 5, block: 5.00, burst: 10}
    - {from: 2026-01-01, until: 2026-06-15, amount: 29.99, hold: 5, block: 5, cap: 20, burst: 9.5}
- {code: tokyo, name: T, tier: t, currency: JPY, prices: [{from: 2026-01-01, amount: 3000}]}
- {code: gulf, name: G, tier: t, currency: KWD, prices: [{from: 2026-01-01, amount: 9.125}]}
"""
)


def test_every_term_of_a_plan_is_read_and_kept(engine: Engine, tmp_path: Path) -> None:
    file = write(tmp_path / "plans.yaml", FULL)
    batch = parse(file)
    pro, tokyo, gulf = batch.plans
    assert (pro.month_days, pro.last_day_billed, pro.min_billable_days) == (30, True, 1)
    assert (pro.suspend, pro.suspend_unpaid) == ("hold_fee", "continue")
    assert (pro.allowance_bytes, pro.allowance_counts) == (10**12, "down")
    assert pro.block_bytes == 50 * 2**30
    assert (pro.fair_use_bytes, pro.fair_use_tier) == (2 * 10**12, "slow")
    assert pro.commit_kbps == 20_000
    old, new = pro.prices
    assert (old.valid_from, old.amount_minor, old.cap_minor) == (dt.date(2026, 1, 1), 2999, 2000)
    assert (old.hold_minor, old.block_minor, old.burst_minor) == (500, 500, 950)
    assert (new.price_version_id, new.amount_minor, new.cap_minor) == ("pro@2026-06-15", 3299, 0)
    assert (tokyo.exponent, tokyo.prices[0].amount_minor) == (0, 3000)
    assert (gulf.exponent, gulf.prices[0].amount_minor) == (3, 9125)
    load(engine, file)
    with reading(engine) as session:
        assert set(list_plans(session)) == set(batch.plans)
        assert find_plan(session, "pro") == pro
    again = load(engine, file)
    assert [str(count) for count in again.counts if count.kind == "plans"] == [
        "plans: 0 new, 0 changed, 3 unchanged"
    ]


def test_what_a_plan_does_not_say_is_its_default(tmp_path: Path) -> None:
    text = (
        BEGIN
        + "- {code: p, name: P, tier: t, currency: EUR, prices: [{from: 2026-01-01, amount: 1}]}"
    )
    (plan,) = parse(write(tmp_path / "p.yaml", text)).plans
    assert plan == Plan(
        code="p", name="P", tier_code="t", currency="EUR", exponent=2, prices=plan.prices
    )


PLAN = (
    BEGIN
    + "- {code: p, name: P, tier: t, currency: EUR, %s\n   prices: [{from: 2026-01-01, %s}]}\n"
)
TWO = BEGIN + (
    "- {code: p, name: P, tier: t, currency: EUR, prices: [\n"
    "   {from: 2026-01-01, amount: 1, until: %s},\n"
    "   {from: 2026-06-01, amount: 2}]}\n"
)
BAD = [
    (TWO % "2026-06-02", "p.yaml:6: plans.prices.until: overlaps the price from 2026-06-01"),
    (TWO % "2026-05-01", "p.yaml:6: plans.prices.until: leaves the days before 2026-06-01 without"),
    (TWO % "2026-01-01", "p.yaml:6: plans.prices.until: must come after 2026-01-01"),
    (TWO % "soon", "p.yaml:6: plans.prices.until: must be a date like"),
    (PLAN % ("", "amount: 1, until: 2027-01-01"), "p.yaml:6: plans.prices.until: no price follows"),
    (PLAN % ("", "amount: -29.99"), "p.yaml:6: plans.prices.amount: must be an amount of 0"),
    (PLAN % ("", "amount: 1, hold: -1"), "p.yaml:6: plans.prices.hold: must be an amount of 0"),
    (PLAN % ("", "amount: 1, hold: 1"), "p.yaml:6: plans.prices.hold: is given, but the plan does"),
    (PLAN % ("suspend: hold_fee,", "amount: 1"), "p.yaml:6: plans.prices.hold: is missing"),
    (PLAN % ("suspend_unpaid: hold_fee,", "amount: 1"), "p.yaml:6: plans.prices.hold: is missing"),
    (PLAN % ("suspend: pause,", "amount: 1"), "p.yaml:5: plans.suspend: must be stop or continue"),
    (PLAN % ("", "amount: 1, cap: 5"), "p.yaml:6: plans.prices.cap: is given, but the plan does"),
    (PLAN % ("commit: {mbps: 20},", "amount: 1"), "p.yaml:6: plans.prices.burst: is missing"),
    (PLAN % ("commit: {mbps: 0},", "amount: 1, burst: 1"), "p.yaml:5: plans.commit.mbps: must be"),
    (
        PLAN % ("allowance: {include: 5 GB, block: 1 GB},", "amount: 1"),
        "p.yaml:6: plans.prices.block: is missing: the plan says allowance.block",
    ),
    (
        PLAN % ("allowance: {include: 5 Gb},", "amount: 1"),
        "p.yaml:5: plans.allowance.include: must be a volume like 500 GB",
    ),
    (
        PLAN % ("allowance: {block: 5 GB},", "amount: 1, block: 1"),
        "p.yaml:5: plans.allowance.include: must say what is included",
    ),
    (
        PLAN % ("allowance: {include: 5 GB, rollover: yes},", "amount: 1"),
        "p.yaml:5: plans.allowance.rollover: unknown field",
    ),
    (PLAN % ("fair_use: {after: 5 GB},", "amount: 1"), "p.yaml:5: plans.fair_use.after: and tier"),
    (PLAN % ("month_days: 31,", "amount: 1"), "p.yaml:5: plans.month_days: must be actual or 28"),
    (PLAN % ("min_billable_days: 2,", "amount: 1"), "p.yaml:5: plans.min_billable_days: must be"),
    (
        PLAN % ("proration: second, last_day_billed: true,", "amount: 1"),
        "p.yaml:5: plans.last_day_billed: is for plans that are prorated by the day",
    ),
    ((PLAN % ("", "amount: 1")).replace("EUR", "''"), "p.yaml:5: plans.currency: is missing"),
    (
        (PLAN % ("", "amount: 1")).replace(" currency: EUR,", ""),
        "p.yaml:5: plans.currency: is missing",
    ),
    (
        (PLAN % ("exponent: 2,", "amount: 1")).replace("EUR", "JPY"),
        "p.yaml:5: plans.exponent: of JPY is 0, got 2",
    ),
    (
        (PLAN % ("", "amount: 10.5")).replace("EUR", "JPY"),
        "p.yaml:6: plans.prices.amount: must be an amount of 0 or more with no decimals",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_a_bad_term_is_named_by_file_line_and_field(
    tmp_path: Path, text: str, expected: str
) -> None:
    found = problems(write(tmp_path / "p.yaml", text))
    assert any(expected in problem for problem in found), found


def test_a_tier_to_slow_down_to_must_exist(engine: Engine, tmp_path: Path) -> None:
    text = PLAN % ("fair_use: {after: 5 TB, tier: gone},", "amount: 1")
    with pytest.raises(BadFile, match=r"p\.yaml:5: fair_use\.tier: there is no tier gone"):
        load(engine, write(tmp_path / "p.yaml", text))
