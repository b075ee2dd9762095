"""Billing cases of plans, periods and changes, put to the functions that price them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

from billing_bridge import (
    Billed,
    Charged,
    FoldedService,
    MoneyLine,
    Period,
    PricedLine,
    Rater,
    Step,
    allocate,
    billed,
    charged_history,
    corrections,
    flat_tax,
    midnight,
    period_holding,
    prorate,
    refuse_double,
    round_half_up,
    settling_lines,
    usage_period,
    with_step,
)
from inventory import Account, Plan, PriceVersion, Refused, ServiceState, local_date

UTC = "UTC"
Given = dict[str, Any]
DAY = dt.timedelta(days=1)


def plan(code: str, price: int, **given: Any) -> Plan:
    versions = given.pop("versions", ((dt.date(1970, 1, 1), price),))
    hold = given.pop("hold_minor", 0)
    return Plan(
        code=code,
        name=code,
        tier_code=code,
        currency="EUR",
        exponent=2,
        prices=tuple(
            PriceVersion(
                price_version_id=f"{code}-{number}",
                plan_code=code,
                valid_from=valid_from,
                amount_minor=amount,
                hold_minor=hold,
            )
            for number, (valid_from, amount) in enumerate(versions)
        ),
        **given,
    )


def account(zone_name: str = UTC, cycle_day: int = 1) -> Account:
    return Account(
        account_id="A-1",
        name="",
        address="",
        time_zone=zone_name,
        cycle_day=cycle_day,
        legal_entity="isp",
        currency="EUR",
    )


def span(dates: Sequence[dt.date]) -> Period:
    return Period(start=dates[0], until=dates[1])


def from_on(date: dt.date, code: str, zone_name: str = UTC) -> Charged:
    return Charged(since=midnight(date, zone_name), plan_code=code)


def step(
    at: dt.date | dt.datetime,
    state: ServiceState,
    code: str = "p",
    zone_name: str = UTC,
    **more: Any,
) -> Step:
    """What an event makes of a service; a bare date begins at its local midnight."""
    since = at if isinstance(at, dt.datetime) else midnight(at, zone_name)
    return Step(
        since=since, plan_code=code, tier_code=code, state=state, event_id=f"{state}-{at}", **more
    )


def service(*steps: Step) -> FoldedService:
    folded = FoldedService(service_id="svc-1")
    for each in steps:
        folded = with_step(folded, each)
    return folded


def lines_of(
    history: Sequence[Charged], plans: dict[str, Plan], period: Period, zone_name: str = UTC
) -> tuple[PricedLine, ...]:
    """What a history costs in a period that need not be one of an account's."""
    rater = Rater(plans)
    codes = dict.fromkeys(entry.plan_code for entry in history if entry.plan_code)
    return tuple(line for code in codes for line in rater.plan(history, code, period, zone_name))


def cost(lines: Sequence[PricedLine | MoneyLine | Billed]) -> int:
    return sum(line.amount_minor for line in lines)


def run_cycles(given: Given) -> Given:
    sold = {"p": plan("p", given["price"], period_months=given["months"])}
    end = given.get("end", dt.date.max - DAY)
    history = (from_on(given["start"], "p"), from_on(end, ""))
    month = given.get("anchor_month", 1)
    lines: list[PricedLine] = []
    period = period_holding(given["start"], given["anchor"], given["months"], month)
    while max(period.start, given["start"]) <= given["target"] and period.start < end:
        lines += lines_of(history, sold, period)
        period = period_holding(period.until, given["anchor"], given["months"], month)
    factors = [(line.numerator, line.denominator) for line in lines]
    return {
        "factors": ["1" if part == whole else f"{part}/{whole}" for part, whole in factors],
        "amounts": [line.amount_minor for line in lines],
        "total": cost(lines),
    }


def run_boundaries(given: Given) -> Given:
    month = given.get("anchor_month", given["first"].month)
    starts, date = [], given["first"]
    for _ in range(given["count"]):
        period = period_holding(date, given["anchor"], given["months"], month)
        starts.append(period.start)
        date = period.until
    return {"starts": starts}


def run_localdate(given: Given) -> Given:
    instants = [dt.datetime.fromisoformat(text) for text in given["instants"]]
    return {"dates": [local_date(instant, given["tz"]) for instant in instants]}


def run_change(given: Given) -> Given:
    """A change in a period of any length; a `new_full` plan has a year of its own from the day."""
    period = span(given["period"])
    new = given.get("new_full", given.get("new"))
    plans = {"old": plan("old", given["old"])}
    if new is not None:
        plans["new"] = plan("new", new)
    before = (from_on(period.start, "old"),)
    after = (*before, from_on(given["at"], "new" if new is not None else ""))
    rater = Rater(plans)
    was = rater.plan(before, "old", period, UTC)
    used = rater.plan(after, "old", period, UTC)
    owed = list(used)
    if new is not None:
        own = period_holding(given["at"], given["at"].day, 12, given["at"].month)
        owed += rater.plan(after, "new", own if "new_full" in given else period, UTC)
    settled = settling_lines(was, owed)
    assert cost(corrections(billed(was), owed)) == cost(settled)
    by_kind = {
        kind: cost([line for line in settled if line.kind == kind]) for kind in ("credit", "charge")
    }
    return {"used": cost(used), "net": cost(settled)} | by_kind


def run_segments(given: Given) -> Given:
    lines: list[PricedLine] = []
    for segment in given["segments"]:
        history = (from_on(segment["from"], "p"), from_on(segment["to"], ""))
        lines += lines_of(history, {"p": plan("p", segment["price"])}, span(given["period"]))
    return {
        "lines": [
            {"days": line.numerator, "of": line.denominator, "amount": line.amount_minor}
            for line in lines
        ],
        "total": cost(lines),
    }


def run_terminate(given: Given) -> Given:
    sold = {"p": plan("p", given["price"], last_day_billed=given["last_day_billed"])}
    period = span(given["period"])
    before = service(step(given["from"], "active"))
    after = with_step(before, step(given["at"], "terminated"))
    was, owed = (
        lines_of(charged_history(each, sold, UTC), sold, period) for each in (before, after)
    )
    used = cost(owed)
    return {
        "unused_days": sum(x.numerator for x in was) - sum(x.numerator for x in owed),
        "used": used,
        "credit": used - given["billed"],
    }


def run_tax_hook(given: Given) -> Given:
    (tax,) = flat_tax("VAT", given["rate_bp"])(account(), {"1": given["net"]})
    return {"tax": tax.tax_minor, "gross": given["net"] + tax.tax_minor}


def run_tz_prorate(given: Given) -> Given:
    sold = {"p": plan("p", given["price"])}
    began = service(step(dt.datetime.fromisoformat(given["at"]), "active"))
    charged = charged_history(began, sold, given["tz"])
    (line,) = lines_of(charged, sold, span(given["period"]), given["tz"])
    got = {"days": line.numerator, "net": line.amount_minor}
    return got | run_tax_hook({"net": line.amount_minor, "rate_bp": given.get("rate_bp", 0)})


def run_fixed_days(given: Given) -> Given:
    sold = {"p": plan("p", 10**9, month_days=given["fixed"])}
    history = (from_on(given["from"], "p"), from_on(given["to"], ""))
    period = period_holding(given["from"], given["from"].day)
    lines: list[PricedLine] = []
    while period.start < given["to"]:
        lines += lines_of(history, sold, period)
        period = period_holding(period.until, given["from"].day)
    days = sum(line.numerator for line in lines)
    return {"days": days, "factor9": f"{Decimal(days) / Decimal(given['fixed']):.9f}"}


def run_seconds(given: Given) -> Given:
    sold = {"p": plan("p", given["price"], proration="second")}
    first = step(given["period"][0], "active", zone_name=given["tz"])
    after = service(first, step(dt.datetime.fromisoformat(given["at"]), "terminated"))
    history = charged_history(after, sold, given["tz"])
    (line,) = lines_of(history, sold, span(given["period"]), given["tz"])
    return {
        "period_seconds": line.denominator,
        "used_seconds": line.numerator,
        "used": line.amount_minor,
        "credit": line.amount_minor - given["price"],
    }


def run_dayfold(given: Given) -> Given:
    plans = {code: plan(code, price) for code, price in given["prices"].items()}
    moves = [(dt.datetime.fromisoformat(text), code) for text, code in given["events"]]
    folded = service(*(step(at, "active", code) for at, code in moves))
    history = charged_history(folded, plans, given["tz"])
    lines = lines_of(history, plans, span(given["period"]), given["tz"])
    return {
        "lines": [
            {"tier": line.plan_code, "days": line.numerator, "amount": line.amount_minor}
            for line in lines
        ],
        "total": cost(lines),
    }


def run_suspend(given: Given) -> Given:
    sold = {
        "p": plan(
            "p", given["price"], suspend=given["policy"], hold_minor=given.get("hold_price", 0)
        )
    }
    period = span(given["period"])
    before = service(step(period.start, "active"))
    away = with_step(before, step(given["suspend"], "suspended"))
    back = with_step(away, step(given["resume"], "active"))
    was, owed = (
        lines_of(charged_history(each, sold, UTC), sold, period) for each in (before, back)
    )
    hold = cost([line for line in owed if line.charge == "hold"])
    return {
        "suspended_days": (given["resume"] - given["suspend"]).days,
        "credit": cost(settling_lines(was, owed)) - hold,
        "hold": hold,
    }


def run_correction(given: Given) -> Given:
    gap = given["uncovered"]
    history = (from_on(gap["from"], "p"), from_on(gap["to"], ""))
    sold = {"p": plan("p", given["should"][0]["amount"])}
    (line,) = lines_of(history, sold, span(given["rate_period"]))
    return {"missing_days": line.numerator, "amount": line.amount_minor}


def run_net_correction(given: Given) -> Given:
    """What was billed is put to the correction; its answer leaves nothing more to correct."""
    period = span(given["period"])
    owed: list[PricedLine] = []
    for number, part in enumerate(given["segments"]):
        code = f"p{number}"
        history = (from_on(part["from"], code), from_on(part["to"], ""))
        owed += lines_of(history, {code: plan(code, part["price"])}, period)
    was = Billed(
        period=period,
        plan_code="p0",
        charge="service",
        price_version_id="p0-0",
        amount_minor=given["billed"],
    )
    deltas = corrections([was], owed)
    assert corrections([was, *deltas], owed) == ()
    delta = cost(deltas)
    return {
        "should": cost(owed),
        "delta": delta,
        "sign": "charge" if delta > 0 else "credit" if delta else "none",
    }


def run_price_version(given: Given) -> Given:
    sold = {"p": plan("p", 0, versions=given["versions"], price_policy=given["policy"])}
    begun = service(step(given["periods"][0][0], "active", price_policy=given["policy"]))
    history = charged_history(begun, sold, UTC)
    return {"amounts": [cost(lines_of(history, sold, span(dates))) for dates in given["periods"]]}


def run_qty_prorate(given: Given) -> Given:
    return {"amount": prorate(given["units"] * given["unit_price"], given["num"], given["den"])}


def run_round(given: Given) -> Given:
    """Half-even is in the case for contrast: the standard library's, not ours."""
    return {
        "half_up": [round_half_up(Fraction(value)) for value in given["values"]],
        "half_even": [int(Decimal(v).quantize(1, ROUND_HALF_EVEN)) for v in given["values"]],
    }


def run_allocate(given: Given) -> Given:
    return {"shares": list(allocate(given["total"], given["weights"]))}


def run_guard(given: Given) -> Given:
    try:
        refuse_double("svc-1", [span(dates) for dates in given["billed"]])
    except Refused:
        return {"error": "overlap"}
    return {"error": None}


def run_radius_late(given: Given) -> Given:
    """Usage of a period that is invoiced: which bill it comes on."""
    own = period_holding(given["effective"], 1)
    closed = any(value for name, value in given.items() if name.endswith("closed"))
    period, late = usage_period(
        given["effective"], given["recorded"], own.until if closed else own.start, 1
    )
    return {"bill_period": [period.start, period.until], "late": late, "bytes": given["bytes"]}
