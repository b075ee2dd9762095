"""What several rules say of a service in the same words: the ledger's side, a device's side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from billing_bridge.charged import Charged
from inventory import UNKNOWN_RATE, Rate

from .base import Side
from .facts import Facts, Observed, ServiceFacts

READ_AGAIN = "bandmaster recover --after-restore"


def counted(number: int, noun: str) -> str:
    """Return so many of a noun, in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ledger_side(each: ServiceFacts, rate: Rate = UNKNOWN_RATE) -> Side:
    """Return what the ledger says of a service since its newest event."""
    service = each.service
    plan = f"{service.plan_code} " if service.state in ("active", "suspended") else ""
    state = "not active yet" if service.state == "none" else service.state
    given = f" at {rate}" if rate != UNKNOWN_RATE else ""
    return Side(who="ledger", says=f"{plan}{state}{given}", at=each.event_at, ref=each.event_id)


def device_side(seen: Observed) -> Side:
    """Return what a device showed for a line when it was last read."""
    says = str(seen.rate) if seen.rate != UNKNOWN_RATE else "on, no rate"
    return Side(
        who=seen.device,
        says=says if seen.present else "not there, or switched off",
        at=seen.observed_at,
        ref=seen.object,
    )


def due_rate(facts: Facts, each: ServiceFacts) -> Rate:
    """Return what the ledger means the line to give; unknown where it means nothing."""
    codes = {"active": each.service.tier_code, "suspended": "suspended"}
    tier = facts.prices.tiers.get(codes.get(each.service.state, ""))
    return tier.rate if tier else UNKNOWN_RATE


def fresh(each: ServiceFacts) -> list[Observed]:
    """Return what was read after the service's newest event: older readings prove nothing."""
    return [s for s in each.observed if each.event_at is None or s.observed_at >= each.event_at]


def since_event(each: ServiceFacts, since: dt.datetime) -> dt.datetime:
    """Return from when on what has been so since then contradicts the ledger."""
    return max(since, each.event_at) if each.event_at else since


def at_list_price(plan_code: str, since: dt.datetime) -> Sequence[Charged]:
    """Return the history of somebody who has had a plan since then; none for plan ""."""
    return (Charged(since=since, plan_code=plan_code),) if plan_code else ()
