"""The audit trail: who did what that is not itself a change."""

from __future__ import annotations

from sqlmodel import Session

from .database import database_now
from .rows import AuditRow


def audit(session: Session, actor: str, action: str, subject: str, detail: str) -> None:
    """Write one line in the caller's transaction: the deed and its record stand or fall together.

    Line breaks and control characters are shown escaped, so one deed stays one line.
    """
    session.add(
        AuditRow(
            at=database_now(session),
            actor=_one_line(actor),
            action=action,
            subject=_one_line(subject),
            detail=_one_line(detail),
        )
    )


def _one_line(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
