"""A person's answer to an exception: try again, take the change back, or accept what is."""

from __future__ import annotations

from contextlib import ExitStack

from inventory import Refused, WrongUse

from .coordinator import devices_of
from .database import database_now, reading, writing
from .decide import accept_as_is, reverse_changes
from .exceptions import find_exception, list_open, resolve
from .journal import bump_epoch, line, load_set, move, note, short
from .office import Office
from .outcome import Outcome
from .recover import outcomes
from .rows import ChangeRow, ExceptionRow
from .settle import STANDS, settle, take_passwords


def answer_exception(
    office: Office, exception_id: str, action: str, actor: str, reason: str
) -> Outcome:
    """Do what a person decided: `retry`, `reverse` or `accept`; return what became of the service.

    Raises WrongUse for an answer that this exception does not offer, Refused when it is settled.
    """
    office.check_store()
    with reading(office.engine) as session:
        row = find_exception(session, exception_id)
        change = session.get_one(ChangeRow, row.change_id)
    name = short(row.exception_id, "x")
    if row.resolved_at is not None:
        raise Refused(name, f"is settled already: {row.resolution} by {row.resolved_by}")
    if action not in row.actions.split(","):
        raise WrongUse(name, f"cannot be answered with {action}", f"You can: {row.actions}")
    if action == "accept":
        if not reason:
            raise WrongUse(name, "accepting needs a reason", "Add --reason TEXT.")
        _accept(office, row, actor, reason)
    else:
        _drive(office, row, change, action, actor, reason)
    with reading(office.engine) as session:
        items = tuple(
            item for item in outcomes(session, row.set_id) if item.change_id == row.change_id
        )
    return Outcome(items=items)


def _accept(office: Office, row: ExceptionRow, actor: str, reason: str) -> None:
    """Accept the device as it is: a ledger event says so, and the change can be closed."""
    with writing(office.engine) as session:
        bump_epoch(session, row.set_id)
        opened = load_set(session, row.set_id)
        change = next(c for c in opened.changes if c.change_id == row.change_id)
        stored = find_exception(session, row.exception_id)
        resolve(session, stored, f"accepted: {reason}", actor)
        session.flush()
        rest = list_open(session, change_ids=(row.change_id,))
        if change.state != "CLOSED" and not rest:
            outcome = next(key for key, state in STANDS.items() if state == change.state)
            now = database_now(session)
            moved = {"state": "CLOSED", "outcome": outcome, "closed_at": now}
            move(session, (change.change_id,), opened.epoch, change.state, **moved)
        note(session, row.set_id, line("accepted", row.participant, by=actor, reason=reason))
        accept_as_is(session, change, actor, row.exception_id)


def _drive(
    office: Office, row: ExceptionRow, change: ChangeRow, action: str, actor: str, reason: str
) -> None:
    with reading(office.engine) as session:
        devices = devices_of(session, tuple(load_set(session, row.set_id).items.values()))
    with ExitStack() as stack:
        leases = stack.enter_context(office.leases(f"exception {short(row.exception_id, 'x')}"))
        leases.acquire(frozenset(devices), wait_s=office.settings.lease_wait_s)
        leases.start_renewing()
        crew = stack.enter_context(office.crew(tuple(devices.values()), leases.fence))
        crew.distrust(frozenset(devices))
        with writing(office.engine) as session:
            bump_epoch(session, row.set_id)
            note(session, row.set_id, line(action, row.participant, by=actor, reason=reason))
        if action == "reverse":
            with writing(office.engine) as session:
                opened = load_set(session, row.set_id)
                why = reason or f"exception {short(row.exception_id, 'x')}"
                passwords = take_passwords(office, session, opened)
                reverse_changes(session, opened, (row.change_id,), why, passwords)
        settle(office, crew, row.set_id, devices, known={}, retry=change.change_id)
