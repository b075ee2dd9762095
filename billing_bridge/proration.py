"""Billing periods, the marks that part them, and the one way to round money."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from inventory import Proration, WrongUse, zone


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Period:
    """A billing period of local dates: `start` belongs to it, `until` does not."""

    start: dt.date
    until: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How one period is measured: two marks and what lies between them.

    A mark is a local date's ordinal, or a second of the epoch. `units` is the whole period: its
    days, its seconds, or `month_days` for each of its months (`base` is then its first number).
    """

    period: Period
    start: int
    until: int
    units: int
    month_days: int
    base: int

    def between(self, start: int, until: int) -> int:
        """Return the units between two marks of the period."""
        if not self.month_days:
            return until - start
        return self._number(until) - self._number(start)

    def _number(self, mark: int) -> int:
        """Where a date stands when every month has `month_days`; the period's ends are exact."""
        if mark <= self.start:
            return self.base
        last = self.base + self.units
        if mark >= self.until:
            return last
        return min(max(_day_number(dt.date.fromordinal(mark), self.month_days), self.base), last)


def round_half_up(value: Fraction) -> int:
    """Return the nearest integer; an exact half goes away from zero."""
    return prorate(1, value.numerator, value.denominator)


def prorate(full_amount_minor: int, numerator: int, denominator: int) -> int:
    """Return that part (denominator > 0) of a full price, rounded half up once."""
    exact = full_amount_minor * numerator
    rounded = (2 * abs(exact) + denominator) // (2 * denominator)
    return rounded if exact >= 0 else -rounded


def allocate(total_minor: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Return shares in proportion to weights (>= 0) that add up to the total exactly.

    By largest remainder, the earlier share first among equals; a negative total mirrors its
    positive. Raises WrongUse where no weight is above zero or one is below.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise WrongUse("weights", f"cannot share {total_minor}: none above zero, or one below it")
    shares = [abs(total_minor) * weight // whole for weight in weights]
    rest = [abs(total_minor) * weight % whole for weight in weights]
    first = sorted(range(len(weights)), key=lambda place: -rest[place])
    for place in first[: abs(total_minor) - sum(shares)]:
        shares[place] += 1
    return tuple(share if total_minor >= 0 else -share for share in shares)


@lru_cache(maxsize=4096)
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


@lru_cache(maxsize=4096)
def scales(
    span: Period, cycle_day: int, months: int, unit: Proration, month_days: int, zone_name: str
) -> tuple[Scale, ...]:
    """Return every period that shares a date with the span, each with its measure."""
    found = []
    period = period_holding(span.start, cycle_day, months)
    while period.start < span.until:
        found.append(scale(period, unit, month_days, zone_name))
        period = period_holding(period.until, cycle_day, months)
    return tuple(found)


def scale(period: Period, unit: Proration, month_days: int, zone_name: str) -> Scale:
    """Return how a period is measured; `month_days` 0 = by the calendar's own days."""
    start, until = period.start, period.until
    if unit == "second":
        marks = tuple(int(midnight(date, zone_name).timestamp()) for date in (start, until))
    else:
        marks = (start.toordinal(), until.toordinal())
    if not month_days or unit == "second":
        units, month_days, base = marks[1] - marks[0], 0, 0
    else:
        units = month_days * ((until.year - start.year) * 12 + until.month - start.month)
        # of a period that begins at a clamped end of February the other end tells the number
        base = max(_day_number(start, month_days), _day_number(until, month_days) - units)
    return Scale(
        period=period,
        start=marks[0],
        until=marks[1],
        units=units,
        month_days=month_days,
        base=base,
    )


@lru_cache(maxsize=8192)
def midnight(date: dt.date, zone_name: str) -> dt.datetime:
    """Return the instant at which a local date begins."""
    return dt.datetime.combine(date, dt.time(), tzinfo=zone(zone_name)).astimezone(dt.UTC)


def _day_number(date: dt.date, month_days: int) -> int:
    return (date.year * 12 + date.month) * month_days + min(date.day, month_days)


def _boundary(month: int, cycle_day: int) -> dt.date:
    year, index = divmod(month, 12)
    last = calendar.monthrange(year, index + 1)[1]
    return dt.date(year, index + 1, min(cycle_day, last))
