"""The price of a history: the one function that previews, invoices and audits share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from inventory import Account, Plan, PriceVersion, Proration, Refused, UnknownName, local_date

from .charged import Charge, Charged, charged_history, find_plan, same_terms
from .fold import FoldedService
from .proration import Period, Scale, midnight, prorate, scale, scales

_Stretch = tuple[int, int, Charged]  # half-open marks, what is charged between them
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLine:
    """One unbroken stretch of one plan in a period: full_amount x numerator / denominator.

    The instants are half-open; the dates are the local dates that hold them, half-open too.
    `charge` says whether the plan's price or its hold fee is meant.
    """

    plan_code: str
    charge: Charge
    price_version_id: str
    period: Period
    since: dt.datetime
    until: dt.datetime
    from_date: dt.date
    until_date: dt.date
    numerator: int
    denominator: int
    unit: Proration
    full_amount_minor: int
    amount_minor: int
    override_id: str = ""  # the event that says so, where the price is not the catalogue's


class Rater:
    """Prices histories by one catalogue; keeps whole periods, which most lines are.

    Pure: the same question has the same answer, from a new Rater or an old one.
    """

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self._plans = plans
        # whole periods by their first mark, for each way in which one can be charged
        self._whole: dict[tuple[str, Charge, str, str, int], dict[int, PricedLine]] = {}

    def service(
        self, service: FoldedService, account: Account, span: Period
    ) -> tuple[PricedLine, ...]:
        """Return what a service costs by the ledger: see `history`."""
        charged = charged_history(service, self._plans, account.time_zone)
        return self.history(charged, account, span)

    def history(
        self, history: Sequence[Charged], account: Account, span: Period
    ) -> tuple[PricedLine, ...]:
        """Return the lines, by time, of every whole period that shares a date with the span.

        The history ascends. Each plan has periods of its own length on the account's cycle day.
        By day: a change's date belongs to the new plan, of several changes on one local date the
        last state counts, the denominator is the full period. By second: between whole seconds of
        the period's local midnights. Raises Refused (no price), UnknownName (plan, price version).
        """
        codes = dict.fromkeys([entry.plan_code for entry in history if entry.plan_code])
        lines: list[PricedLine] = []
        for code in codes:
            plan = find_plan(self._plans, code)
            stretches = _stretches(history, plan, account.time_zone)
            measures = scales(
                span,
                account.cycle_day,
                plan.period_months,
                plan.proration,
                plan.month_days,
                account.time_zone,
            )
            for stretch in stretches:
                lines += self._lines(plan, stretch, measures, account)
        if len(codes) > 1:
            lines.sort(key=lambda line: (line.since, line.plan_code))
        return tuple(lines)

    def plan(
        self, history: Sequence[Charged], plan_code: str, period: Period, zone_name: str
    ) -> tuple[PricedLine, ...]:
        """Return the lines of one plan in one period, whatever cycle that period comes from."""
        plan = find_plan(self._plans, plan_code)
        measure = scale(period, plan.proration, plan.month_days, zone_name)
        return tuple(
            _priced(plan, stretch, measure, zone_name)
            for stretch in _stretches(history, plan, zone_name)
            if stretch[0] < measure.until and stretch[1] > measure.start
        )

    def _lines(
        self, plan: Plan, stretch: _Stretch, measures: Sequence[Scale], account: Account
    ) -> list[PricedLine]:
        start, until, entry = stretch
        zone_name = account.time_zone
        price = entry.price_version_id
        if entry.overrides:
            price = f"{price} {_override_id(entry)}"
        key = (plan.code, entry.charge, price, zone_name, account.cycle_day)
        whole = self._whole.setdefault(key, {})
        lines: list[PricedLine] = []
        for measure in measures:
            first, end = measure.start, measure.until
            if start <= first and until >= end:
                line = whole.get(first)
                if line is None:
                    line = whole[first] = _priced(plan, stretch, measure, zone_name)
                lines.append(line)
            elif start < end and until > first:
                lines.append(_priced(plan, stretch, measure, zone_name))
        return lines


def price_history(
    history: Sequence[Charged], plans: Mapping[str, Plan], account: Account, on: dt.date
) -> tuple[PricedLine, ...]:
    """Return what a history costs: each plan in its period that holds the local date `on`."""
    span = Period(start=on, until=on + dt.timedelta(days=1))
    return Rater(plans).history(history, account, span)


def _stretches(history: Sequence[Charged], plan: Plan, zone_name: str) -> list[_Stretch]:
    """Return where the plan is charged; the last state of a mark counts, neighbours are joined."""
    by_day = plan.proration == "day"
    marks: list[tuple[int, Charged]] = []
    for entry in history:
        mark = (
            local_date(entry.since, zone_name).toordinal()
            if by_day
            else int(entry.since.timestamp() // 1)
        )
        if marks and marks[-1][0] == mark:
            marks.pop()
        if not marks or not same_terms(marks[-1][1], entry):
            marks.append((mark, entry))
    ends = [mark for mark, _ in marks[1:]]
    ends.append(_FOREVER)
    found = [
        (mark, end, entry)
        for (mark, entry), end in zip(marks, ends, strict=True)
        if entry.plan_code == plan.code
    ]
    if any(entry.overrides for _, _, entry in found):
        found = [part for stretch in found for part in _at_prices(stretch, plan, zone_name)]
    return found


def _at_prices(stretch: _Stretch, plan: Plan, zone_name: str) -> Iterator[_Stretch]:
    """Yield a stretch cut where another price begins; each part has the override that counts."""
    start, end, entry = stretch

    def mark(date: dt.date) -> int:
        by_day = plan.proration == "day"
        return date.toordinal() if by_day else int(midnight(date, zone_name).timestamp())

    bounds = {mark(each.since): each.since for each in entry.overrides}
    bounds |= {mark(each.until): each.until for each in entry.overrides if each.until}
    cuts = sorted(cut for cut in bounds if start < cut < end)
    first = _date_of(start, plan.proration, zone_name)
    begun, counts = start, entry.override(first)
    for cut in cuts:
        other = entry.override(bounds[cut])
        if other != counts:
            yield begun, cut, replace(entry, overrides=(counts,) if counts else ())
            begun, counts = cut, other
    yield begun, end, replace(entry, overrides=(counts,) if counts else ())


def _override_id(entry: Charged) -> str:
    return entry.overrides[0].event_id if entry.overrides else ""


def _date_of(mark: int, unit: Proration, zone_name: str) -> dt.date:
    if unit == "day":
        return dt.date.fromordinal(mark)
    return local_date(_instant(mark, unit, zone_name), zone_name)


def _priced(plan: Plan, stretch: _Stretch, measure: Scale, zone_name: str) -> PricedLine:
    """Return the line of that part of a stretch which lies in the period."""
    start, end, entry = stretch
    start, end = max(start, measure.start), min(end, measure.until)
    since = _instant(start, plan.proration, zone_name)
    until = _instant(end, plan.proration, zone_name)
    from_date = local_date(since, zone_name)
    price = _price(plan, entry, measure.period, from_date)
    full = price.hold_minor if entry.charge == "hold" else price.amount_minor
    if entry.overrides:
        full = entry.overrides[0].price_minor
    numerator = measure.between(start, end)
    return PricedLine(
        plan_code=plan.code,
        charge=entry.charge,
        price_version_id=price.price_version_id,
        period=measure.period,
        since=since,
        until=until,
        from_date=from_date,
        until_date=_date_after(until, zone_name),
        numerator=numerator,
        denominator=measure.units,
        unit=plan.proration,
        full_amount_minor=full,
        amount_minor=prorate(full, numerator, measure.units),
        override_id=_override_id(entry),
    )


def _price(plan: Plan, entry: Charged, period: Period, first: dt.date) -> PriceVersion:
    if entry.price_version_id:
        for price in plan.prices:
            if price.price_version_id == entry.price_version_id:
                return price
        raise UnknownName(entry.price_version_id, f"is no price version of plan {plan.code}")
    try:
        if plan.prices and plan.prices[0].valid_from <= period.start:
            return plan.price_on(period.start)
        return plan.price_on(first)  # the plan was first sold during this period
    except LookupError as error:
        raise Refused(
            plan.code, f"has no price on {first}", "Add a price version to the plan."
        ) from error


def _instant(mark: int, unit: Proration, zone_name: str) -> dt.datetime:
    if unit == "day":
        return midnight(dt.date.fromordinal(mark), zone_name)
    return dt.datetime.fromtimestamp(mark, dt.UTC)


def _date_after(until: dt.datetime, zone_name: str) -> dt.date:
    return local_date(until - dt.timedelta(microseconds=1), zone_name) + dt.timedelta(days=1)
