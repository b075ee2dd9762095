"""What is sold: tiers, plans and their prices."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from .units import Rate

BillIn = Literal["advance", "arrears"]
Proration = Literal["day", "second"]
PricePolicy = Literal["at_period_start", "pinned"]
SuspendPolicy = Literal["stop", "continue", "hold_fee"]
Counts = Literal["down", "up", "both"]

SUSPENDED_TIER = "suspended"  # the tier a static line gets while its service is suspended (D10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A bandwidth profile; its rate never changes once a service has used it (D9)."""

    code: str
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceVersion:
    """What one full period of a plan costs from a local date on; immutable.

    Only what the plan's terms ask for is not 0: the fee of a period on hold, a block of bytes
    over the allowance, the most that all blocks of a period cost (0 = no such limit), and each
    Mbit/s (10^6 bit/s) of the measured rate above the committed one.
    """

    price_version_id: str
    plan_code: str
    valid_from: dt.date
    amount_minor: int
    hold_minor: int = 0
    block_minor: int = 0
    cap_minor: int = 0
    burst_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A priced offering: a tier, price versions (ascending `valid_from`), how it is billed.

    `month_days` 0 counts a period's own days, 28..30 gives every month that many. The date of a
    termination is charged only if `last_day_billed`; a date on which a service begins and stops
    counts `min_billable_days` (0 or 1). While suspended nothing is charged, all goes on, or the
    hold fee is; `suspend_unpaid` is for suspensions for non-payment.
    `allowance_bytes` of a period are included, each begun `block_bytes` beyond them is charged
    (0 = no charge by volume). Beyond `fair_use_bytes` the line may be slowed down to
    `fair_use_tier`, which costs nothing. The price includes `commit_kbps` of the 95th percentile.
    """

    code: str
    name: str
    tier_code: str
    currency: str  # ISO 4217
    exponent: int  # decimals of the minor unit: 0, 2 or 3
    period_months: int = 1
    bill_in: BillIn = "advance"
    proration: Proration = "day"
    price_policy: PricePolicy = "at_period_start"
    month_days: int = 0
    last_day_billed: bool = False
    min_billable_days: int = 0
    suspend: SuspendPolicy = "stop"
    suspend_unpaid: SuspendPolicy = "stop"
    allowance_bytes: int = 0
    allowance_counts: Counts = "both"
    block_bytes: int = 0
    fair_use_bytes: int = 0
    fair_use_tier: str = ""
    commit_kbps: int = 0
    prices: tuple[PriceVersion, ...] = ()

    def price_on(self, date: dt.date) -> PriceVersion:
        """Return the price version in force on `date`; LookupError before the first one."""
        found = [price for price in self.prices if price.valid_from <= date]
        if not found:
            msg = f"plan {self.code} has no price on {date}"
            raise LookupError(msg)
        return found[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldAs:
    """What a plan means to a decision: its tier, and how its price is told and parted."""

    price_policy: PricePolicy
    proration: Proration
    tier: Tier
