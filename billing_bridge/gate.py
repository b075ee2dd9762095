"""Findings over time: kept by every check, decided by people, and asked by the billing run."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from inventory import canonical_json, instant_text, new_id, one_of

from .gate_rows import ACT, FINDING
from .rules.base import Found, Scope, Side

T = TypeVar("T")
BY_CHECK = "check"  # who a check's own acts are by
_OVER = "no longer so"
_CHUNK = 500
_SCALE = 10_000  # amounts of different exponents are compared in these parts of a major unit
_MONTH_DAYS = 28  # the shortest month: what grows in it by the day is foreseen
_F = FINDING.c
_LIVING = _F.cleared_at.is_(None)
_HELD = (
    select(FINDING)
    .where(_LIVING, _F.blocks, ~_F.overridden, _F.status.in_(("open", "ack")))
    .order_by(_F.weight.desc(), _F.finding_id)
)
_OF_ACCOUNTS = one_of(_F.account_id, "names")
_KNOWN = select(FINDING).where(_LIVING, _OF_ACCOUNTS).order_by(_F.finding_id).with_for_update()
_MOVED = update(FINDING).where(_F.finding_id == bindparam("the_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """Why some lines may not be billed yet; `scope` says which (see `Found`)."""

    finding_id: str
    rule: str
    scope: Scope
    service_id: str
    account_id: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a page of a check came to: findings that are true, new ones, and those that ended."""

    found: int = 0
    opened: int = 0
    cleared: int = 0


def blockers(session: Session, account_ids: Collection[str]) -> Mapping[str, tuple[Blocker, ...]]:
    """Return what holds lines of these accounts, dearest first; accounts without any are left out.

    Under "" stands what holds the whole run. An acknowledged finding still holds; an ignored or
    overridden one does not, nor one that a person says is resolved (until the next check).
    """
    found: dict[str, list[Blocker]] = defaultdict(list)
    for row in session.execute(_HELD.where(_F.scope == "run")):
        found[""].append(_blocker(row))
    wanted = _HELD.where(_OF_ACCOUNTS, _F.scope != "run")
    for names in _chunks(sorted(set(account_ids))):
        for row in session.execute(wanted, {"names": names}):
            found[row.account_id].append(_blocker(row))
    return {name: tuple(rows) for name, rows in found.items()}


def keep_findings(
    session: Session,
    account_ids: Collection[str],
    found: Iterable[Found],
    *,
    seen_at: dt.datetime,
    judged: Collection[str],
) -> Tally:
    """Keep what the rules `judged` found about all of these accounts; "" = what is of none.

    A finding that is still true keeps its id, its first sight and what was decided of it; an
    ignored or overridden one comes back after its time, or when its money outgrew what was
    accepted; one that a person called resolved comes back if it is not. What is no longer true is
    cleared. `seen_at` is the time of the snapshot: what a later check has said stands.
    """
    fresh = {(each.rule, each.subject): each for each in found}
    known = _known(session, account_ids, judged)
    acts: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    cleared: list[dict[str, Any]] = []
    for key, row in known.items():
        if row.last_seen > seen_at or (row.decided_at and row.decided_at > seen_at):
            continue
        if key in fresh:
            moved.append(_still(row, fresh[key], seen_at, acts))
        else:
            cleared.append(_gone(row, seen_at, acts))
    new = [_new(fresh[key], seen_at) for key in sorted(fresh.keys() - known.keys())]
    opened = _insert(session, new)
    acts += [act_row(row, seen_at, BY_CHECK, "found", row["what"]) for row in opened]
    for rows in (moved, cleared):
        if rows:
            session.execute(_MOVED, rows)
    if acts:
        session.execute(insert(ACT), acts)
    return Tally(found=len(fresh), opened=len(opened), cleared=len(cleared))


def outgrown(row: Row[Any], at_risk_minor: int, monthly_minor: int) -> str:
    """Say in what a finding's money is more than was accepted, "" = it is not."""
    if abs(at_risk_minor) > row.accepted_minor:
        return "its money outgrew what was accepted"
    if abs(monthly_minor) > row.accepted_monthly_minor:
        return "it costs more a month than was accepted"
    if at_risk_minor * row.at_risk_minor < 0:
        return "it has turned against the other side"
    return ""


def accepted_until(row: Row[Any], until: dt.datetime, now: dt.datetime) -> int:
    """Return what a finding will have come to by then, if each month goes on costing the same."""
    days = max(0, -(-(until - now) // dt.timedelta(days=1)))
    risk: int = abs(row.at_risk_minor)
    monthly: int = abs(row.monthly_minor)
    return risk + -(-monthly * days // _MONTH_DAYS)


def _known(
    session: Session, account_ids: Collection[str], judged: Collection[str]
) -> dict[tuple[str, str], Row[Any]]:
    """Return the living findings, locked in one order: two checks wait for each other."""
    known: dict[tuple[str, str], Row[Any]] = {}
    for names in _chunks(sorted(set(account_ids))):
        for row in session.execute(_KNOWN, {"names": names}):
            if row.rule in judged:
                known[row.rule, row.subject] = row
    return known


def _still(
    row: Row[Any], found: Found, seen_at: dt.datetime, acts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a finding's row as it goes on, and note whether a decision has come to its end."""
    values = _facts(found) | {"the_id": row.finding_id, "last_seen": seen_at}
    values |= {"status": row.status, "overridden": row.overridden}
    at_risk, monthly = found.money.at_risk_minor, found.money.monthly_minor
    why = ""
    if row.status == "resolved":
        why = "still so at the next check"
    elif row.status == "ignored" and row.ignored_until <= seen_at:
        why = "the time for which it was ignored is over"
    elif row.status == "ignored" or row.overridden:
        why = outgrown(row, at_risk, monthly)
    if why:
        status = "ack" if row.status == "ack" else "open"
        values |= {"status": status, "overridden": False}
        acts.append(
            act_row(values | {"finding_id": row.finding_id}, seen_at, BY_CHECK, "returned", why)
        )
    return values


def _gone(row: Row[Any], seen_at: dt.datetime, acts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a finding's row at its end; who called it resolved before keeps the word."""
    acts.append(act_row(dict(row._mapping), seen_at, BY_CHECK, "cleared", _OVER))  # noqa: SLF001
    said = row.status == "resolved"
    return {
        "the_id": row.finding_id,
        "status": "resolved",
        "decided_by": row.decided_by if said else BY_CHECK,
        "decided_at": row.decided_at if said else seen_at,
        "reason": row.reason if said else _OVER,
        "cleared_at": seen_at,
    }


def _new(found: Found, seen_at: dt.datetime) -> dict[str, Any]:
    return _facts(found) | {
        "finding_id": new_id(),
        "rule": found.rule,
        "subject": found.subject,
        "service_id": found.service_id,
        "account_id": found.account_id,
        "first_seen": seen_at,
        "last_seen": seen_at,
        "status": "open",
        "overridden": False,
        "ignored_until": None,
        "accepted_minor": 0,
        "accepted_monthly_minor": 0,
        "decided_by": "",
        "decided_at": None,
        "reason": "",
        "cleared_at": None,
    }


def _facts(found: Found) -> dict[str, Any]:
    """Return what each check says anew of a finding."""
    money = found.money
    most = max(abs(money.at_risk_minor), abs(money.monthly_minor))
    return {
        "scope": found.scope,
        "blocks": found.blocks,
        "what": found.what,
        "evidence": canonical_json([_side(side) for side in found.sides]),
        "command": found.command,
        "since": found.since,
        "at_risk_minor": money.at_risk_minor,
        "monthly_minor": money.monthly_minor,
        "currency": money.currency,
        "exponent": money.exponent,
        "weight": most * _SCALE // 10**money.exponent,
    }


def _side(side: Side) -> dict[str, str]:
    at = instant_text(side.at) if side.at else ""
    return {"who": side.who, "says": side.says, "at": at, "ref": side.ref}


def _insert(session: Session, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Insert what no other check has inserted meanwhile; return the rows that were."""
    statement = _insert_new(session.get_bind().dialect.name)
    inserted: set[str] = set()
    for part in _chunks(rows):
        inserted |= set(session.execute(statement, part).scalars())
    return [row for row in rows if row["finding_id"] in inserted]


@cache
def _insert_new(dialect: str) -> Any:
    made: Any = postgresql.insert(FINDING) if dialect == "postgresql" else sqlite.insert(FINDING)
    return made.on_conflict_do_nothing(
        index_elements=["rule", "subject"], index_where=_LIVING
    ).returning(_F.finding_id)


def _blocker(row: Row[Any]) -> Blocker:
    return Blocker(
        finding_id=row.finding_id,
        rule=row.rule,
        scope=row.scope,
        service_id=row.service_id,
        account_id=row.account_id,
        what=row.what,
    )


def act_row(
    row: Mapping[str, Any], at: dt.datetime, actor: str, act: str, reason: str
) -> dict[str, Any]:
    """Return the line of a finding's story that says who did what, at which money."""
    return {
        "finding_id": row["finding_id"],
        "at": at,
        "actor": actor,
        "act": act,
        "reason": reason,
        "at_risk_minor": row["at_risk_minor"],
        "monthly_minor": row["monthly_minor"],
    }


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
