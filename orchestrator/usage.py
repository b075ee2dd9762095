"""Usage on its way into the ledger: read what was accounted, count what is due, commit in batches.

Every batch is a transaction of its own, and every step can be done again: whoever is killed between
two of them goes on where the other stopped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session

from billing_bridge import (
    RADIUS,
    SNMP,
    DueWindow,
    LedgerEvent,
    Rollup,
    Taken,
    count_radius,
    count_snmp,
    find_by_services,
    fold_service,
    heard_of,
    keep_heard,
    last_radacct,
    match_again,
    metered_stretches,
    open_radacct,
    percentile_rollup,
    record_usage,
    sampled_services,
    samples_between,
    take_due,
    used,
)
from inventory import (
    AccountedSession,
    Plan,
    accounted_after,
    accounted_at,
    find_account,
    list_plans,
)

from .database import database_now, reading, writing
from .settings import Settings

BATCH = 500
# rows of radacct get their numbers before they are committed: look again at those behind the last
OVERLAP = 2_000
CIRCUITS = 20  # in one transaction: a month of each is some 9,000 samples
SEARCHED = dt.timedelta(days=100)  # the two newest periods of a month, wherever they begin

Count = Callable[[Session, Sequence[DueWindow], dt.datetime], tuple[tuple[Rollup, ...], int]]
COUNTS: dict[str, Count] = {RADIUS: count_radius, SNMP: count_snmp}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a run has put into the ledger: events, windows that stood as they were, exceptions."""

    events: int = 0
    unchanged: int = 0
    exceptions: int = 0

    def __add__(self, other: Counted) -> Counted:
        """Both together."""
        return Counted(
            events=self.events + other.events,
            unchanged=self.unchanged + other.unchanged,
            exceptions=self.exceptions + other.exceptions,
        )


def read_radacct(engine: Engine, *, batch: int = BATCH) -> Taken:
    """Read what radacct says that was not read before: new rows, and all of open sessions."""
    total = Taken()
    with writing(engine) as session:
        match_again(session)
    with reading(engine) as session:
        last = max(last_radacct(session) - OVERLAP, 0)
    open_until, after = last, 0
    while True:
        with writing(engine) as session:
            numbers = open_radacct(session, after, batch)
            total += _keep(session, accounted_at(session, numbers))
        if not numbers or numbers[-1] >= open_until:
            break
        after = numbers[-1]
    while True:
        with writing(engine) as session:
            rows = accounted_after(session, last, batch)
            total += _keep(session, rows)
        if not rows:
            return total
        last = rows[-1].radacct_id


def _keep(session: Session, rows: Sequence[AccountedSession]) -> Taken:
    heard = [one for row in rows if (one := heard_of(row)) is not None]
    return keep_heard(session, heard, database_now(session)) if heard else Taken()


def roll_up(engine: Engine, settings: Settings, actor: str, *, batch: int = BATCH) -> Counted:
    """Count every window that is due and over, and post what the ledger does not say yet."""
    total = Counted()
    for source in COUNTS:
        while (found := _roll_batch(engine, settings, source, actor, batch)) is not None:
            total += found
    return total


def _roll_batch(
    engine: Engine, settings: Settings, source: str, actor: str, batch: int
) -> Counted | None:
    with writing(engine) as session:
        now = database_now(session)
        before = now - dt.timedelta(seconds=settings.usage_wait_s)
        due = take_due(session, source, before, batch)
        if not due:
            return None
        rollups, odd = COUNTS[source](session, due, now)
        posted = record_usage(
            session, rollups, now, actor=actor, backdate_days=settings.backdate_days
        )
    return Counted(
        events=len(posted.events), unchanged=posted.unchanged, exceptions=posted.exceptions + odd
    )


def post_percentiles(
    engine: Engine, settings: Settings, actor: str, *, again: bool = False
) -> Counted:
    """Post the 95th percentile of every period that is over and whose plan commits to a rate.

    What the ledger has already is left as it is, unless it is to be computed `again`: then what
    differs is corrected.
    """
    total = Counted()
    with reading(engine) as session:
        plans = {plan.code: plan for plan in list_plans(session)}
        now = database_now(session) - dt.timedelta(seconds=settings.usage_wait_s)
        names: tuple[str, ...] = ()
        if any(plan.commit_kbps for plan in plans.values()):
            names = sampled_services(session, now - SEARCHED)
    for start in range(0, len(names), CIRCUITS):
        part = names[start : start + CIRCUITS]
        with writing(engine) as session:
            rollups = [
                rollup
                for service_id, story in find_by_services(session, part).items()
                for rollup in _percentiles(session, service_id, story, plans, now, again=again)
            ]
            posted = record_usage(
                session,
                rollups,
                database_now(session),
                actor=actor,
                backdate_days=settings.backdate_days,
            )
        total += Counted(
            events=len(posted.events), unchanged=posted.unchanged, exceptions=posted.exceptions
        )
    return total


def _percentiles(
    session: Session,
    service_id: str,
    story: tuple[LedgerEvent, ...],
    plans: Mapping[str, Plan],
    now: dt.datetime,
    *,
    again: bool,
) -> Iterator[Rollup]:
    service = fold_service(service_id, story)
    if not service.account_id:
        return
    account = find_account(session, service.account_id)
    for stretch in metered_stretches(service, plans, account, now):
        windows = used(session, (service_id,), stretch.since, stretch.until)[service_id]
        if not again and any(window.meter == "p95" for window in windows):
            continue
        samples = samples_between(session, (service_id,), stretch.since, stretch.until)
        rollup = percentile_rollup(service, stretch, samples[service_id])
        if rollup is not None:
            yield rollup
