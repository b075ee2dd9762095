"""Holds: while one stands, nothing new starts on a device or anywhere."""

from __future__ import annotations

from sqlmodel import Session, col, select

from inventory import WrongUse, find_device

from .audit import audit
from .database import database_now, writing
from .office import Office
from .rows import HoldRow

EVERYWHERE = "*"


def hold(office: Office, device: str, reason: str, actor: str) -> None:
    """Stop new work on a device ("*" = anywhere); a second hold of the same replaces the reason."""
    if not reason.strip():
        raise WrongUse("hold", "needs a reason", 'Say why: bandmaster hold "card swap until 04:00"')
    with writing(office.engine) as session:
        if device != EVERYWHERE:
            find_device(session, device)
        row = session.get(HoldRow, device) or HoldRow(
            device=device, reason=reason, actor=actor, since=database_now(session)
        )
        row.reason, row.actor = reason, actor
        session.add(row)
        audit(session, actor, "hold", device, reason)


def release(office: Office, device: str, actor: str) -> None:
    """Let work start again; WrongUse if nothing is held there."""
    with writing(office.engine) as session:
        row = session.get(HoldRow, device)
        if row is None:
            held = [found.device for found in list_holds(session)]
            raise WrongUse(
                "everything" if device == EVERYWHERE else device,
                "is not on hold",
                f"On hold are: {', '.join(held)}" if held else "Nothing is on hold.",
            )
        session.delete(row)
        audit(session, actor, "release", device, row.reason)


def list_holds(session: Session) -> tuple[HoldRow, ...]:
    """Return all holds, by device."""
    return tuple(session.exec(select(HoldRow).order_by(col(HoldRow.device))))
