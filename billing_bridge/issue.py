"""Making drafts final, and taking final invoices back: numbers, taxes, documents and events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from inventory import (
    Account,
    LegalEntity,
    Plan,
    Refused,
    digest,
    new_id,
)

from .bulk import insert_rows
from .event import NewEvent
from .invoice_document import (
    Beside,
    Measured,
    beside_of,
    document_text,
    invoice_document,
    read_document,
)
from .invoice_rows import COUNTER, INVOICE, INVOICE_NAMES, LINE, LINE_NAMES, TAX
from .invoices import Invoice, InvoiceLine, InvoiceTax, find_lines, find_taxes
from .ledger import append, find_event
from .runs import ids_text
from .tax import TaxHook, TaxLine

SOURCE = "invoices"  # of the ledger's events
_TAX_NAMES = ("invoice_id", "tax_no", "name", "rate_bp", "net_minor", "tax_minor")
_tax_values = attrgetter(*_TAX_NAMES)
_SET = (
    *("state", "number", "net_minor", "tax_minor", "total_minor", "open_from"),
    *("issued_at", "event_id", "document"),
)
_FINAL = (
    update(INVOICE)
    .where(INVOICE.c.invoice_id == bindparam("the_id"), INVOICE.c.state == "draft")
    .values({name: bindparam(f"new_{name}") for name in _SET})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A draft as it is to be issued: the lines that are billed now, and those that are held."""

    invoice: Invoice
    lines: tuple[InvoiceLine, ...]
    held: tuple[InvoiceLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """What an issuer's invoices are made with; accounts are those of the invoices at hand."""

    seller: LegalEntity
    plans: Mapping[str, Plan]
    accounts: Mapping[str, Account]
    tax: TaxHook
    actor: str


def issue(
    session: Session,
    issuer: Issuer,
    ready: Sequence[Ready],
    numbers: Mapping[str, int],
    now: dt.datetime,
    texts: Mapping[str, str] | None = None,
) -> tuple[Invoice, ...]:
    """Make drafts final in the order given, and post one invoice.issued for each.

    `numbers` are what `lock_issuer` said, asked in this transaction; the events are appended last
    in it. Held lines are left out and stay open. `texts` are what people wrote of a credit or a
    charge, by event id. The tax hook is called once for each.
    """
    if not ready:
        return ()
    made: list[tuple[Invoice, dict[str, Any]]] = []
    taxes: list[InvoiceTax] = []
    counted = dict(numbers)
    kind: str
    for one in ready:
        kind = one.invoice.kind
        counted[kind] += 1
        number = number_text(issuer.seller.code, kind, counted[kind])
        nets = {str(line.line_no): line.amount_minor for line in one.lines}
        account = issuer.accounts[one.invoice.account_id]
        taxed = _taxes(one.invoice.invoice_id, issuer.tax(account, nets))
        taxes += taxed
        beside = _beside(session, one.lines, texts or {})
        made.append(_final(issuer, one, number, taxed, now, beside))
    _write(session, ready, made, taxes)
    for kind, last in counted.items():
        if last != numbers[kind]:
            _count(session, issuer.seller.code, kind, last)
    append(session, [_issued(one, document, issuer.actor) for one, document in made], now)
    return tuple(invoice for invoice, _ in made)


def number_text(code: str, kind: str, number: int) -> str:
    """Return an invoice's or a credit note's number as it is printed."""
    return f"{code}-CN-{number:06d}" if kind == "credit_note" else f"{code}-{number:06d}"


def void(
    session: Session, issuer: Issuer, invoice: Invoice, numbers: Mapping[str, int], now: dt.datetime
) -> Invoice:
    """Take a final invoice back by a credit note with its lines and taxes negated; return that.

    The invoice stays as it was issued and is void; what it billed is open again. Posts the credit
    note's invoice.issued and the invoice.voided, last in the transaction. Raises Refused where it
    is no final invoice.
    """
    _check_voidable(invoice)
    connection = session.connection()
    note = _note(invoice, now)
    lines = tuple(
        _negated(line, note.invoice_id)
        for line in find_lines(session, [invoice.invoice_id])[invoice.invoice_id]
    )
    taxes = tuple(
        replace(
            tax,
            invoice_id=note.invoice_id,
            net_minor=-tax.net_minor,
            tax_minor=-tax.tax_minor,
        )
        for tax in find_taxes(session, invoice.invoice_id)
    )
    connection.execute(insert(INVOICE).values(**_values(note)))
    names = LINE_NAMES
    insert_rows(connection, LINE, names, [_line_row(line, names) for line in lines])
    last = numbers["credit_note"] + 1
    number = number_text(issuer.seller.code, "credit_note", last)
    ready = Ready(invoice=note, lines=lines)
    beside = beside_of(read_document(invoice.document))
    final, document = _final(issuer, ready, number, taxes, now, beside)
    _write(session, [ready], [(final, document)], taxes)
    connection.execute(
        update(INVOICE).where(INVOICE.c.invoice_id == invoice.invoice_id).values(state="void")
    )
    _count(session, issuer.seller.code, "credit_note", last)
    append(session, [_issued(final, document, issuer.actor), _voided(final, invoice, issuer)], now)
    return final


def _note(invoice: Invoice, now: dt.datetime) -> Invoice:
    return replace(
        invoice,
        invoice_id=new_id(),
        run_id="",
        kind="credit_note",
        state="draft",
        number="",
        net_minor=-invoice.net_minor,
        tax_minor=-invoice.tax_minor,
        total_minor=-invoice.total_minor,
        drafted_at=now,
        issued_at=None,
        event_id="",
        cancels=invoice.invoice_id,
        document="",
    )


def _check_voidable(invoice: Invoice) -> None:
    if invoice.kind != "invoice":
        raise Refused(
            invoice.number or invoice.invoice_id,
            "is a credit note: a correction is not corrected",
            "What it took back is open, and is billed again: bandmaster invoice run",
        )
    if invoice.state == "draft":
        raise Refused(
            invoice.invoice_id,
            "is a draft: nothing was billed by it",
            "It is made anew by: bandmaster invoice run",
        )
    if invoice.state == "void":
        raise Refused(
            invoice.number, "is void already", "See: bandmaster invoice list --account ACCOUNT"
        )


def _negated(line: InvoiceLine, invoice_id: str) -> InvoiceLine:
    return replace(
        line,
        invoice_id=invoice_id,
        numerator=-line.numerator,
        quantity=-line.quantity,
        amount_minor=-line.amount_minor,
    )


def _values(invoice: Invoice) -> dict[str, Any]:
    return {name: getattr(invoice, name) for name in INVOICE_NAMES}


def _line_row(line: InvoiceLine, names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(ids_text(line) if n == "event_ids" else getattr(line, n) for n in names)


def _final(
    issuer: Issuer,
    ready: Ready,
    number: str,
    taxes: Sequence[InvoiceTax],
    now: dt.datetime,
    beside: Beside,
) -> tuple[Invoice, dict[str, Any]]:
    """Return the draft as it is issued, and its document."""
    draft = ready.invoice
    numbered = replace(draft, number=number, issued_at=now)
    document = invoice_document(
        numbered,
        issuer.seller,
        issuer.accounts[draft.account_id],
        ready.lines,
        taxes,
        issuer.plans,
        beside,
    )
    final = replace(
        numbered,
        state="final",
        net_minor=document["net_minor"],
        tax_minor=document["tax_minor"],
        total_minor=document["total_minor"],
        open_from=min([draft.closes_on, *(line.period_from for line in ready.held)]),
        event_id=new_id(),
        document=document_text(document),
    )
    return final, document


def _beside(session: Session, lines: Sequence[InvoiceLine], texts: Mapping[str, str]) -> Beside:
    """Return what people wrote of the lines and what their rates rest on, by line number."""
    said: dict[int, str] = {}
    measured: dict[int, Measured] = {}
    for line in lines:
        if line.kind == "burst":
            measured |= _measured(session, line)
        elif line.event_ids and line.event_ids[0] in texts:
            said[line.line_no] = texts[line.event_ids[0]]
    return Beside(texts=said, measured=measured)


def _measured(session: Session, line: InvoiceLine) -> dict[int, Measured]:
    event = find_event(session, line.event_ids[-1]) if line.event_ids else None
    if event is None:
        return {}
    samples, coverage_bp = (event.payload.get(name, 0) for name in ("samples", "coverage_bp"))
    return {line.line_no: Measured(samples=samples, coverage_bp=coverage_bp)}


def _taxes(invoice_id: str, said: Iterable[TaxLine]) -> tuple[InvoiceTax, ...]:
    return tuple(
        InvoiceTax(
            invoice_id=invoice_id,
            tax_no=number,
            name=tax.name,
            rate_bp=tax.rate_bp,
            net_minor=tax.net_minor,
            tax_minor=tax.tax_minor,
        )
        for number, tax in enumerate(said, start=1)
    )


def _write(
    session: Session,
    ready: Sequence[Ready],
    made: Sequence[tuple[Invoice, dict[str, Any]]],
    taxes: Sequence[InvoiceTax],
) -> None:
    """Write what final invoices are; their lines stand already, the held ones go."""
    connection = session.connection()
    for one in ready:
        for line in one.held:
            connection.execute(
                delete(LINE).where(
                    LINE.c.invoice_id == one.invoice.invoice_id, LINE.c.line_no == line.line_no
                )
            )
    insert_rows(connection, TAX, _TAX_NAMES, map(_tax_values, taxes))
    rows = [
        {"the_id": invoice.invoice_id} | {f"new_{name}": getattr(invoice, name) for name in _SET}
        for invoice, _ in made
    ]
    if rows:
        connection.execute(_FINAL, rows)


def _count(session: Session, code: str, kind: str, last: int) -> None:
    session.connection().execute(
        update(COUNTER)
        .where(COUNTER.c.legal_entity == code, COUNTER.c.kind == kind)
        .values(last_number=last)
    )


def _issued(invoice: Invoice, document: Mapping[str, Any], actor: str) -> NewEvent:
    return NewEvent(
        event_id=invoice.event_id,
        source=SOURCE,
        idempotency_key=f"{invoice.invoice_id}:invoice.issued",
        type="invoice.issued",
        account_id=invoice.account_id,
        actor=actor,
        reason_code="billing_run" if invoice.kind == "invoice" else "corrected",
        payload={
            "invoice": invoice.invoice_id,
            "number": invoice.number,
            "kind": invoice.kind,
            "closes_on": invoice.closes_on.isoformat(),
            "net_minor": invoice.net_minor,
            "tax_minor": invoice.tax_minor,
            "total_minor": invoice.total_minor,
            "currency": invoice.currency,
            "exponent": invoice.exponent,
            "lines_digest": digest(document["lines"]),
            "known_seq": invoice.known_seq,
        },
    )


def _voided(note: Invoice, invoice: Invoice, issuer: Issuer) -> NewEvent:
    return NewEvent(
        event_id=new_id(),
        source=SOURCE,
        idempotency_key=f"{invoice.invoice_id}:invoice.voided",
        type="invoice.voided",
        account_id=invoice.account_id,
        actor=issuer.actor,
        reason_code="corrected",
        payload={
            "invoice": invoice.invoice_id,
            "number": invoice.number,
            "credit_note": note.invoice_id,
        },
    )


def ready_drafts(session: Session, run_id: str, after: str, limit: int) -> tuple[Ready, ...]:
    """Return at most `limit` drafts of a run with their lines, by account, after the one named."""
    query = (
        select(INVOICE)
        .where(INVOICE.c.run_id == run_id, INVOICE.c.state == "draft", INVOICE.c.account_id > after)
        .order_by(INVOICE.c.account_id, INVOICE.c.currency)
        .limit(limit)
    )
    rows = session.connection().execute(query).mappings().all()
    drafts = [Invoice(**row) for row in rows]
    if len(drafts) == limit and limit > 1:  # an account's drafts stay together
        cut = [one for one in drafts if one.account_id != drafts[-1].account_id]
        drafts = cut or drafts
    lines = find_lines(session, [draft.invoice_id for draft in drafts])
    return tuple(Ready(invoice=draft, lines=lines[draft.invoice_id]) for draft in drafts)
