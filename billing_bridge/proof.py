"""L12 over what is stored: bills that stand, held to what the ledger owed when they were made."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from inventory import BandmasterError, Plan, local_date

from .bulk import among
from .drafting import billed_since
from .event import LedgerEvent
from .fold import FoldedService, fold_service
from .gate_rows import FINDING
from .invoice_rows import INVOICE, LINE
from .owed import Biller, WasBilled
from .proration import Period, midnight
from .rules.bill_facts import AccountBills, Bill, OffLedger
from .rules.facts import ServiceFacts
from .usage import UsedWindow

_DAY = dt.timedelta(days=1)
_Stories = Mapping[str, Sequence[LedgerEvent]]
_Key = tuple[Period, str, str]  # what is summed up: a period, a plan, a kind of charge
_Settled = set[tuple[Period, str]]  # periods of which a kind of usage can be held to the ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Computes bills again by one catalogue, as far back as bills are corrected; 0 = none is."""

    plans: Mapping[str, Plan]
    biller: Biller
    days: int

    def in_currency(self, currency: str, plan_code: str) -> bool:
        """Whether a plan is sold in a currency."""
        plan = self.plans.get(plan_code)
        return plan is not None and plan.currency == currency


def off_ledger(
    session: Session,
    prover: Prover,
    services: Iterable[ServiceFacts],
    stories: _Stories,
    bills: Sequence[AccountBills],
) -> tuple[OffLedger, ...]:
    """Return the periods of which bills that stand hold another sum than the ledger owes (L12).

    A bill is what is owed up to its boundary less what was billed, so by the events that the newest
    one knew nothing more is owed beside all that stand: what came later is the next bill's. What a
    finding held then, or a credit note has opened since, is the next bill's as well.
    """
    newest: defaultdict[str, list[Bill]] = defaultdict(list)
    for one in bills:
        if one.previous is not None and prover.days:
            newest[one.account_id].append(one.previous)
    if not newest:
        return ()
    back = dt.timedelta(days=prover.days)
    starts = {name: min(b.closes_on for b in mine) - back for name, mine in newest.items()}
    before = billed_since(session, starts)
    found = [
        off
        for each in services
        if not each.story
        for bill in newest.get(each.account.account_id, ())
        for off in _of(prover, each, stories, bill, before.get(each.service.service_id, ()))
    ]
    made = {bill.invoice_id: bill for mine in newest.values() for bill in mine}
    return tuple(_unexplained(session, made, found)) if found else ()


def _of(
    prover: Prover,
    each: ServiceFacts,
    stories: _Stories,
    bill: Bill,
    before: Sequence[WasBilled],
) -> Iterator[OffLedger]:
    """Yield where more or less is owed of a service, in the bill's currency, than was billed."""
    folded = _as_known(each, stories, bill.known_seq)
    windows, settled = _usage(each, folded, bill)
    start = bill.closes_on - dt.timedelta(days=prover.days)
    mine = [
        line
        for line in before
        if prover.in_currency(bill.currency, line.plan_code) and _counts(line, settled)
    ]
    try:
        span = Period(start=start, until=bill.closes_on + _DAY)
        left = prover.biller.lines(folded, each.account, span, mine, windows)
    except BandmasterError:
        return  # such a service has no bill either, and the run says why
    sums: defaultdict[_Key, int] = defaultdict(int)
    for line in left:
        if prover.in_currency(bill.currency, line.plan_code):
            period = Period(start=line.period_from, until=line.period_until)
            thing = "recurring" if line.kind == "correction" else line.kind
            sums[period, line.plan_code, thing] += line.amount_minor
    for key, more in sorted(sums.items()):
        if more:
            billed = sum(b.amount_minor for b in mine if _key(b) == key)
            yield _off(each, bill, key, billed, billed + more)


def _key(line: WasBilled) -> _Key:
    return line.billed.period, line.plan_code, line.thing


def _off(each: ServiceFacts, bill: Bill, key: _Key, billed: int, owed: int) -> OffLedger:
    period, plan_code, thing = key
    return OffLedger(
        service_id=each.service.service_id,
        account_id=each.account.account_id,
        plan_code=plan_code,
        thing=thing,
        period_from=period.start,
        period_until=period.until,
        billed_minor=billed,
        owed_minor=owed,
        currency=bill.currency,
        exponent=bill.exponent,
        invoice_id=bill.invoice_id,
        number=bill.number,
        known_seq=bill.known_seq,
        at=bill.at,
    )


def _as_known(each: ServiceFacts, stories: _Stories, seq: int) -> FoldedService:
    if each.last_seq <= seq:
        return each.folded
    told = stories[each.service.service_id]
    return fold_service(each.service.service_id, [event for event in told if event.seq <= seq])


def _usage(
    each: ServiceFacts, folded: FoldedService, bill: Bill
) -> tuple[tuple[UsedWindow, ...], _Settled]:
    """Return the sums of usage that the bill knew, as windows, and the periods that they settle.

    A year of hours is dear to read, so of bytes the sums that the gate has anyway are taken, where
    the service was one thing in the whole period; of rates the newest one.
    """
    account = each.account
    ends = midnight(bill.closes_on, account.time_zone)
    windows: list[UsedWindow] = []
    settled: _Settled = set()

    def known(since: dt.datetime, until: dt.datetime, seq: int) -> bool:
        born = folded.active_since or until
        first = midnight(folded.billing_from, account.time_zone) if folded.billing_from else born
        moved = any(since < step.since < until for step in folded.history)
        return seq <= bill.known_seq and until <= ends and max(born, first) <= since and not moved

    def add(since: dt.datetime, until: dt.datetime, thing: str, **amounts: int) -> None:
        zone = account.time_zone
        settled.add((Period(start=local_date(since, zone), until=local_date(until, zone)), thing))
        for meter, quantity in amounts.items():
            windows.append(_window(each.service.service_id, meter, since, until, quantity))

    for used in each.usage.periods:
        if known(used.since, used.until, used.seq):
            add(used.since, used.until, "usage", down=used.down, up=used.up)
    rate = each.usage.measured
    if rate is not None and known(rate.since, rate.until, rate.seq):
        add(rate.since, rate.until, "burst", p95=rate.bps)
    return tuple(windows), settled


def _window(
    service_id: str, meter: str, since: dt.datetime, until: dt.datetime, quantity: int
) -> UsedWindow:
    return UsedWindow(
        service_id=service_id,
        meter=meter,
        since=since,
        until=until,
        quantity=quantity,
        unit="bit_per_s" if meter == "p95" else "byte",
        source="",
        samples=0,
        coverage_bp=-1,
        revision=1,
        event_id="",
        seq=0,
        late=False,
    )


def _counts(line: WasBilled, settled: _Settled) -> bool:
    return line.thing == "recurring" or (line.billed.period, line.thing) in settled


def _unexplained(
    session: Session, made: Mapping[str, Bill], found: Sequence[OffLedger]
) -> Iterator[OffLedger]:
    """Yield what neither a finding that held lines of the bill nor a later credit note explains."""
    accounts = {one.account_id for one in found}
    f = FINDING.c
    query = select(f.account_id, f.service_id, f.first_seen, f.cleared_at)
    held = session.execute(query.where(among(f.account_id, accounts), f.blocks)).all()
    note, void = INVOICE.alias(), INVOICE.alias()
    opened = session.execute(
        select(LINE.c.service_id, LINE.c.period_from, note.c.account_id, note.c.issued_at)
        .join_from(note, void, void.c.invoice_id == note.c.cancels)
        .join(LINE, LINE.c.invoice_id == void.c.invoice_id)
        .where(among(note.c.account_id, accounts), note.c.kind == "credit_note")
    ).all()
    for one in found:
        bill = made[one.invoice_id]
        stopped = any(
            row.account_id == one.account_id
            and row.service_id in ("", one.service_id)
            and row.first_seen <= bill.at
            and (row.cleared_at is None or row.cleared_at >= bill.at)
            for row in held
        )
        taken_back = any(
            (row.service_id, row.period_from) == (one.service_id, one.period_from)
            and row.issued_at >= bill.drafted_at
            for row in opened
        )
        if not stopped and not taken_back:
            yield one
