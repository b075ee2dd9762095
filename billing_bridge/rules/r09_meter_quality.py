"""R-09: what was measured cannot carry a bill: too few samples, resets, counters that went back."""

from __future__ import annotations

from collections.abc import Iterator

from billing_bridge.percentile import COVERAGE_FLOOR_BP
from billing_bridge.tariffs import plan_burst
from inventory import Plan

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .lines import counted, due_rate
from .money import FREE, Money

_KINDS = ("counter", "regressive", "impossible")
_BPS_A_KBPS = 1000


def judge(facts: Facts) -> Iterator[Found]:
    """Yield each percentile below the coverage, and each service with counters gone wrong.

    Both hold the service's usage lines, and nothing else of it.
    """
    for each in facts.sound():
        measured = each.usage.measured
        if measured is not None and 0 <= measured.coverage_bp < COVERAGE_FLOOR_BP:
            yield _thin(facts, each)
        if any(stray.kind in _KINDS for stray in each.usage.strays):
            yield _odd(each)


def _thin(facts: Facts, each: ServiceFacts) -> Found:
    """With more than 5 % missing, all of it may have been at line speed, and so may the p95."""
    measured = each.usage.measured
    if measured is None:
        msg = "nothing was measured"
        raise ValueError(msg)
    speed = due_rate(facts, each)
    most = max(speed.down_kbps, speed.up_kbps) * _BPS_A_KBPS
    covered = f"{measured.coverage_bp / 100:.1f} %"
    plan = facts.prices.plans.get(each.service.plan_code)
    return Found(
        rule="R-09",
        subject=f"{each.service.service_id} p95 {measured.since:%Y-%m-%d}",
        service_id=each.service.service_id,
        account_id=each.account.account_id,
        what=f"the percentile rests on {covered} of its samples",
        since=measured.until,
        sides=(
            Side(
                who="usage",
                says=f"{measured.bps // 1000} kbit/s from {measured.samples} samples, {covered}",
                at=measured.until,
                ref=measured.event_id,
            ),
            Side(who="if all that is missing was at line speed", says=f"{most // 1000} kbit/s",
                 at=measured.since),
        ),
        money=_burst(plan, measured.bps, most, each),
        command=f"bandmaster usage show {each.service.service_id}",
        scope="usage",
        blocks=True,
    )  # fmt: skip


def _burst(plan: Plan | None, bps: int, most: int, each: ServiceFacts) -> Money:
    measured = each.usage.measured
    if plan is None or not plan.commit_kbps or not plan.prices or measured is None:
        return FREE
    on = measured.since.date()
    price = plan.price_on(on) if plan.prices[0].valid_from <= on else plan.prices[0]
    stake = plan_burst(plan, price, most) - plan_burst(plan, price, bps)
    return Money(
        at_risk_minor=stake, monthly_minor=stake, currency=plan.currency, exponent=plan.exponent
    )


def _odd(each: ServiceFacts) -> Found:
    strays = [stray for stray in each.usage.strays if stray.kind in _KINDS]
    records = sum(stray.records for stray in strays)
    priced = next((stray for stray in strays if stray.currency), strays[0])
    amount = sum(stray.amount_minor for stray in strays if stray.currency == priced.currency)
    kinds = ", ".join(sorted({stray.kind for stray in strays}))
    return Found(
        rule="R-09",
        subject=f"{each.service.service_id} counters",
        service_id=each.service.service_id,
        account_id=each.account.account_id,
        what=f"{counted(records, 'reading')} not counted: {kinds}",
        since=min(stray.since for stray in strays),
        sides=(
            Side(
                who=priced.source,
                says=f"{counted(records, 'reading')}: {kinds}",
                at=max(stray.newest for stray in strays),
                ref=priced.record_key,
            ),
            Side(who="usage", says="counts none of them", at=each.usage.last_used),
        ),
        money=Money(at_risk_minor=amount, currency=priced.currency, exponent=priced.exponent),
        command="bandmaster usage exceptions list",
        scope="usage",
        blocks=True,
    )


RULE = Rule(rule="R-09", title="measured badly", judge=judge)
