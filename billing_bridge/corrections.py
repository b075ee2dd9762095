"""What was billed held to what is owed: differences, double billing, and where late usage goes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from inventory import Refused

from .charged import Charge
from .proration import Period, period_holding
from .rating import PricedLine


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Billed:
    """What was charged for one plan of a service in one of its periods; negative = credited."""

    period: Period
    plan_code: str
    charge: Charge
    price_version_id: str
    amount_minor: int


def billed(lines: Iterable[PricedLine]) -> tuple[Billed, ...]:
    """Return what priced lines charge when they are billed."""
    return tuple(
        Billed(
            period=line.period,
            plan_code=line.plan_code,
            charge=line.charge,
            price_version_id=line.price_version_id,
            amount_minor=line.amount_minor,
        )
        for line in lines
    )


def corrections(before: Iterable[Billed], owed: Iterable[PricedLine]) -> tuple[Billed, ...]:
    """Return what has to be billed so that all of it together is what is owed, by period.

    Nothing closed is altered: these are lines of the next bill. With them among `before` there
    is nothing more to correct.
    """
    left: defaultdict[tuple[Period, str, Charge, str], int] = defaultdict(int)
    for line in billed(owed):
        left[line.period, line.plan_code, line.charge, line.price_version_id] += line.amount_minor
    for was in before:
        left[was.period, was.plan_code, was.charge, was.price_version_id] -= was.amount_minor
    return tuple(
        Billed(
            period=key[0],
            plan_code=key[1],
            charge=key[2],
            price_version_id=key[3],
            amount_minor=amount,
        )
        for key, amount in sorted(left.items())
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
