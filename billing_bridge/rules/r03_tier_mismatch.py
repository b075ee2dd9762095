"""R-03: a line runs at another rate than the ledger's tier; the money's sign says who loses."""

from __future__ import annotations

from collections.abc import Iterator

from inventory import UNKNOWN_RATE, Rate, local_date

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .lines import READ_AGAIN, at_list_price, device_side, due_rate, fresh, ledger_side, since_event
from .prices import near


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding a service whose devices or RADIUS group give another rate than is billed.

    Priced by the plan of the tier that is given, at what is charged for the ledger's. It blocks
    where the line gives more than is paid for.
    """
    for each in facts.sound():
        due = due_rate(facts, each)
        if due == UNKNOWN_RATE:
            continue
        tolerance = facts.limits.tolerance_pct
        wrong = [
            seen
            for seen in fresh(each)
            if seen.present and seen.rate != UNKNOWN_RATE and not near(seen.rate, due, tolerance)
        ]
        group = _group(facts, each, due)
        if wrong or group:
            given = max([seen.rate for seen in wrong] or [facts.prices.tiers[each.group_tier].rate])
            since = since_event(each, min([seen.since for seen in wrong] or [facts.now]))
            sides = (ledger_side(each, due), *map(device_side, wrong), *group)
            plan = _plan(facts, each, given)
            billed = each.charged
            money = facts.prices.difference(
                at_list_price(plan, since), billed, each.account, since, facts.now
            )
            more = given.down_kbps > due.down_kbps or given.up_kbps > due.up_kbps
            yield Found(
                rule="R-03",
                subject=each.service.service_id,
                service_id=each.service.service_id,
                account_id=each.account.account_id,
                what=f"gives {given}, the ledger says {due}",
                since=since,
                sides=sides,
                money=money,
                command=READ_AGAIN,
                blocks=more,
            )


def _group(facts: Facts, each: ServiceFacts, due: Rate) -> tuple[Side, ...]:
    """Return RADIUS' side where the login's group is that of another tier."""
    tier = facts.prices.tiers.get(each.group_tier)
    if tier is None or near(tier.rate, due, facts.limits.tolerance_pct):
        return ()
    says = f"the group of tier {tier.code}, {tier.rate}"
    return (Side(who="RADIUS", says=says, at=facts.now, ref=each.service.login),)


def _plan(facts: Facts, each: ServiceFacts, given: Rate) -> str:
    today = local_date(facts.now, each.account.time_zone)
    return facts.prices.plan_at(given, each.account, today, each.service.plan_code)


RULE = Rule(rule="R-03", title="another rate than billed", judge=judge)
