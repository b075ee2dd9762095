"""The tables of what is billed: runs, invoices and credit notes, their lines and their numbers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from inventory import UtcInstant, table_of

RUN_STATES = ("open", "drafted", "done")
KINDS = ("invoice", "credit_note")
INVOICE_STATES = ("draft", "final", "void")
LINE_KINDS = ("recurring", "correction", "usage", "burst", "charge", "credit")


def _text(*, key: bool = False, refers_to: str | None = None) -> Any:
    return Field(sa_type=Text, primary_key=key, foreign_key=refers_to)


def _one_of(column: str, names: tuple[str, ...], table: str) -> CheckConstraint:
    listed = ", ".join(repr(name) for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{table}_{column}")


def _unique_where(name: str, condition: str, *columns: str) -> Index:
    where = text(condition)
    return Index(name, *columns, unique=True, sqlite_where=where, postgresql_where=where)


class InvoiceRunRow(SQLModel, table=True):
    """Drafting for all accounts of an issuer; `after_account` is how far it has come.

    Its drafts say what the ledger said up to `known_seq`, however often it was interrupted.
    """

    __tablename__ = "invoice_run"
    __table_args__ = (
        _one_of("state", RUN_STATES, "invoice_run"),
        _unique_where("invoice_run_open", "state = 'open'", "legal_entity"),
    )

    run_id: str = _text(key=True)
    legal_entity: str = _text(refers_to="legal_entity.code")
    on_date: dt.date
    actor: str = _text()
    state: str = _text()
    started_at: dt.datetime = Field(sa_type=UtcInstant)
    ended_at: dt.datetime | None = Field(sa_type=UtcInstant)
    known_seq: int = Field(sa_type=BigInteger)
    after_account: str = _text()
    accounts: int
    drafts: int


class InvoiceRow(SQLModel, table=True):
    """One invoice or credit note; final ones never change but for becoming void.

    `closes_on` is the local date of the boundary it was made for, `open_from` the first date of
    which something was left out and is still to be billed. `number` is empty while it is a draft.
    `cancels` is the invoice that a credit note takes back, `document` the frozen JSON of a final.
    """

    __tablename__ = "invoice"
    __table_args__ = (
        _one_of("kind", KINDS, "invoice"),
        _one_of("state", INVOICE_STATES, "invoice"),
        CheckConstraint("(state = 'draft') = (number = '')", name="invoice_numbered"),
        CheckConstraint("net_minor + tax_minor = total_minor", name="invoice_adds_up"),
        _unique_where("invoice_number", "number <> ''", "legal_entity", "kind", "number"),
        _unique_where(
            "invoice_living",
            "kind = 'invoice' AND state <> 'void'",
            *("account_id", "currency", "closes_on"),
        ),
        _unique_where(
            "invoice_draft", "kind = 'invoice' AND state = 'draft'", "account_id", "currency"
        ),
        _unique_where("invoice_cancels", "cancels <> ''", "cancels"),
        Index("invoice_of_run", "run_id", "account_id"),
        Index("invoice_of_account", "account_id", "closes_on"),
    )

    invoice_id: str = _text(key=True)
    run_id: str = _text()  # "" = a credit note
    kind: str = _text()
    legal_entity: str = _text(refers_to="legal_entity.code")
    account_id: str = _text(refers_to="account.account_id")
    currency: str = _text()
    exponent: int
    closes_on: dt.date
    open_from: dt.date
    state: str = _text()
    number: str = _text()
    net_minor: int = Field(sa_type=BigInteger)
    tax_minor: int = Field(sa_type=BigInteger)
    total_minor: int = Field(sa_type=BigInteger)
    known_seq: int = Field(sa_type=BigInteger)
    drafted_at: dt.datetime = Field(sa_type=UtcInstant)
    issued_at: dt.datetime | None = Field(sa_type=UtcInstant)
    event_id: str = _text()
    cancels: str = _text()
    document: str = _text()


class InvoiceLineRow(SQLModel, table=True):
    """One line. Dates are local and half-open; numerator / denominator is the part of the period.

    `amount_minor` is what counts: a correction is what is owed less what was billed, so its
    fraction only explains it. `event_ids` is a JSON list. A line with a `finding_id` is held: it
    stands in a draft alone, and is left out of the final invoice.
    """

    __tablename__ = "invoice_line"
    __table_args__ = (_one_of("kind", LINE_KINDS, "invoice_line"),)

    invoice_id: str = _text(key=True)
    line_no: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    service_id: str = _text()  # "" = of the account
    kind: str = _text()
    plan_code: str = _text()
    charge: str = _text()  # service | hold; "" = neither
    price_version_id: str = _text()
    period_from: dt.date
    period_until: dt.date
    from_date: dt.date
    until_date: dt.date
    numerator: int = Field(sa_type=BigInteger)
    denominator: int = Field(sa_type=BigInteger)
    unit: str = _text()  # of the fraction or of the quantity: day, second, byte, bit_per_s
    full_amount_minor: int = Field(sa_type=BigInteger)
    quantity: int = Field(sa_type=BigInteger)
    amount_minor: int = Field(sa_type=BigInteger)
    event_ids: str = _text()
    late: bool = Field(sa_type=Boolean)
    finding_id: str = _text()


class InvoiceTaxRow(SQLModel, table=True):
    """One tax of an invoice as the hook said it, once."""

    __tablename__ = "invoice_tax"

    invoice_id: str = _text(key=True)
    tax_no: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    name: str = _text()
    rate_bp: int
    net_minor: int = Field(sa_type=BigInteger)
    tax_minor: int = Field(sa_type=BigInteger)


class InvoiceCounterRow(SQLModel, table=True):
    """The last number given to a kind by an issuer; whoever bills for it locks this row first."""

    __tablename__ = "invoice_counter"
    __table_args__ = (_one_of("kind", KINDS, "invoice_counter"),)

    legal_entity: str = _text(key=True, refers_to="legal_entity.code")
    kind: str = _text(key=True)
    last_number: int = Field(sa_type=BigInteger)


RUN = table_of(InvoiceRunRow)
INVOICE = table_of(InvoiceRow)
LINE = table_of(InvoiceLineRow)
TAX = table_of(InvoiceTaxRow)
COUNTER = table_of(InvoiceCounterRow)
RUN_NAMES, INVOICE_NAMES, LINE_NAMES = (
    tuple(column.name for column in table.columns) for table in (RUN, INVOICE, LINE)
)
