"""Invoices to print: sellers, buyers and lines of every kind, in currencies of every exponent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from billing_bridge import Beside, Invoice, InvoiceLine, InvoiceTax, Measured, invoice_document
from inventory import Account, LegalEntity, Plan, PriceVersion

GB = 10**9
INVOICE_ID = "0197a3f2-0000-7000-8000-000000000001"
SELLER = LegalEntity(
    code="isp",
    name="Example ISP GmbH",
    address="1 Fibre Road\n60311 Frankfurt",
    tax_id="DE 123 456 789",
)
BUYER = Account(
    account_id="A-204",
    name="Erika Mustermann",
    address="Elm Street 4, 60311 Frankfurt",
    time_zone="Europe/Berlin",
    cycle_day=1,
    legal_entity="isp",
    currency="EUR",
)
# what one unit of money is in each: EUR 29.99, JPY 2999, KWD 29.990
CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3}


def line(line_no: int, amount_minor: int, **more: Any) -> InvoiceLine:
    """Return a line of a bill: a whole June of fiber-500 unless `more` says otherwise."""
    given: dict[str, Any] = {
        "service_id": "svc-1042",
        "kind": "recurring",
        "plan_code": "fiber-500",
        "charge": "service",
        "price_version_id": "fiber-500@2025-01-01",
        "period_from": dt.date(2026, 6, 1),
        "period_until": dt.date(2026, 7, 1),
        "from_date": dt.date(2026, 6, 1),
        "until_date": dt.date(2026, 7, 1),
        "numerator": 30,
        "denominator": 30,
        "unit": "day",
        "full_amount_minor": 4999,
        "quantity": 0,
        "event_ids": ("0197a3f2-0000-7000-8000-00000000000e",),
    }
    return InvoiceLine(
        invoice_id=INVOICE_ID, line_no=line_no, amount_minor=amount_minor, **(given | more)
    )


def plans(currency: str = "EUR", name: str = "Fiber 500") -> dict[str, Plan]:
    """Return a catalogue of one plan with an allowance, a commit and a price for each."""
    price = PriceVersion(
        price_version_id="fiber-500@2025-01-01",
        plan_code="fiber-500",
        valid_from=dt.date(2025, 1, 1),
        amount_minor=4999,
        block_minor=150,
        cap_minor=2000,
        burst_minor=75,
    )
    plan = Plan(
        code="fiber-500",
        name=name,
        tier_code="fiber-500",
        currency=currency,
        exponent=CURRENCIES[currency],
        allowance_bytes=1000 * GB,
        block_bytes=100 * GB,
        commit_kbps=100_000,
        prices=(price,),
    )
    return {plan.code: plan}


def every_kind() -> tuple[InvoiceLine, ...]:
    """Return one line of each kind that a bill can have."""
    june = dt.date(2026, 6, 11)
    return (
        line(1, 1666, until_date=june, numerator=10),
        line(2, 3333, from_date=june, numerator=20),
        line(3, 500, charge="hold", full_amount_minor=500),
        line(4, 450, kind="usage", quantity=1_234_567_890_123, unit="byte"),
        line(5, 1759, kind="burst", quantity=123_456_789, unit="bit_per_s"),
        line(
            6,
            -1667,
            kind="correction",
            from_date=dt.date(2026, 5, 1),
            until_date=dt.date(2026, 6, 1),
            numerator=31,
            denominator=31,
            late=True,
        ),
        line(7, -1000, kind="credit", plan_code="", charge="", service_id=""),
        line(8, 4500, kind="charge", plan_code="", charge=""),
    )


TEXTS = {7: "Goodwill for the outage of 3 June", 8: "Technician on site"}
MEASURED = {5: Measured(samples=8_568, coverage_bp=9_917)}


def invoice(currency: str = "EUR", **more: Any) -> Invoice:
    """Return what an invoice says once; its money is that of the lines and not looked at."""
    given: dict[str, Any] = {
        "invoice_id": INVOICE_ID,
        "run_id": "",
        "kind": "invoice",
        "legal_entity": "isp",
        "account_id": "A-204",
        "currency": currency,
        "exponent": CURRENCIES[currency],
        "closes_on": dt.date(2026, 7, 1),
        "open_from": dt.date(2026, 7, 1),
        "state": "final",
        "number": "2026-000017",
        "net_minor": 0,
        "tax_minor": 0,
        "total_minor": 0,
        "known_seq": 48_211,
        "drafted_at": dt.datetime(2026, 7, 1, 4, tzinfo=dt.UTC),
        "issued_at": dt.datetime(2026, 7, 1, 22, tzinfo=dt.UTC),  # the 2nd in Berlin
        "event_id": "",
        "cancels": "",
        "document": "",
    }
    return Invoice(**(given | more))


def document(
    lines: Sequence[InvoiceLine] = (),
    *,
    currency: str = "EUR",
    buyer: Mapping[str, str] | None = None,
    seller: Mapping[str, str] | None = None,
    texts: Mapping[int, str] | None = None,
    plan_name: str = "Fiber 500",
    cancels_number: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Return a document with 19 % tax; texts of any kind may be put in anybody's place."""
    found = tuple(lines) or every_kind()
    net = sum(one.amount_minor for one in found)
    tax = InvoiceTax(
        invoice_id=INVOICE_ID,
        tax_no=1,
        name="VAT",
        rate_bp=1900,
        net_minor=net,
        tax_minor=round(net * 19 / 100),
    )
    return invoice_document(
        invoice(currency, **more),
        replace(SELLER, **(seller or {})),
        replace(BUYER, currency=currency, **(buyer or {})),
        found,
        (tax,),
        plans(currency, plan_name),
        Beside(cancels=cancels_number, texts=TEXTS if texts is None else texts, measured=MEASURED),
    )
