"""R-05: one line is used at two places at once: two households share a bill, or it was stolen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import combinations

from inventory import SessionOverlap, local_date

from .base import Found, Rule, Side
from .facts import Facts, Observed, ServiceFacts
from .lines import counted, device_side, fresh, ledger_side
from .money import FREE, Money


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding a login whose sessions overlap, and one a line that two circuits carry.

    Both by more than one interim: a session whose Stop was lost looks live for up to one, and
    devices are not read at one instant. The price of what is used beside it is that of one more
    such service.
    """
    for each in facts.sound():
        twice = [o for o in each.overlaps if _longer(facts, o)]
        if twice:
            apart = [o for o in twice if _apart(o)]
            newest = max(apart or twice, key=lambda overlap: overlap.until)
            where = "on two circuits" if apart else "twice"
            what = f"online {where} at once: {counted(len(apart or twice), 'overlap')}"
            yield _found(facts, each, "", what, min(o.since for o in twice), _sides(newest))
        two = _two_circuits(facts, each)
        if two:
            one, other = two
            what = f"{one.device} carries it on {one.object}, {other.device} on {other.object}"
            sides = (device_side(one), device_side(other))
            yield _found(facts, each, " circuits", what, max(one.since, other.since), sides)


def _found(
    facts: Facts,
    each: ServiceFacts,
    kind: str,
    what: str,
    since: dt.datetime,
    sides: tuple[Side, Side],
) -> Found:
    service_id = each.service.service_id
    return Found(
        rule="R-05",
        subject=f"{service_id}{kind}",
        service_id=service_id,
        account_id=each.account.account_id,
        what=what,
        since=since,
        sides=(ledger_side(each), *sides),
        money=_one_more(facts, each, since),
        command=f"bandmaster subscriber show {service_id} --live",
    )


def _apart(overlap: SessionOverlap) -> bool:
    """Whether two sessions came over circuits that are told, and are not the same."""
    stations = {overlap.station, overlap.earlier_station}
    return overlap.place != overlap.earlier_place or ("" not in stations and len(stations) > 1)


def _two_circuits(facts: Facts, each: ServiceFacts) -> tuple[Observed, Observed] | None:
    """Return two places of one role at which devices showed the line at one time, if any did."""
    shown = [seen for seen in fresh(each) if seen.present and seen.role]
    for one, other in combinations(sorted(shown, key=lambda seen: (seen.device, seen.object)), 2):
        both = min(one.observed_at, other.observed_at) - max(one.since, other.since)
        if one.role == other.role and both > facts.limits.interim:
            return one, other
    return None


def _longer(facts: Facts, overlap: SessionOverlap) -> bool:
    interim = dt.timedelta(seconds=overlap.interim_s) or facts.limits.interim
    return overlap.until - overlap.since > interim


def _sides(overlap: SessionOverlap) -> tuple[Side, Side]:
    places = (
        f"{overlap.earlier_place} {overlap.earlier_station}".strip(),
        f"{overlap.place} {overlap.station}".strip(),
    )
    open_until = f"open on {places[0]} until {overlap.until:%Y-%m-%d %H:%M}Z"
    return (
        Side(who="accounting", says=open_until, at=overlap.until, ref=overlap.earlier_id),
        Side(who="accounting", says=f"began on {places[1]}", at=overlap.since,
             ref=overlap.session_id),
    )  # fmt: skip


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


RULE = Rule(rule="R-05", title="one line used twice", judge=judge)
