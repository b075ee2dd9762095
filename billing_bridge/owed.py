"""What a service is still to be billed: what it owes by the ledger, less what was billed of it."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from inventory import Account, Plan, PriceVersion, local_date

from .charged import Charge, find_plan
from .corrections import Billed, Thing, corrections, refuse_double
from .fold import FoldedService, Step
from .invoices import InvoiceLine, LineKind
from .proration import Period
from .rating import PricedLine, Rater
from .tariffs import counted_bytes, plan_burst, plan_overage
from .usage import UsedWindow

_Key = tuple[Period, str, Charge, str, Thing]
_DAY = dt.timedelta(days=1)


class WasBilled(NamedTuple):
    """A line of an earlier invoice that stands, as far as it counts for the next one.

    A plain tuple, for there are more of them in a run than of anything else.
    """

    thing: Thing
    period_until: dt.date
    period_from: dt.date
    plan_code: str
    charge: str
    price_version_id: str
    amount_minor: int
    numerator: int
    quantity: int
    from_date: dt.date
    until_date: dt.date
    denominator: int
    unit: str
    full_amount_minor: int

    @property
    def billed(self) -> Billed:
        """What it charged."""
        return Billed(
            period=Period(start=self.period_from, until=self.period_until),
            plan_code=self.plan_code,
            charge="hold" if self.charge == "hold" else "service",
            price_version_id=self.price_version_id,
            amount_minor=self.amount_minor,
            thing=self.thing,
            units=self.numerator if self.thing == "recurring" else self.quantity,
        )


def due(plan: Plan, period: Period, closes_on: dt.date) -> bool:
    """Whether a bill that closes on a date charges the period: in advance, or when it is over."""
    return period.start <= closes_on if plan.bill_in == "advance" else period.until <= closes_on


class Biller:
    """Says what services are still to be billed, by one catalogue and one `Rater`. Pure."""

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self._plans = plans
        self._rater = Rater(plans)
        self.metered = {code for code, plan in plans.items() if _is_metered(plan)}

    def lines(
        self,
        service: FoldedService,
        account: Account,
        span: Period,
        before: Sequence[WasBilled] = (),
        windows: Sequence[UsedWindow] = (),
    ) -> list[InvoiceLine]:
        """Return the lines of the bill that closes on the span's last date.

        The span begins where everything before it is settled; `before` is what was billed of
        periods that share a date with it, `windows` what was used since. Asked again with these
        lines among `before` there are none. Raises Refused (no price; a date charged twice),
        UnknownName (plan or price version).
        """
        closes_on = span.until - _DAY
        owed = [
            line
            for line in self._rater.service(service, account, span)
            if due(self._plans[line.plan_code], line.period, closes_on)
        ]
        _refuse_twice(service.service_id, owed)
        usage = self._usage(owed, windows, closes_on) if windows or self.metered else {}
        if not before and not usage:
            return [_recurring(service, line, account) for line in owed if line.amount_minor]
        fresh = None if usage else _fresh(owed, before)
        if fresh is not None:
            return [_recurring(service, line, account) for line in fresh]
        was: defaultdict[_Key, list[WasBilled]] = defaultdict(list)
        for line in before:
            was[line.billed.key].append(line)
        now: defaultdict[_Key, list[PricedLine]] = defaultdict(list)
        for each in owed:
            now[_key(each)].append(each)
        found: list[InvoiceLine] = []
        used = [one.owed for one in usage.values()]
        for left in corrections([line.billed for line in before], owed, used):
            if left.thing != "recurring":
                found.append(_used(service, left, usage.get(left.key), was[left.key], closes_on))
            elif left.key in was:
                found.append(_correction(service, left, was[left.key], now[left.key], account))
            else:
                new = (line for line in now[left.key] if line.amount_minor)
                found += [_recurring(service, line, account) for line in new]
        return found

    def _usage(
        self, owed: Sequence[PricedLine], windows: Sequence[UsedWindow], closes_on: dt.date
    ) -> dict[_Key, _Usage]:
        """Return what was used, by what prices it: a plan in a period that is over."""
        charged: defaultdict[tuple[Period, str, str], list[PricedLine]] = defaultdict(list)
        for line in owed:
            over = line.period.until <= closes_on and line.charge == "service"
            if over and line.plan_code in self.metered:
                charged[line.period, line.plan_code, line.price_version_id].append(line)
        found: dict[_Key, _Usage] = {}
        for (_, plan_code, version), lines in charged.items():
            plan = find_plan(self._plans, plan_code)
            price = next(each for each in plan.prices if each.price_version_id == version)
            within = [
                window
                for window in windows
                if any(line.since <= window.since < line.until for line in lines)
            ]
            for one in (_bytes(plan, price, lines, within), _burst(plan, price, lines, within)):
                if one is not None:
                    found[one.owed.key] = one
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usage:
    """What usage of a plan costs in a period; numerator / denominator of it was charged."""

    owed: Billed
    numerator: int
    denominator: int
    unit: str
    unit_minor: int
    windows: tuple[UsedWindow, ...]


def _is_metered(plan: Plan) -> bool:
    return plan.block_bytes > 0 or any(price.burst_minor for price in plan.prices)


def _key(line: PricedLine) -> _Key:
    return line.period, line.plan_code, line.charge, line.price_version_id, "recurring"


def _fresh(owed: Sequence[PricedLine], before: Sequence[WasBilled]) -> list[PricedLine] | None:
    """Return what is owed beyond what was billed where that is owed as it was; None elsewhere.

    The quick way of `corrections`, which most services in a run can go.
    """
    was = {
        (b.plan_code, b.charge, b.price_version_id, b.period_from, b.from_date, b.until_date): b
        for b in before
    }
    if len(was) != len(before):
        return None
    fresh: list[PricedLine] = []
    for line in owed:
        period = line.period
        key = (line.plan_code, line.charge, line.price_version_id, period.start)
        same = was.pop((*key, line.from_date, line.until_date), None)
        if same is None:
            if line.amount_minor:
                fresh.append(line)
        elif (same.thing, same.amount_minor, same.numerator, same.period_until) != (
            "recurring",
            line.amount_minor,
            line.numerator,
            period.until,
        ):
            return None
    return None if was else fresh


def _refuse_twice(service_id: str, owed: Sequence[PricedLine]) -> None:
    """Hold what is owed to L11: dates of plans by the day, instants where one is by the second."""
    if all(one.until_date <= other.from_date for one, other in pairwise(owed)):
        return
    if all(line.unit == "day" for line in owed):
        refuse_double(
            service_id, [Period(start=line.from_date, until=line.until_date) for line in owed]
        )


def _bytes(
    plan: Plan, price: PriceVersion, lines: Sequence[PricedLine], windows: Sequence[UsedWindow]
) -> _Usage | None:
    down, up = (
        tuple(window for window in windows if window.meter == meter) for meter in ("down", "up")
    )
    if not plan.block_bytes or not (down or up):
        return None
    numerator, denominator = sum(line.numerator for line in lines), lines[0].denominator
    down_bytes, up_bytes = (sum(window.quantity for window in each) for each in (down, up))
    over = plan_overage(plan, price, down_bytes, up_bytes, Fraction(numerator, denominator))
    counted = counted_bytes(plan, down_bytes, up_bytes)
    return _Usage(
        owed=_owed(lines[0], "usage", over.amount_minor, counted),
        numerator=numerator,
        denominator=denominator,
        unit="byte",
        unit_minor=price.block_minor,
        windows=(*down, *up),
    )


def _burst(
    plan: Plan, price: PriceVersion, lines: Sequence[PricedLine], windows: Sequence[UsedWindow]
) -> _Usage | None:
    measured = [window for window in windows if window.meter == "p95"]
    if not price.burst_minor or not measured:
        return None
    highest = max(window.quantity for window in measured)
    return _Usage(
        owed=_owed(lines[0], "burst", plan_burst(plan, price, highest), highest),
        numerator=1,
        denominator=1,
        unit="bit_per_s",
        unit_minor=price.burst_minor,
        windows=tuple(measured),
    )


def _owed(line: PricedLine, thing: Thing, amount_minor: int, units: int) -> Billed:
    return Billed(
        period=line.period,
        plan_code=line.plan_code,
        charge=line.charge,
        price_version_id=line.price_version_id,
        amount_minor=amount_minor,
        thing=thing,
        units=units,
    )


def _recurring(service: FoldedService, line: PricedLine, account: Account) -> InvoiceLine:
    ids = _event_ids(service.history, line.from_date, line.until_date, account.time_zone)
    return InvoiceLine(
        invoice_id="",
        line_no=0,
        service_id=service.service_id,
        kind="recurring",
        plan_code=line.plan_code,
        charge=line.charge,
        price_version_id=line.price_version_id,
        period_from=line.period.start,
        period_until=line.period.until,
        from_date=line.from_date,
        until_date=line.until_date,
        numerator=line.numerator,
        denominator=line.denominator,
        unit=line.unit,
        full_amount_minor=line.full_amount_minor,
        quantity=0,
        amount_minor=line.amount_minor,
        late=False,
        event_ids=(*ids, line.override_id) if line.override_id else ids,
    )


def _event_ids(
    history: Sequence[Step], start: dt.date, until: dt.date, zone_name: str
) -> tuple[str, ...]:
    """Return the events that made the service what it was in these dates, and what ended that."""
    if len(history) == 1:
        return (history[0].event_id,)
    dates = [local_date(step.since, zone_name) for step in history]
    first = max((place for place, date in enumerate(dates) if date <= start), default=0)
    last = max((place for place, date in enumerate(dates) if date <= until), default=0)
    return tuple(step.event_id for step in history[first : last + 1])


def _correction(
    service: FoldedService,
    left: Billed,
    was: Sequence[WasBilled],
    now: Sequence[PricedLine],
    account: Account,
) -> InvoiceLine:
    shown = now[0] if now else was[0]
    changed = _changed(was, now) or left.period
    ids = _event_ids(service.history, changed.start, changed.until, account.time_zone)
    prices = dict.fromkeys(line.override_id for line in now if line.override_id)
    return InvoiceLine(
        invoice_id="",
        line_no=0,
        service_id=service.service_id,
        kind="correction",
        plan_code=left.plan_code,
        charge=left.charge,
        price_version_id=left.price_version_id,
        period_from=left.period.start,
        period_until=left.period.until,
        from_date=changed.start,
        until_date=changed.until,
        numerator=left.units,
        denominator=shown.denominator,
        unit=shown.unit,
        full_amount_minor=shown.full_amount_minor,
        quantity=0,
        amount_minor=left.amount_minor,
        late=False,
        event_ids=(*ids, *prices),
    )


def _changed(was: Sequence[WasBilled], now: Iterable[PricedLine]) -> Period | None:
    """Return the dates between which what is owed is not what was billed; None = nowhere."""
    marks: defaultdict[dt.date, int] = defaultdict(int)
    for line in now:
        marks[line.from_date] += 1
        marks[line.until_date] -= 1
    for before in was:
        sign = (before.numerator > 0) - (before.numerator < 0)
        marks[before.from_date] -= sign
        marks[before.until_date] += sign
    ordered = sorted(marks)
    depth, differing = 0, []
    for date, after in pairwise(ordered):
        depth += marks[date]
        if depth:
            differing += [date, after]
    return Period(start=differing[0], until=differing[-1]) if differing else None


def _used(
    service: FoldedService,
    left: Billed,
    usage: _Usage | None,
    was: Sequence[WasBilled],
    closes_on: dt.date,
) -> InvoiceLine:
    kind: LineKind = "burst" if left.thing == "burst" else "usage"
    windows = sorted(usage.windows, key=lambda window: window.seq) if usage else []
    newest = windows[-1:] if len(windows) < 2 else [windows[0], windows[-1]]  # noqa: PLR2004
    return InvoiceLine(
        invoice_id="",
        line_no=0,
        service_id=service.service_id,
        kind=kind,
        plan_code=left.plan_code,
        charge=left.charge,
        price_version_id=left.price_version_id,
        period_from=left.period.start,
        period_until=left.period.until,
        from_date=left.period.start,
        until_date=left.period.until,
        numerator=usage.numerator if usage else was[0].denominator,
        denominator=usage.denominator if usage else was[0].denominator,
        unit=usage.unit if usage else was[0].unit,
        full_amount_minor=usage.unit_minor if usage else was[0].full_amount_minor,
        quantity=left.units,
        amount_minor=left.amount_minor,
        late=bool(was) or left.period.until < closes_on,
        event_ids=tuple(window.event_id for window in newest),
    )
