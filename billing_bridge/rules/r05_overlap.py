"""R-05: one login is online twice at once: two households share one bill, or it was stolen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from inventory import SessionOverlap, local_date

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .lines import counted, ledger_side
from .money import FREE, Money


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding a login whose sessions overlap by more than one interim.

    A session whose Stop was lost looks live for up to one interim: that much proves nothing. The
    price of what is used beside it is that of one more such service.
    """
    for each in facts.sound():
        twice = [o for o in each.overlaps if _longer(facts, o)]
        if not twice:
            continue
        newest = max(twice, key=lambda overlap: overlap.until)
        money = _one_more(facts, each, min(overlap.since for overlap in twice))
        yield Found(
            rule="R-05",
            subject=each.service.service_id,
            service_id=each.service.service_id,
            account_id=each.account.account_id,
            what=f"online twice at once: {counted(len(twice), 'overlap')}",
            since=min(overlap.since for overlap in twice),
            sides=(ledger_side(each), *_sides(newest)),
            money=money,
            command=f"bandmaster subscriber show {each.service.service_id} --live",
        )


def _longer(facts: Facts, overlap: SessionOverlap) -> bool:
    interim = dt.timedelta(seconds=overlap.interim_s) or facts.limits.interim
    return overlap.until - overlap.since > interim


def _sides(overlap: SessionOverlap) -> tuple[Side, Side]:
    place = f"{overlap.nas} {overlap.port}".strip()
    until = f"until {overlap.until:%Y-%m-%d %H:%M}Z"
    return (
        Side(who="accounting", says=f"was open {until}", at=overlap.until, ref=overlap.earlier_id),
        Side(who="accounting", says=f"began on {place}", at=overlap.since, ref=overlap.session_id),
    )


def _one_more(facts: Facts, each: ServiceFacts, since: dt.datetime) -> Money:
    if each.service.state != "active":
        return FREE
    today = local_date(facts.now, each.account.time_zone)
    one = facts.prices.difference(each.charged, (), each.account, since, facts.now)
    monthly = facts.prices.monthly(each.charged, today)
    return Money(
        at_risk_minor=one.at_risk_minor,
        monthly_minor=monthly,
        currency=one.currency,
        exponent=one.exponent,
    )


RULE = Rule(rule="R-05", title="one login online twice", judge=judge)
