"""Drafting for all accounts of an issuer: the run's row, its drafts, and who may go on with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.orm import Session

from inventory import (
    Refused,
    UnknownName,
    canonical_json,
    count_accounts,
    instant_text,
    new_id,
)

from .bulk import among, insert_stored, text_times
from .drafting import Draft
from .invoice_rows import (
    COUNTER,
    INVOICE,
    INVOICE_NAMES,
    KINDS,
    LINE,
    LINE_NAMES,
    RUN,
    RUN_NAMES,
)
from .invoices import InvoiceLine

_OWN = ("invoice_id", "line_no", "event_ids")
_LINE_NAMES = tuple(name for name in LINE_NAMES if name not in _OWN)
_STORED_LINE = (*_OWN, *_LINE_NAMES)
_line_values = attrgetter(*_LINE_NAMES)
_BILL_NAMES = tuple(name for name in INVOICE_NAMES if name != "drafted_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRun:
    """A run: its drafts say what the ledger said up to `known_seq`; `after_account` is how far."""

    run_id: str
    legal_entity: str
    on_date: dt.date
    actor: str
    state: Literal["open", "drafted", "done"]
    started_at: dt.datetime
    ended_at: dt.datetime | None
    known_seq: int
    after_account: str
    accounts: int
    drafts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRows:
    """Drafts as the store keeps them, but for the time at which they are kept."""

    bills: tuple[Sequence[Any], ...]
    lines: tuple[Sequence[Any], ...]


def lock_issuer(session: Session, legal_entity: str) -> dict[str, int]:
    """Wait for everybody else who bills for this issuer; return the last number of each kind.

    The first statement of a transaction that drafts, finalises or voids. Raises UnknownName.
    """
    connection = session.connection()
    query = select(COUNTER).where(COUNTER.c.legal_entity == legal_entity).with_for_update()
    rows = connection.execute(query.order_by(COUNTER.c.kind)).all()
    if not rows:
        _make_counters(session, legal_entity)
        rows = connection.execute(query.order_by(COUNTER.c.kind)).all()
    return {row.kind: row.last_number for row in rows}


def _make_counters(session: Session, legal_entity: str) -> None:
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415 - once for each issuer

    made: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    rows = [{"legal_entity": legal_entity, "kind": kind, "last_number": 0} for kind in KINDS]
    session.connection().execute(made.insert(COUNTER).on_conflict_do_nothing(), rows)


def begin_run(
    session: Session, legal_entity: str, on: dt.date, actor: str, now: dt.datetime, known_seq: int
) -> InvoiceRun:
    """Return the issuer's open run of that date, to go on with, or a new one.

    Raises Refused where a run of another date is open. The caller has locked the issuer.
    """
    opened = _runs(session, RUN.c.legal_entity == legal_entity, RUN.c.state == "open")
    if opened:
        if opened[0].on_date != on:
            raise Refused(
                f"invoice run of {legal_entity}",
                f"a run on {opened[0].on_date} is not finished",
                f"Finish it first: bandmaster invoice run --on {opened[0].on_date}",
            )
        return opened[0]
    run = InvoiceRun(
        run_id=new_id(),
        legal_entity=legal_entity,
        on_date=on,
        actor=actor,
        state="open",
        started_at=now,
        ended_at=None,
        known_seq=known_seq,
        after_account="",
        accounts=count_accounts(session, legal_entity),
        drafts=0,
    )
    values = {name: getattr(run, name) for name in RUN_NAMES}
    session.connection().execute(insert(RUN).values(values))
    return run


def find_run(session: Session, run_id: str) -> InvoiceRun:
    """Return a run; UnknownName if there is none."""
    found = _runs(session, RUN.c.run_id == run_id)
    if not found:
        raise UnknownName(run_id, "is no invoice run", "See: bandmaster invoice list --runs")
    return found[0]


def list_runs(session: Session, legal_entity: str = "") -> tuple[InvoiceRun, ...]:
    """Return an issuer's runs ("" = of all), oldest first."""
    return _runs(session, *([RUN.c.legal_entity == legal_entity] if legal_entity else []))


def billed_count(session: Session, account_ids: Sequence[str]) -> int:
    """Return a number that goes up whenever something of these accounts is issued or voided."""
    query = select(func.count()).where(
        among(INVOICE.c.account_id, account_ids), INVOICE.c.state != "draft"
    )
    return session.connection().execute(query).scalar_one()


def draft_rows(run: InvoiceRun, drafts: Sequence[Draft]) -> DraftRows:
    """Return the drafts of a run as rows, under new ids."""
    ids = [new_id() for _ in drafts]
    bills = [_draft_row(run, one, draft) for one, draft in zip(ids, drafts, strict=True)]
    lines = line_rows(zip(ids, drafts, strict=True))
    return DraftRows(
        bills=tuple(text_times(INVOICE, _BILL_NAMES, bills)),
        lines=tuple(text_times(LINE, _STORED_LINE, lines)),
    )


def keep_drafts(
    session: Session,
    run: InvoiceRun,
    account_ids: Sequence[str],
    rows: DraftRows,
    now: dt.datetime,
) -> None:
    """Put the drafts in the place of any older ones of these accounts, and move the run on."""
    connection = session.connection()
    old = select(INVOICE.c.invoice_id).where(
        among(INVOICE.c.account_id, account_ids),
        INVOICE.c.state == "draft",
        INVOICE.c.kind == "invoice",
    )
    gone = connection.execute(old).scalars().all()
    if gone:
        for table in (LINE, INVOICE):
            connection.execute(delete(table).where(among(table.c.invoice_id, gone)))
    drafted_at = instant_text(now)
    bills = ((*row, drafted_at) for row in rows.bills)
    insert_stored(connection, INVOICE, (*_BILL_NAMES, "drafted_at"), bills)
    insert_stored(connection, LINE, _STORED_LINE, rows.lines)
    connection.execute(
        update(RUN)
        .where(RUN.c.run_id == run.run_id)
        .values(after_account=account_ids[-1], drafts=RUN.c.drafts + len(rows.bills))
    )


def line_rows(drafts: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the drafts' lines, numbered from 1; `drafts` are pairs with their ids."""
    for invoice_id, draft in drafts:
        for number, line in enumerate(draft.lines, start=1):
            yield (invoice_id, number, ids_text(line), *_line_values(line))


def ids_text(line: InvoiceLine) -> str:
    """Return a line's event ids as they are stored."""
    if len(line.event_ids) == 1:  # most have one; ids hold nothing that JSON escapes
        return f'["{line.event_ids[0]}"]'
    return canonical_json(list(line.event_ids))


def end_run(session: Session, run: InvoiceRun, now: dt.datetime) -> None:
    """Say that everything of the run is drafted."""
    session.connection().execute(
        update(RUN).where(RUN.c.run_id == run.run_id).values(state="drafted", ended_at=now)
    )


def _draft_row(run: InvoiceRun, invoice_id: str, draft: Draft) -> tuple[Any, ...]:
    net = draft.net_minor
    values = {
        "invoice_id": invoice_id,
        "run_id": run.run_id,
        "kind": "invoice",
        "legal_entity": run.legal_entity,
        "account_id": draft.account.account_id,
        "currency": draft.currency,
        "exponent": draft.exponent,
        "closes_on": draft.closes_on,
        "open_from": draft.closes_on,
        "state": "draft",
        "number": "",
        "net_minor": net,
        "tax_minor": 0,
        "total_minor": net,
        "known_seq": run.known_seq,
        "issued_at": None,
        "event_id": "",
        "cancels": "",
        "document": "",
    }
    return tuple(values[name] for name in _BILL_NAMES)


def _runs(session: Session, *where: Any) -> tuple[InvoiceRun, ...]:
    query = select(RUN).where(*where).order_by(RUN.c.run_id)
    rows: Sequence[RowMapping] = session.connection().execute(query).mappings().all()
    return tuple(InvoiceRun(**row) for row in rows)


def drafts_left(session: Session, run_id: str) -> int:
    """Return how many of a run's invoices are drafts."""
    query = select(func.count()).where(INVOICE.c.run_id == run_id, INVOICE.c.state == "draft")
    return session.connection().execute(query).scalar_one()


def still_drafts(session: Session, invoice_ids: Sequence[str]) -> bool:
    """Whether all of these are drafts, as they were when they were read."""
    query = select(func.count()).where(
        among(INVOICE.c.invoice_id, invoice_ids), INVOICE.c.state == "draft"
    )
    return session.connection().execute(query).scalar_one() == len(invoice_ids)


def drafted_when(session: Session, run_id: str) -> tuple[tuple[dt.date, dt.datetime], ...]:
    """Return the boundaries of a run's drafts, and when the first draft of each was made."""
    query = (
        select(INVOICE.c.closes_on, func.min(INVOICE.c.drafted_at))
        .where(INVOICE.c.run_id == run_id, INVOICE.c.state == "draft")
        .group_by(INVOICE.c.closes_on)
        .order_by(INVOICE.c.closes_on.desc())
    )
    return tuple((row[0], row[1]) for row in session.connection().execute(query))


def finish_run(session: Session, run_id: str, now: dt.datetime) -> int:
    """Say that a run is done where none of its drafts is left; return how many are."""
    left = drafts_left(session, run_id)
    if not left:
        session.connection().execute(
            update(RUN).where(RUN.c.run_id == run_id).values(state="done", ended_at=now)
        )
    return left
