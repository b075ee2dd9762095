"""Usage that could not be counted: kept with what it may cost until a person decides."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from inventory import (
    Plan,
    PriceVersion,
    Refused,
    UnknownName,
    canonical_json,
    list_plans,
    new_id,
    services_many,
)

from .tariffs import overage, plan_burst
from .usage_rows import EXCEPTIONS
from .usage_store import insert_new

ProblemKind = Literal[
    "unmatched", "late", "regressive", "impossible", "future", "unknown_unit", "counter"
]
Status = Literal["open", "ack", "ignored", "resolved"]
_CHUNK = 500
_LIVING = ("open", "ack")
_MOST = (1 << 64) - 1
_KEPT = (
    "kind", "identifier", "service_id", "since", "until", "quantity", "unit", "evidence",
    "amount_minor", "currency", "exponent",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageProblem:
    """A record that could not be used. `record_key` names it for ever within its `source`.

    `identifier` is what the record called the service, `service_id` "" = nobody is called so.
    """

    kind: ProblemKind
    source: str
    record_key: str
    identifier: str
    service_id: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    quantity: int = 0
    unit: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageException(UsageProblem):
    """A problem as it is kept: what it may cost and what was decided about it.

    Amount 0 = the catalogue has no price for such usage.
    """

    exception_id: str
    seen_at: dt.datetime
    amount_minor: int
    currency: str
    exponent: int
    status: Status
    decided_by: str
    reason: str


def keep_problems(session: Session, problems: Sequence[UsageProblem], now: dt.datetime) -> int:
    """Keep the problems with their prices; return how many are new.

    The same record again brings an open one up to date; one that was decided stays as it is.
    """
    newest = {(problem.source, problem.record_key): problem for problem in problems}
    known = _known(session, newest)
    rows = _rows(session, [newest[key] for key in sorted(newest)], now)
    fresh = [row for row in rows if (row["source"], row["record_key"]) not in known]
    again = [
        {name: row[name] for name in _KEPT} | {"the_id": known[row["source"], row["record_key"]]}
        for row in rows
        if (row["source"], row["record_key"]) in known
    ]
    insert_new(session.connection(), EXCEPTIONS, fresh, "source", "record_key")
    if again:
        # no IN: a statement for many rows at once cannot have one
        living = (EXCEPTIONS.c.status == "open") | (EXCEPTIONS.c.status == "ack")
        session.connection().execute(
            update(EXCEPTIONS).where(EXCEPTIONS.c.exception_id == bindparam("the_id"), living),
            again,
        )
    return len(fresh)


def settle_problems(session: Session, source: str, record_keys: Iterable[str]) -> None:
    """Close the problems of records that were counted after all."""
    living = select(EXCEPTIONS.c.exception_id).where(
        EXCEPTIONS.c.status.in_(_LIVING), EXCEPTIONS.c.source == source
    )
    if session.connection().execute(living.limit(1)).first() is None:
        return  # as a rule there is none, and batches of thousands ask
    ordered = sorted(set(record_keys))
    for start in range(0, len(ordered), _CHUNK):
        session.connection().execute(
            update(EXCEPTIONS)
            .where(
                EXCEPTIONS.c.source == source,
                EXCEPTIONS.c.record_key.in_(ordered[start : start + _CHUNK]),
                EXCEPTIONS.c.status.in_(_LIVING),
            )
            .values(status="resolved", decided_by="bandmaster", reason="counted")
        )


def list_problems(
    session: Session, *, service_id: str = "", closed: bool = False
) -> tuple[UsageException, ...]:
    """Return what waits for a decision, dearest first; `closed` = what was decided as well."""
    query = select(EXCEPTIONS).order_by(EXCEPTIONS.c.amount_minor.desc(), EXCEPTIONS.c.exception_id)
    if service_id:
        query = query.where(EXCEPTIONS.c.service_id == service_id)
    if not closed:
        query = query.where(EXCEPTIONS.c.status.in_(_LIVING))
    return tuple(_value(row) for row in session.connection().execute(query).mappings())


def find_problem(session: Session, exception_id: str) -> UsageException:
    """Return one, decided or not; UnknownName if there is none."""
    query = select(EXCEPTIONS).where(EXCEPTIONS.c.exception_id == exception_id)
    row = session.connection().execute(query).mappings().first()
    if row is None:
        raise UnknownName(
            exception_id, "is no usage exception", "See: bandmaster usage exceptions list"
        )
    return _value(row)


def decide_problem(
    session: Session, problem: UsageException, status: Status, actor: str, reason: str
) -> None:
    """Write down what a person decided; Refused where it was decided before."""
    done = session.connection().execute(
        update(EXCEPTIONS)
        .where(EXCEPTIONS.c.exception_id == problem.exception_id, EXCEPTIONS.c.status.in_(_LIVING))
        .values(status=status, decided_by=actor, reason=reason)
    )
    if done.rowcount != 1:
        raise Refused(
            f"usage exception {problem.exception_id}",
            f"was {problem.status} before, by {problem.decided_by}",
        )


def _known(session: Session, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    by_source: dict[str, list[str]] = {}
    for source, record_key in keys:
        by_source.setdefault(source, []).append(record_key)
    columns = EXCEPTIONS.c
    for source, record_keys in by_source.items():
        for start in range(0, len(record_keys), _CHUNK):
            query = select(columns.record_key, columns.exception_id).where(
                columns.source == source,
                columns.record_key.in_(record_keys[start : start + _CHUNK]),
            )
            for record_key, exception_id in session.connection().execute(query):
                found[source, record_key] = exception_id
    return found


def _rows(
    session: Session, problems: Sequence[UsageProblem], now: dt.datetime
) -> list[dict[str, Any]]:
    if not problems:
        return []
    catalogue = {plan.code: plan for plan in list_plans(session)}
    named = sorted({problem.service_id for problem in problems} - {""})
    sold = {one.service_id: one.plan_code for one in services_many(session, named)}
    rows = []
    for problem in problems:
        plan = catalogue.get(sold.get(problem.service_id, ""))
        on = (problem.since or now).date()
        amount, priced = _price(problem, [plan] if plan else list(catalogue.values()), on)
        evidence = dict(problem.evidence) | ({"priced_by": priced.code} if priced else {})
        rows.append(
            {
                "exception_id": new_id(),
                "kind": problem.kind,
                "source": problem.source,
                "record_key": problem.record_key,
                "identifier": problem.identifier,
                "service_id": problem.service_id,
                "seen_at": now,
                "since": problem.since,
                "until": problem.until,
                "quantity": min(max(problem.quantity, 0), _MOST),
                "unit": problem.unit,
                "evidence": canonical_json(evidence),
                "amount_minor": amount,
                "currency": priced.currency if priced else "",
                "exponent": priced.exponent if priced else 0,
                "status": "open",
                "decided_by": "",
                "reason": "",
            }
        )
    return rows


def _price(problem: UsageProblem, plans: Sequence[Plan], on: dt.date) -> tuple[int, Plan | None]:
    """Return what the usage costs beyond any allowance: of several plans by the dearest one."""
    found = [
        (_list_price(plan, _in_force(plan, on), problem), plan) for plan in plans if plan.prices
    ]
    return max(found, key=lambda one: (one[0], one[1].code), default=(0, None))


def _in_force(plan: Plan, on: dt.date) -> PriceVersion:
    """Before a plan was sold it has the price of its first day: better that than none."""
    return [plan.prices[0], *(price for price in plan.prices if price.valid_from <= on)][-1]


def _list_price(plan: Plan, price: PriceVersion, problem: UsageProblem) -> int:
    quantity = max(problem.quantity, 0)
    if problem.unit == "byte" and plan.block_bytes:
        block = plan.block_bytes
        return overage(quantity, 0, block, price.block_minor, price.cap_minor).amount_minor
    if problem.unit == "bit_per_s" and plan.commit_kbps:
        return plan_burst(plan, price, quantity)
    return 0


def _value(row: Mapping[Any, Any]) -> UsageException:
    values = dict(row)
    return UsageException(**(values | {"evidence": json.loads(values["evidence"])}))
