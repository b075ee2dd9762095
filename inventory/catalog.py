"""What is sold: tiers, plans and their prices."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from .units import Rate

BillIn = Literal["advance", "arrears"]
Proration = Literal["day", "second"]
PricePolicy = Literal["at_period_start", "pinned"]

SUSPENDED_TIER = "suspended"  # the tier a static line gets while its service is suspended (D10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A bandwidth profile; its rate never changes once a service has used it (D9)."""

    code: str
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceVersion:
    """What one full period of a plan costs from a local date on; immutable."""

    price_version_id: str
    plan_code: str
    valid_from: dt.date
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A priced offering: a tier, price versions (ascending `valid_from`), how it is billed."""

    code: str
    name: str
    tier_code: str
    currency: str  # ISO 4217
    exponent: int  # decimals of the minor unit: 0, 2 or 3
    period_months: int = 1
    bill_in: BillIn = "advance"
    proration: Proration = "day"
    price_policy: PricePolicy = "at_period_start"
    prices: tuple[PriceVersion, ...] = ()

    def price_on(self, date: dt.date) -> PriceVersion:
        """Return the price version in force on `date`; LookupError before the first one."""
        found = [price for price in self.prices if price.valid_from <= date]
        if not found:
            msg = f"plan {self.code} has no price on {date}"
            raise LookupError(msg)
        return found[-1]
