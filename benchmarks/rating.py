"""How many periods of services are priced in a second, beside nothing but the arithmetic."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.measure import Claim, run
from billing_bridge import Charged, FoldedService, Period, Rater, Step, charged_history, with_step
from inventory import Account, Plan, PriceVersion, ServiceState

REACH = 300_000
YEAR = Period(start=dt.date(2026, 1, 1), until=dt.date(2027, 1, 1))
JUNE = Period(start=dt.date(2026, 6, 1), until=dt.date(2026, 7, 1))
BORN = dt.datetime(2025, 11, 3, 9, tzinfo=dt.UTC)
ZONES = ("Europe/Berlin", "America/New_York", "UTC")


def measure(*, quick: bool) -> Iterator[Claim]:
    """Price a year and a month of services of which one in ten changed; best of five."""
    count = 2_000 if quick else 20_000
    plans = {code: _plan(code, price) for code, price in (("f100", 2999), ("f500", 4999))}
    payers = [_account(zone) for zone in ZONES]
    services = [(_service(number), payers[number % len(payers)]) for number in range(count)]
    charged = [(charged_history(one, plans, who.time_zone), who) for one, who in services]
    lines = [
        line for history, payer in charged for line in Rater(plans).history(history, payer, YEAR)
    ]
    bare = _rate(
        lambda: [
            (2 * line.full_amount_minor * line.numerator + line.denominator)
            // (2 * line.denominator)
            for line in lines
        ],
        len(lines),
    )
    yield Claim(what="bare arithmetic, one line each", measured=f"{bare:,.0f}/s")
    for name, span, periods in (("a year", YEAR, 12), ("one period", JUNE, 1)):
        from_history = _rate(lambda span=span: _histories(plans, charged, span), count * periods)
        from_ledger = _rate(lambda span=span: _folded(plans, services, span), count * periods)
        yield Claim(
            what=f"{name} of {count:,} services, from what is charged when",
            measured=f"{from_history:,.0f} service-periods/s (bare x {bare / from_history:.1f})",
            reach=f">= {REACH:,}/s" if periods > 1 else "",
            holds=from_history >= REACH or periods == 1,
        )
        yield Claim(
            what=f"{name} of {count:,} services, from the folded ledger",
            measured=f"{from_ledger:,.0f} service-periods/s",
        )


def _histories(
    plans: dict[str, Plan], charged: Sequence[tuple[tuple[Charged, ...], Account]], span: Period
) -> None:
    rater = Rater(plans)
    for history, payer in charged:
        rater.history(history, payer, span)


def _folded(
    plans: dict[str, Plan], services: Sequence[tuple[FoldedService, Account]], span: Period
) -> None:
    rater = Rater(plans)
    for service, payer in services:
        rater.service(service, payer, span)


def _rate(act: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return count / min(times)


def _plan(code: str, price: int) -> Plan:
    versions = tuple(
        PriceVersion(
            price_version_id=f"{code}@{date}", plan_code=code, valid_from=date, amount_minor=amount
        )
        for date, amount in ((dt.date(2025, 1, 1), price), (dt.date(2026, 6, 15), price + 300))
    )
    return Plan(code=code, name=code, tier_code=code, currency="EUR", exponent=2, prices=versions)


def _account(zone: str) -> Account:
    return Account(
        account_id=zone,
        name="",
        address="",
        time_zone=zone,
        cycle_day=1,
        legal_entity="isp",
        currency="EUR",
    )


def _service(number: int) -> FoldedService:
    """Nine in ten keep their plan all year; the tenth changes it, or is suspended for a while."""
    steps: list[tuple[int, ServiceState, str]] = [(number % 40, "active", "f100")]
    if number % 20 == 7:
        steps.append((150 + number % 90, "active", "f500"))
    if number % 20 == 17:
        steps += [(200 + number % 30, "suspended", "f100"), (240, "active", "f100")]
    service = FoldedService(service_id=f"svc-{number}")
    for days, state, code in steps:
        step = Step(
            since=BORN + dt.timedelta(days=days),
            plan_code=code,
            tier_code=code,
            state=state,
            event_id=f"{number}-{days}",
        )
        service = with_step(service, step)
    return service


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
