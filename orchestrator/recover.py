"""Recovery: the same end as a healthy change, begun by whoever finds the set open."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlmodel import Session

from inventory import BandmasterError, DatabaseProblem, table_of

from .astray import astray_left, doubt
from .coordinator import devices_of
from .database import database_now, reading, writing
from .exceptions import list_open
from .journal import (
    bump_epoch,
    find_verdict,
    list_changes,
    list_open_changes,
    list_open_sets,
    load_set,
    short,
)
from .office import Office
from .outcome import Ending, ItemOutcome, Outcome
from .rows import ChangeRow, ParticipantRow
from .settle import ensure_decided, settle

_CHANGE = table_of(ChangeRow)
_PART = table_of(ParticipantRow)
_APPLIED = select(_CHANGE.c.applied_at, _CHANGE.c.state).where(
    _CHANGE.c.set_id == bindparam("of_set")
)
_LOGINS = select(func.count()).where(
    _PART.c.set_id == bindparam("of_set"), _PART.c.role == "session"
)
CRASHED = {"*": "its worker died before the decision"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What one recovery run did: sets it settled, and sets that others are driving."""

    outcome: Outcome
    skipped: tuple[str, ...] = ()  # in words: which set, and who drives it or what is wrong
    waiting: tuple[str, ...] = ()  # applied sets whose settle time is not over, with the seconds


def recover(
    office: Office, *, wait_settle: bool = False, service_ids: frozenset[str] = frozenset()
) -> Recovered:
    """Settle every open set that nobody drives, and close what can be closed.

    With `service_ids` only the sets of those services. With `wait_settle` the settle time of
    applied sets is waited out; else they are listed as waiting. Nothing is forced: a set under a
    living worker's lease, or one that cannot be begun, is skipped and named. Raises Refused where
    the store was put back from a copy.
    """
    office.check_store()
    with reading(office.engine) as session:
        set_ids = list_open_sets(session)
        if service_ids:
            wanted = {change.set_id for change in list_open_changes(session, service_ids)}
            set_ids = tuple(set_id for set_id in set_ids if set_id in wanted)
    skipped: list[str] = []
    waiting: list[str] = []
    done: list[str] = []
    for set_id in set_ids:
        try:
            left_s = recover_set(office, set_id, wait_settle=wait_settle)
        except DatabaseProblem:
            raise
        except BandmasterError as problem:
            # somebody else drives it, or its device has lost its secret: the others can be settled
            skipped.append(f"{short(set_id, 's')}: {problem}")
            continue
        done.append(set_id)
        if left_s > 0:
            waiting.append(f"{short(set_id, 's')} can be closed in {left_s:.0f} s")
    with reading(office.engine) as session:
        items = tuple(item for set_id in done for item in outcomes(session, set_id))
    return Recovered(outcome=Outcome(items=items), skipped=tuple(skipped), waiting=tuple(waiting))


def recover_set(office: Office, set_id: str, *, wait_settle: bool) -> float:
    """Settle one open set; return the seconds left until it can be closed.

    With `wait_settle` what nobody has driven yet is driven first, because timers run on devices;
    then the settle time is waited out and the set is closed, or what a NAS has not answered is
    waited for, once.
    """
    applied, left_s = settle_left(office, set_id) if wait_settle else (True, 0.0)
    if left_s > 0 and not applied:
        left_s = _drive_once(office, set_id)
        applied, after_s = settle_left(office, set_id)
        if not applied:
            return left_s
        left_s = after_s
    if left_s > 0:
        office.tell("settle", f"waiting {left_s:.0f} s for logins that began before")
        office.clock.sleep(left_s)
    left_s = _drive_once(office, set_id)
    if wait_settle and left_s > 0:
        office.tell("settle", f"waiting {left_s:.0f} s for a CoA that nobody has answered")
        office.clock.sleep(left_s)
        left_s = _drive_once(office, set_id)
    return left_s


def _drive_once(office: Office, set_id: str) -> float:
    """One pass over a set under fresh leases; return the seconds left until it can be closed."""
    with reading(office.engine) as session:
        opened = load_set(session, set_id)
        devices = devices_of(session, tuple(opened.items.values()))
    with ExitStack() as stack:
        leases = stack.enter_context(office.leases(f"recovery of {short(set_id, 's')}"))
        leases.acquire(frozenset(devices), wait_s=0)
        leases.start_renewing()
        crew = stack.enter_context(office.crew(tuple(devices.values()), leases.fence))
        # whoever drove these devices before may still have a command on its way (W4)
        crew.distrust(frozenset(devices))
        with writing(office.engine) as session:
            bump_epoch(session, set_id)
            doubt(session, set_id)
        with reading(office.engine) as session:
            verdict = find_verdict(session, set_id)
            _, left_s = _settle_left(office, session, set_id)
        if not verdict:
            verdict = ensure_decided(office, set_id, CRASHED)
            _, left_s = settle_left(office, set_id)
        office.tell(short(set_id, "s"), f"decision was {verdict}: driving every participant there")
        settle(office, crew, set_id, devices, known={}, closing=left_s <= 0)
    if left_s > 0:
        return left_s
    with reading(office.engine) as session:
        return astray_left(office, session, set_id)


def settle_left(office: Office, set_id: str) -> tuple[bool, float]:
    """Say whether a set is applied, and the seconds until all logins with old rows end (W11)."""
    with reading(office.engine) as session:
        return _settle_left(office, session, set_id)


def _settle_left(office: Office, session: Session, set_id: str) -> tuple[bool, float]:
    connection, where = session.connection(), {"of_set": set_id}
    changes = connection.execute(_APPLIED, where).all()
    applied = [change.applied_at for change in changes if change.applied_at]
    if not any(change.state in ("COMMITTED", "REVERSED") for change in changes):
        return bool(applied), 0.0
    if not connection.execute(_LOGINS, where).scalar_one():
        return bool(applied), 0.0
    if not applied:
        return False, float(office.settings.settle_s)
    over = max(applied) + dt.timedelta(seconds=office.settings.settle_s)
    left_s = max(0.0, (over - database_now(session)).total_seconds())
    # never longer, though the clock was set back since: the time of applying follows it
    return True, min(left_s, float(office.settings.settle_s))


def outcomes(session: Session, set_id: str) -> tuple[ItemOutcome, ...]:
    """Return what became of each service of a set, as the journal says."""
    changes = list_changes(session, set_id)
    opens = list_open(session, change_ids=tuple(change.change_id for change in changes))
    found = []
    for change in changes:
        mine = tuple(row.exception_id for row in opens if row.change_id == change.change_id)
        found.append(
            ItemOutcome(
                service_id=change.service_id,
                change_id=change.change_id,
                ending=_ending(change),
                reason=change.refusal,
                exceptions=mine,
            )
        )
    return tuple(found)


def _ending(change: ChangeRow) -> Ending:
    if change.outcome in ("aborted", "refused", "reversed", "done") and (
        change.state == "CLOSED" or change.applied_at is not None
    ):
        endings: dict[str, Ending] = {
            "aborted": "aborted",
            "refused": "refused",
            "reversed": "reversed",
            "done": "done",
        }
        return endings[change.outcome]
    return "in doubt"


def orphans(session: Session) -> int:
    """Return how many sets are open: other commands say so in one line (D7)."""
    return len(list_open_sets(session))


def watch(office: Office) -> None:
    """Run recovery again and again until a person stops it."""
    while True:
        try:
            found = recover(office)
            for line in (*found.skipped, *found.waiting):
                office.tell("recover", line)
        except BandmasterError as problem:
            office.tell("recover", str(problem))
        office.clock.sleep(office.settings.watch_s)
