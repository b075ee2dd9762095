"""The next bills of some accounts: read in bulk, priced service by service, nothing written."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from inventory import Account, BandmasterError, LedgerBroken, Plan, local_date, service_ids_of

from .account_money import MoneyLine, open_money
from .bulk import among
from .corrections import Thing
from .fold import FoldedService, fold_service
from .invoice_rows import INVOICE, LINE
from .invoices import InvoiceLine
from .owed import Biller, WasBilled
from .proration import Period, midnight, period_holding
from .stored import events_by_service
from .usage import UsedWindow, used
from .usage_known import as_known

_DAY = dt.timedelta(days=1)
_CHUNK = 500
_MONTH = dt.timedelta(days=31)
_LOOK_BACK = dt.timedelta(days=400)  # no line is of a period that began so long before its invoice
_BEFORE = (
    *(LINE.c.service_id, LINE.c.kind, LINE.c.period_until, LINE.c.period_from, LINE.c.plan_code),
    *(LINE.c.charge, LINE.c.price_version_id, LINE.c.amount_minor, LINE.c.numerator),
    *(LINE.c.quantity, LINE.c.from_date, LINE.c.until_date, LINE.c.denominator, LINE.c.unit),
    LINE.c.full_amount_minor,
)
_THINGS: Mapping[str, Thing] = {
    "recurring": "recurring",
    "correction": "recurring",
    "usage": "usage",
    "burst": "burst",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What an account is to be billed in one currency at a boundary."""

    account: Account
    currency: str
    exponent: int
    closes_on: dt.date
    lines: tuple[InvoiceLine, ...]

    @property
    def net_minor(self) -> int:
        """The sum of its lines."""
        return sum(line.amount_minor for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """The drafts of some accounts, and those that cannot be billed, with the reason."""

    drafts: tuple[Draft, ...]
    left_out: tuple[tuple[str, BandmasterError], ...]


@dataclass(slots=True, kw_only=True)
class _Past:
    """What was billed to an account: where its open time begins, and when it was billed last."""

    last: dict[str, dt.date]  # by currency, the newest invoice that stands
    open_from: dt.date | None  # None = never billed


class Drafter:
    """Drafts bills by one catalogue; keep it for a whole run. Reads, and writes nothing."""

    def __init__(self, plans: Sequence[Plan], *, backdate_days: int) -> None:
        self._plans = {plan.code: plan for plan in plans}
        self._biller = Biller(self._plans)
        self._backdate = dt.timedelta(days=backdate_days)

    def draft(
        self, session: Session, accounts: Sequence[Account], on: dt.date, known_seq: int = 0
    ) -> Drafted:
        """Return the bills of each account for its newest boundary up to `on`, as known then.

        An account that was billed for that boundary, or has nothing to be billed, has none.
        Raises LedgerBroken; what else is wrong with one account leaves that account out.
        """
        closes = {a.account_id: period_holding(on, a.cycle_day).start for a in accounts}
        known = self._read(session, accounts, closes, known_seq)
        drafts: list[Draft] = []
        left_out: list[tuple[str, BandmasterError]] = []
        for account in accounts:
            try:
                drafts += self._drafts(account, closes[account.account_id], known)
            except LedgerBroken:
                raise
            except BandmasterError as problem:
                left_out.append((account.account_id, problem))
        return Drafted(drafts=tuple(drafts), left_out=tuple(left_out))

    def _read(
        self,
        session: Session,
        accounts: Sequence[Account],
        closes: Mapping[str, dt.date],
        known_seq: int,
    ) -> _Known:
        ids = [account.account_id for account in accounts]
        service_ids = service_ids_of(session, ids)
        every = [service_id for each in service_ids.values() for service_id in each]
        events = events_by_service(session.connection(), every, known_seq)
        folded = {name: fold_service(name, told) for name, told in events.items() if told}
        past = _past(session, ids, min(closes.values(), default=dt.date.max))
        starts = {
            account.account_id: self._start(
                account, past.get(account.account_id), closes, service_ids, folded
            )
            for account in accounts
        }
        return _Known(
            service_ids=service_ids,
            folded=folded,
            past=past,
            starts=starts,
            before=billed_since(session, {name: starts[name] for name in past}),
            windows=as_known(
                session.connection(),
                self._windows(session, accounts, closes, starts, service_ids, folded),
                known_seq,
            ),
            money=open_money(session, {a.account_id: a for a in accounts}, known_seq),
        )

    def _start(
        self,
        account: Account,
        past: _Past | None,
        closes: Mapping[str, dt.date],
        service_ids: Mapping[str, Sequence[str]],
        folded: Mapping[str, FoldedService],
    ) -> dt.date:
        """Return the date before which everything is settled, or too old to be corrected."""
        limit = closes[account.account_id] - self._backdate
        if past is not None and past.open_from is not None:
            return min(past.open_from, limit)
        told = (folded[name] for name in service_ids[account.account_id] if name in folded)
        first = [service.history[0].since for service in told if service.history]
        earliest = local_date(min(first), account.time_zone) if first else limit
        return min(earliest, limit).replace(day=1)  # few spans: their periods are kept

    def _windows(
        self,
        session: Session,
        accounts: Sequence[Account],
        closes: Mapping[str, dt.date],
        starts: Mapping[str, dt.date],
        service_ids: Mapping[str, Sequence[str]],
        folded: Mapping[str, FoldedService],
    ) -> Mapping[str, tuple[UsedWindow, ...]]:
        metered = self._biller.metered
        if not metered:
            return {}
        months = max(self._plans[code].period_months for code in metered)
        longest = months * _MONTH  # the period that holds the start is looked at whole
        wanted: list[str] = []
        spans: list[tuple[dt.date, dt.date, str]] = []
        for account in accounts:
            found = [
                name
                for name in service_ids[account.account_id]
                if name in folded and any(s.plan_code in metered for s in folded[name].history)
            ]
            if found:
                wanted += found
                name = account.account_id
                spans.append((starts[name] - longest, closes[name], account.time_zone))
        if not wanted:
            return {}
        since = min(midnight(start, zone) for start, _, zone in spans)
        until = max(midnight(end, zone) for _, end, zone in spans)
        return used(session, wanted, since, until)

    def _drafts(self, account: Account, closes_on: dt.date, known: _Known) -> list[Draft]:
        name = account.account_id
        past = known.past.get(name)
        span = Period(start=known.starts[name], until=closes_on + _DAY)
        found: defaultdict[tuple[str, int], list[InvoiceLine]] = defaultdict(list)
        for service_id in known.service_ids[name]:
            if service_id not in known.folded:
                continue
            lines = self._biller.lines(
                known.folded[service_id],
                account,
                span,
                known.before.get(service_id, ()),
                known.windows.get(service_id, ()),
            )
            for line in lines:
                plan = self._plans[line.plan_code]
                found[plan.currency, plan.exponent].append(line)
        for money in known.money.get(name, ()):
            found[money.currency, money.exponent].append(money.line)
        return [
            Draft(
                account=account,
                currency=currency,
                exponent=exponent,
                closes_on=closes_on,
                lines=tuple(lines),
            )
            for (currency, exponent), lines in sorted(found.items())
            if past is None or past.last.get(currency, dt.date.min) < closes_on
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the store says of some accounts, read in bulk."""

    service_ids: Mapping[str, Sequence[str]]
    folded: Mapping[str, FoldedService]
    past: Mapping[str, _Past]
    starts: Mapping[str, dt.date]
    before: Mapping[str, Sequence[WasBilled]]
    windows: Mapping[str, tuple[UsedWindow, ...]]
    money: Mapping[str, Sequence[MoneyLine]]


def _past(session: Session, account_ids: Sequence[str], closes_on: dt.date) -> dict[str, _Past]:
    """Return what stands of each account that was billed, and where its open time begins.

    What a void invoice billed is open again from the first of its periods.
    """
    columns = INVOICE.c
    query = (
        select(columns.invoice_id, columns.account_id, columns.currency, columns.closes_on)
        .add_columns(columns.open_from, columns.state)
        .where(
            among(columns.account_id, account_ids),
            columns.kind == "invoice",
            columns.state != "draft",
            columns.closes_on >= closes_on - _LOOK_BACK,
        )
        .order_by(columns.account_id, columns.closes_on)
    )
    found: dict[str, _Past] = {}
    opened: dict[str, dict[str, dt.date]] = defaultdict(dict)
    void: dict[str, str] = {}
    for row in session.connection().execute(query):
        past = found.setdefault(row.account_id, _Past(last={}, open_from=None))
        if row.state == "void":
            void[row.invoice_id] = row.account_id
        else:
            past.last[row.currency] = row.closes_on
            opened[row.account_id][row.currency] = row.open_from
    for account_id, dates in opened.items():
        found[account_id].open_from = min(dates.values())
    _reopen(session, found, void)
    return found


def _reopen(session: Session, found: Mapping[str, _Past], void: Mapping[str, str]) -> None:
    if not void:
        return
    query = (
        select(LINE.c.invoice_id, func.min(LINE.c.period_from))
        .where(among(LINE.c.invoice_id, void))
        .group_by(LINE.c.invoice_id)
    )
    for invoice_id, first in session.connection().execute(query):
        past = found[void[invoice_id]]
        if past.open_from is not None:
            past.open_from = min(past.open_from, first)


def billed_since(session: Session, starts: Mapping[str, dt.date]) -> dict[str, list[WasBilled]]:
    """Return what stands of what was billed, by service, of periods that end after each start."""
    found: dict[str, list[WasBilled]] = defaultdict(list)
    if not starts:
        return found
    first = min(starts.values())
    query = (
        select(INVOICE.c.account_id, *_BEFORE)
        .join_from(INVOICE, LINE, LINE.c.invoice_id == INVOICE.c.invoice_id)
        .where(
            among(INVOICE.c.account_id, starts),
            INVOICE.c.kind == "invoice",
            INVOICE.c.state == "final",
            INVOICE.c.closes_on >= first - _LOOK_BACK,
            LINE.c.period_until > first,
            LINE.c.kind.in_(list(_THINGS)),
        )
    )
    for account_id, service_id, kind, until, *rest in session.connection().execute(query).all():
        if until > starts[account_id]:
            found[service_id].append(WasBilled(_THINGS[kind], until, *rest))
    return found


def billed_now(session: Session, wanted: Mapping[str, tuple[Account, dt.date]]) -> dict[str, int]:
    """Return what was billed of the period that holds a date, by service (D11).

    `wanted` gives the account and the account-local date for each service. A service whose
    account has no invoice for this period is left out: nothing was billed or refused yet.
    """
    found: dict[str, int] = {}
    names = sorted(wanted)
    for place in range(0, len(names), _CHUNK):
        found |= _billed_now(session, {n: wanted[n] for n in names[place : place + _CHUNK]})
    return found


def _billed_now(session: Session, wanted: Mapping[str, tuple[Account, dt.date]]) -> dict[str, int]:
    accounts = sorted({account.account_id for account, _ in wanted.values()})
    first = min(date for _, date in wanted.values())
    past = _past(session, accounts, first)
    before = billed_since(session, dict.fromkeys(past, first))
    found: dict[str, int] = {}
    for service_id, (account, date) in wanted.items():
        if account.account_id not in past:
            continue
        lines = [
            line
            for line in before.get(service_id, ())
            if line.thing == "recurring" and line.period_from <= date < line.period_until
        ]
        boundary = period_holding(date, account.cycle_day).start
        last = past[account.account_id].last.values()
        if lines or any(closed >= boundary for closed in last):
            found[service_id] = sum(line.amount_minor for line in lines)
    return found


def newest_boundaries(account: Account, today: dt.date) -> tuple[dt.date, dt.date]:
    """Return the boundaries around a local date: where the period that holds it begins and ends."""
    period = period_holding(today, account.cycle_day)
    return period.start, period.until
