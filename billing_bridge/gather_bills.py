"""What was billed lately, for the gate's rules: sums by the database, nothing judged."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Row, bindparam, case, func, select
from sqlalchemy.orm import Session

from inventory import one_of

from .event import LedgerEvent
from .fold import alive
from .invoice_rows import INVOICE, LINE
from .rules.bill_facts import AccountBills, Bill, BilledPeriod, PricedOtherwise, TornBill

BACK = dt.timedelta(days=100)  # further back nothing is corrected but by hand
_I, _L = INVOICE.c, LINE.c
_BESIDE = ("credit", "charge")
_STANDING = (one_of(_I.account_id, "names"), _I.kind == "invoice", _I.state != "void")
_AMOUNT = func.sum(_L.amount_minor)
_Key = tuple[str, str]  # account, currency


def bill_facts(
    session: Session, account_ids: Collection[str], now: dt.datetime
) -> tuple[AccountBills, ...]:
    """Return what stands of the bills of some accounts, of the last 100 days."""
    names = sorted(account_ids)
    found: dict[_Key, AccountBills] = {}
    given = {"names": names, "first": (now - BACK).date()}
    recent = _I.closes_on >= bindparam("first")
    query = select(INVOICE).where(*_STANDING, recent).order_by(_I.closes_on, _I.invoice_id)
    for row in session.execute(query, given):
        key = (row.account_id, row.currency)
        known = found.get(key) or AccountBills(
            account_id=row.account_id, currency=row.currency, exponent=row.exponent
        )
        bill = _bill(row)
        draft = row.state == "draft"
        found[key] = replace(known, draft=bill) if draft else replace(known, previous=bill)
    if not found:
        return ()
    _with_sums(session, found)
    _with_periods(session, found, given)
    return tuple(found[key] for key in sorted(found))


def priced_otherwise(
    session: Session, stories: Mapping[str, Sequence[LedgerEvent]]
) -> tuple[PricedOtherwise, ...]:
    """Return the draft lines at a price of the service's own that is over, or was taken back."""
    prices = {
        event.event_id: event
        for told in stories.values()
        for event in told
        if event.type == "price.overridden"
    }
    if not prices:
        return ()
    living = {event.event_id for told in stories.values() for event in alive(told)}
    names = sorted({event.service_id for event in prices.values()})
    query = (
        select(LINE, _I.account_id, _I.drafted_at)
        .join(INVOICE, _I.invoice_id == _L.invoice_id)
        .where(_I.state == "draft", one_of(_L.service_id, "names"))
        .where(_L.kind.in_(("recurring", "correction")))
        .order_by(_L.service_id, _L.line_no)
    )
    found = []
    for row in session.execute(query, {"names": names}):
        for event in (prices[name] for name in json.loads(row.event_ids) if name in prices):
            used = row.full_amount_minor == event.payload["price_minor"]
            if used and event.event_id not in living:
                found.append(_otherwise(row, event, None))
            elif used and "until" in event.payload:
                ends = dt.date.fromisoformat(event.payload["until"])
                if row.until_date > ends:
                    found.append(_otherwise(row, event, ends))
    return tuple(found)


def _otherwise(row: Any, event: LedgerEvent, ends: dt.date | None) -> PricedOtherwise:
    return PricedOtherwise(
        service_id=row.service_id,
        account_id=row.account_id,
        plan_code=row.plan_code,
        period_from=row.period_from,
        until_date=row.until_date,
        numerator=row.numerator,
        denominator=row.denominator,
        amount_minor=row.amount_minor,
        event_id=event.event_id,
        ends=ends,
        invoice_id=row.invoice_id,
        drafted_at=row.drafted_at,
    )


def _bill(row: Row[Any]) -> Bill:
    return Bill(
        invoice_id=row.invoice_id,
        number=row.number,
        account_id=row.account_id,
        currency=row.currency,
        exponent=row.exponent,
        closes_on=row.closes_on,
        net_minor=row.net_minor,
        known_seq=row.known_seq,
        at=row.issued_at or row.drafted_at,
        drafted_at=row.drafted_at,
    )


def _with_sums(session: Session, found: dict[_Key, AccountBills]) -> None:
    """Say of each draft and of what came before it what it bills of each service."""
    bills = [b for one in found.values() for b in (one.draft, one.previous) if b is not None]
    query = (
        select(_L.invoice_id, _L.service_id, _AMOUNT)
        .where(one_of(_L.invoice_id, "names"), _L.kind.not_in(_BESIDE))
        .group_by(_L.invoice_id, _L.service_id)
    )
    sums: dict[str, dict[str, int]] = defaultdict(dict)
    for invoice_id, service_id, amount in session.execute(
        query, {"names": [bill.invoice_id for bill in bills]}
    ):
        sums[invoice_id][service_id] = int(amount)
    for key, one in found.items():
        found[key] = replace(
            one, draft=_summed(one.draft, sums), previous=_summed(one.previous, sums)
        )


def _summed(bill: Bill | None, sums: Mapping[str, Mapping[str, int]]) -> Bill | None:
    return replace(bill, by_service=sums.get(bill.invoice_id, {})) if bill else None


@dataclass(slots=True)
class _Period:
    parts: list[tuple[int, int]] = field(default_factory=list)
    lines: int = 0
    invoice_id: str = ""
    at: dt.datetime | None = None


def _with_periods(
    session: Session, found: dict[_Key, AccountBills], given: Mapping[str, Any]
) -> None:
    """Say what all standing bills together hold of each service's periods, and of either sign."""
    keys = (_I.account_id, _I.currency, _L.service_id, _L.charge, _L.period_from, _L.period_until)
    query = (
        select(
            *keys,
            _L.full_amount_minor,
            _AMOUNT,
            func.count(),
            func.max(_L.invoice_id),
            func.max(_I.drafted_at),
        )
        .join(INVOICE, _I.invoice_id == _L.invoice_id)
        .where(*_STANDING, _L.kind.in_(("recurring", "correction")), _L.finding_id == "")
        .where(_L.period_until > bindparam("first"))
        .group_by(*keys, _L.plan_code, _L.price_version_id, _L.full_amount_minor)
        .order_by(*keys)
    )
    periods: dict[_Key, dict[tuple[Any, ...], _Period]] = defaultdict(dict)
    for row in session.execute(query, given):
        one = periods[row[0], row[1]].setdefault(tuple(row[2:6]), _Period())
        one.parts.append((row[6], int(row[7])))
        one.lines += row[8]
        one.invoice_id, one.at = max(one.invoice_id, row[9]), row[10]
    for key, mine in periods.items():
        if key in found:
            found[key] = replace(found[key], billed=tuple(_periods(mine.items())))
    _with_signs(session, found, given)


def _periods(mine: Iterable[tuple[tuple[Any, ...], _Period]]) -> Iterable[BilledPeriod]:
    for (service_id, charge, start, until), one in mine:
        if one.at is not None:
            yield BilledPeriod(
                service_id=service_id,
                charge=charge,
                period_from=start,
                period_until=until,
                parts=tuple(one.parts),
                lines=one.lines,
                invoice_id=one.invoice_id,
                at=one.at,
            )


def _with_signs(
    session: Session, found: dict[_Key, AccountBills], given: Mapping[str, Any]
) -> None:
    """Say what the standing bills hold of either sign, and which of them do not add up."""
    credit = case((_L.kind == "credit", _L.amount_minor), else_=0)
    lines = (_I.invoice_id == _L.invoice_id) & (_L.finding_id == "")
    columns = (_I.account_id, _I.currency, _I.invoice_id, _I.number, _I.net_minor, _I.issued_at)
    query = (
        select(*columns, func.coalesce(_AMOUNT, 0), func.coalesce(func.sum(credit), 0))
        .outerjoin_from(INVOICE, LINE, lines)
        .where(*_STANDING, _I.closes_on >= bindparam("first"))
        .group_by(*columns)
        .order_by(_I.invoice_id)
    )
    for row in session.execute(query, given):
        *_, billed, credited = row
        key = (row.account_id, row.currency)
        if key in found:
            found[key] = replace(
                found[key],
                charged_minor=found[key].charged_minor + int(billed) - int(credited),
                credited_minor=found[key].credited_minor + int(credited),
                torn=(*found[key].torn, *_torn(row, int(billed))),
            )


def _torn(row: Any, lines_minor: int) -> Iterable[TornBill]:
    if row.issued_at is not None and row.net_minor != lines_minor:
        yield TornBill(
            invoice_id=row.invoice_id,
            number=row.number,
            net_minor=row.net_minor,
            lines_minor=lines_minor,
            at=row.issued_at,
        )
