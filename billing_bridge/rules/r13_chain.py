"""R-13: the ledger contradicts itself or the services' table: nothing may be billed from it."""

from __future__ import annotations

from collections.abc import Iterator

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts

_REPLAY = "bandmaster ledger replay --check"


def judge(facts: Facts) -> Iterator[Found]:
    """Yield a finding for a chain that breaks, a story that contradicts itself, a wrong row."""
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


RULE = Rule(rule="R-13", title="chain or replay broken", judge=judge)
