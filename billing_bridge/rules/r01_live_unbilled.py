"""R-01: a device or RADIUS shows a line as live, the ledger says nobody pays for it."""

from __future__ import annotations

from collections.abc import Iterator

from inventory import UNKNOWN_RATE, Rate, local_date

from .base import Found, Rule, Side
from .facts import Facts, Observed, ServiceFacts
from .lines import READ_AGAIN, at_list_price, device_side, fresh, ledger_side, since_event


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding a service that has been live for longer than the limit without a bill.

    A line that was never sold counts as live only at the rate of some tier: it may stand ready.
    Priced by the tier that the device shows, by the plan it had where only RADIUS knows it.
    """
    for each in facts.sound():
        if each.service.state in ("active", "suspended"):
            continue
        lines = [seen for seen in fresh(each) if _live(facts, each, seen)]
        online = _online(facts, each)
        if lines or online:
            yield _found(facts, each, lines, online)


def _live(facts: Facts, each: ServiceFacts, seen: Observed) -> bool:
    if not seen.present:
        return False
    limits = facts.limits
    given = each.service.state == "terminated" or facts.prices.sold(seen.rate, limits.tolerance_pct)
    return given and seen.observed_at - since_event(each, seen.since) >= limits.live_after


def _online(facts: Facts, each: ServiceFacts) -> list[Side]:
    """Return the session that still spoke a while after the ledger's end, and not long ago."""
    signs, after = each.signs, facts.limits.live_after
    if signs.open_since is None or signs.open_seen is None:
        return []
    if signs.open_seen - since_event(each, signs.open_since) < after:
        return []
    if facts.now - signs.open_seen > after:
        return []
    began = f"{signs.open_since:%Y-%m-%d %H:%M}Z"
    says = f"a session is open since {began}"
    return [Side(who="accounting", says=says, at=signs.open_seen, ref=each.service.login)]


def _found(facts: Facts, each: ServiceFacts, lines: list[Observed], online: list[Side]) -> Found:
    began = [seen.since for seen in lines] + [each.signs.open_since or facts.now] * len(online)
    since = since_event(each, min(began))
    rate = max((seen.rate for seen in lines), default=UNKNOWN_RATE)
    given = at_list_price(_plan(facts, each, rate), since)
    return Found(
        rule="R-01",
        subject=each.service.service_id,
        service_id=each.service.service_id,
        account_id=each.account.account_id,
        what=f"live at {rate}, not billed" if lines else "online, not billed",
        since=since,
        sides=(ledger_side(each), *map(device_side, lines), *online),
        money=facts.prices.difference(given, (), each.account, since, facts.now),
        command=READ_AGAIN,
        blocks=True,
    )


def _plan(facts: Facts, each: ServiceFacts, rate: Rate) -> str:
    had = each.folded.plan_code
    today = local_date(facts.now, each.account.time_zone)
    tier = facts.prices.tiers.get(each.group_tier)
    known = tier.rate if tier and rate == UNKNOWN_RATE else rate
    return facts.prices.plan_at(known, each.account, today, had) or had


RULE = Rule(rule="R-01", title="live, not billed", judge=judge)
