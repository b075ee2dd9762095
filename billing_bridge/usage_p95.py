"""The 95th percentile of services whose plan has a committed rate, once their period is over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from inventory import Account, Plan, local_date

from .charged import charged_history, find_plan
from .fold import FoldedService
from .percentile import circuit_95
from .proration import midnight, period_holding
from .slots import SLOT, Sample, slots_of
from .usage import Rollup
from .usage_rows import SAMPLES
from .usage_snmp import SNMP

METHOD = (
    "95th percentile of five-minute rates by nearest rank: the floor(0.05 n) highest are free, no "
    "interpolation; of each direction, then the larger; what was not measured is not counted"
)
_EVER = dt.datetime.max.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A stretch of one period in which a plan with a committed rate was charged (half-open)."""

    since: dt.datetime
    until: dt.datetime


def metered_stretches(
    service: FoldedService, plans: Mapping[str, Plan], account: Account, now: dt.datetime
) -> tuple[Metered, ...]:
    """Return the stretches of the newest period that was over at `now`, and of the one before.

    A service that began, ended or changed its plan within a period has its percentile over its own
    slots of it (ledger.md): the part that the plan was charged.
    """
    history = charged_history(service, plans, account.time_zone)
    ends = [*(entry.since for entry in history[1:]), _EVER]
    found: list[Metered] = []
    for entry, end in zip(history, ends, strict=True):
        if not entry.plan_code or entry.charge != "service":
            continue
        plan = find_plan(plans, entry.plan_code)
        if plan.commit_kbps:
            found += [
                Metered(since=max(entry.since, since), until=min(end, until))
                for since, until in _periods(account, plan.period_months, now)
                if entry.since < until and since < end
            ]
    return tuple(sorted(found, key=lambda stretch: stretch.since))


def percentile_rollup(
    service: FoldedService, stretch: Metered, samples: Sequence[Sample]
) -> Rollup | None:
    """Return the percentile of a stretch; None where no slot of it is known: that is not zero."""
    slots = [slot for slot in slots_of(samples)[0] if stretch.since <= slot.since < stretch.until]
    if not slots:
        return None
    rate = circuit_95(
        [slot.down_bps for slot in slots],
        [slot.up_bps for slot in slots],
        expected=(stretch.until - stretch.since) // SLOT,
    ).billed
    return Rollup(
        service_id=service.service_id,
        account_id=service.account_id,
        meter="p95",
        since=stretch.since,
        until=stretch.until,
        quantity=rate.value,
        unit="bit_per_s",
        source=SNMP,
        samples=rate.samples,
        coverage_bp=rate.coverage_bp,
    )


def sampled_services(session: Session, since: dt.datetime) -> tuple[str, ...]:
    """Return the services that have been sampled since then, by id."""
    query = select(SAMPLES.c.service_id).where(SAMPLES.c.slot >= since).distinct()
    return tuple(sorted(session.connection().execute(query).scalars()))


def _periods(
    account: Account, months: int, now: dt.datetime
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Yield the newest two periods that are over."""
    zone_name = account.time_zone
    start = period_holding(local_date(now, zone_name), account.cycle_day, months).start
    for _ in range(2):
        before = period_holding(start - dt.timedelta(days=1), account.cycle_day, months)
        yield midnight(before.start, zone_name), midnight(start, zone_name)
        start = before.start
