"""Exceptions: what could not be settled, what is at stake, and the ways out for a person."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from inventory import UnknownName, new_id
from workflows import PlanItem

from .audit import audit
from .database import database_now
from .rows import ChangeRow, ExceptionRow

MENDED = "settled"  # the resolution of what was read at its goal after all
ACCEPTED = "accepted: "  # how the resolution begins of what a person left as it is
# what a person may answer to each cause; "retry" is what recovery does by itself as well
ACTIONS = {
    "unreachable": "retry,reverse,accept",
    "foreign section": "retry,reverse,accept",
    "foreign confirm": "retry,accept",
    "refused": "retry,accept",
    "session": "retry,accept",
    "not in the ledger": "retry,accept",  # found after a restore
}
_OPEN = (
    select(ExceptionRow)
    .where(col(ExceptionRow.resolved_at).is_(None))
    .order_by(col(ExceptionRow.at_stake_minor).desc(), col(ExceptionRow.exception_id))
)
_OF_SERVICES = _OPEN.where(
    col(ExceptionRow.service_id).in_(bindparam("service_ids", expanding=True))
)
_OF_CHANGES = _OPEN.where(col(ExceptionRow.change_id).in_(bindparam("change_ids", expanding=True)))


def open_exception(
    session: Session,
    change: ChangeRow,
    item: PlanItem,
    participant: str,
    cause: str,
    seen: str,
) -> ExceptionRow:
    """Open an exception, or bring the open one of the same participant up to date."""
    row = _find_open(session, change.change_id, participant)
    forward = change.state == "COMMITTED" or change.outcome == "done"
    wanted = item.after if forward else item.before
    if row is None:
        actions = ACTIONS[cause].split(",")
        if change.state != "COMMITTED":  # only an open, decided change can still be reversed
            actions = [action for action in actions if action != "reverse"]
        row = ExceptionRow(
            exception_id=new_id(),
            change_id=change.change_id,
            set_id=change.set_id,
            service_id=change.service_id,
            participant=participant,
            cause=cause,
            wanted=f"{wanted.plan_code or 'nothing'} at {wanted.rate} ({wanted.state})",
            seen=seen,
            at_stake_minor=abs(item.monthly_delta_minor),
            currency=item.money.currency,
            exponent=item.money.exponent,
            actions=",".join(actions),
            opened_at=database_now(session),
            resolved_at=None,
            resolution="",
            resolved_by="",
        )
    row.cause, row.seen = cause, seen
    session.add(row)
    return row


def resolve_settled(session: Session, change: ChangeRow, participant: str) -> None:
    """Close the exception of a participant that was read at its goal after all."""
    row = _find_open(session, change.change_id, participant)
    if row is not None:
        resolve(session, row, MENDED, "recovery")


def resolve(session: Session, row: ExceptionRow, resolution: str, actor: str) -> None:
    """Write down how an exception ended, and who said so."""
    row.resolved_at = database_now(session)
    row.resolution, row.resolved_by = resolution, actor
    session.add(row)
    detail = f"{row.service_id} {row.participant}: {row.seen}"
    audit(session, actor, f"exception {resolution}", row.exception_id, detail)


def _find_open(session: Session, change_id: str, participant: str) -> ExceptionRow | None:
    return session.exec(
        select(ExceptionRow).where(
            col(ExceptionRow.change_id) == change_id,
            col(ExceptionRow.participant) == participant,
            col(ExceptionRow.resolved_at).is_(None),
        )
    ).first()


def list_open(
    session: Session, *, service_ids: tuple[str, ...] = (), change_ids: tuple[str, ...] = ()
) -> tuple[ExceptionRow, ...]:
    """Return the open exceptions, dearest first; of some services or changes where given."""
    query = _OF_SERVICES if service_ids else _OF_CHANGES if change_ids else _OPEN
    wanted = {"service_ids": service_ids, "change_ids": change_ids}
    given = {name: list(values) for name, values in wanted.items() if values}
    return tuple(session.exec(query, params=given))


def find_exception(session: Session, exception_id: str) -> ExceptionRow:
    """Return an exception, open or not; UnknownName if there is none."""
    row = session.get(ExceptionRow, exception_id)
    if row is None:
        raise UnknownName(exception_id, "is not an exception", "See: bandmaster exceptions list")
    return row


def age(row: ExceptionRow, now: dt.datetime) -> dt.timedelta:
    """How long a person has been waited for."""
    return (row.resolved_at or now) - row.opened_at
