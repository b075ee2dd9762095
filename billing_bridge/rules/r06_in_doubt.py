"""R-06: a change and the ledger do not say the same, and nobody has settled it in time."""

from __future__ import annotations

from collections.abc import Iterator

from billing_bridge.proration import period_holding, prorate
from inventory import local_date

from .base import Found, Rule, Side
from .facts import Doubt, Facts
from .money import Money


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding a change in doubt past its deadline, or told by one side alone.

    The price is what the change makes of a month, for the days that it has been in doubt.
    """
    zones = {each.account.account_id: each.account for each in facts.services}
    for doubt in facts.doubts:
        if doubt.waits and facts.now - doubt.since < facts.limits.doubt_after:
            continue
        account = zones.get(doubt.account_id)
        days, whole = 0, 1
        if account is not None:
            today = local_date(facts.now, account.time_zone)
            period = period_holding(today, account.cycle_day)
            days = (today - local_date(doubt.since, account.time_zone)).days
            whole = (period.until - period.start).days
        yield _found(doubt, days, whole)


def _found(doubt: Doubt, days: int, whole: int) -> Found:
    return Found(
        rule="R-06",
        subject=doubt.change_id,
        service_id=doubt.service_id,
        account_id=doubt.account_id,
        what=doubt.problem,
        since=doubt.since,
        sides=(
            Side(who="journal", says=doubt.journal, at=doubt.since, ref=doubt.change_id),
            Side(who="ledger", says=doubt.ledger, at=doubt.ledger_at, ref=doubt.ledger_ref),
        ),
        money=Money(
            at_risk_minor=prorate(doubt.monthly_minor, days, whole),
            monthly_minor=doubt.monthly_minor,
            currency=doubt.currency,
            exponent=doubt.exponent,
        ),
        command=doubt.command,
        blocks=True,
    )


RULE = Rule(rule="R-06", title="change in doubt", judge=judge)
