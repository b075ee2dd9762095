"""An invoice as it is frozen: one JSON document that holds all that was printed, and no more.

Money stands in it as integers of the minor unit, dates as local dates, half-open; what a renderer
makes of it needs no database, so that an old invoice prints as it did whatever changed since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inventory import Account, LegalEntity, Plan, PriceVersion, canonical_json, local_date

from .invoices import Invoice, InvoiceLine, InvoiceTax

DOCUMENT_VERSION = 1
_BYTES, _RATE = "usage", "burst"  # the kinds of line that measure something


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a measured line rests on; `coverage_bp` hundredths of a percent, samples of 5 minutes.

    `method` is how the contract takes the 95th percentile (`PercentileMode`).
    """

    samples: int
    coverage_bp: int
    method: str = "per_direction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What the rows of an invoice do not say.

    `cancels` is the number of the invoice that a credit note takes back; `texts` are what people
    wrote about a credit or a charge, `measured` what a percentile rests on, both by line number.
    """

    cancels: str = ""
    texts: Mapping[int, str] = field(default_factory=dict, hash=False)
    measured: Mapping[int, Measured] = field(default_factory=dict, hash=False)


def invoice_document(
    invoice: Invoice,
    seller: LegalEntity,
    buyer: Account,
    lines: Sequence[InvoiceLine],
    taxes: Sequence[InvoiceTax],
    plans: Mapping[str, Plan],
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Return the document of an invoice: JSON values, the same for the same invoice.

    Its date is that of issue, of a draft that of drafting, in the account's zone. Net, tax and
    total are the sums of what is given.
    """
    more = beside or Beside()
    net = sum(line.amount_minor for line in lines)
    tax = sum(one.tax_minor for one in taxes)
    return {
        **_head(invoice, buyer, more.cancels),
        "period": _period(invoice, lines),
        "seller": {
            "code": seller.code,
            "name": seller.name,
            "address": seller.address,
            "tax_id": seller.tax_id,
        },
        "buyer": {
            "account_id": buyer.account_id,
            "name": buyer.name,
            "address": buyer.address,
            "time_zone": buyer.time_zone,
        },
        "lines": [_line(line, plans, more) for line in lines],
        "taxes": [_tax(one) for one in taxes],
        "net_minor": net,
        "tax_minor": tax,
        "total_minor": net + tax,
    }


def beside_of(document: Mapping[str, Any]) -> Beside:
    """Return what stood beside an invoice, for the credit note that takes it back."""
    return Beside(
        cancels=document["number"],
        texts={line["no"]: line["text"] for line in document["lines"] if line["text"]},
        measured={
            line["no"]: Measured(
                samples=line["rate"]["samples"],
                coverage_bp=line["rate"]["coverage_bp"],
                method=line["rate"]["method"],
            )
            for line in document["lines"]
            if "rate" in line
        },
    )


def document_text(document: Mapping[str, Any]) -> str:
    """Return the one text of a document, as it is frozen with the invoice."""
    return canonical_json(document)


def read_document(text: str) -> dict[str, Any]:
    """Return the document that `document_text` wrote."""
    document: dict[str, Any] = json.loads(text)
    return document


def _head(invoice: Invoice, buyer: Account, cancels: str) -> dict[str, Any]:
    dated = invoice.issued_at or invoice.drafted_at
    value: dict[str, Any] = {
        "document": DOCUMENT_VERSION,
        "invoice_id": invoice.invoice_id,
        "kind": invoice.kind,
        "number": invoice.number,
        "issued_on": local_date(dated, buyer.time_zone).isoformat(),
        "closes_on": invoice.closes_on.isoformat(),
        "known_seq": invoice.known_seq,
        "currency": invoice.currency,
        "exponent": invoice.exponent,
    }
    if invoice.cancels:
        value["cancels"] = {"number": cancels, "invoice_id": invoice.cancels}
    return value


def _tax(tax: InvoiceTax) -> dict[str, Any]:
    return {
        "name": tax.name,
        "rate_bp": tax.rate_bp,
        "net_minor": tax.net_minor,
        "tax_minor": tax.tax_minor,
    }


def _period(invoice: Invoice, lines: Sequence[InvoiceLine]) -> dict[str, str]:
    """From the first date of any line to the last; of an invoice without lines its own date."""
    closes = invoice.closes_on
    return {
        "from": min((line.from_date for line in lines), default=closes).isoformat(),
        "until": max((line.until_date for line in lines), default=closes).isoformat(),
    }


def _line(
    line: InvoiceLine,
    plans: Mapping[str, Plan],
    beside: Beside,
) -> dict[str, Any]:
    plan = plans.get(line.plan_code)
    value: dict[str, Any] = {
        "no": line.line_no,
        "kind": line.kind,
        "service_id": line.service_id,
        "plan": line.plan_code,
        "plan_name": plan.name if plan else "",
        "text": beside.texts.get(line.line_no, ""),
        "charge": line.charge,
        "price_version_id": line.price_version_id,
        "period_from": line.period_from.isoformat(),
        "period_until": line.period_until.isoformat(),
        "from": line.from_date.isoformat(),
        "until": line.until_date.isoformat(),
        "numerator": line.numerator,
        "denominator": line.denominator,
        "unit": line.unit,
        "full_amount_minor": line.full_amount_minor,
        "quantity": line.quantity,
        "amount_minor": line.amount_minor,
        "late": int(line.late),
        "events": list(line.event_ids),
    }
    if plan and line.kind == _BYTES:
        value["usage"] = _usage(plan, _price(plan, line), line)
    elif plan and line.kind == _RATE:
        value["rate"] = _rate(plan, _price(plan, line), beside.measured.get(line.line_no))
    return value


def _price(plan: Plan, line: InvoiceLine) -> PriceVersion | None:
    named = (p for p in plan.prices if p.price_version_id == line.price_version_id)
    return next(named, None)


def _usage(plan: Plan, price: PriceVersion | None, line: InvoiceLine) -> dict[str, Any]:
    """What was included in the part of the period that was charged, and what a block costs."""
    # a credit note takes back, so its parts are negative
    part = (abs(line.numerator), line.denominator) if line.denominator else (1, 1)
    return {
        "counts": plan.allowance_counts,
        "included_bytes": plan.allowance_bytes * part[0] // part[1],
        "block_bytes": plan.block_bytes,
        "block_minor": price.block_minor if price else 0,
        "cap_minor": price.cap_minor if price else 0,
    }


def _rate(plan: Plan, price: PriceVersion | None, seen: Measured | None) -> dict[str, Any]:
    return {
        "commit_kbps": plan.commit_kbps,
        "burst_minor": price.burst_minor if price else 0,
        "method": seen.method if seen else "per_direction",
        "samples": seen.samples if seen else 0,
        "coverage_bp": seen.coverage_bp if seen else 0,
    }
