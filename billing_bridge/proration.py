"""What a history of plans costs in one billing period: exact, rounded once for each line."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from inventory import (
    Account,
    Plan,
    PriceVersion,
    Proration,
    Refused,
    UnknownName,
    local_date,
    zone,
)

from .fold import FoldedService


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Period:
    """A billing period of local dates: `start` belongs to it, `until` does not."""

    start: dt.date
    until: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """From `since` on this plan is charged; "" = nothing is."""

    since: dt.datetime
    plan_code: str
    price_version_id: str = ""  # set where the price policy is `pinned`


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLine:
    """One unbroken stretch of one plan in a period: full_amount x numerator / denominator.

    The instants are half-open; the dates are the local dates that hold them, half-open too.
    """

    plan_code: str
    price_version_id: str
    since: dt.datetime
    until: dt.datetime
    from_date: dt.date
    until_date: dt.date
    numerator: int
    denominator: int
    unit: Proration
    full_amount_minor: int
    amount_minor: int


def round_half_up(value: Fraction) -> int:
    """Return the nearest integer; an exact half goes away from zero."""
    rounded = (abs(value) + Fraction(1, 2)).__floor__()
    return rounded if value >= 0 else -rounded


def prorate(full_amount_minor: int, numerator: int, denominator: int) -> int:
    """Return that part of a full price, rounded once."""
    return round_half_up(Fraction(full_amount_minor * numerator, denominator))


def period_holding(date: dt.date, cycle_day: int, months: int = 1, anchor_month: int = 1) -> Period:
    """Return the period that holds a local date.

    Every boundary is computed from the anchor and clamped to its month's end, never from the
    boundary before it, so a cycle day of 31 comes back after February. Periods of several months
    are aligned to `anchor_month`.
    """
    month = date.year * 12 + date.month - 1
    start = month - (month - (anchor_month - 1)) % months
    if _boundary(start, cycle_day) > date:
        start -= months
    return Period(start=_boundary(start, cycle_day), until=_boundary(start + months, cycle_day))


def midnight(date: dt.date, zone_name: str) -> dt.datetime:
    """Return the instant at which a local date begins."""
    return dt.datetime.combine(date, dt.time(), tzinfo=zone(zone_name)).astimezone(dt.UTC)


def charged_history(service: FoldedService, zone_name: str) -> tuple[Charged, ...]:
    """Return what is charged for a service, by the ledger: nothing while it is not active.

    Nothing is charged before the first date we bill (D3).
    """
    history: list[Charged] = []
    first = dt.datetime.min.replace(tzinfo=dt.UTC)
    for step in service.history:
        if step.billing_from is not None:
            first = max(first, midnight(step.billing_from, zone_name))
        history.append(
            Charged(
                since=max(step.since, first),
                plan_code=step.plan_code if step.state == "active" else "",
                price_version_id=step.price_version_id,
            )
        )
    return tuple(history)


def price_history(
    history: Sequence[Charged], plans: Mapping[str, Plan], account: Account, on: dt.date
) -> tuple[PricedLine, ...]:
    """Return what a history (ascending) costs: each plan in its period that holds `on`, by time."""
    codes = dict.fromkeys(entry.plan_code for entry in history if entry.plan_code)
    lines: list[PricedLine] = []
    for code in codes:
        if code not in plans:
            raise UnknownName(code, "is not a known plan")
        period = period_holding(on, account.cycle_day, plans[code].period_months)
        lines += price_plan(history, plans[code], period, account.time_zone)
    return tuple(sorted(lines, key=lambda line: (line.since, line.plan_code)))


def price_plan(
    history: Sequence[Charged], plan: Plan, period: Period, zone_name: str
) -> tuple[PricedLine, ...]:
    """Return the lines of one plan in one of its periods; the history ascends.

    By day: a change's date belongs to the new plan, of several changes on one local date the last
    state counts, the denominator is the days of the full period. By second: measured between whole
    seconds of the period's local midnights. Raises Refused where the plan has no price.
    """
    if plan.proration == "day":
        bounds = (period.start.toordinal(), period.until.toordinal())
        marks = [(local_date(entry.since, zone_name).toordinal(), entry) for entry in history]
    else:
        bounds = (_second(period.start, zone_name), _second(period.until, zone_name))
        marks = [(int(entry.since.timestamp() // 1), entry) for entry in history]
    lines = []
    for entry, start, end in _stretches(marks, *bounds):
        if entry.plan_code != plan.code:
            continue
        since, until = (_instant(mark, plan.proration, zone_name) for mark in (start, end))
        price = _price(plan, entry, period, local_date(since, zone_name))
        lines.append(
            PricedLine(
                plan_code=plan.code,
                price_version_id=price.price_version_id,
                since=since,
                until=until,
                from_date=local_date(since, zone_name),
                until_date=_date_after(until, zone_name),
                numerator=end - start,
                denominator=bounds[1] - bounds[0],
                unit=plan.proration,
                full_amount_minor=price.amount_minor,
                amount_minor=prorate(price.amount_minor, end - start, bounds[1] - bounds[0]),
            )
        )
    return tuple(lines)


def _boundary(month: int, cycle_day: int) -> dt.date:
    year, index = divmod(month, 12)
    last = calendar.monthrange(year, index + 1)[1]
    return dt.date(year, index + 1, min(cycle_day, last))


def _stretches(
    marks: Sequence[tuple[int, Charged]], start: int, until: int
) -> Iterator[tuple[Charged, int, int]]:
    """Yield who is charged from where to where, cut to [start, until), neighbours joined."""
    states = {mark: entry for mark, entry in marks if mark < until}  # the last of a mark stays
    joined: list[tuple[int, Charged]] = []
    for mark, entry in states.items():
        if joined and _same(joined[-1][1], entry):
            continue
        joined.append((mark, entry))
    ends = [mark for mark, _ in joined[1:]] + [until]
    for (mark, entry), end in zip(joined, ends, strict=False):
        if end > max(mark, start):
            yield entry, max(mark, start), end


def _same(one: Charged, other: Charged) -> bool:
    return (one.plan_code, one.price_version_id) == (other.plan_code, other.price_version_id)


def _price(plan: Plan, entry: Charged, period: Period, first: dt.date) -> PriceVersion:
    if entry.price_version_id:
        for price in plan.prices:
            if price.price_version_id == entry.price_version_id:
                return price
        raise UnknownName(entry.price_version_id, f"is no price version of plan {plan.code}")
    try:
        if plan.prices and plan.prices[0].valid_from <= period.start:
            return plan.price_on(period.start)
        return plan.price_on(first)  # the plan was first sold during this period
    except LookupError as error:
        raise Refused(
            plan.code, f"has no price on {first}", "Add a price version to the plan."
        ) from error


def _second(date: dt.date, zone_name: str) -> int:
    return int(midnight(date, zone_name).timestamp())


def _instant(mark: int, unit: Proration, zone_name: str) -> dt.datetime:
    if unit == "day":
        return midnight(dt.date.fromordinal(mark), zone_name)
    return dt.datetime.fromtimestamp(mark, dt.UTC)


def _date_after(until: dt.datetime, zone_name: str) -> dt.date:
    return local_date(until - dt.timedelta(microseconds=1), zone_name) + dt.timedelta(days=1)
