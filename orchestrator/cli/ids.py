"""Identifiers as people type them: any unique prefix, with or without the letter before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inventory import UnknownName, WrongUse

if TYPE_CHECKING:
    from sqlmodel import Session

NAMES = {
    "p": "change plan",
    "c": "change",
    "s": "change set",
    "x": "exception",
    "o": "order",
    "e": "ledger event",
    "i": "invoice",
    "r": "invoice run",
    "m": "credit or charge",
    "f": "finding",
    "u": "usage exception",
}
_LISTS = {
    "x": "bandmaster exceptions list",
    "e": "bandmaster ledger tail",
    "i": "bandmaster invoice list",
    "r": "bandmaster invoice list --runs",
    "m": "bandmaster credit list",
    "f": "bandmaster billing findings list",
    "u": "bandmaster usage exceptions list",
}
_GROUPS = (8, 12, 16, 20)  # digits before each dash of a UUID
_DIGITS = 32
_SHOWN = 5


def resolve(session: Session, letters: str, text: str) -> tuple[str, str]:
    """Return (letter, full identifier) of the one thing that `text` is a prefix of.

    `letters` are the kinds looked among, e.g. "cs". Raises WrongUse for a malformed or ambiguous
    text, naming the candidates, and UnknownName where there is none.
    """
    kinds, digits = _read(letters, text)
    found = [
        (letter, identifier)
        for letter in kinds
        for identifier in _starting(session, letter, digits)
    ]
    if len(found) == 1:
        return found[0]
    what = " or ".join(NAMES[letter] for letter in kinds)
    if not found:
        see = _LISTS.get(kinds[0], "bandmaster change list")
        raise UnknownName(text, f"is no {what}", f"See: {see}")
    shown = ", ".join(f"{letter}-{identifier}" for letter, identifier in found[:_SHOWN])
    more = " and more" if len(found) > _SHOWN else ""
    raise WrongUse(text, f"could be any of {shown}{more}", "Type more of it.")


def resolve_invoice(session: Session, letters: str, text: str) -> tuple[str, str]:
    """Return (letter, full identifier) of an invoice by its number, or as `resolve` does.

    Raises WrongUse where several bear the number: issuers and kinds count each their own.
    """
    from billing_bridge import find_numbered

    found = find_numbered(session, text.strip())
    if not found:
        return resolve(session, letters, text)
    if len(found) == 1:
        return "i", found[0].invoice_id
    shown = ", ".join(f"i-{one.invoice_id} ({one.legal_entity} {one.kind})" for one in found)
    raise WrongUse(text, f"is the number of {shown}", "Name it by its id.")


def _read(letters: str, text: str) -> tuple[str, str]:
    lowered = text.strip().lower()
    kinds = letters
    if lowered[1:2] == "-" and lowered[:1] in NAMES:
        if lowered[0] not in letters:
            wanted = " or ".join(NAMES[letter] for letter in letters)
            raise WrongUse(text, f"is {_one(NAMES[lowered[0]])}, here {_one(wanted)} is needed")
        kinds, lowered = lowered[0], lowered[2:]
    digits = lowered.replace("-", "")
    if not digits or len(digits) > _DIGITS or set(digits) - set("0123456789abcdef"):
        wanted = " or ".join(f"{letter}-..." for letter in letters)
        raise WrongUse(text, "is not an identifier", f"Identifiers look like {wanted}")
    return kinds, digits


def _one(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"  # a usage, an invoice


def _starting(session: Session, letter: str, digits: str) -> list[str]:
    from sqlmodel import col, select

    from billing_bridge import (
        BillingEvent,
        CreditRow,
        FindingRow,
        InvoiceRow,
        InvoiceRunRow,
        UsageExceptionRow,
    )
    from orchestrator.rows import (
        ChangeRow,
        ExceptionRow,
        OrderRow,
        PlanRow,
        SetRow,
    )

    columns = {
        "p": PlanRow.plan_id,
        "c": ChangeRow.change_id,
        "s": SetRow.set_id,
        "x": ExceptionRow.exception_id,
        "o": OrderRow.order_id,
        "e": BillingEvent.event_id,
        "i": InvoiceRow.invoice_id,
        "r": InvoiceRunRow.run_id,
        "m": CreditRow.credit_id,
        "f": FindingRow.finding_id,
        "u": UsageExceptionRow.exception_id,
    }
    column = col(columns[letter])
    query = select(column).where(column.startswith(_dashed(digits)))
    return list(session.exec(query.order_by(column).limit(_SHOWN + 1)))


def _dashed(digits: str) -> str:
    """Return the digits as the beginning of a UUID's text."""
    starts = (0, *_GROUPS)
    ends = (*_GROUPS, _DIGITS)
    parts = [digits[start:end] for start, end in zip(starts, ends, strict=True)]
    return "-".join(part for part in parts if part)
