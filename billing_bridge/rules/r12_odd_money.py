"""R-12: money that cannot be right: an active service that costs nothing."""

from __future__ import annotations

from collections.abc import Iterator

from inventory import local_date

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .lines import at_list_price, due_rate, ledger_side


def judge(facts: Facts) -> Iterator[Found]:
    """Yield each active service whose price is zero, priced as others pay for its rate."""
    for each in facts.sound():
        today = local_date(facts.now, each.account.time_zone)
        if each.service.state == "active" and facts.prices.monthly(each.charged, today) == 0:
            yield _free(facts, each)


def _free(facts: Facts, each: ServiceFacts) -> Found:
    service = each.service
    since = each.folded.history[-1].since
    today = local_date(facts.now, each.account.time_zone)
    rate = due_rate(facts, each)
    paid = facts.prices.plan_at(rate, each.account, today, but=service.plan_code)
    says = f"{service.plan_code} costs nothing"
    return Found(
        rule="R-12",
        subject=f"free {service.service_id}",
        service_id=service.service_id,
        account_id=each.account.account_id,
        what="active, and costs nothing",
        since=since,
        sides=(
            ledger_side(each, rate),
            Side(who="catalogue", says=says, at=facts.now, ref=service.plan_code),
        ),
        money=facts.prices.difference(
            at_list_price(paid, since), (), each.account, since, facts.now
        ),
        command=f"bandmaster service tier {service.service_id} {paid}",
        blocks=True,
    )


RULE = Rule(rule="R-12", title="money that cannot be right", judge=judge)
