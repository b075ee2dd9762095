"""Price: no cent is made or lost, whatever happens to a service, in any zone, cycle and unit."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import BORN, DAY, KINDS, MINUTE, PRICES, ZONES, Life, account, lives, plan

from billing_bridge import (
    Charge,
    Charged,
    FoldedService,
    Period,
    PricedLine,
    Rater,
    allocate,
    billed,
    corrections,
    fold_service,
    fold_without,
    period_holding,
    preview,
    scale,
    with_step,
)
from billing_bridge.proration import scales
from billing_bridge.replay import _compare
from inventory import WrongUse, local_date

CHARGES: tuple[Charge, ...] = ("service", "hold")
LONG = Period(start=dt.date(2025, 12, 1), until=dt.date(2027, 3, 1))


def fold(life: Life) -> FoldedService:
    return fold_service("svc-1", life.events)


def lines_of(life: Life, folded: FoldedService | None = None) -> tuple[PricedLine, ...]:
    service = fold(life) if folded is None else folded
    return Rater(life.plans).service(service, life.account, LONG)


def cost(lines: Sequence[PricedLine]) -> int:
    return sum(line.amount_minor for line in lines)


def dates_of(line: PricedLine) -> list[dt.date]:
    return [
        line.from_date + DAY * number for number in range((line.until_date - line.from_date).days)
    ]


@settings(max_examples=1500)
@given(lives(units=("day",)))
def test_no_date_is_charged_twice_or_missed(life: Life) -> None:
    """Every date is charged by the plan that a calendar on the wall would say, once."""
    expected = life.dates_charged()
    found: dict[dt.date, tuple[str, str, str]] = {}
    last = max(expected, default=dt.date.min)
    for line in lines_of(life):
        own = life.plans[line.plan_code]
        pinned = own.price_policy == "pinned"
        for date in dates_of(line):
            assert date not in found
            version = line.price_version_id if pinned else ""
            found[date] = (line.plan_code, version, line.charge)
    assert {date: terms for date, terms in found.items() if date <= last} == expected


@settings(max_examples=500)
@given(lives(units=("day", "second", "mixed")))
def test_a_price_for_one_service_counts_on_its_dates_and_on_no_other(life: Life) -> None:
    """Of each line all dates cost what the last price told for them says, else the catalogue's."""
    for line in lines_of(life):
        version = next(
            price
            for price in life.plans[line.plan_code].prices
            if price.price_version_id == line.price_version_id
        )
        for date in dates_of(line):
            special = life.price_on(line.plan_code, date) if line.charge == "service" else None
            usual = version.hold_minor if line.charge == "hold" else version.amount_minor
            assert line.full_amount_minor == (usual if special is None else special)
            assert bool(line.override_id) == (special is not None)


@settings(max_examples=500)
@given(lives(units=("second",)))
def test_no_second_is_charged_twice_or_missed(life: Life) -> None:
    lines = lines_of(life)
    until = max((int(line.until.timestamp()) for line in lines), default=0)
    found: list[tuple[int, int, tuple[str, str, str]]] = []
    for line in lines:
        pinned = life.plans[line.plan_code].price_policy == "pinned"
        terms = (line.plan_code, line.price_version_id if pinned else "", line.charge)
        start, end = int(line.since.timestamp()), int(line.until.timestamp())
        assert line.numerator == end - start
        if found and found[-1][1:] == (start, terms):
            start = found.pop()[0]
        found.append((start, end, terms))
    assert found == life.seconds_charged(until)


@settings(max_examples=1000)
@given(lives(units=("day", "second", "mixed")))
def test_each_line_is_its_part_of_the_full_price_rounded_once(life: Life) -> None:
    """Lines never overlap, and the parts of a period that is charged whole are the whole."""
    lines = lines_of(life)
    for line in lines:
        exact = Fraction(line.full_amount_minor * line.numerator, line.denominator)
        assert abs(line.amount_minor - exact) <= Fraction(1, 2)
        assert 0 <= line.numerator <= line.denominator
        assert line.since < line.until
    for one, next_ in pairwise(lines):
        assert one.until <= next_.since
    if len({own.proration for own in life.plans.values()}) > 1:
        return
    for period in {line.period for line in lines}:
        inside = [line for line in lines if line.period == period]
        covered = all(one.until == next_.since for one, next_ in pairwise(inside))
        whole = scale(period, inside[0].unit, 0, life.account.time_zone)
        ends = (inside[0].from_date, inside[-1].until_date) == (period.start, period.until)
        if covered and ends and (inside[0].unit == "day" or _fills(inside, whole.units)):
            assert sum(line.numerator for line in inside) == inside[0].denominator


def _fills(lines: Sequence[PricedLine], seconds: int) -> bool:
    return (lines[-1].until - lines[0].since).total_seconds() == seconds


@settings(max_examples=300)
@given(lives(units=("day", "second", "mixed")))
def test_the_fold_of_the_events_is_the_row(life: Life) -> None:
    row = life.row()
    if life.state == "none":
        row = replace(row, account_id="")
    assert _compare(row, tuple(life.events)) == ()


@settings(max_examples=500)
@given(lives(units=("day", "second", "mixed")), st.integers(0, 45_000), st.sampled_from("abc"))
def test_a_change_that_is_taken_back_costs_nothing(life: Life, gap: int, code: str) -> None:
    """As if it never was (D5): both previews add up to 0, and the lines are those of before."""
    before = fold(life)
    now = life.now + gap * MINUTE
    later = copy.deepcopy(life)
    later.now = now
    later.does(
        {"active": "tier", "suspended": "resume"}.get(life.state, "activate"), code, "requested"
    )
    changed = fold(later)
    undone = fold_without("svc-1", later.events, later.events[-1].event_id)
    later.does("reverse", "", "")
    assert fold(later) == undone
    assert lines_of(life, undone) == lines_of(life)
    on = local_date(now, life.account.time_zone)
    there = preview(life.account, life.plans, before, changed, on=on)
    back = preview(life.account, life.plans, changed, undone, on=on)
    assert there.net_minor + back.net_minor == 0


@settings(max_examples=300)
@given(
    st.lists(PRICES, min_size=2, max_size=2),
    st.sampled_from(ZONES),
    st.integers(1, 31),
    st.integers(0, 100_000),
    st.integers(0, 100_000),
)
def test_a_change_rolled_back_bills_the_days_used(
    prices: list[list[int]], zone_name: str, cycle_day: int, until_up: int, until_back: int
) -> None:
    """A new change back (D5): the higher plan is owed for its dates and the lower for the rest."""
    plans = {code: plan(code, own) for code, own in zip("ab", prices, strict=True)}
    life = Life(account=account(zone_name, cycle_day), plans=plans)
    life.does("activate", "a", "requested")
    alone = lines_of(life)
    life.now += until_up * MINUTE
    up = local_date(life.now, zone_name)
    life.does("tier", "b", "requested")
    life.now += until_back * MINUTE
    back = local_date(life.now, zone_name)
    life.does("tier", "a", "rollback")
    lines = lines_of(life)
    used = [date for line in lines if line.plan_code == "b" for date in dates_of(line)]
    assert used == [up + DAY * number for number in range((back - up).days)]
    rest = [date for line in lines if line.plan_code == "a" for date in dates_of(line)]
    assert sorted([*used, *rest]) == [date for line in alone for date in dates_of(line)]


@settings(max_examples=1000)
@given(
    lives(units=("day", "second", "mixed")),
    st.lists(st.integers(0, 300_000), max_size=3),
    st.integers(0, 1 << 16),
)
def test_bills_corrections_and_previews_agree(life: Life, cuts: list[int], which: int) -> None:
    """What is billed step by step is what the whole history costs, and then nothing is left over.

    Goal: previews are what invoices later say, corrections end, and saying again what is so costs
    nothing. Method: bill after any of the events, then put the rest to the correction.
    """
    early = life.events[: which % (len(life.events) + 1)]
    before, after = fold_service("svc-1", early), fold(life)
    was, owed = lines_of(life, before), lines_of(life, after)
    deltas = corrections(billed(was), owed)
    assert sum(delta.amount_minor for delta in deltas) == cost(owed) - cost(was)
    assert corrections([*billed(was), *deltas], owed) == ()
    on = local_date(life.now, life.account.time_zone)
    if after.plan_code or before.plan_code:
        period = period_holding(on, life.account.cycle_day)
        now = [delta.amount_minor for delta in deltas if delta.period == period]
        money = preview(life.account, life.plans, before, after, on=on)
        assert money.net_minor == sum(line.amount_minor for line in money.lines) == sum(now)
    split = after
    for cut in cuts:
        at = life.now - cut * MINUTE
        earlier = [step for step in split.history if step.since <= at]
        if earlier:
            split = with_step(split, replace(earlier[-1], since=at, event_id="again"))
    assert lines_of(life, split) == owed


@settings(max_examples=300)
@given(
    st.dates(dt.date(2025, 1, 1), dt.date(2030, 12, 31)),
    st.integers(1, 31),
    st.sampled_from([1, 2, 3, 6, 12]),
    st.integers(0, 500),
    st.sampled_from([0, 28, 30]),
)
def test_periods_tile_the_calendar(
    date: dt.date, day: int, months: int, length: int, month_days: int
) -> None:
    """Each begins where the one before ends, and every part of one lies within it."""
    span = Period(start=date, until=date + DAY * (length + 1))
    found = scales(span, day, months, "day", month_days, "UTC")
    assert found[0].period.start <= date < found[0].period.until
    assert found[-1].period.start < span.until <= found[-1].period.until
    for one, next_ in pairwise(found):
        assert one.period.until == next_.period.start
    for one in found:
        parts = [one.between(mark, mark + 1) for mark in range(one.start, one.until)]
        assert min(parts) >= 0
        assert sum(parts) == one.units == (month_days * months or one.until - one.start)


@pytest.mark.parametrize(
    ("start", "until", "used", "units"),
    [
        (dt.date(2026, 2, 28), dt.date(2026, 3, 31), dt.date(2026, 3, 10), 10),
        (dt.date(2026, 2, 28), dt.date(2026, 3, 31), dt.date(2026, 3, 1), 1),
        (dt.date(2026, 1, 31), dt.date(2026, 2, 28), dt.date(2026, 2, 1), 1),
        (dt.date(2026, 1, 31), dt.date(2026, 2, 28), dt.date(2026, 2, 27), 27),
        (dt.date(2026, 2, 1), dt.date(2026, 3, 1), dt.date(2026, 2, 28), 27),
        (dt.date(2026, 5, 1), dt.date(2026, 6, 1), dt.date(2026, 5, 31), 29),
        (dt.date(2026, 5, 15), dt.date(2026, 8, 15), dt.date(2026, 7, 15), 60),
    ],
)
def test_months_of_thirty_days(start: dt.date, until: dt.date, used: dt.date, units: int) -> None:
    """A date is counted by its number in the month; the end of February stands for three days."""
    whole = scale(Period(start=start, until=until), "day", 30, "UTC")
    assert whole.between(whole.start, used.toordinal()) == units
    rest = whole.between(used.toordinal(), whole.until)
    assert units + rest == whole.units == (90 if until.month == 8 else 30)


@settings(max_examples=200)
@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=9))
def test_shares_add_up_and_keep_order(total: int, weights: list[int]) -> None:
    if not sum(weights):
        with pytest.raises(WrongUse):
            allocate(total, weights)
        return
    shares = allocate(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights))) < 1
    assert allocate(-total, weights) == tuple(-share for share in shares)


def test_an_old_rater_answers_as_a_new_one_does() -> None:
    """Goal: what is kept of one service is never another's. Method: alike in all but one thing."""
    plans = {code: plan(code, [3000, 4000, 5000]) for code in "ab"}
    histories = [
        (Charged(since=BORN, plan_code=code, price_version_id=version, charge=charge),)
        for code in "ab"
        for version in ("", f"{code}@2020-01-01", f"{code}@2026-06-15")
        for charge in CHARGES
    ]
    payers = [account(zone_name, day) for zone_name in ("UTC", ZONES[1]) for day in (1, 31)]
    old = Rater(plans)
    for payer in payers:
        for history in histories:
            expected = Rater(plans).history(history, payer, LONG)
            assert len(expected) > 12
            assert old.history(history, payer, LONG) == expected


def test_the_kinds_of_acts_are_the_ledgers() -> None:
    life = Life(account=account(), plans={"a": plan("a", [3000])})
    for kind in ("activate", "tier", "suspend", "resume", "terminate"):
        life.does(kind, "a", "requested")
    assert [event.type for event in life.events] == list(KINDS.values())
