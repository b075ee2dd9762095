"""R-12: money that cannot be right: for nothing, billed twice, credited beyond what was charged."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from billing_bridge.proration import prorate
from inventory import local_date, money_text

from .base import Found, Rule, Side
from .bill_facts import AccountBills, Bill, BilledPeriod, PricedOtherwise
from .facts import Facts, ServiceFacts
from .lines import at_list_price, due_rate, ledger_side
from .money import Money


def judge(facts: Facts) -> Iterator[Found]:
    """Yield active services that cost nothing, expired offers, and bills that cannot be right.

    What costs nothing by an offer that has an end was agreed to, and ends by itself.
    """
    for each in facts.sound():
        today = local_date(facts.now, each.account.time_zone)
        offer = each.charged[-1].override(today) if each.charged else None
        if each.service.state != "active" or (offer is not None and offer.until is not None):
            continue
        if facts.prices.monthly(each.charged, today) == 0:
            yield _free(facts, each)
    for line in facts.priced_otherwise:
        yield _expired(facts, line)
    for one in facts.bills:
        for period in one.billed:
            if period.amount_minor < 0:
                yield _credited(one, period)
            elif (beyond := beyond_whole(period)) > 0:
                yield _twice(one, period, beyond)
        if one.draft is not None and one.draft.net_minor < 0:
            yield _negative(one, one.draft)
            continue
        newest = one.draft or one.previous
        if newest is not None and one.credited_minor + one.charged_minor < 0:
            yield _overcredited(one, newest)


def _free(facts: Facts, each: ServiceFacts) -> Found:
    """Return the finding of a service that costs nothing, priced as others pay for its rate."""
    service = each.service
    since = each.folded.history[-1].since
    today = local_date(facts.now, each.account.time_zone)
    rate = due_rate(facts, each)
    paid = facts.prices.plan_at(rate, each.account, today, but=service.plan_code)
    given = at_list_price(paid, since)
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
        money=facts.prices.difference(given, (), each.account, since, facts.now),
        command=f"bandmaster service tier {service.service_id} {paid}",
        blocks=True,
    )


def _expired(facts: Facts, line: PricedOtherwise) -> Found:
    """Return the finding of an offer that a draft still uses, priced by the catalogue's price."""
    plan = facts.prices.plans.get(line.plan_code)
    usual = facts.prices.list_price(line.plan_code, line.period_from)
    owed = prorate(usual, line.numerator, line.denominator)
    over = f"ended on {line.ends}" if line.ends else "was taken back"
    return Found(
        rule="R-12",
        subject=f"offer {line.service_id} {line.period_from}",
        service_id=line.service_id,
        account_id=line.account_id,
        what=f"an expired offer is still applied: it {over}",
        since=line.drafted_at,
        sides=(
            Side(who="ledger", says=f"the price {over}", at=facts.now, ref=line.event_id),
            Side(who="draft", says=f"uses it until {line.until_date}", at=line.drafted_at,
                 ref=line.invoice_id),
        ),
        money=Money(
            at_risk_minor=owed - line.amount_minor,
            currency=plan.currency if plan else "",
            exponent=plan.exponent if plan else 0,
        ),
        command="bandmaster invoice run",
        blocks=True,
    )  # fmt: skip


def beyond_whole(period: BilledPeriod) -> int:
    """Return what a period was billed beyond all of it, in minor units; roundings are nothing.

    Each plan counts as the part of its whole price that was billed: of all plans of a period the
    parts add up to one at most.
    """
    parts = [(full, amount) for full, amount in period.parts if full]
    billed = sum((Fraction(amount, full) for full, amount in parts), Fraction(0))
    dearest = max((full for full, _amount in parts), default=0)
    beyond = int((billed - 1) * dearest)
    return beyond if beyond > period.lines else 0


def _credited(one: AccountBills, period: BilledPeriod) -> Found:
    amount = money_text(period.amount_minor, one.currency, one.exponent)
    return _of_period(one, period, "credited more than was charged", amount, -period.amount_minor)


def _twice(one: AccountBills, period: BilledPeriod, beyond: int) -> Found:
    amount = money_text(period.amount_minor, one.currency, one.exponent)
    return _of_period(one, period, "the same period is billed twice", amount, -beyond)


def _of_period(
    one: AccountBills, period: BilledPeriod, what: str, amount: str, at_risk_minor: int
) -> Found:
    dates = f"{period.period_from} to {period.period_until}"
    whole = max((full for full, _amount in period.parts), default=0)
    return Found(
        rule="R-12",
        subject=f"{period.service_id} {period.charge} {dates}",
        service_id=period.service_id,
        account_id=one.account_id,
        what=f"{what}: {dates}",
        since=period.at,
        sides=(
            Side(who="bills together", says=amount, at=period.at, ref=period.invoice_id),
            Side(
                who="the whole period",
                says=f"costs {money_text(whole, one.currency, one.exponent)}",
                at=period.at,
            ),
        ),
        money=Money(at_risk_minor=at_risk_minor, currency=one.currency, exponent=one.exponent),
        command=f"bandmaster invoice show {period.invoice_id}",
        blocks=True,
    )


def _negative(one: AccountBills, draft: Bill) -> Found:
    return _of_account(one, draft, "negative", "the next bill is below zero", -draft.net_minor)


def _overcredited(one: AccountBills, bill: Bill) -> Found:
    beyond = -one.charged_minor - one.credited_minor
    return _of_account(one, bill, "credits", "credited more than was ever charged", beyond)


def _of_account(one: AccountBills, bill: Bill, name: str, what: str, at_risk_minor: int) -> Found:
    texts = [
        money_text(amount, one.currency, one.exponent)
        for amount in (one.charged_minor, one.credited_minor)
    ]
    return Found(
        rule="R-12",
        subject=f"{name} {one.account_id} {one.currency}",
        account_id=one.account_id,
        what=what,
        since=bill.at,
        sides=(
            Side(who="charged lately", says=texts[0], at=bill.at, ref=bill.invoice_id),
            Side(who="credited lately", says=texts[1], at=bill.at),
        ),
        money=Money(at_risk_minor=at_risk_minor, currency=one.currency, exponent=one.exponent),
        command=f"bandmaster invoice show {bill.invoice_id}",
        scope="account",
        blocks=True,
    )


RULE = Rule(rule="R-12", title="money that cannot be right", judge=judge)
