"""What journal and ledger do not say alike: open changes, exceptions, lone events (R-06)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from sqlmodel import Session, col, select

from billing_bridge import BillingEvent, Doubt, find_by_change
from workflows import PlanItem, item_from_json

from .journal import OPEN_STATES, short
from .rows import ChangeRow, DecisionRow, ExceptionRow

_BILLED = ("COMMITTED", "CLOSED")  # where outcome is done or open, the ledger has the new state


def list_doubts(session: Session) -> Mapping[str, tuple[Doubt, ...]]:
    """Return what is in doubt, by account: a rule says which of it has been so for too long."""
    found: dict[str, dict[str, Doubt]] = defaultdict(dict)
    for doubt in (*_open(session), *_excepted(session), *_unposted(session), *_undecided(session)):
        found[doubt.account_id].setdefault(doubt.change_id, doubt)
    return {account_id: tuple(mine.values()) for account_id, mine in found.items()}


def _open(session: Session) -> Iterator[Doubt]:
    rows = session.exec(
        select(ChangeRow).where(
            col(ChangeRow.state).in_(OPEN_STATES), col(ChangeRow.applied_at).is_(None)
        )
    )
    for change in rows:
        yield _doubt(
            session,
            change,
            problem=f"a change is {change.state.lower()}, not applied",
            journal=f"{change.state.lower()}, no device was read at its goal since",
            command="bandmaster recover",
        )


def _excepted(session: Session) -> Iterator[Doubt]:
    rows = session.exec(
        select(ChangeRow, ExceptionRow)
        .where(col(ExceptionRow.resolved_at).is_(None))
        .join(ExceptionRow, col(ExceptionRow.change_id) == col(ChangeRow.change_id))
        .order_by(col(ExceptionRow.opened_at))
    )
    for change, row in rows:
        yield _doubt(
            session,
            change,
            problem=f"an open exception: {row.cause}",
            journal=f"wanted {row.wanted}, seen {row.seen}",
            command=f"bandmaster exceptions show {short(row.exception_id, 'x')}",
            exception=row,
        )


def _unposted(session: Session) -> Iterator[Doubt]:
    """Yield what was decided and posted nothing: no program of ours leaves that behind."""
    posted = select(BillingEvent.seq).where(
        col(BillingEvent.change_id) == col(DecisionRow.change_id), col(BillingEvent.change_id) != ""
    )
    rows = session.exec(
        select(ChangeRow)
        .join(DecisionRow, col(DecisionRow.change_id) == col(ChangeRow.change_id))
        .where(
            col(DecisionRow.verdict) == "COMMIT",
            col(ChangeRow.kind) == "service",
            ~posted.exists(),
        )
    )
    for change in rows:
        yield _doubt(
            session,
            change,
            problem="committed without an event",
            journal="decided COMMIT",
            command="bandmaster ledger verify --deep",
            waits=False,
        )


def _undecided(session: Session) -> Iterator[Doubt]:
    """Yield events of changes that were never decided."""
    decided = select(DecisionRow.change_id).where(
        col(DecisionRow.change_id) == col(BillingEvent.change_id),
        col(DecisionRow.verdict) == "COMMIT",
    )
    rows = session.exec(
        select(BillingEvent).where(col(BillingEvent.change_id) != "", ~decided.exists())
    )
    for event in rows:
        yield Doubt(
            change_id=event.change_id,
            service_id=event.service_id,
            account_id=event.account_id,
            problem="an event without a committed change",
            since=event.recorded_at,
            journal="has no decision to commit it",
            ledger=event.type,
            ledger_at=event.recorded_at,
            ledger_ref=event.event_id,
            command="bandmaster ledger verify --deep",
            waits=False,
        )


def _doubt(
    session: Session,
    change: ChangeRow,
    *,
    problem: str,
    journal: str,
    command: str,
    waits: bool = True,
    exception: ExceptionRow | None = None,
) -> Doubt:
    item = item_from_json(change.item)
    events = find_by_change(session, change.change_id)
    newest = events[-1] if events else None
    return Doubt(
        change_id=change.change_id,
        service_id=change.service_id,
        account_id=item.account_id,
        problem=problem,
        since=exception.opened_at if exception else change.created_at,
        journal=journal,
        ledger=newest.type if newest else "has no event of it",
        ledger_at=newest.recorded_at if newest else None,
        ledger_ref=newest.event_id if newest else "",
        command=command,
        waits=waits,
        monthly_minor=_unbilled(change, item, posted=newest is not None),
        currency=item.money.currency,
        exponent=item.money.exponent,
    )


def _unbilled(change: ChangeRow, item: PlanItem, *, posted: bool) -> int:
    """Return what the subscriber may have a month beyond what is billed, below 0 the other way.

    Where the ledger has the new state the line may still be as it was; else it may be new already.
    """
    forward = change.state in _BILLED and change.outcome in ("open", "done")
    billed = forward and (posted or change.kind == "repair")
    return -item.monthly_delta_minor if billed else item.monthly_delta_minor
