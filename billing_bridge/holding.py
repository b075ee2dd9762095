"""Which lines of a draft are held: those that a blocker concerns, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy import update
from sqlalchemy.orm import Session

from .invoice_rows import LINE
from .invoices import InvoiceLine
from .issue import Ready

_METERED = ("usage", "burst")


class Holds(Protocol):
    """A finding that holds lines: a service's, its usage's, or all of an account."""

    @property
    def finding_id(self) -> str:
        """Names it."""

    @property
    def scope(self) -> str:
        """`line` a service's lines, `usage` its metered ones, `account` all."""

    @property
    def service_id(self) -> str:
        """Whose lines."""


def hold(ready: Ready, holds: Sequence[Holds]) -> Ready:
    """Return the draft with every line that something holds among its held ones."""
    if not holds:
        return ready
    held: list[InvoiceLine] = []
    left: list[InvoiceLine] = []
    for line in ready.lines:
        why = next((one.finding_id for one in holds if _concerns(one, line)), "")
        (held if why else left).append(replace(line, finding_id=why))
    return Ready(invoice=ready.invoice, lines=tuple(left), held=tuple(held))


def mark_held(session: Session, lines: Sequence[InvoiceLine]) -> None:
    """Say in a draft that stays one why its lines are held."""
    for line in lines:
        session.connection().execute(
            update(LINE)
            .where(LINE.c.invoice_id == line.invoice_id, LINE.c.line_no == line.line_no)
            .values(finding_id=line.finding_id)
        )


def _concerns(one: Holds, line: InvoiceLine) -> bool:
    if one.scope == "account":
        return True
    same = one.service_id == line.service_id != ""
    return same and (one.scope == "line" or line.kind in _METERED)
