"""What a person decides of a finding, with who and why; the story of each is only added to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.orm import Session

from inventory import Refused, UnknownName, WrongUse, new_id

from .gate import Tally, accepted_until, act_row
from .gate_rows import ACT, CHECK, FINDING

Decision = Literal["ack", "ignored", "resolved", "override"]
_F = FINDING.c
_SHOWN = 200  # characters of a reason that a list can bear; longer ones stand in the story
_REASON = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which findings are listed; living ones only, unless `past` asks for the others as well."""

    rule: str = ""
    account_id: str = ""
    service_id: str = ""
    status: str = ""
    past: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Money of all living findings that nobody ignores, in one currency: both directions apart."""

    currency: str
    exponent: int
    findings: int
    leakage_minor: int  # not billed so far
    leakage_monthly_minor: int
    refund_minor: int  # billed so far and perhaps to be given back, below 0
    refund_monthly_minor: int


def find_finding(session: Session, finding_id: str) -> Row[Any]:
    """Return a finding; UnknownName if there is none of that id."""
    row = session.execute(select(FINDING).where(_F.finding_id == finding_id)).first()
    if row is None:
        raise UnknownName(finding_id, "is not a finding", "See: bandmaster billing findings list")
    return row


def list_findings(session: Session, wanted: Filters, limit: int = 0) -> Iterator[Row[Any]]:
    """Yield findings, dearest first; `limit` 0 = all of them."""
    query = select(FINDING).order_by(_F.weight.desc(), _F.rule, _F.finding_id)
    for name in ("rule", "account_id", "service_id", "status"):
        value = getattr(wanted, name)
        query = query.where(_F[name] == value) if value else query
    if not wanted.past:
        query = query.where(_F.cleared_at.is_(None))
    query = query.limit(limit) if limit else query
    yield from session.execute(query.execution_options(yield_per=500))


def finding_story(session: Session, finding_id: str) -> tuple[Row[Any], ...]:
    """Return everything that happened to a finding, in order."""
    query = select(ACT).where(ACT.c.finding_id == finding_id).order_by(ACT.c.act_id)
    return tuple(session.execute(query))


def totals(session: Session) -> tuple[Total, ...]:
    """Return the money of the living findings that are open or acknowledged, by currency."""
    money = [_F.at_risk_minor, _F.monthly_minor]
    sums = [
        func.coalesce(func.sum(column).filter(sign), 0)
        for sign in (
            _F.monthly_minor + _F.at_risk_minor > 0,
            _F.monthly_minor + _F.at_risk_minor < 0,
        )
        for column in money
    ]
    query = (
        select(_F.currency, _F.exponent, func.count(), *sums)
        .where(_F.cleared_at.is_(None), _F.status.in_(("open", "ack")))
        .group_by(_F.currency, _F.exponent)
        .order_by(_F.currency)
    )
    return tuple(
        Total(
            currency=row[0],
            exponent=row[1],
            findings=row[2],
            leakage_minor=int(row[3]),
            leakage_monthly_minor=int(row[4]),
            refund_minor=int(row[5]),
            refund_monthly_minor=int(row[6]),
        )
        for row in session.execute(query)
    )


def last_check(session: Session) -> Row[Any] | None:
    """Return the newest check that came to its end, None = there was none."""
    query = select(CHECK).where(CHECK.c.ended_at.is_not(None)).order_by(CHECK.c.check_id.desc())
    return session.execute(query.limit(1)).first()


def begin_check(session: Session, actor: str, now: dt.datetime, known_seq: int) -> str:
    """Write down that a check has begun; return its id."""
    values = {
        "check_id": new_id(),
        "actor": actor,
        "started_at": now,
        "ended_at": None,
        "known_seq": known_seq,
        "services": 0,
        "found": 0,
        "opened": 0,
        "cleared": 0,
    }
    session.execute(insert(CHECK), [values])
    return str(values["check_id"])


def end_check(
    session: Session, check_id: str, now: dt.datetime, services: int, kept: Tally
) -> None:
    """Write down that a check has come to its end, and to what."""
    values = {"ended_at": now, "services": services, "found": kept.found}
    values |= {"opened": kept.opened, "cleared": kept.cleared}
    session.execute(update(CHECK).where(CHECK.c.check_id == check_id).values(**values))


def decide_finding(
    session: Session,
    finding_id: str,
    decision: Decision,
    *,
    actor: str,
    reason: str,
    now: dt.datetime,
    until: dt.datetime | None = None,
) -> Row[Any]:
    """Write down what a person decided of a living finding; return it as it was before.

    ack: seen, goes on holding. ignored: left alone until a time, unless it outgrows what it will
    then have come to. resolved: mended, which the next check proves. override: billed in spite of
    it. Raises WrongUse (no reason, no time or one that has passed), UnknownName, Refused where it
    is over, or cannot hold anything.
    """
    if not reason.strip() or len(reason) > _REASON:
        problem = f"needs a reason of at most {_REASON} characters"
        raise WrongUse(decision, problem, "Add --reason TEXT.")
    query = select(FINDING).where(_F.finding_id == finding_id).with_for_update()
    row = session.execute(query).first()
    if row is None:
        return find_finding(session, finding_id)
    if row.cleared_at is not None:
        raise Refused(finding_id, "is over: no check finds it any more")
    if decision == "override" and not row.blocks:
        raise Refused(finding_id, "holds nothing, so there is nothing to override")
    if decision == "ignored" and (until is None or until <= now):
        raise WrongUse("--until", "must lie ahead", "Give the date until which it may be ignored.")
    values: dict[str, Any] = {"decided_by": actor, "decided_at": now, "reason": reason}
    if decision == "override":
        values |= {"overridden": True, "accepted_minor": _grown(row, now)}
    else:
        values |= {"status": decision, "overridden": False, "ignored_until": until}
        values["accepted_minor"] = accepted_until(row, until, now) if until else 0
    values["accepted_monthly_minor"] = abs(row.monthly_minor)
    session.execute(update(FINDING).where(_F.finding_id == finding_id).values(**values))
    said = f"until {until:%Y-%m-%d %H:%M}Z: {reason}" if until else reason
    session.execute(
        insert(ACT),
        [act_row(dict(row._mapping), now, actor, decision, said)],  # noqa: SLF001
    )
    return row


def _grown(row: Row[Any], now: dt.datetime) -> int:
    """Return up to where an overridden finding may grow: one more month of the same."""
    return accepted_until(row, now + _A_MONTH, now)


_A_MONTH = dt.timedelta(days=31)
