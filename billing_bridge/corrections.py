"""What was billed held to what is owed: differences, double billing, and where late usage goes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from inventory import Refused

from .charged import Charge
from .proration import Period, period_holding
from .rating import PricedLine

Thing = Literal["recurring", "usage", "burst"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Billed:
    """What was charged for one plan of a service in one of its periods; negative = credited.

    `units` are the days or seconds charged, of usage the bytes or bit/s.
    """

    period: Period
    plan_code: str
    charge: Charge
    price_version_id: str
    amount_minor: int
    thing: Thing = "recurring"
    units: int = 0

    @property
    def key(self) -> tuple[Period, str, Charge, str, Thing]:
        """What is settled together: what was billed of it with what is owed for it."""
        return self.period, self.plan_code, self.charge, self.price_version_id, self.thing


def billed(lines: Iterable[PricedLine]) -> tuple[Billed, ...]:
    """Return what priced lines charge when they are billed."""
    return tuple(
        Billed(
            period=line.period,
            plan_code=line.plan_code,
            charge=line.charge,
            price_version_id=line.price_version_id,
            amount_minor=line.amount_minor,
            units=line.numerator,
        )
        for line in lines
    )


def corrections(
    before: Iterable[Billed], owed: Iterable[PricedLine], used: Iterable[Billed] = ()
) -> tuple[Billed, ...]:
    """Return what has to be billed so that all of it together is what is owed, by period.

    `used` is what usage costs. Nothing closed is altered: these are lines of the next bill. With
    them among `before` there is nothing more to correct.
    """
    amounts: defaultdict[tuple[Period, str, Charge, str, Thing], list[int]]
    amounts = defaultdict(lambda: [0, 0])
    for sign, lines in ((1, (*billed(owed), *used)), (-1, before)):
        for line in lines:
            left = amounts[line.key]
            left[0] += sign * line.amount_minor
            left[1] += sign * line.units
    return tuple(
        Billed(
            period=key[0],
            plan_code=key[1],
            charge=key[2],
            price_version_id=key[3],
            thing=key[4],
            amount_minor=amount,
            units=units,
        )
        for key, (amount, units) in sorted(amounts.items())
        if amount
    )


def refuse_double(service_id: str, spans: Sequence[Period]) -> None:
    """Raise Refused where two billed spans of one charge share a date (L11)."""
    for one, other in pairwise(sorted(spans)):
        if other.start < one.until:
            until = min(one.until, other.until)
            raise Refused(
                service_id,
                f"would be billed twice from {other.start} to {until}",
                "Void or credit the earlier line first.",
            )


def usage_period(
    effective: dt.date, recorded: dt.date, closed_until: dt.date, cycle_day: int, months: int = 1
) -> tuple[Period, bool]:
    """Return the period that bills usage of a local date, and whether it comes late.

    Before `closed_until` everything is invoiced: what belongs there is billed in the open period
    in which it became known, and keeps its date.
    """
    late = effective < closed_until
    date = max(recorded, closed_until) if late else effective
    return period_holding(date, cycle_day, months), late
