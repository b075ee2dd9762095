"""Price: no cent is made or lost, whatever the history, the zone, the cycle day or the unit."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_bridge import (
    Charged,
    MoneyPreview,
    midnight,
    period_holding,
    preview,
    price_difference,
    price_history,
    price_plan,
)
from inventory import Account, Plan, PriceVersion, Refused, UnknownName

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland",
         "America/Havana", "Asia/Beirut")  # fmt: skip


def plan(code: str, price: int, **given_: Any) -> Plan:
    version = PriceVersion(
        price_version_id=f"{code}-v1",
        plan_code=code,
        valid_from=dt.date(2020, 1, 1),
        amount_minor=price,
    )
    filled = {"currency": "EUR", "exponent": 2, "prices": (version,)} | given_
    return Plan(code=code, name=code, tier_code=code, **filled)


def account(zone_name: str = "UTC", cycle_day: int = 1) -> Account:
    return Account(
        account_id="A-1", name="", address="", time_zone=zone_name, cycle_day=cycle_day,
        legal_entity="isp", currency="EUR",
    )  # fmt: skip


dates = st.dates(dt.date(2026, 1, 1), dt.date(2026, 12, 31))
prices = st.integers(0, 1_000_000)
accounts = st.builds(account, st.sampled_from(ZONES), st.integers(1, 31))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A payer, three plans, and what was charged around the period that holds `on`."""

    payer: Account
    plans: dict[str, Plan]
    on: dt.date
    history: tuple[Charged, ...]
    changes: tuple[Charged, ...]
    cuts: tuple[dt.datetime, ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    on = draw(dates)
    noon = dt.datetime.combine(on, dt.time(12), dt.UTC)
    minutes = st.integers(-45 * 24 * 60, 45 * 24 * 60)
    instants = minutes.map(lambda minute: noon + dt.timedelta(minutes=minute))
    entries = st.builds(
        Charged, since=instants, plan_code=st.sampled_from(["a", "b", "c", "", "a"])
    )
    unit = draw(st.sampled_from(["day", "second"]))
    return World(
        payer=draw(accounts),
        plans={code: plan(code, draw(prices), proration=unit) for code in "abc"},
        on=on,
        history=in_order(draw(st.lists(entries, max_size=8))),
        changes=in_order(draw(st.lists(entries, max_size=5))),
        cuts=tuple(draw(st.lists(instants, max_size=5))),
    )


def in_order(entries: list[Charged]) -> tuple[Charged, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.since))


@given(dates, st.integers(1, 31), st.sampled_from([1, 2, 3, 6, 12]), st.integers(1, 12))
def test_periods_tile_the_calendar(date: dt.date, day: int, months: int, anchor: int) -> None:
    period = period_holding(date, day, months, anchor)
    assert period.start <= date < period.until
    after = period_holding(period.until, day, months, anchor)
    before = period_holding(period.start - dt.timedelta(days=1), day, months, anchor)
    assert (after.start, before.until) == (period.until, period.start)


@given(worlds())
def test_the_lines_cover_exactly_the_charged_time(world: World) -> None:
    """No two lines overlap, and each is its share of the full price, rounded once."""
    lines = price_history(world.history, world.plans, world.payer, world.on)
    for line in lines:
        exact = Fraction(line.full_amount_minor * line.numerator, line.denominator)
        assert abs(line.amount_minor - exact) <= Fraction(1, 2)
        assert 0 < line.numerator <= line.denominator
    for one, next_ in pairwise(lines):
        assert one.until <= next_.since


@given(worlds())
def test_splitting_a_history_changes_no_line(world: World) -> None:
    """Saying again what is charged already costs nothing and saves nothing."""
    split = list(world.history)
    for cut in world.cuts:
        earlier = [entry for entry in split if entry.since <= cut]
        if earlier:
            again = Charged(since=cut, plan_code=earlier[-1].plan_code)
            split = list(in_order([*split, again]))
    whole = price_history(world.history, world.plans, world.payer, world.on)
    assert price_history(split, world.plans, world.payer, world.on) == whole


@given(worlds())
def test_the_previews_of_many_changes_add_up_to_the_price_of_the_end(world: World) -> None:
    """Conservation: first bill plus every credit and charge is what the last history costs."""

    def cost(history: tuple[Charged, ...]) -> int:
        lines = price_history(history, world.plans, world.payer, world.on)
        return sum(line.amount_minor for line in lines)

    now = world.history
    billed = cost(now)
    for change in world.changes:
        changed = in_order([*now, change])
        if any(entry.plan_code for entry in changed):
            money = price_difference(world.payer, world.plans, now, changed, on=world.on)
            assert money.net_minor == sum(line.amount_minor for line in money.lines)
            billed += money.net_minor
        now = changed
    assert billed == cost(now)


@given(prices, accounts, dates, st.sampled_from(["a", ""]))
def test_used_and_credit_are_the_full_price(
    price: int, payer: Account, on: dt.date, code: str
) -> None:
    period = period_holding(on, payer.cycle_day)
    at = midnight(on, payer.time_zone)
    history = (Charged(since=midnight(period.start, payer.time_zone), plan_code="old"),)
    plans = {"old": plan("old", price), "a": plan("a", 5000)}
    money = preview(payer, plans, history, at=at, plan_code=code)
    credit = sum(line.amount_minor for line in money.lines if line.kind == "credit")
    changed = (*history, Charged(since=at, plan_code=code))
    used = sum(
        line.amount_minor for line in price_plan(changed, plans["old"], period, payer.time_zone)
    )
    assert used - credit == price


UPGRADE = {"f100": plan("f100", 2999), "f500": plan("f500", 4999)}
JUNE = Charged(since=dt.datetime(2026, 6, 1, tzinfo=dt.UTC), plan_code="f100")
ON_11TH = dt.datetime(2026, 6, 11, 9, 30, tzinfo=dt.UTC)


def test_an_upgrade_as_it_is_shown() -> None:
    money = preview(account(), UPGRADE, (JUNE,), at=ON_11TH, plan_code="f500")
    credit, charge = money.lines
    assert (credit.kind, credit.plan_code, credit.amount_minor) == ("credit", "f100", -1999)
    assert (charge.kind, charge.plan_code, charge.amount_minor) == ("charge", "f500", 3333)
    for line, full in ((credit, 2999), (charge, 4999)):
        assert (line.numerator, line.denominator, line.unit) == (20, 30, "day")
        assert (line.from_date, line.until_date) == (dt.date(2026, 6, 11), dt.date(2026, 7, 1))
        assert line.full_amount_minor == full
    assert (money.net_minor, money.then_minor, money.then_months) == (1334, 4999, 1)
    assert (money.period_from, money.period_until) == (dt.date(2026, 6, 1), dt.date(2026, 7, 1))
    assert MoneyPreview.from_json(json.loads(json.dumps(money.to_json()))) == money


def test_arrears_give_charges_only() -> None:
    plans = {code: plan(code, p.prices[0].amount_minor, bill_in="arrears")
             for code, p in UPGRADE.items()}  # fmt: skip
    money = preview(account(), plans, (JUNE,), at=ON_11TH, plan_code="f500")
    assert [(line.kind, line.plan_code, line.amount_minor) for line in money.lines] == [
        ("charge", "f100", 1000), ("charge", "f500", 3333),
    ]  # fmt: skip


def test_activation_suspension_and_termination() -> None:
    start = preview(account(), UPGRADE, (), at=ON_11TH, plan_code="f100")
    assert (start.net_minor, start.then_minor) == (1999, 2999)
    stop = preview(account(), UPGRADE, (JUNE,), at=ON_11TH, plan_code="")
    assert (stop.net_minor, stop.then_minor) == (-1999, 0)
    away = Charged(since=ON_11TH, plan_code="")
    back = preview(
        account(), UPGRADE, (JUNE, away), at=ON_11TH + dt.timedelta(days=10), plan_code="f100"
    )
    assert [(line.kind, line.numerator) for line in back.lines] == [("charge", 10)]


def test_the_last_change_of_a_local_date_counts() -> None:
    """Up and back again on one date costs nothing in the end."""
    up = preview(account(), UPGRADE, (JUNE,), at=ON_11TH, plan_code="f500")
    higher = (JUNE, Charged(since=ON_11TH, plan_code="f500"))
    down = preview(account(), UPGRADE, higher, at=ON_11TH + dt.timedelta(hours=3), plan_code="f100")
    assert up.net_minor + down.net_minor == 0


def test_what_was_billed_differently_is_settled_by_its_own_line() -> None:
    money = preview(account(), UPGRADE, (JUNE,), at=ON_11TH, plan_code="f500", billed_minor=2500)
    assert money.net_minor == 1000 + 3333 - 2500
    settled = money.lines[-1]
    assert (settled.plan_code, settled.kind, settled.amount_minor) == ("", "charge", 499)


def test_a_pinned_price_outlives_the_catalogue() -> None:
    newer = PriceVersion(
        price_version_id="f100-v2", plan_code="f100", valid_from=dt.date(2026, 5, 1),
        amount_minor=9900,
    )  # fmt: skip
    sold = plan("f100", 2999, prices=(*UPGRADE["f100"].prices, newer))
    plans = {**UPGRADE, "f100": sold}
    for version, full in (("f100-v1", 2999), ("f100-v2", 9900), ("", 9900)):
        money = preview(
            account(), plans, (), at=ON_11TH, plan_code="f100", price_version_id=version
        )
        assert (money.lines[0].full_amount_minor, money.then_minor) == (full, full)
    with pytest.raises(UnknownName):
        preview(account(), plans, (), at=ON_11TH, plan_code="f100", price_version_id="v9")


def test_what_cannot_be_priced_is_refused() -> None:
    early = dt.datetime(2019, 6, 11, tzinfo=dt.UTC)
    with pytest.raises(Refused, match="no price"):
        preview(account(), UPGRADE, (), at=early, plan_code="f100")
    yen = {**UPGRADE, "jp": plan("jp", 3000, currency="JPY", exponent=0)}
    with pytest.raises(Refused, match="currencies"):
        preview(account(), yen, (JUNE,), at=ON_11TH, plan_code="jp")
    with pytest.raises(UnknownName):
        preview(account(), UPGRADE, (JUNE,), at=ON_11TH, plan_code="f900")
    with pytest.raises(Refused, match="nothing"):
        preview(account(), UPGRADE, (), at=ON_11TH, plan_code="")


def test_a_plan_first_sold_during_the_period_has_the_price_of_its_first_day() -> None:
    first = PriceVersion(
        price_version_id="n-1", plan_code="new", valid_from=dt.date(2026, 6, 5), amount_minor=3000
    )
    money = preview(
        account(), {"new": plan("new", 0, prices=(first,))}, (), at=ON_11TH, plan_code="new"
    )
    assert money.net_minor == 2000
