"""What a change will cost: the price of the history with it, less the price of it without."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from inventory import Account, Plan, Proration, Refused

from .charged import Charge, Charged, charged_history, find_plan
from .fold import FoldedService, Override
from .proration import Period, period_holding
from .rating import PricedLine, Rater, price_history


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyLine:
    """One line of a preview; `amount_minor` is negative for a credit.

    full_amount x numerator / denominator explains it; the amount itself is what remains owed less
    what was billed, so that nothing is lost in rounding. `plan_code` "" = what was billed before
    differs from the price of the history, and this line settles it. Dates are local, half-open.
    """

    kind: Literal["credit", "charge"]
    plan_code: str
    amount_minor: int
    numerator: int
    denominator: int
    unit: Proration
    from_date: dt.date
    until_date: dt.date
    full_amount_minor: int
    charge: Charge = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyPreview:
    """The money of one change in the period that holds its planning, and every period after.

    `then_minor` is the full price per `then_months` months from `period_until` on; 0 = nothing.
    """

    lines: tuple[MoneyLine, ...]
    net_minor: int
    currency: str
    exponent: int
    period_from: dt.date
    period_until: dt.date
    then_minor: int
    then_months: int

    def to_json(self) -> dict[str, Any]:
        """Return the preview as JSON values; `from_json` reads it back."""
        values = asdict(self)
        values["lines"] = [_dates_to_text(line) for line in values["lines"]]
        return _dates_to_text(values)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MoneyPreview:
        """Return the preview that `to_json` wrote."""
        lines = tuple(
            MoneyLine(**(line | _dates(line, "from_date", "until_date")))
            for line in values["lines"]
        )
        dates = _dates(values, "period_from", "period_until")
        return cls(**({**values, "lines": lines} | dates))


def preview(
    account: Account,
    plans: Mapping[str, Plan],
    before: FoldedService,
    after: FoldedService,
    *,
    on: dt.date,
    billed_minor: int | None = None,
) -> MoneyPreview:
    """Return the money of a service becoming another one, in the period that holds `on`.

    `with_step` and `fold_without` give the service as a change or a reversal will leave it. Of
    plans billed in advance the price of the history so far counts as billed, unless
    `billed_minor` says what was billed for this period; plans in arrears give charges only (D11).
    Raises Refused (no price, two currencies), UnknownName (plan or price version).
    """
    was, will_be = (
        charged_history(service, plans, account.time_zone) for service in (before, after)
    )
    return price_difference(
        account,
        plans,
        was,
        will_be,
        on=on,
        billed_minor=billed_minor,
        plan_code=after.plan_code or before.plan_code,
    )


def price_difference(
    account: Account,
    plans: Mapping[str, Plan],
    before: Sequence[Charged],
    after: Sequence[Charged],
    *,
    on: dt.date,
    billed_minor: int | None = None,
    plan_code: str = "",
) -> MoneyPreview:
    """Return the money between two histories (ascending) in the period that holds `on`.

    Where neither charges anything, `plan_code` tells the currency and the period.
    """
    named = [entry.plan_code for entry in (*after, *before) if entry.plan_code]
    named = named or [plan_code] * bool(plan_code)
    if not named:
        raise Refused(account.account_id, "has nothing that could be charged or credited")
    sold = [find_plan(plans, code) for code in set(named)]
    money = {(plan.currency, plan.exponent) for plan in sold}
    if len(money) != 1:
        raise Refused(account.account_id, "has plans in different currencies", "Bill them apart.")
    ((currency, exponent),) = money
    last = find_plan(plans, (after[-1].plan_code if after else "") or named[-1])
    period = period_holding(on, account.cycle_day, last.period_months)
    billed = [
        line
        for line in price_history(before, plans, account, on)
        if plans[line.plan_code].bill_in == "advance"
    ]
    lines = list(settling_lines(billed, price_history(after, plans, account, on)))
    if billed_minor is not None:
        lines += _settling(sum(line.amount_minor for line in billed) - billed_minor, period)
    return MoneyPreview(
        lines=tuple(lines),
        net_minor=sum(line.amount_minor for line in lines),
        currency=currency,
        exponent=exponent,
        period_from=period.start,
        period_until=period.until,
        then_minor=full_price(after, plans, period.until),
        then_months=last.period_months,
    )


def full_price(history: Sequence[Charged], plans: Mapping[str, Plan], on: dt.date) -> int:
    """Return what a whole period costs that begins on a date, as charged last; 0 = nothing is.

    Raises LookupError where the plan has no price yet.
    """
    if not history or not history[-1].plan_code:
        return 0
    entry = history[-1]
    plan = find_plan(plans, entry.plan_code)
    pinned = [p for p in plan.prices if p.price_version_id == entry.price_version_id]
    price = pinned[0] if pinned else plan.price_on(on)
    override = entry.override(on)
    if override is not None:
        return override.price_minor
    return price.hold_minor if entry.charge == "hold" else price.amount_minor


def override_worth(
    service: FoldedService, plans: Mapping[str, Plan], account: Account, override: Override
) -> int:
    """Return by how much a price differs from the catalogue's, if the service goes on as it is.

    Of one without an end, in a year. Raises Refused (no price), UnknownName (plan).
    """
    until = override.until or override.since + dt.timedelta(days=365)
    usually = replace(service, overrides=())
    priced = replace(service, overrides=(replace(override, until=until),))
    rater, span = Rater(plans), Period(start=override.since, until=until)
    usual, special = (
        sum(line.amount_minor for line in rater.service(each, account, span))
        for each in (usually, priced)
    )
    return abs(special - usual)


def settling_lines(
    billed: Sequence[PricedLine], owed: Sequence[PricedLine]
) -> tuple[MoneyLine, ...]:
    """Return what settles the lines billed with those owed, credits first.

    A stretch that costs what it did gives no line; a credit is what remains owed less what was
    billed, never a product of its own.
    """
    was = {_stretch(line): line for line in billed}
    now = {_stretch(line): line for line in owed}
    credits_: list[MoneyLine] = []
    charges: list[MoneyLine] = []
    for key in sorted(was.keys() | now.keys()):
        line = _difference(was.get(key), now.get(key))
        if line.amount_minor or line.numerator:
            (credits_ if line.kind == "credit" else charges).append(line)
    return (*credits_, *charges)


def _stretch(line: PricedLine) -> tuple[dt.datetime, str, str, str]:
    return line.since, line.plan_code, line.charge, line.price_version_id


def _difference(was: PricedLine | None, now: PricedLine | None) -> MoneyLine:
    """Of a stretch that became shorter or longer, the part by which it did."""
    shown = was or now
    if shown is None:
        msg = "a difference needs a line"
        raise ValueError(msg)
    start, end = shown.from_date, shown.until_date
    if was is not None and now is not None:
        start, end = sorted((was.until_date, now.until_date))
    owed = (now.amount_minor if now else 0) - (was.amount_minor if was else 0)
    units = (now.numerator if now else 0) - (was.numerator if was else 0)
    return MoneyLine(
        kind="charge" if units > 0 else "credit",
        plan_code=shown.plan_code,
        amount_minor=owed,
        numerator=abs(units),
        denominator=shown.denominator,
        unit=shown.unit,
        from_date=start,
        until_date=end,
        full_amount_minor=shown.full_amount_minor,
        charge=shown.charge,
    )


def _settling(owed_minor: int, period: Period) -> list[MoneyLine]:
    if owed_minor == 0:
        return []
    days = (period.until - period.start).days
    return [
        MoneyLine(
            kind="charge" if owed_minor > 0 else "credit",
            plan_code="",
            amount_minor=owed_minor,
            numerator=days,
            denominator=days,
            unit="day",
            from_date=period.start,
            until_date=period.until,
            full_amount_minor=abs(owed_minor),
        )
    ]


def _dates_to_text(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, dt.date) else value
        for name, value in values.items()
    }


def _dates(values: Mapping[str, Any], *names: str) -> dict[str, dt.date]:
    return {name: dt.date.fromisoformat(values[name]) for name in names}
