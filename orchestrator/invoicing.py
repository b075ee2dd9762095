"""Billing runs: drafting and finalising in small transactions, which a kill cannot tear."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import Engine, text
from sqlmodel import Session

from billing_bridge import (
    Draft,
    Drafter,
    Invoice,
    InvoiceRun,
    Issuer,
    Ready,
    begin_run,
    billed_count,
    blockers,
    credit_reasons,
    drafted_when,
    drafts_left,
    end_run,
    find_invoice,
    find_run,
    finish_run,
    hold,
    issue,
    keep_drafts,
    ledger_head,
    lock_issuer,
    mark_held,
    newest_boundaries,
    ready_drafts,
    still_drafts,
    verify,
    void,
)
from inventory import (
    Account,
    LedgerBroken,
    Refused,
    account_zones,
    accounts_many,
    find_account,
    find_legal_entity,
    list_plans,
    local_date,
    zone,
)

from .ahead import Ahead, Batch, Job, pricing
from .audit import audit
from .bills import Bills
from .database import database_now, reading, writing

BATCH = 500  # accounts in one transaction
_PATIENT = text(
    "SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '60s', true)"
)
Tell = Callable[[int, int], None]  # how many of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """A run that is drafted, and all accounts that could not be billed, with the reason."""

    run: InvoiceRun
    left_out: tuple[tuple[str, str], ...]
    helpers_missing: int  # processes beside this one that were to price, and did not to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    """What was issued of a run by this call, and how much of it is held."""

    run: InvoiceRun
    issued: int
    held_lines: int
    drafts_left: int


def draft_run(
    engine: Engine, bills: Bills, legal_entity: str, on: dt.date, actor: str, tell: Tell
) -> RunOutcome:
    """Draft the bill of every account of an issuer whose newest boundary is on or before a date.

    Killed and called again it goes on where it stopped; of two at once each batch is done by one.
    What was left out before it was killed is told again, so it is asked for once more.
    Raises LedgerBroken (the chain does not hold), Refused (the date is not over everywhere).
    """
    _prove(engine)
    with _billing(engine, legal_entity) as session:
        now = database_now(session)
        _refuse_future(session, legal_entity, on, now)
        head = ledger_head(session).seq
        run = begin_run(session, legal_entity, on, actor, now, head)
    left_out: dict[str, str] = {}
    seen = 0
    job = Job(run_id=run.run_id, size=BATCH, backdate_days=bills.backdate_days)
    with pricing(engine, job) as ahead:
        _leave_out(ahead, run, left_out)
        while run.state == "open":
            run = _kept(engine, run, ahead.batch(run.after_account), left_out)
            seen += BATCH
            tell(min(seen, run.accounts), run.accounts)
    return RunOutcome(run=run, left_out=tuple(left_out.items()), helpers_missing=ahead.missing)


def _leave_out(ahead: Ahead, run: InvoiceRun, left_out: dict[str, str]) -> None:
    """Say of the accounts that a run has behind it which were left out: no store holds reasons."""
    after = ""
    while after < run.after_account:
        batch = ahead.batch(after)
        left_out.update(each for each in batch.left_out if each[0] <= run.after_account)
        after = batch.account_ids[-1]


def _kept(engine: Engine, run: InvoiceRun, batch: Batch, left_out: dict[str, str]) -> InvoiceRun:
    """Write a batch under the lock if nobody else moved the run, or billed those, meanwhile."""
    ids = batch.account_ids
    with _billing(engine, run.legal_entity) as session:
        found = find_run(session, run.run_id)
        moved = found.state != "open" or found.after_account != batch.after
        if moved or billed_count(session, ids) != batch.billed:
            return found
        now = database_now(session)
        if ids:
            keep_drafts(session, run, ids, batch.rows, now)
        else:
            end_run(session, run, now)
        left_out.update(batch.left_out)
        return find_run(session, run.run_id)


def finalise(
    engine: Engine, bills: Bills, run_id: str, actor: str, tell: Tell, *, early: bool = False
) -> FinalOutcome:
    """Make a run's drafts final, in batches: numbers without gaps, taxes once, events last.

    Killed and called again it goes on with the next number; of two at once each draft is issued
    by one. Lines that a finding holds are left out and stay open. Raises LedgerBroken; Refused
    where a period is not over, a draft was made before the grace window ended (unless `early`),
    or a finding stops the whole run.
    """
    _prove(engine)
    with reading(engine) as session:
        run = find_run(session, run_id)
        if run.state == "open":
            raise Refused(
                run_id,
                "is not drafted to its end",
                f"Go on with it: bandmaster invoice run --on {run.on_date}",
            )
        _refuse_early(session, run, bills, database_now(session), early=early)
        total = drafts_left(session, run_id)
        plans = {plan.code: plan for plan in list_plans(session)}
        seller = find_legal_entity(session, run.legal_entity)
    issuer = Issuer(seller=seller, plans=plans, accounts={}, tax=bills.tax, actor=actor)
    after, issued, held = "", 0, 0
    while True:
        with reading(engine) as session:
            ready = _ready(session, run, after)
            accounts = accounts_many(session, {one.invoice.account_id for one in ready})
        if not ready:
            break
        done = _issue_batch(engine, replace(issuer, accounts=accounts), ready)
        if done is None:
            continue  # somebody else was there first: look again
        after = ready[-1].invoice.account_id
        issued += done
        held += sum(len(one.held) for one in ready)
        tell(issued, total)
    with _billing(engine, run.legal_entity) as session:
        left = finish_run(session, run_id, database_now(session))
        run = find_run(session, run_id)
    return FinalOutcome(run=run, issued=issued, held_lines=held, drafts_left=left)


def _ready(session: Session, run: InvoiceRun, after: str) -> tuple[Ready, ...]:
    """Return the next drafts, with what findings hold left out; Refused where one stops the run."""
    ready = ready_drafts(session, run.run_id, after, BATCH)
    found = blockers(session, {one.invoice.account_id for one in ready})
    for stop in found.get("", ()):
        raise Refused(
            f"invoice run {run.run_id}",
            f"is stopped by {stop.rule}: {stop.what}",
            "Mend it, or bill all the same: "
            f"bandmaster billing override f-{stop.finding_id} --reason TEXT",
        )
    return tuple(hold(one, found.get(one.invoice.account_id, ())) for one in ready)


def _issue_batch(engine: Engine, issuer: Issuer, ready: tuple[Ready, ...]) -> int | None:
    """Issue what may be; None where one of the drafts is none any more."""
    with _billing(engine, issuer.seller.code) as session:
        numbers = lock_issuer(session, issuer.seller.code)
        if not still_drafts(session, [one.invoice.invoice_id for one in ready]):
            return None
        for one in ready:
            if not one.lines:
                mark_held(session, one.held)
        full = [one for one in ready if one.lines]
        money = [
            event_id
            for one in full
            for line in one.lines
            if line.kind in ("credit", "charge")
            for event_id in line.event_ids
        ]
        texts = credit_reasons(session, money)
        return len(issue(session, issuer, full, numbers, database_now(session), texts))


def void_invoice(engine: Engine, bills: Bills, invoice_id: str, actor: str, reason: str) -> Invoice:
    """Take a final invoice back; return its credit note. What it billed is open again."""
    with reading(engine) as session:
        invoice = find_invoice(session, invoice_id)
    with _billing(engine, invoice.legal_entity) as session:
        numbers = lock_issuer(session, invoice.legal_entity)
        invoice = find_invoice(session, invoice_id)
        now = database_now(session)
        account = find_account(session, invoice.account_id)
        _refuse_old(invoice, account, bills, now)
        issuer = Issuer(
            seller=find_legal_entity(session, invoice.legal_entity),
            plans={plan.code: plan for plan in list_plans(session)},
            accounts={account.account_id: account},
            tax=bills.tax,
            actor=actor,
        )
        audit(session, actor, "invoice void", invoice.number or invoice_id, reason)
        session.flush()
        return void(session, issuer, invoice, numbers, now)


def next_bill(
    session: Session, bills: Bills, account: Account, on: dt.date | None = None
) -> tuple[Draft, ...]:
    """Return what an account is to be billed next, as known now; nothing is written.

    That is its newest boundary, or where nothing is open there, the one after it. `on` asks for
    the newest boundary up to a date instead.
    """
    drafter = Drafter(list_plans(session), backdate_days=bills.backdate_days)
    today = local_date(database_now(session), account.time_zone)
    dates = newest_boundaries(account, today) if on is None else (on,)
    for date in dates:
        drafted = drafter.draft(session, (account,), date)
        for _, problem in drafted.left_out:
            raise problem
        if drafted.drafts:
            return drafted.drafts
    return ()


def _prove(engine: Engine) -> None:
    """Raise LedgerBroken where the chain does not hold: nothing is billed from it."""
    with reading(engine) as session:
        report = verify(session, processes=len(os.sched_getaffinity(0)))
    if report.problem:
        raise LedgerBroken(
            "ledger",
            f"is broken at seq {report.bad_seq}: {report.problem}",
            "Bill nothing from it until it is known why: bandmaster ledger verify --deep",
        )


def _refuse_future(session: Session, legal_entity: str, on: dt.date, now: dt.datetime) -> None:
    for name in account_zones(session, legal_entity):
        today = local_date(now, name)
        if on > today:
            raise Refused(
                f"invoice run on {on}",
                f"would bill a period that is not over: in {name} it is {today}",
                "Run it on that date, or see what it would be: bandmaster invoice preview ACCOUNT",
            )


def _refuse_early(
    session: Session, run: InvoiceRun, bills: Bills, now: dt.datetime, *, early: bool
) -> None:
    zones = account_zones(session, run.legal_entity)
    for closes_on, drafted_at in drafted_when(session, run.run_id):
        over = max(dt.datetime.combine(closes_on, dt.time(), tzinfo=zone(name)) for name in zones)
        if now < over:
            raise Refused(run.run_id, f"has a period that is not over everywhere on {closes_on}")
        settled = over + dt.timedelta(hours=bills.grace_hours)
        if drafted_at < settled and not early:
            until = settled.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise Refused(
                run.run_id,
                f"was drafted before {until}, while late usage of its period is waited for",
                f"Draft it again after that: bandmaster invoice run --on {run.on_date}; "
                "or bill without waiting: --early",
            )


def _refuse_old(invoice: Invoice, account: Account, bills: Bills, now: dt.datetime) -> None:
    limit = local_date(now, account.time_zone) - dt.timedelta(days=bills.backdate_days)
    if invoice.closes_on < limit:
        raise Refused(
            invoice.number,
            f"closed on {invoice.closes_on}, before {limit}: too old to be billed anew",
            "Give a credit instead: bandmaster credit issue",
        )


@contextmanager
def _billing(engine: Engine, legal_entity: str) -> Iterator[Session]:
    """One transaction in which nobody else bills for the issuer; waits for its turn."""
    with writing(engine) as session:
        if engine.dialect.name == "postgresql":
            session.execute(_PATIENT)
        find_legal_entity(session, legal_entity)
        lock_issuer(session, legal_entity)
        yield session
