"""R-11: somebody used something, and it is on nobody's bill."""

from __future__ import annotations

from collections.abc import Iterator

from .base import Found, Rule, Side
from .facts import Facts
from .lines import counted
from .money import Money
from .usage_facts import Stray

_KINDS = ("unmatched", "late", "future", "unknown_unit")
_SAYS = {
    "unmatched": "no service of this name",
    "late": "its time is closed",
    "future": "its time has not come",
    "unknown_unit": "not in a unit of its meter",
}
_MOST = 120  # characters of a name that a subject needs: sources may call a line anything


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding for each name and reason under which records wait, at their list price."""
    for stray in facts.strays:
        if stray.kind in _KINDS:
            yield _found(stray, "")
    for each in facts.services:
        for stray in each.usage.strays:
            if stray.kind in _KINDS:
                yield _found(stray, each.account.account_id)


def _found(stray: Stray, account_id: str) -> Found:
    name = stray.identifier[:_MOST]
    return Found(
        rule="R-11",
        subject=f"{stray.kind} {stray.source} {name}",
        service_id=stray.service_id,
        account_id=account_id,
        what=f"{counted(stray.records, 'record')} of {name}: {_SAYS[stray.kind]}",
        since=stray.since,
        sides=(
            Side(
                who=stray.source,
                says=f"{counted(stray.records, 'record')} of {name}",
                at=stray.newest,
                ref=stray.record_key[:_MOST],
            ),
            Side(who="inventory", says=_SAYS[stray.kind], at=stray.newest, ref=stray.service_id),
        ),
        money=Money(
            at_risk_minor=stray.amount_minor, currency=stray.currency, exponent=stray.exponent
        ),
        command="bandmaster usage exceptions list",
        scope="usage",
    )


RULE = Rule(rule="R-11", title="used, and nobody's", judge=judge)
