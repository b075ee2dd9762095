"""A person's answer to an exception: try again, take the change back, or accept what is."""

from __future__ import annotations

from contextlib import ExitStack

from sqlmodel import Session

from inventory import Refused, WrongUse

from .astray import doubt
from .coordinator import devices_of
from .database import reading, writing
from .decide import accept_as_is, reverse_changes
from .exceptions import ACCEPTED, find_exception, list_open, resolve
from .journal import bump_epoch, line, load_set, note, short
from .office import Office
from .outcome import Outcome
from .recover import outcomes, settle_left
from .rows import ChangeRow, ExceptionRow
from .settle import settle, take_passwords


def answer_exception(
    office: Office, exception_id: str, action: str, actor: str, reason: str
) -> Outcome:
    """Do what a person decided: `retry`, `reverse` or `accept`; return what became of the service.

    Raises WrongUse for an answer that this exception does not offer, Refused when it is settled.
    """
    office.check_store()
    with reading(office.engine) as session:
        row = find_exception(session, exception_id)
    name = short(row.exception_id, "x")
    _refuse_settled(row)
    if action not in row.actions.split(","):
        raise WrongUse(name, f"cannot be answered with {action}", f"You can: {row.actions}")
    if action == "accept" and not reason:
        raise WrongUse(name, "accepting needs a reason", "Add --reason TEXT.")
    _carry_out(office, row, action, actor, reason)
    with reading(office.engine) as session:
        items = tuple(
            item for item in outcomes(session, row.set_id) if item.change_id == row.change_id
        )
    return Outcome(items=items)


def _refuse_settled(row: ExceptionRow) -> None:
    if row.resolved_at is not None:
        name = short(row.exception_id, "x")
        raise Refused(name, f"is settled already: {row.resolution} by {row.resolved_by}")


def _carry_out(office: Office, row: ExceptionRow, action: str, actor: str, reason: str) -> None:
    """Write the answer down and drive what is left of the change, under the devices' leases."""
    with reading(office.engine) as session:
        devices = devices_of(session, tuple(load_set(session, row.set_id).items.values()))
    with ExitStack() as stack:
        leases = stack.enter_context(office.leases(f"exception {short(row.exception_id, 'x')}"))
        leases.acquire(frozenset(devices), wait_s=office.settings.lease_wait_s)
        leases.start_renewing()
        crew = stack.enter_context(office.crew(tuple(devices.values()), leases.fence))
        crew.distrust(frozenset(devices))
        with writing(office.engine) as session:
            stored = find_exception(session, row.exception_id)
            _refuse_settled(stored)  # whoever held the leases before may have settled it
            bump_epoch(session, row.set_id)
            doubt(session, row.set_id)
            word = "accepted" if action == "accept" else action
            note(session, row.set_id, line(word, row.participant, by=actor, reason=reason))
            if action == "reverse":
                _reverse(office, session, row, reason)
            drives = action != "accept" or _accept(session, stored, actor, reason)
        if drives:
            closing = action == "accept" and settle_left(office, row.set_id)[1] <= 0
            settle(
                office, crew, row.set_id, devices, known={}, closing=closing, retry=row.change_id
            )


def _accept(session: Session, row: ExceptionRow, actor: str, reason: str) -> bool:
    """Accept the participant as it is: a ledger event says so. True = the others are driven now.

    The change is closed by their pass: the live session still has to follow the ledger.
    """
    change = session.get_one(ChangeRow, row.change_id)
    resolve(session, row, f"{ACCEPTED}{reason}", actor)
    session.flush()
    rest = list_open(session, change_ids=(row.change_id,))
    accept_as_is(session, change, actor, row.exception_id)
    return change.state != "CLOSED" and not rest


def _reverse(office: Office, session: Session, row: ExceptionRow, reason: str) -> None:
    opened = load_set(session, row.set_id)
    why = reason or f"exception {short(row.exception_id, 'x')}"
    passwords = take_passwords(office, session, opened)
    reverse_changes(session, opened, (row.change_id,), why, passwords)
