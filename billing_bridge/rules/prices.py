"""What a finding costs, asked of the one function that prices histories."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

from billing_bridge.charged import Charged
from billing_bridge.preview import full_price
from billing_bridge.proration import Period, prorate
from billing_bridge.rating import Rater
from inventory import (
    SUSPENDED_TIER,
    UNKNOWN_RATE,
    Account,
    BandmasterError,
    Plan,
    Rate,
    Tier,
    local_date,
)

from .money import Money

_DAY = dt.timedelta(days=1)


class Prices:
    """Prices by one catalogue; pure, and kept for a whole check because the rater remembers."""

    def __init__(self, plans: Mapping[str, Plan], tiers: Mapping[str, Tier]) -> None:
        self.plans = plans
        self.tiers = tiers
        self._rater = Rater(plans)
        self._sold = [
            (tiers[plan.tier_code].rate, plan)
            for plan in plans.values()
            if plan.tier_code in tiers and plan.tier_code != SUSPENDED_TIER
        ]

    def monthly(self, charged: Sequence[Charged], on: dt.date) -> int:
        """Return a month of what is charged last, of its whole period begun on a date."""
        if not charged or not charged[-1].plan_code:
            return 0
        try:
            full = full_price(charged, self.plans, on)
        except (LookupError, BandmasterError):
            return 0
        return prorate(full, 1, self.plans[charged[-1].plan_code].period_months)

    def list_price(self, plan_code: str, on: dt.date) -> int:
        """Return what the catalogue asks for a whole period of a plan; 0 where it has no price."""
        plan = self.plans.get(plan_code)
        try:
            return plan.price_on(on).amount_minor if plan else 0
        except LookupError:
            return 0

    def cost(
        self, charged: Sequence[Charged], account: Account, since: dt.datetime, until: dt.datetime
    ) -> int:
        """Return what is charged between two instants; 0 where the catalogue has no price."""
        if until <= since:
            return 0
        before = [entry for entry in charged if entry.since <= since][-1:]
        within = [entry for entry in charged if since < entry.since < until]
        end = Charged(since=until, plan_code="")
        history = (*(replace(entry, since=since) for entry in before), *within, end)
        zone = account.time_zone
        span = Period(start=local_date(since, zone), until=local_date(until, zone) + _DAY)
        try:
            return sum(e.amount_minor for e in self._rater.history(history, account, span))
        except BandmasterError:
            return 0

    def difference(
        self,
        given: Sequence[Charged],
        billed: Sequence[Charged],
        account: Account,
        since: dt.datetime,
        now: dt.datetime,
    ) -> Money:
        """Return what is given less what is billed, since an instant and in a month from now."""
        codes = [entry.plan_code for entry in (*given[-1:], *billed[-1:]) if entry.plan_code]
        plan = self.plans.get(codes[0]) if codes else None
        if plan is None:
            return Money()
        today = local_date(now, account.time_zone)
        spans = (self.cost(side, account, since, now) for side in (given, billed))
        at_risk = next(spans) - next(spans)
        monthly = self.monthly(given, today) - self.monthly(billed, today)
        return Money(
            at_risk_minor=at_risk,
            monthly_minor=monthly,
            currency=plan.currency,
            exponent=plan.exponent,
        )

    def sold(self, rate: Rate, tolerance_pct: int) -> bool:
        """Whether a tier of some plan has this rate."""
        return any(near(rate, sold, tolerance_pct) for sold, _plan in self._sold)

    def plan_at(
        self, rate: Rate, account: Account, on: dt.date, prefer: str = "", *, but: str = ""
    ) -> str:
        """Return the plan of the tier nearest to a rate, in the account's currency.

        The plan `prefer` wins among equals, then the cheapest on that date: a price that is
        claimed should not be too high; `but` is out of the question. "" = nothing is known of the
        rate, nothing is sold, or it is that of a suspended line.
        """
        if rate == UNKNOWN_RATE:
            return ""
        suspended = self.tiers.get(SUSPENDED_TIER)
        ranked = [(_distance(rate, suspended.rate), True, 0, "")] if suspended else []
        ranked += [
            (_distance(rate, sold), plan.code != prefer, _list_price(plan, on), plan.code)
            for sold, plan in self._sold
            if plan.currency == account.currency and plan.code != but
        ]
        return min(ranked)[3] if ranked else ""


def near(one: Rate, other: Rate, tolerance_pct: int) -> bool:
    """Whether two rates are the same but for what encapsulation adds."""
    return all(
        abs(a - b) * 100 <= tolerance_pct * b
        for a, b in ((one.down_kbps, other.down_kbps), (one.up_kbps, other.up_kbps))
    )


def _distance(one: Rate, other: Rate) -> int:
    return abs(one.down_kbps - other.down_kbps) + abs(one.up_kbps - other.up_kbps)


def _list_price(plan: Plan, on: dt.date) -> int:
    try:
        return prorate(plan.price_on(on).amount_minor, 1, plan.period_months)
    except LookupError:
        return 1 << 62
