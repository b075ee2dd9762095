"""What is charged when: a service's history by the ledger, read by its plans' rules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from inventory import Plan, Refused, UnknownName, local_date

from .fold import FoldedService, Override, Step
from .proration import midnight

Charge = Literal["service", "hold"]
_EVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """From `since` on this plan is charged, or its hold fee; plan "" = nothing is.

    `overrides` say on which dates the plan costs the service something else.
    """

    since: dt.datetime
    plan_code: str
    price_version_id: str = ""  # set where the price policy is `pinned`
    charge: Charge = "service"
    overrides: tuple[Override, ...] = ()

    def since_then(self, since: dt.datetime) -> Charged:
        """Return the same from another instant on; dataclasses.replace costs five times as much."""
        return Charged(
            since=since,
            plan_code=self.plan_code,
            price_version_id=self.price_version_id,
            charge=self.charge,
            overrides=self.overrides,
        )

    def override(self, on: dt.date) -> Override | None:
        """Return what overrides the plan's price on a local date: the last one told."""
        return next((each for each in reversed(self.overrides) if each.on(on)), None)


def charged_history(
    service: FoldedService, plans: Mapping[str, Plan], zone_name: str
) -> tuple[Charged, ...]:
    """Return what is charged for a service, ascending, each entry unlike the one before.

    Nothing is charged before the first date we bill (D3). While suspended the plan's policy for
    the reason counts. Where a plan by the day begins or ends, its whole date belongs to what
    follows; of several states of one date the last counts. A termination's date is charged where
    the plan says `last_day_billed`, a date of on and off where it says `min_billable_days`.
    A plan pinned without a version (an adopted service) has the price of its first charged date.
    Raises UnknownName (plan), Refused (a pinned plan without a price on that date).
    """
    entries: list[Charged] = []
    for step, entry in _told(service, plans, zone_name):
        if step.since < entry.since:  # of what came before the first date, the last state counts
            _give_way(entries, entry.since)
        _put(entries, entry, plans, zone_name, ends=step.state == "terminated")
    return tuple(entries)


def last_version(
    service: FoldedService, plans: Mapping[str, Plan], zone_name: str, plan_code: str
) -> str:
    """Return the price version that a plan was charged by when the service last had it.

    "" = that of the period, or the service never had the plan.
    """
    told = [entry for _, entry in _told(service, plans, zone_name) if entry.plan_code == plan_code]
    return told[-1].price_version_id if told else ""


def _told(
    service: FoldedService, plans: Mapping[str, Plan], zone_name: str
) -> Iterator[tuple[Step, Charged]]:
    """Yield what each step makes of the charges, nothing before the first date that we bill."""
    terms = ("", "")  # the plan charged last, and the price version it had
    first = _EVER
    for step in service.history:
        if step.billing_from is not None:
            first = midnight(step.billing_from, zone_name)
        since = max(step.since, first)
        plan_code, charge = _charge(step, plans)
        version = ""
        if plan_code:
            version = _version(step, plans, terms, local_date(since, zone_name))
            terms = (plan_code, version)
        entry = Charged(since=since, plan_code=plan_code, price_version_id=version, charge=charge)
        if service.overrides and charge == "service":
            entry = replace(entry, overrides=_overrides(service, plan_code))
        yield step, entry


def _overrides(service: FoldedService, plan_code: str) -> tuple[Override, ...]:
    return tuple(each for each in service.overrides if each.plan_code == plan_code)


def find_plan(plans: Mapping[str, Plan], code: str) -> Plan:
    """Return the plan of the catalogue; UnknownName if it has none of that code."""
    if code not in plans:
        raise UnknownName(code, "is not a known plan")
    return plans[code]


def _charge(step: Step, plans: Mapping[str, Plan]) -> tuple[str, Charge]:
    if step.state == "active":
        return step.plan_code, "service"
    if step.state != "suspended":
        return "", "service"
    plan = find_plan(plans, step.plan_code)
    unpaid = step.reason_code == "non_payment"
    policy = plan.suspend_unpaid if unpaid else plan.suspend
    if policy == "stop":
        return "", "service"
    return step.plan_code, "hold" if policy == "hold_fee" else "service"


def _version(step: Step, plans: Mapping[str, Plan], terms: tuple[str, str], on: dt.date) -> str:
    """Return what the event pins; going on with a plan keeps its terms, a new use may pin today."""
    if step.price_version_id:
        return step.price_version_id
    if step.plan_code == terms[0]:
        return terms[1]
    if step.price_policy != "pinned":
        return ""
    plan = find_plan(plans, step.plan_code)
    try:
        return plan.price_on(on).price_version_id
    except LookupError as error:
        raise Refused(plan.code, f"has no price on {on}", "Import one first.") from error


def _put(
    entries: list[Charged],
    entry: Charged,
    plans: Mapping[str, Plan],
    zone_name: str,
    *,
    ends: bool,
) -> None:
    """Append an entry at the instant from which it counts; what began no earlier gives way."""
    _give_way(entries, entry.since + dt.timedelta(microseconds=1))
    before = entries[-1] if entries else None
    by_day = [
        each
        for each in (before, entry)
        if each and each.plan_code and find_plan(plans, each.plan_code).proration == "day"
    ]
    since = entry.since
    if by_day:
        date = local_date(entry.since, zone_name)
        since = midnight(date, zone_name)
        if before and not entry.plan_code and _charged_to_the_end(before, plans, since, ends=ends):
            since = midnight(date + dt.timedelta(days=1), zone_name)
    _give_way(entries, since)
    if entries and same_terms(entries[-1], entry):
        return
    if entries or entry.plan_code:
        entries.append(entry.since_then(since))


def _give_way(entries: list[Charged], since: dt.datetime) -> None:
    while entries and entries[-1].since >= since:
        entries.pop()


def _charged_to_the_end(
    before: Charged, plans: Mapping[str, Plan], date_begins: dt.datetime, *, ends: bool
) -> bool:
    """Whether the date on which charging stops is charged itself."""
    plan = find_plan(plans, before.plan_code)
    return (ends and plan.last_day_billed) or (
        plan.min_billable_days > 0 and before.since >= date_begins
    )


def same_terms(one: Charged, other: Charged) -> bool:
    """Whether two entries charge the same."""
    return (one.plan_code, one.price_version_id, one.charge) == (
        other.plan_code,
        other.price_version_id,
        other.charge,
    )
