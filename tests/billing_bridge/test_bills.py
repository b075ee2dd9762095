"""Bills of random histories: together they are the price of the history, and nothing more."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from lives import DAY, Life, lives

from billing_bridge import (
    FoldedService,
    InvoiceLine,
    Period,
    Rater,
    fold_service,
    midnight,
    period_holding,
)
from billing_bridge.owed import Biller, WasBilled, due
from inventory import local_date

START = dt.date(2026, 1, 1)
Sums = dict[tuple[str, str, str, dt.date, dt.date], int]


@dataclass(slots=True)
class Billing:
    """What was billed to a life so far, by a bill at each of its account's boundaries."""

    life: Life
    biller: Biller
    bills: list[list[InvoiceLine]] = field(default_factory=list)

    def bill(self, closes_on: dt.date, service: FoldedService) -> list[InvoiceLine]:
        """Make the next bill; return what is on it."""
        before = [was(line) for bill in self.bills for line in bill]
        span = Period(start=START, until=closes_on + DAY)
        lines = self.biller.lines(service, self.life.account, span, before)
        self.bills.append(lines)
        return lines


def was(line: InvoiceLine) -> WasBilled:
    """A line as the next bill will read it from its table."""
    return WasBilled(
        thing="recurring",
        period_until=line.period_until,
        period_from=line.period_from,
        plan_code=line.plan_code,
        charge=line.charge,
        price_version_id=line.price_version_id,
        amount_minor=line.amount_minor,
        numerator=line.numerator,
        quantity=line.quantity,
        from_date=line.from_date,
        until_date=line.until_date,
        denominator=line.denominator,
        unit=line.unit,
        full_amount_minor=line.full_amount_minor,
    )


def boundaries(life: Life) -> list[dt.date]:
    """The boundaries from the account's first to the second after the life was told."""
    last = local_date(life.now, life.account.time_zone) + 62 * DAY
    found = [period_holding(START, life.account.cycle_day).until]
    while found[-1] < last:
        found.append(period_holding(found[-1], life.account.cycle_day).until)
    return found


def known(life: Life, closes_on: dt.date) -> FoldedService:
    """The service by the events recorded before a boundary's local date."""
    told = [
        event
        for event in life.events
        if local_date(event.recorded_at, life.account.time_zone) < closes_on
    ]
    return fold_service("svc-1", told)


def billed_all(life: Life, upto: int | None = None) -> Billing:
    billing = Billing(life=life, biller=Biller(life.plans))
    for closes_on in boundaries(life)[:upto]:
        billing.bill(closes_on, known(life, closes_on))
    return billing


def owed(life: Life, closes_on: dt.date) -> Sums:
    """What the whole history costs, by the one function that prices it."""
    sums: Sums = defaultdict(int)
    span = Period(start=START, until=closes_on + DAY)
    for line in Rater(life.plans).service(fold_service("svc-1", life.events), life.account, span):
        if due(life.plans[line.plan_code], line.period, closes_on):
            key = (line.plan_code, line.charge, line.price_version_id)
            sums[(*key, line.period.start, line.period.until)] += line.amount_minor
    return {key: amount for key, amount in sums.items() if amount}


def charged(bills: Sequence[Sequence[InvoiceLine]]) -> Sums:
    sums: Sums = defaultdict(int)
    for line in (line for bill in bills for line in bill):
        key = (line.plan_code, line.charge, line.price_version_id)
        sums[(*key, line.period_from, line.period_until)] += line.amount_minor
    return {key: amount for key, amount in sums.items() if amount}


@settings(max_examples=250)
@given(life=lives(("day", "day", "second", "mixed")))
def test_all_bills_together_are_the_price_of_the_history(life: Life) -> None:
    """L12, whatever was changed or reversed after it was billed; a second run is silent."""
    billing = billed_all(life)
    last = boundaries(life)[-1]
    assert charged(billing.bills) == owed(life, last)
    assert billing.bill(last, known(life, last)) == []


@settings(max_examples=250)
@given(life=lives(("day",)))
def test_no_date_is_billed_twice_or_missed(life: Life) -> None:
    """L11, held to a calendar on the wall: net, each date is billed once, by what was charged."""
    billing = billed_all(life)
    nets: dict[tuple[str, str, dt.date, dt.date], int] = defaultdict(int)
    for line in (line for bill in billing.bills for line in bill):
        nets[line.plan_code, line.charge, line.period_from, line.period_until] += line.numerator
    last = boundaries(life)[-1]
    told = life.dates_charged()
    for (code, charge, start, until), units in nets.items():
        if life.plans[code].month_days or until > local_date(life.now, life.account.time_zone):
            continue
        dates = [date for date, terms in told.items() if start <= date < until]
        whole = sum((told[date][0], told[date][2]) == (code, charge) for date in dates)
        # what costs nothing has no line; at prices of its own only some dates may cost nothing
        assert units in (whole, 0) or (life.prices and 0 < units < whole)
    assert all(line.period_from <= last for bill in billing.bills for line in bill)


@settings(max_examples=150)
@given(life=lives(("second",)))
def test_no_second_is_billed_twice_or_missed(life: Life) -> None:
    """L11 for plans by the second: net over all bills, each second is billed once.

    A difference that costs nothing has no line: what is off costs less than a minor unit a line.
    """
    billing = billed_all(life)
    nets: dict[tuple[str, str, dt.date, dt.date], int] = defaultdict(int)
    prices: dict[tuple[str, str, dt.date, dt.date], list[int]] = defaultdict(list)
    for line in (line for bill in billing.bills for line in bill):
        key = (line.plan_code, line.charge, line.period_from, line.period_until)
        nets[key] += line.numerator
        prices[key].append(line.full_amount_minor)
    zone = life.account.time_zone
    for key, units in nets.items():
        code, charge, start, until = key
        if until > local_date(life.now, zone):
            continue
        first, end = (int(midnight(date, zone).timestamp()) for date in (start, until))
        whole = sum(
            max(0, min(after, end) - max(since, first))
            for since, after, terms in life.seconds_charged(end)
            if (terms[0], terms[2]) == (code, charge)
        )
        lines = len(prices[key]) + len(life.acts) + len(life.prices) + 1
        assert abs(units - whole) * min(prices[key]) < lines * (end - first)


@settings(max_examples=150)
@given(life=lives(), gone=st.integers(0, 40))
def test_what_a_void_invoice_billed_is_billed_again(life: Life, gone: int) -> None:
    """Goal: void and run again = the same sums. Method: any one bill is taken away whole."""
    billing = billed_all(life)
    last = boundaries(life)[-1]
    before = charged(billing.bills)
    taken = billing.bills.pop(gone % len(billing.bills))
    again = billing.bill(last, known(life, last))
    assert sum(line.amount_minor for line in again) == sum(line.amount_minor for line in taken)
    assert charged(billing.bills) == before


@settings(max_examples=150)
@given(life=lives(), skipped=st.sets(st.integers(0, 12)))
def test_when_bills_are_made_changes_no_sum(life: Life, skipped: set[int]) -> None:
    """Goal: a run left out loses nothing. Method: some boundaries have no bill, the last has."""
    billing = Billing(life=life, biller=Biller(life.plans))
    dates = boundaries(life)
    for number, closes_on in enumerate(dates):
        if number not in skipped or closes_on == dates[-1]:
            billing.bill(closes_on, known(life, closes_on))
    assert charged(billing.bills) == owed(life, dates[-1])
