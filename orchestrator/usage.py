"""Usage on its way into the ledger: read what was accounted, count what is due, commit in batches.

Every batch is a transaction of its own, and every step can be done again: whoever is killed between
two of them goes on where the other stopped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session

from billing_bridge import (
    RADIUS,
    SNMP,
    DueWindow,
    Rollup,
    Taken,
    count_radius,
    count_snmp,
    heard_of,
    keep_heard,
    last_radacct,
    match_again,
    open_radacct,
    record_usage,
    take_due,
)
from inventory import AccountedSession, accounted_after, accounted_at

from .database import database_now, reading, writing
from .settings import Settings

BATCH = 500
# rows of radacct get their numbers before they are committed: look again at those behind the last
OVERLAP = 2_000

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
