"""What was billed: invoices, their lines and taxes, as they are found."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import RowMapping, Select, select
from sqlalchemy.orm import Session

from inventory import UnknownName

from .bulk import among
from .invoice_rows import INVOICE, LINE, TAX

InvoiceKind = Literal["invoice", "credit_note"]
InvoiceState = Literal["draft", "final", "void"]
LineKind = Literal["recurring", "correction", "usage", "burst", "charge", "credit"]
_CHUNK = 1000  # names in one IN list


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """One line; dates are local and half-open, `amount_minor` is what counts.

    `kind` "recurring" is full_amount x numerator / denominator, "correction" what is owed less
    what was billed. `charge` is "service", "hold" or "" where it is neither.
    """

    invoice_id: str
    line_no: int
    service_id: str  # "" = of the account
    kind: LineKind
    plan_code: str
    charge: str
    price_version_id: str
    period_from: dt.date
    period_until: dt.date
    from_date: dt.date
    until_date: dt.date
    numerator: int
    denominator: int
    unit: str
    full_amount_minor: int
    quantity: int
    amount_minor: int
    event_ids: tuple[str, ...]
    late: bool = False
    finding_id: str = ""  # why a draft's line is held; "" = it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceTax:
    """One tax: `rate_bp` hundredths of a percent of `net_minor`."""

    invoice_id: str
    tax_no: int
    name: str
    rate_bp: int
    net_minor: int
    tax_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice or a credit note; see `InvoiceRow` for what its fields mean."""

    invoice_id: str
    run_id: str
    kind: InvoiceKind
    legal_entity: str
    account_id: str
    currency: str
    exponent: int
    closes_on: dt.date
    open_from: dt.date
    state: InvoiceState
    number: str
    net_minor: int
    tax_minor: int
    total_minor: int
    known_seq: int
    drafted_at: dt.datetime
    issued_at: dt.datetime | None
    event_id: str
    cancels: str
    document: str


def find_invoice(session: Session, invoice_id: str) -> Invoice:
    """Return an invoice by its id; UnknownName if there is none."""
    found = _read(session, select(INVOICE).where(INVOICE.c.invoice_id == invoice_id))
    if not found:
        raise UnknownName(invoice_id, "is not a known invoice")
    return found[0]


def find_numbered(
    session: Session, number: str, legal_entity: str = "", kind: str = ""
) -> tuple[Invoice, ...]:
    """Return what bears this number: one per issuer and kind, "" = of any."""
    query = select(INVOICE).where(INVOICE.c.number == number, INVOICE.c.number != "")
    if legal_entity:
        query = query.where(INVOICE.c.legal_entity == legal_entity)
    if kind:
        query = query.where(INVOICE.c.kind == kind)
    return _read(session, query)


def list_invoices(
    session: Session,
    *,
    account_id: str = "",
    run_id: str = "",
    state: str = "",
    after: str = "",
    limit: int = 0,
    newest: bool = False,
) -> tuple[Invoice, ...]:
    """Return invoices and credit notes by their ids, which ascend with time; "" and 0 = all.

    `after` is the id of the last one that was read before; `newest` gives the newest ones first.
    """
    column = INVOICE.c.invoice_id
    query = select(INVOICE).order_by(column.desc() if newest else column)
    for name, wanted in (("account_id", account_id), ("run_id", run_id), ("state", state)):
        if wanted:
            query = query.where(INVOICE.c[name] == wanted)
    if after:
        query = query.where(INVOICE.c.invoice_id > after)
    if limit:
        query = query.limit(limit)
    return _read(session, query)


def find_lines(session: Session, invoice_ids: Iterable[str]) -> dict[str, tuple[InvoiceLine, ...]]:
    """Return each invoice's lines in order; one without any has none."""
    found: dict[str, list[InvoiceLine]] = {invoice_id: [] for invoice_id in invoice_ids}
    ordered = sorted(found)
    for start in range(0, len(ordered), _CHUNK):
        part = ordered[start : start + _CHUNK]
        query = select(LINE).where(among(LINE.c.invoice_id, part))
        ordered_query = query.order_by(LINE.c.invoice_id, LINE.c.line_no)
        for row in session.connection().execute(ordered_query).mappings():
            found[row["invoice_id"]].append(_line(row))
    return {invoice_id: tuple(lines) for invoice_id, lines in found.items()}


def find_taxes(session: Session, invoice_id: str) -> tuple[InvoiceTax, ...]:
    """Return an invoice's taxes in order."""
    query = select(TAX).where(TAX.c.invoice_id == invoice_id).order_by(TAX.c.tax_no)
    return tuple(InvoiceTax(**row) for row in session.connection().execute(query).mappings())


def _read(session: Session, query: Select[Any]) -> tuple[Invoice, ...]:
    return tuple(Invoice(**row) for row in session.connection().execute(query).mappings())


def _line(row: RowMapping) -> InvoiceLine:
    return InvoiceLine(**{**row, "event_ids": tuple(json.loads(row["event_ids"]))})
