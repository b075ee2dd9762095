"""R-10: more came through a line than its tier lets through: the meter, or the tier, is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from billing_bridge.tariffs import overage
from inventory import Plan

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .lines import counted, ledger_side
from .money import FREE, Money
from .usage_facts import Fast

_BITS_A_BYTE, _BPS_A_KBPS = 8, 1000


def judge(facts: Facts) -> Iterator[Found]:
    """Yield each service with windows beyond its tier's speed and a tenth.

    A window in which the service had another tier proves nothing. Priced by the overage of what
    cannot have come through.
    """
    for each in facts.sound():
        wrong = [fast for fast in each.usage.fast if _beyond(facts, each, fast)]
        if not wrong:
            continue
        worst = max(wrong, key=_kbps)
        yield Found(
            rule="R-10",
            subject=each.service.service_id,
            service_id=each.service.service_id,
            account_id=each.account.account_id,
            what=f"{counted(len(wrong), 'window')} faster than the line: {_kbps(worst)} kbit/s",
            since=min(fast.since for fast in wrong),
            sides=(
                ledger_side(each),
                Side(
                    who=f"usage {worst.meter}",
                    says=f"{_kbps(worst)} kbit/s, the tier lets through {worst.tier_kbps}",
                    at=worst.since,
                    ref=worst.event_id,
                ),
            ),
            money=_money(facts.prices.plans.get(each.service.plan_code), wrong),
            command="bandmaster device check",
            scope="usage",
        )


def _kbps(fast: Fast) -> int:
    seconds = int((fast.until - fast.since).total_seconds())
    return fast.quantity * _BITS_A_BYTE // (seconds * _BPS_A_KBPS)


def _beyond(facts: Facts, each: ServiceFacts, fast: Fast) -> bool:
    if any(fast.since < step.since for step in each.folded.history):
        return False
    return fast.quantity * 100 > fast.possible * facts.limits.speed_pct


def _money(plan: Plan | None, wrong: list[Fast]) -> Money:
    if plan is None or not plan.block_bytes or not plan.prices:
        return FREE
    beyond = sum(fast.quantity - fast.possible for fast in wrong)
    price = plan.prices[-1]
    cost = overage(beyond, 0, plan.block_bytes, price.block_minor, price.cap_minor).amount_minor
    return Money(
        at_risk_minor=-cost, monthly_minor=-cost, currency=plan.currency, exponent=plan.exponent
    )


RULE = Rule(rule="R-10", title="faster than the line", judge=judge)
