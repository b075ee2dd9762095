"""Credits and charges of people: each posted event is billed once, and so is its reversal."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from inventory import Account, local_date

from .bulk import among
from .event import LedgerEvent
from .invoice_rows import INVOICE, LINE
from .invoices import InvoiceLine, LineKind
from .stored import EVENTS, read_rows, stored_rows

_DAY = dt.timedelta(days=1)
_KINDS: Mapping[str, LineKind] = {"credit.issued": "credit", "charge.issued": "charge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyLine:
    """A line that one event is billed by, and its money's unit."""

    currency: str
    exponent: int
    line: InvoiceLine


def open_money(
    session: Session, accounts: Mapping[str, Account], upto: int = 0
) -> dict[str, tuple[MoneyLine, ...]]:
    """Return the lines of what was posted to each account and not billed; `upto` = seq, 0 = all.

    A credit is negative, what takes it back positive. Of what was taken back before it was billed
    there is no line.
    """
    query = stored_rows().where(EVENTS.c.currency != "", among(EVENTS.c.account_id, accounts))
    if upto:
        query = query.where(EVENTS.c.seq <= upto)
    events = {event.event_id: event for event in read_rows(session.connection(), query)}
    billed = _billed(session, {event.account_id for event in events.values()})
    left = {name: event for name, event in events.items() if name not in billed}
    for event in tuple(left.values()):
        if event.reverses_event_id in left:
            del left[event.reverses_event_id], left[event.event_id]
    found: defaultdict[str, list[MoneyLine]] = defaultdict(list)
    for event in left.values():
        kind, amount = _meant(event, events)
        date = local_date(event.effective_at, accounts[event.account_id].time_zone)
        line = _line(event, kind, amount, date)
        found[event.account_id].append(
            MoneyLine(currency=event.currency, exponent=event.exponent, line=line)
        )
    return {name: tuple(lines) for name, lines in found.items()}


def _billed(session: Session, account_ids: set[str]) -> set[str]:
    if not account_ids:
        return set()
    query = (
        select(LINE.c.event_ids)
        .join_from(INVOICE, LINE, LINE.c.invoice_id == INVOICE.c.invoice_id)
        .where(
            among(INVOICE.c.account_id, account_ids),
            INVOICE.c.kind == "invoice",
            INVOICE.c.state == "final",
            LINE.c.kind.in_(tuple(_KINDS.values())),
        )
    )
    rows: Sequence[str] = session.connection().execute(query).scalars().all()
    return {event_id for text in rows for event_id in json.loads(text)}


def _meant(event: LedgerEvent, events: Mapping[str, LedgerEvent]) -> tuple[LineKind, int]:
    """Return which kind of line an event is and what it adds to the bill; a credit takes away."""
    sign, first = 1, event
    while first.type == "event.reversed":
        sign, first = -sign, events[first.reverses_event_id]
    amount = sign * first.amount_minor
    if first.type == "credit.issued":
        amount = -amount
    return ("charge" if amount > 0 else "credit"), amount


def _line(event: LedgerEvent, kind: LineKind, amount: int, date: dt.date) -> InvoiceLine:
    return InvoiceLine(
        invoice_id="",
        line_no=0,
        service_id=event.service_id,
        kind=kind,
        plan_code="",
        charge="",
        price_version_id=event.price_version_id,
        period_from=date,
        period_until=date + _DAY,
        from_date=date,
        until_date=date + _DAY,
        numerator=1,
        denominator=1,
        unit="",
        full_amount_minor=amount,
        quantity=1,
        amount_minor=amount,
        late=False,
        event_ids=(event.event_id,),
    )
