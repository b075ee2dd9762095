"""R-07: a period's usage is unlike the service's own history, or unlike its tier's others.

Robust z: 0.6745 (x - median) / MAD, because an outlier moves mean and deviation with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from billing_bridge.proration import midnight, period_holding
from billing_bridge.tariffs import counted_bytes, overage
from inventory import Plan, local_date

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .money import FREE, Money
from .usage_facts import Spread, UsedPeriod, spread

_TO_SIGMA = Fraction(6745, 10_000)
_HISTORY, _MOST = 6, 12  # periods below which a history says nothing, and what is looked at
_GB = 1_000_000_000


def judge(facts: Facts) -> Iterator[Found]:
    """Yield each service whose newest complete period is out of the ordinary.

    Priced by what it makes of the overage: more usage than ever may be billed wrongly, less than
    ever may not be billed.
    """
    for each in facts.sound():
        plan = facts.prices.plans.get(each.service.plan_code)
        periods = _whole(facts, each)
        if each.service.state != "active" or plan is None or not periods:
            continue
        *before, newest = periods
        history = [counted_bytes(plan, one.down, one.up) for one in before[-_MOST:]]
        used = counted_bytes(plan, newest.down, newest.up)
        if len(history) >= _HISTORY:
            known, who = spread(history), f"its {len(history)} periods before"
        else:
            cohort = facts.cohorts.get(each.service.tier_code)
            if cohort is None or cohort.services < _HISTORY:
                continue
            used = newest.down + newest.up  # plans of one tier may count other directions
            known, who = cohort.spread, f"{cohort.services} others of {each.service.tier_code}"
        if unlike(facts, used, known):
            sides = (
                Side(who="usage", says=f"{used / _GB:.1f} GB", at=newest.until, ref="newest"),
                Side(who=who, says=f"median {float(known.median) / _GB:.1f} GB", at=newest.since),
            )
            yield _found(each, newest, sides, _money(plan, newest, used, known))


def _whole(facts: Facts, each: ServiceFacts) -> list[UsedPeriod]:
    """Return the periods of which the service had all; none where the newest one is not among them.

    A period that a service began in says nothing of its use, one without usage is not zero.
    """
    account = each.account
    current = period_holding(local_date(facts.now, account.time_zone), account.cycle_day)
    first = each.folded.active_since
    periods = [one for one in each.usage.periods if first is None or one.since >= first]
    ends = midnight(current.start, account.time_zone)
    return periods if periods and periods[-1].until == ends else []


def unlike(facts: Facts, used: int, known: Spread) -> bool:
    """Whether a number stands out: by the robust z, by a relative change where all are alike."""
    away = abs(used - known.median)
    if away <= facts.limits.usage_floor_bytes:
        return False
    if known.mad == 0:
        return away > known.median * facts.limits.relative_pct / 100
    return _TO_SIGMA * away / known.mad > facts.limits.robust_z


def _money(plan: Plan, newest: UsedPeriod, used: int, known: Spread) -> Money:
    if not plan.block_bytes or not plan.prices:
        return FREE
    on = newest.since.date()
    price = plan.price_on(on) if plan.prices[0].valid_from <= on else plan.prices[0]
    here, usual = (
        overage(
            quantity, plan.allowance_bytes, plan.block_bytes, price.block_minor, price.cap_minor
        ).amount_minor
        for quantity in (used, int(known.median))
    )
    return Money(
        at_risk_minor=usual - here,
        monthly_minor=usual - here,
        currency=plan.currency,
        exponent=plan.exponent,
    )


def _found(
    each: ServiceFacts,
    newest: UsedPeriod,
    sides: tuple[Side, ...],
    money: Money,
) -> Found:
    service_id = each.service.service_id
    return Found(
        rule="R-07",
        subject=f"{service_id} {newest.since:%Y-%m-%d}",
        service_id=service_id,
        account_id=each.account.account_id,
        what=f"used {sides[0].says}, {sides[1].who}: {sides[1].says}",
        since=newest.until,
        sides=sides,
        money=money,
        command=f"bandmaster usage show {service_id}",
        scope="usage",
    )


RULE = Rule(rule="R-07", title="usage unlike its history", judge=judge)
