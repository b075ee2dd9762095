"""Holding the services' table to the ledger: replayed from the first event, both must agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from inventory import LedgerBroken, Service

from .event import LedgerEvent
from .fold import FoldedService, fold_service
from .stored import EVENTS, events_by_service

_BATCH = 1000
_COMPARED = ("account_id", "plan_code", "tier_code", "state", "version", "active_since",
             "billing_from")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Where the table and the ledger differ; `field` "story" = the events contradict each other."""

    service_id: str
    field: str
    ledger: str
    table: str


def replay_check(session: Session, services: Iterable[Service]) -> tuple[Mismatch, ...]:
    """Return every difference between the services' rows and the fold of their events (L9).

    `services` are all rows there are, in any order; use one read transaction for both. A service
    that the ledger knows and the rows lack is a difference too.
    """
    found: list[Mismatch] = []
    seen: set[str] = set()
    rest = iter(services)
    while batch := tuple(islice(rest, _BATCH)):
        seen.update(service.service_id for service in batch)
        stories = events_by_service(session.connection(), [each.service_id for each in batch])
        for service in batch:
            found += _compare(service, stories[service.service_id])
    columns = EVENTS.c
    known = session.connection().execute(
        select(columns.service_id).where(columns.service_version == 1).order_by(columns.service_id)
    )
    found += [
        Mismatch(service_id=service_id, field="service_id", ledger="known", table="missing")
        for service_id in known.scalars()
        if service_id not in seen
    ]
    return tuple(found)


def _compare(service: Service, story: tuple[LedgerEvent, ...]) -> tuple[Mismatch, ...]:
    try:
        folded = fold_service(service.service_id, story)
    except LedgerBroken as error:
        return (
            Mismatch(service_id=service.service_id, field="story", ledger=error.problem, table=""),
        )
    return differences(service, folded)


def differences(service: Service, folded: FoldedService) -> tuple[Mismatch, ...]:
    """Return where one service's row is not what its events make of it."""
    return tuple(
        Mismatch(
            service_id=service.service_id,
            field=name,
            ledger=str(getattr(folded, name)),
            table=str(getattr(service, name)),
        )
        for name in _names(folded)
        if getattr(folded, name) != getattr(service, name)
    )


def _names(folded: FoldedService) -> tuple[str, ...]:
    """A service without living events has no account in the ledger to compare."""
    return _COMPARED if folded.account_id else _COMPARED[1:]
