"""R-02: the ledger charges for a line that no device has, or that nobody has used for a while."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from inventory import local_date

from .base import Found, Rule, Side
from .facts import Facts, ServiceFacts
from .lines import READ_AGAIN, device_side, fresh, ledger_side, since_event


def judge(facts: Facts) -> Iterator[Found]:
    """Yield one finding a paying service whose line is gone, or whose login is never online.

    The configuration counts at once, sessions after the limit, and only while accounting itself
    is known to work. The money is what was charged since: it may have to be given back.
    """
    for each in facts.sound():
        today = local_date(facts.now, each.account.time_zone)
        if each.service.state != "active" or not facts.prices.monthly(each.charged, today):
            continue
        gone = [seen for seen in fresh(each) if not seen.present]
        if gone:
            since = since_event(each, min(seen.since for seen in gone))
            sides = tuple(map(device_side, gone))
            yield _found(facts, each, "billed, its line is gone", since, sides, READ_AGAIN)
            continue
        silent = silent_since(facts, each)
        if silent is not None:
            last = each.signs.last_seen
            says = "the last session ended" if last else "no session for as long as it is looked at"
            side = Side(who="accounting", says=says, at=silent, ref=each.service.login)
            command = f"bandmaster subscriber show {each.service.service_id} --live"
            yield _found(facts, each, "billed, never online", silent, (side,), command)


def silent_since(facts: Facts, each: ServiceFacts) -> dt.datetime | None:
    """Return since when a login has had no session, None = it has, or nobody can know."""
    kept = facts.accounting
    if not each.service.login or kept.since is None or kept.newest is None:
        return None
    after = facts.limits.dead_after
    if each.signs.open_seen is not None and facts.now - each.signs.open_seen < after:
        return None
    if facts.now - kept.newest >= after:  # it is accounting that is silent, not the login
        return None
    silent = since_event(each, each.signs.last_seen or max(kept.since, facts.looked_from))
    return silent if facts.now - silent >= after else None


def _found(
    facts: Facts,
    each: ServiceFacts,
    what: str,
    since: dt.datetime,
    sides: tuple[Side, ...],
    command: str,
) -> Found:
    return Found(
        rule="R-02",
        subject=each.service.service_id,
        service_id=each.service.service_id,
        account_id=each.account.account_id,
        what=what,
        since=since,
        sides=(ledger_side(each), *sides),
        money=facts.prices.difference((), each.charged, each.account, since, facts.now),
        command=command,
        blocks=True,
    )


RULE = Rule(rule="R-02", title="billed, not live", judge=judge)
