"""R-08: a bill is unlike the one before it, and nothing in the ledger explains it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from inventory import money_text

from .base import Found, Rule, Side
from .bill_facts import AccountBills, Bill
from .facts import Facts, ServiceFacts
from .money import Money

_LOOK_BACK = dt.timedelta(days=31)  # the bill before may have charged parts of periods


def judge(facts: Facts) -> Iterator[Found]:
    """Yield each draft that differs from the bill before it by more than both limits.

    What a service's own events explain is left out, as are credits and charges, which are events.
    """
    services = {each.service.service_id: each for each in facts.services}
    for one in facts.bills:
        if one.draft is None or one.previous is None:
            continue
        delta = sum(
            one.draft.by_service.get(name, 0) - one.previous.by_service.get(name, 0)
            for name in one.draft.by_service.keys() | one.previous.by_service.keys()
            if not _explained(services.get(name), one.previous)
        )
        least = facts.limits.bill_floor * 10**one.exponent
        share = abs(one.previous.net_minor) * facts.limits.bill_pct
        if abs(delta) > least and abs(delta) * 100 > share:
            yield _found(one, one.draft, one.previous, delta)


def _explained(each: ServiceFacts | None, previous: Bill) -> bool:
    """Whether something happened to a service since the bill before, or shortly before that."""
    if each is None:
        return False
    began = previous.closes_on - _LOOK_BACK
    return each.last_seq > previous.known_seq or any(
        step.since.date() >= began for step in each.folded.history
    )


def _found(one: AccountBills, draft: Bill, previous: Bill, delta: int) -> Found:
    amounts = [money_text(b.net_minor, one.currency, one.exponent) for b in (previous, draft)]
    return Found(
        rule="R-08",
        subject=f"{one.account_id} {draft.closes_on} {one.currency}",
        account_id=one.account_id,
        what=f"{amounts[1]} after {amounts[0]}, and nothing happened",
        since=draft.at,
        sides=(
            Side(who="draft", says=amounts[1], at=draft.at, ref=draft.invoice_id),
            Side(who="bill before", says=amounts[0], at=previous.at, ref=previous.number),
        ),
        money=Money(at_risk_minor=-delta, currency=one.currency, exponent=one.exponent),
        command=f"bandmaster invoice show {draft.invoice_id}",
        scope="account",
    )


RULE = Rule(rule="R-08", title="a bill unlike the last", judge=judge)
