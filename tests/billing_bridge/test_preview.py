"""The money of a change, as it is shown and as it is billed."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from lives import account

from billing_bridge import (
    FoldedService,
    MoneyPreview,
    Step,
    charged_history,
    preview,
    price_difference,
    with_step,
)
from inventory import Plan, PriceVersion, Refused, ServiceState, UnknownName


def plan(code: str, price: int, **given: Any) -> Plan:
    version = PriceVersion(
        price_version_id=f"{code}-v1",
        plan_code=code,
        valid_from=dt.date(2020, 1, 1),
        amount_minor=price,
        hold_minor=500,
    )
    filled = {"currency": "EUR", "exponent": 2, "prices": (version,)} | given
    return Plan(code=code, name=code, tier_code=code, **filled)


NOTHING = FoldedService(service_id="svc-1")


def then(
    service: FoldedService, at: dt.datetime, state: ServiceState, code: str = "f100", **more: Any
) -> FoldedService:
    step = Step(since=at, plan_code=code, tier_code=code, state=state, event_id="e", **more)
    return with_step(service, step)


def money_of(
    before: FoldedService, after: FoldedService, plans: dict[str, Plan], **more: Any
) -> MoneyPreview:
    return preview(account(), plans, before, after, on=after.history[-1].since.date(), **more)


PLANS = {"f100": plan("f100", 2999), "f500": plan("f500", 4999)}
ON_11TH = dt.datetime(2026, 6, 11, 9, 30, tzinfo=dt.UTC)
JUNE = then(NOTHING, dt.datetime(2026, 6, 1, tzinfo=dt.UTC), "active")
UP = then(JUNE, ON_11TH, "active", "f500")
TEN_DAYS = dt.timedelta(days=10)


def test_an_upgrade_as_it_is_shown() -> None:
    money = money_of(JUNE, UP, PLANS)
    credit, charge = money.lines
    assert (credit.kind, credit.plan_code, credit.amount_minor) == ("credit", "f100", -1999)
    assert (charge.kind, charge.plan_code, charge.amount_minor) == ("charge", "f500", 3333)
    for line, full in ((credit, 2999), (charge, 4999)):
        assert (line.numerator, line.denominator, line.unit) == (20, 30, "day")
        assert (line.from_date, line.until_date) == (dt.date(2026, 6, 11), dt.date(2026, 7, 1))
        assert line.full_amount_minor == full
    assert (money.net_minor, money.then_minor, money.then_months) == (1334, 4999, 1)
    assert (money.period_from, money.period_until) == (dt.date(2026, 6, 1), dt.date(2026, 7, 1))
    assert MoneyPreview.from_json(json.loads(json.dumps(money.to_json()))) == money


def test_arrears_give_charges_only() -> None:
    plans = {code: replace(own, bill_in="arrears") for code, own in PLANS.items()}
    money = money_of(JUNE, UP, plans)
    assert [(line.kind, line.plan_code, line.amount_minor) for line in money.lines] == [
        ("charge", "f100", 1000), ("charge", "f500", 3333),
    ]  # fmt: skip


def test_activation_suspension_and_termination() -> None:
    begun = then(NOTHING, ON_11TH, "active")
    start = money_of(NOTHING, begun, PLANS)
    assert (start.net_minor, start.then_minor) == (1999, 2999)
    for state in ("suspended", "terminated"):
        stop = money_of(JUNE, then(JUNE, ON_11TH, state), PLANS)
        assert (stop.net_minor, stop.then_minor) == (-1999, 0)
    away = then(JUNE, ON_11TH, "suspended")
    back = money_of(away, then(away, ON_11TH + TEN_DAYS, "active"), PLANS)
    assert [(line.kind, line.numerator) for line in back.lines] == [("charge", 10)]


@pytest.mark.parametrize(
    ("policy", "reason", "lines", "then_minor"),
    [
        ("stop", "requested", [("service", -1999)], 0),
        ("hold_fee", "requested", [("service", -1999), ("hold", 333)], 500),
        ("continue", "requested", [], 2999),
        ("stop", "non_payment", [], 2999),
    ],
)
def test_each_policy_of_suspension(
    policy: Any, reason: str, lines: list[tuple[str, int]], then_minor: int
) -> None:
    """Whoever does not pay goes on owing, if the plan says so; a hold has its own small price."""
    plans = {"f100": replace(PLANS["f100"], suspend=policy, suspend_unpaid="continue")}
    money = money_of(JUNE, then(JUNE, ON_11TH, "suspended", reason_code=reason), plans)
    assert [(line.charge, line.amount_minor) for line in money.lines] == lines
    assert money.then_minor == then_minor


def test_the_last_day_is_billed_where_the_plan_says_so() -> None:
    plans = {"f100": replace(PLANS["f100"], last_day_billed=True)}
    (credit,) = money_of(JUNE, then(JUNE, ON_11TH, "terminated"), plans).lines
    assert (credit.numerator, credit.from_date) == (19, dt.date(2026, 6, 12))
    (credit,) = money_of(JUNE, then(JUNE, ON_11TH, "suspended"), plans).lines
    assert credit.numerator == 20


def test_nothing_before_the_first_date_we_bill_is_charged() -> None:
    """Adopted with a later date, ended before it: no last day either. Begun again: its own date."""
    plans = {"f100": replace(PLANS["f100"], last_day_billed=True, min_billable_days=1)}
    later = dt.date(2026, 6, 25)
    begun = then(NOTHING, ON_11TH, "active", billing_from=later)
    assert money_of(NOTHING, begun, plans).lines[0].from_date == later
    over = then(begun, ON_11TH + dt.timedelta(days=2), "terminated")
    assert charged_history(over, plans, "UTC") == ()
    on_15th = ON_11TH + dt.timedelta(days=4)
    again = then(over, on_15th, "active", billing_from=on_15th.date())
    (entry,) = charged_history(again, plans, "UTC")
    assert entry.since == dt.datetime(2026, 6, 15, tzinfo=dt.UTC)


@pytest.mark.parametrize(("days", "owed"), [(0, 0), (1, 100)])
def test_a_date_of_on_and_off(days: int, owed: int) -> None:
    plans = {"f100": replace(PLANS["f100"], min_billable_days=days)}
    begun = then(NOTHING, ON_11TH, "active")
    over = then(begun, ON_11TH + dt.timedelta(hours=3), "terminated")
    assert money_of(NOTHING, begun, plans).net_minor == 1999
    assert money_of(begun, over, plans).net_minor == owed - 1999


def test_a_plan_by_the_second_meets_one_by_the_day_at_midnight() -> None:
    """The date of the change belongs to the new plan whole: nothing of it is charged twice."""
    plans = {"f100": replace(PLANS["f100"], proration="second"), "f500": PLANS["f500"]}
    first, second = charged_history(UP, plans, "UTC")
    assert (second.plan_code, second.since) == ("f500", dt.datetime(2026, 6, 11, tzinfo=dt.UTC))
    assert first.plan_code == "f100"
    credit, charge = money_of(JUNE, UP, plans).lines
    assert (credit.numerator, credit.unit) == (20 * 86_400, "second")
    assert (charge.numerator, charge.unit) == (20, "day")


def test_what_never_cost_anything_can_be_ended() -> None:
    """Begun, suspended and ended on one date: no line, and no refusal either."""
    begun = then(NOTHING, ON_11TH, "active")
    away = then(begun, ON_11TH + dt.timedelta(hours=1), "suspended")
    money = money_of(away, then(away, ON_11TH + dt.timedelta(hours=2), "terminated"), PLANS)
    assert (money.lines, money.net_minor, money.then_minor) == ((), 0, 0)
    assert (money.currency, money.then_months) == ("EUR", 1)


def test_the_last_change_within_a_second_counts() -> None:
    """By the second: what lasted for less than one gives no line of its own."""
    plans = {code: replace(own, proration="second") for code, own in PLANS.items()}
    back = then(UP, ON_11TH + dt.timedelta(milliseconds=300), "active", "f100")
    assert [entry.plan_code for entry in charged_history(back, plans, "UTC")] == [
        "f100", "f500", "f100",
    ]  # fmt: skip
    assert money_of(JUNE, back, plans).lines == ()


def test_the_last_change_of_a_local_date_counts() -> None:
    """Up and back again on one date costs nothing in the end."""
    down = then(UP, ON_11TH + dt.timedelta(hours=3), "active", "f100")
    assert money_of(JUNE, UP, PLANS).net_minor + money_of(UP, down, PLANS).net_minor == 0


def test_what_was_billed_differently_is_settled_by_its_own_line() -> None:
    money = money_of(JUNE, UP, PLANS, billed_minor=2500)
    assert money.net_minor == 1000 + 3333 - 2500
    settled = money.lines[-1]
    assert (settled.plan_code, settled.kind, settled.amount_minor) == ("", "charge", 499)


NEWER = PriceVersion(
    price_version_id="f100-v2",
    plan_code="f100",
    valid_from=dt.date(2026, 5, 1),
    amount_minor=9900,
)
DEARER = {"f100": replace(PLANS["f100"], prices=(*PLANS["f100"].prices, NEWER))}


def test_a_pinned_price_outlives_the_catalogue() -> None:
    for version, full in (("f100-v1", 2999), ("f100-v2", 9900), ("", 9900)):
        begun = then(NOTHING, ON_11TH, "active", price_version_id=version)
        money = money_of(NOTHING, begun, DEARER)
        assert (money.lines[0].full_amount_minor, money.then_minor) == (full, full)
    with pytest.raises(UnknownName):
        money_of(NOTHING, then(NOTHING, ON_11TH, "active", price_version_id="v9"), DEARER)


def test_a_pinned_price_stays_through_a_suspension_and_without_being_named() -> None:
    """An adopted service names no version: it has that of its first date, and keeps it."""
    begun = then(NOTHING, dt.datetime(2026, 4, 20, tzinfo=dt.UTC), "active", price_policy="pinned")
    away = then(begun, ON_11TH, "suspended", price_policy="pinned")
    back = then(away, ON_11TH + TEN_DAYS, "active", price_policy="pinned")
    entries = charged_history(back, DEARER, "UTC")
    assert [entry.price_version_id for entry in entries] == ["f100-v1", "", "f100-v1"]
    with pytest.raises(Refused, match="no price"):
        charged_history(
            then(NOTHING, dt.datetime(2019, 6, 1, tzinfo=dt.UTC), "active", price_policy="pinned"),
            DEARER,
            "UTC",
        )


def test_what_cannot_be_priced_is_refused() -> None:
    early = dt.datetime(2019, 6, 11, tzinfo=dt.UTC)
    with pytest.raises(Refused, match="no price"):
        money_of(NOTHING, then(NOTHING, early, "active"), PLANS)
    yen = PLANS | {"jp": plan("jp", 3000, currency="JPY", exponent=0)}
    with pytest.raises(Refused, match="currencies"):
        money_of(JUNE, then(JUNE, ON_11TH, "active", "jp"), yen)
    with pytest.raises(UnknownName):
        money_of(JUNE, then(JUNE, ON_11TH, "active", "f900"), PLANS)
    with pytest.raises(Refused, match="nothing"):
        price_difference(account(), PLANS, (), (), on=ON_11TH.date())


def test_a_plan_first_sold_during_the_period_has_the_price_of_its_first_day() -> None:
    first = PriceVersion(
        price_version_id="n-1", plan_code="new", valid_from=dt.date(2026, 6, 5), amount_minor=3000
    )
    plans = {"new": plan("new", 0, prices=(first,))}
    assert money_of(NOTHING, then(NOTHING, ON_11TH, "active", "new"), plans).net_minor == 2000
