"""R-04: a service is paid for and used to be used, and nothing came through it for a month."""

from __future__ import annotations

from collections.abc import Iterator

from inventory import local_date

from .base import Found, Rule, Side
from .facts import Facts
from .lines import ledger_side
from .money import Money
from .r02_billed_dead import silent_since


def judge(facts: Facts) -> Iterator[Found]:
    """Yield each paying service without a byte for the limit, though it had some before.

    Only while usage is counted at all, and not where R-02 tells of the same silence. The money is
    a month's price: whoever uses nothing soon leaves, or asks for it back.
    """
    after, counted = facts.limits.unused_after, facts.counted_until
    for each in facts.sound():
        last = each.usage.last_used
        if each.service.state != "active" or last is None or counted is None:
            continue
        if facts.now - last < after or facts.now - counted >= after / 2:
            continue
        if silent_since(facts, each) is not None:
            continue
        today = local_date(facts.now, each.account.time_zone)
        monthly = facts.prices.monthly(each.charged, today)
        plan = facts.prices.plans.get(each.service.plan_code)
        if not monthly or plan is None:
            continue
        yield Found(
            rule="R-04",
            subject=each.service.service_id,
            service_id=each.service.service_id,
            account_id=each.account.account_id,
            what="paid for, and not used",
            since=last,
            sides=(ledger_side(each), Side(who="usage", says="the last byte was counted", at=last)),
            money=Money(
                at_risk_minor=-monthly,
                monthly_minor=-monthly,
                currency=plan.currency,
                exponent=plan.exponent,
            ),
            command=f"bandmaster subscriber show {each.service.service_id} --live",
        )


RULE = Rule(rule="R-04", title="paid for, not used", judge=judge)
