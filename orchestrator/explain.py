"""Where a line of an invoice comes from: its events, and what stands behind each of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from billing_bridge import (
    CreditRow,
    Invoice,
    InvoiceLine,
    LedgerEvent,
    find_by_service,
    find_event,
    find_invoice,
    find_lines,
    fold_service,
    midnight,
)
from inventory import LedgerBroken, UnknownName, find_account

from .views import Story, change_story, set_of_change

_METERS = {"usage": ("down", "up"), "burst": ("p95",)}
_USAGE = ("usage.recorded", "usage.corrected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """The usage of a line by the ledger: `quantity` of a meter in `events` events."""

    meter: str
    quantity: int
    unit: str
    events: int
    first_seq: int
    last_seq: int
    sources: tuple[str, ...]
    samples: int
    coverage_bp: int  # the least of any window, hundredths of a percent; -1 = nobody counted
    late: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """Who asked for a credit or a charge, why, and who agreed to it."""

    credit_id: str
    reason: str
    asked_by: str
    asked_at: dt.datetime
    decided_by: str
    decided_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One event, the event it takes back (None = it takes none), and the changes behind both.

    `agreed` stands behind the money of a person. `evidence` is what each device showed when it was
    read back, as the ledger holds it.
    """

    event: LedgerEvent
    reversed: LedgerEvent | None
    stories: tuple[Story, ...]
    evidence: tuple[Mapping[str, Any], ...]
    agreed: Agreed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A line with everything it comes from, in the order of the ledger."""

    invoice_id: str
    number: str
    kind: str
    cancels: str  # of a credit note: the number of the invoice it takes back
    state: str
    account_id: str
    currency: str
    exponent: int
    issued_at: dt.datetime | None
    known_seq: int
    time_zone: str
    line: InvoiceLine
    used: tuple[Used, ...]
    origins: tuple[Origin, ...]


def explain_line(session: Session, invoice_id: str, line_no: int) -> Explained:
    """Return where a line comes from; UnknownName (invoice, line), LedgerBroken (no such event)."""
    invoice = find_invoice(session, invoice_id)
    line = _line(session, invoice, line_no)
    zone = find_account(session, invoice.account_id).time_zone
    used: tuple[Used, ...] = ()
    names = line.event_ids
    if line.kind in _METERS:
        known = [
            event
            for event in find_by_service(session, line.service_id)
            if event.seq <= invoice.known_seq
        ]
        used = _used(known, line, zone)
        names = (*names, *_in_force(known, line, zone))
    return Explained(
        invoice_id=invoice.invoice_id,
        number=invoice.number,
        kind=invoice.kind,
        cancels=find_invoice(session, invoice.cancels).number if invoice.cancels else "",
        state=invoice.state,
        account_id=invoice.account_id,
        currency=invoice.currency,
        exponent=invoice.exponent,
        issued_at=invoice.issued_at,
        known_seq=invoice.known_seq,
        time_zone=zone,
        line=line,
        used=used,
        origins=tuple(_origin(session, invoice, name) for name in names),
    )


def _line(session: Session, invoice: Invoice, line_no: int) -> InvoiceLine:
    lines = find_lines(session, (invoice.invoice_id,))[invoice.invoice_id]
    for line in lines:
        if line.line_no == line_no:
            return line
    numbers = f"It has the lines {lines[0].line_no} to {lines[-1].line_no}." if lines else ""
    raise UnknownName(f"line {line_no}", "is not on this invoice", numbers or "It has no line.")


def _origin(session: Session, invoice: Invoice, event_id: str) -> Origin:
    event = _event(session, invoice, event_id)
    taken = _event(session, invoice, event.reverses_event_id) if event.reverses_event_id else None
    changes = dict.fromkeys(one.change_id for one in (event, taken) if one and one.change_id)
    return Origin(
        event=event,
        reversed=taken,
        stories=tuple(
            change_story(session, set_of_change(session, change_id), change_id)
            for change_id in changes
        ),
        evidence=tuple(event.payload.get("evidence", ())),
        agreed=_agreed(session, taken or event),
    )


def _agreed(session: Session, event: LedgerEvent) -> Agreed | None:
    """Return what stands beside a credit or a charge."""
    credit_id = event.payload.get("credit_id") or event.payload.get("charge_id")
    row = session.get(CreditRow, credit_id) if credit_id else None
    if row is None:
        return None
    return Agreed(
        credit_id=row.credit_id,
        reason=row.reason,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )


def _event(session: Session, invoice: Invoice, event_id: str) -> LedgerEvent:
    event = find_event(session, event_id)
    if event is None:
        raise LedgerBroken(
            f"event {event_id}", f"is named by invoice {invoice.invoice_id}, and is not there"
        )
    return event


def _in_force(known: Sequence[LedgerEvent], line: InvoiceLine, zone_name: str) -> tuple[str, ...]:
    """Return the event that gave the service the plan by which usage is priced."""
    until = midnight(line.until_date, zone_name)
    steps = fold_service(line.service_id, known).history
    found = [
        step.event_id for step in steps if step.since < until and step.plan_code == line.plan_code
    ]
    return tuple(found[-1:])


def _used(known: Sequence[LedgerEvent], line: InvoiceLine, zone_name: str) -> tuple[Used, ...]:
    """Return the usage in the time of a line, as known when it was billed, by meter."""
    since, until = midnight(line.from_date, zone_name), midnight(line.until_date, zone_name)
    events = [
        event for event in known if event.type in _USAGE and since <= event.effective_at < until
    ]
    found = []
    for meter in _METERS[line.kind]:
        mine = [event for event in events if event.payload["meter"] == meter]
        if mine:
            found.append(_together(meter, mine))
    return tuple(found)


def _together(meter: str, events: Sequence[LedgerEvent]) -> Used:
    sources = {str(event.payload.get("source", "")) for event in events}
    return Used(
        meter=meter,
        quantity=sum(event.quantity for event in events),
        unit=events[0].unit,
        events=len(events),
        first_seq=events[0].seq,
        last_seq=events[-1].seq,
        sources=tuple(sorted(sources - {""})),
        samples=sum(int(event.payload.get("samples", 0)) for event in events),
        coverage_bp=min(int(event.payload.get("coverage_bp", -1)) for event in events),
        late=sum(int(event.payload.get("late", 0)) for event in events),
    )
