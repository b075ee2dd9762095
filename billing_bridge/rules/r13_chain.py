"""R-13: the ledger contradicts itself, the services' table or the bills: nothing may be billed."""

from __future__ import annotations

from collections.abc import Iterator

from inventory import money_text

from .base import Found, Rule, Side
from .bill_facts import AccountBills, OffLedger, TornBill
from .facts import Facts, ServiceFacts
from .money import Money

_REPLAY = "bandmaster ledger replay --check"


def judge(facts: Facts) -> Iterator[Found]:
    """Yield a finding for a chain that breaks, a story that contradicts itself, a wrong row.

    Also where what stands of the bills is not what the ledger owed when they were made (L12).
    """
    if facts.chain is not None:
        if facts.chain.problem:
            yield _broken(facts)
        for service_id in facts.chain.missing:
            yield _found(facts, service_id, "", "known", "has no row for it")
    for each in facts.services:
        if each.story:
            yield _of(facts, each, each.story, "not compared")
        elif each.mismatches:
            ledger = ", ".join(f"{one.field} {one.ledger}" for one in each.mismatches)
            table = ", ".join(f"{one.field} {one.table}" for one in each.mismatches)
            yield _of(facts, each, ledger, table)
    for off in facts.off_ledger:
        yield _off(off)
    for account in facts.bills:
        for bill in account.torn:
            yield _torn(account, bill)


def _broken(facts: Facts) -> Found:
    chain = facts.chain
    if chain is None:
        msg = "no chain was walked"
        raise ValueError(msg)
    return Found(
        rule="R-13",
        subject="chain",
        what=f"the chain breaks at seq {chain.bad_seq}",
        since=facts.now,
        sides=(
            Side(who="chain", says=chain.problem, at=facts.now, ref=f"seq {chain.bad_seq}"),
            Side(who="events before it", says=f"{chain.events} hold", at=facts.now),
        ),
        command="bandmaster ledger verify --deep",
        scope="run",
        blocks=True,
    )


def _of(facts: Facts, each: ServiceFacts, ledger: str, table: str) -> Found:
    return _found(facts, each.service.service_id, each.account.account_id, ledger, table)


def _found(facts: Facts, service_id: str, account_id: str, ledger: str, table: str) -> Found:
    return Found(
        rule="R-13",
        subject=service_id,
        service_id=service_id,
        account_id=account_id,
        what="ledger and services' table differ",
        since=facts.now,
        sides=(
            Side(who="ledger", says=ledger, at=facts.now, ref=service_id),
            Side(who="services' table", says=table, at=facts.now, ref=service_id),
        ),
        command=_REPLAY,
        scope="run",
        blocks=True,
    )


def _off(off: OffLedger) -> Found:
    dates = f"{off.period_from} to {off.period_until}"
    billed, owed = (
        money_text(amount, off.currency, off.exponent)
        for amount in (off.billed_minor, off.owed_minor)
    )
    return Found(
        rule="R-13",
        subject=f"{off.service_id} {off.plan_code} {off.thing} {dates}",
        service_id=off.service_id,
        account_id=off.account_id,
        what=f"{off.service_id}: billed {billed} of {dates}, the ledger says {owed}",
        since=off.at,
        sides=(
            Side(who="bills together", says=billed, at=off.at, ref=off.number),
            Side(who=f"ledger to seq {off.known_seq}", says=owed, at=off.at, ref=off.service_id),
        ),
        money=Money(
            at_risk_minor=off.owed_minor - off.billed_minor,
            currency=off.currency,
            exponent=off.exponent,
        ),
        command=f"bandmaster invoice show {off.number}",
        scope="run",
        blocks=True,
    )


def _torn(account: AccountBills, bill: TornBill) -> Found:
    lines, net = (
        money_text(amount, account.currency, account.exponent)
        for amount in (bill.lines_minor, bill.net_minor)
    )
    return Found(
        rule="R-13",
        subject=f"sum {bill.invoice_id}",
        account_id=account.account_id,
        what=f"{bill.number}: its lines add up to {lines}, it was issued for {net}",
        since=bill.at,
        sides=(
            Side(who="lines", says=lines, at=bill.at, ref=bill.invoice_id),
            Side(who="invoice", says=net, at=bill.at, ref=bill.number),
        ),
        money=Money(
            at_risk_minor=bill.net_minor - bill.lines_minor,
            currency=account.currency,
            exponent=account.exponent,
        ),
        command=f"bandmaster invoice show {bill.number}",
        scope="run",
        blocks=True,
    )


RULE = Rule(rule="R-13", title="chain or replay broken", judge=judge)
