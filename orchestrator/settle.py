"""The end of every change, healthy or broken: one verdict, then each participant at its goal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, func, select, union_all, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from inventory import DatabaseProblem, Device, password_refs, table_of
from workflows import Crew, Goal, Observation

from .astray import astray
from .database import database_now, reading, writing
from .decide import abort_set, reverse_changes, shift_effect
from .drive import Arrived, Stuck, Task, drive
from .exceptions import ACCEPTED, MENDED, open_exception, resolve_settled
from .journal import (
    OpenSet,
    bump_epoch,
    find_verdict,
    line,
    load_set,
    move,
    note,
    session_name,
)
from .live import Driven, drive_sessions, live_task
from .office import Office
from .rows import ChangeRow, ExceptionRow, ParticipantRow

DECISION_TRIES = 3
SETTLED = ("settled", "no session")  # ends of a live session that ask for nothing more
# both pass by themselves: nothing is claimed about such a device, a later pass reads it
PASSING = ("unreachable", "foreign confirm")
_PART = table_of(ParticipantRow)
_EXCEPTION = table_of(ExceptionRow)
_NAMED = _PART.c.name.in_(bindparam("names", expanding=True))
_OF_SET = _PART.c.set_id == bindparam("of_set")
_ARRIVED = (
    update(_PART)
    .where(_OF_SET, _PART.c.name == bindparam("at_name"), _PART.c.at_goal_since.is_(None))
    .values(at_goal_since=bindparam("since"))
)
_NOW = bindparam("now", type_=_PART.c.at_goal_since.type)
# first read at goal is when an effect began (D4): a close days later must not move it
_SETTLED = (
    update(_PART)
    .where(_OF_SET, _NAMED)
    .values(settled=True, at_goal_since=func.coalesce(_PART.c.at_goal_since, _NOW))
)
_SINCE = union_all(
    select(_PART.c.at_goal_since).where(_OF_SET, _NAMED, _PART.c.at_goal_since.is_not(None)),
    # who was known not to be at the goal for this service has been since a person mended it
    select(_EXCEPTION.c.resolved_at).where(
        _EXCEPTION.c.change_id == bindparam("of_change"),
        _EXCEPTION.c.resolution == MENDED,
        _EXCEPTION.c.cause.not_in(PASSING),
    ),
)
_ACCEPTED = select(_EXCEPTION.c.change_id, _EXCEPTION.c.participant).where(
    _EXCEPTION.c.set_id == bindparam("of_set"), _EXCEPTION.c.resolution.startswith(ACCEPTED)
)
_DOUBTED = select(_EXCEPTION.c.change_id, _EXCEPTION.c.participant).where(
    _EXCEPTION.c.set_id == bindparam("of_set"), _EXCEPTION.c.resolved_at.is_(None)
)
# which way a change's outcome points once it is closed: only a person's "retry" drives it again
STANDS = {"done": "COMMITTED", "aborted": "ABORTED", "reversed": "REVERSED"}


def ensure_decided(office: Office, set_id: str, refusals: Mapping[str, str]) -> str:
    """Return the set's verdict; where there is none, make it ABORT.

    The ABORT row waits for a COMMIT still in flight on the same key and loses to it (F12), so
    afterwards exactly one verdict is durable. The epoch shuts out every older incarnation first.
    """
    for _again in range(DECISION_TRIES - 1):
        try:
            return _decided(office, set_id, refusals)
        except DatabaseProblem:
            continue  # a COMMIT in flight holds the key for longer than our lock timeout: ask again
    return _decided(office, set_id, refusals)


def _decided(office: Office, set_id: str, refusals: Mapping[str, str]) -> str:
    with writing(office.engine) as session:
        bump_epoch(session, set_id)
    try:
        with writing(office.engine) as session:
            if not find_verdict(session, set_id):
                abort_set(session, load_set(session, set_id), refusals)
                note(session, set_id, line("decision", verdict="ABORT", reasons=dict(refusals)))
    except IntegrityError:
        pass  # the COMMIT has landed after all: what is durable is read below
    with reading(office.engine) as session:
        verdict = find_verdict(session, set_id)
    if not verdict:
        raise DatabaseProblem("database", "gave no decision", "Run: bandmaster recover")
    return verdict


def take_passwords(office: Office, session: Session, opened: OpenSet) -> dict[str, str]:
    """Return the passwords of logins whose rows a change makes, or a reversal brings back."""
    kinds = ("activate", "terminate")
    wanted = [i.order.service_id for i in opened.items.values() if i.order.kind in kinds]
    return {name: office.secrets(ref) for name, ref in password_refs(session, wanted).items()}


@dataclass(slots=True)
class _Pass:
    """What one pass over a set found; the goal of each change is read once, at its start (W9)."""

    opened: OpenSet
    changes: tuple[ChangeRow, ...]
    accepted: frozenset[tuple[str, str]]  # (change_id, participant): a person left it as it is
    devices: dict[tuple[str, str], Arrived | Stuck] = field(default_factory=dict)
    live: Driven | None = None  # None: no session was driven
    astray: frozenset[str] = frozenset()  # sessions at which a CoA may still arrive
    carried: dict[str, frozenset[str]] = field(init=False)  # services by device

    def __post_init__(self) -> None:
        self.carried = {
            name: frozenset(item.service_id for item in handle.items)
            for name, handle in self.opened.handles.items()
        }

    def of_change(self, change: ChangeRow) -> dict[str, Arrived | Stuck]:
        """What became of the devices that carry this change's service."""
        return {
            name: found
            for (name, goal), found in self.devices.items()
            if goal == _goal(change)
            and change.service_id in self.carried[name]
            and (change.change_id, name) not in self.accepted
        }


def _stands(change: ChangeRow) -> str:
    return STANDS[change.outcome] if change.state == "CLOSED" else change.state


def _goal(change: ChangeRow) -> Goal:
    return "NEW" if _stands(change) == "COMMITTED" else "OLD"


def settle(
    office: Office,
    crew: Crew,
    set_id: str,
    devices: Mapping[str, Device],
    known: Mapping[str, Observation],
    *,
    closing: bool = False,
    retry: str = "",
) -> None:
    """Drive every participant of a decided set to its goal and write down what was reached.

    A refusal after the decision becomes a reversal of the changes it concerns, driven at once
    (W15). What cannot be settled becomes an exception. With `closing`, or for aborted changes,
    what was read at its goal is closed (D6). `retry` names one change that a person wants driven
    again, closed or not; otherwise all open changes of the set are.
    """
    found = _drive_devices(office, crew, set_id, known, retry)
    refused = {
        change.change_id: stuck.reason
        for change in found.changes
        if change.state == "COMMITTED"
        for stuck in found.of_change(change).values()
        if isinstance(stuck, Stuck) and stuck.cause == "refused"
    }
    if refused:
        with writing(office.engine) as session:
            why = "; ".join(sorted(set(refused.values())))
            passwords = take_passwords(office, session, found.opened)
            events = reverse_changes(session, found.opened, tuple(refused), why, passwords)
            told = line("reversal", seq=events[-1].seq, changes=sorted(refused), why=why)
            note(session, set_id, told)
        office.tell("decision", f"reversed for {len(refused)}: {why}")
        # logins that have read the rows of the change may still be under way (W11)
        closing = closing and not any(found.opened.items[name].session for name in refused)
        found = _drive_devices(office, crew, set_id, {}, retry)
    _drive_sessions(office, crew, found, devices)
    _write_down(office, found, closing=closing)


def _drive_devices(
    office: Office, crew: Crew, set_id: str, known: Mapping[str, Observation], retry: str
) -> _Pass:
    with reading(office.engine) as session:
        opened = load_set(session, set_id)
        accepted = session.connection().execute(_ACCEPTED, {"of_set": set_id})
        left_alone = frozenset((row.change_id, row.participant) for row in accepted)
    found = _Pass(
        opened=opened,
        accepted=left_alone,
        changes=tuple(
            change
            for change in opened.changes
            if (change.change_id == retry if retry else change.state != "CLOSED")
        ),
    )
    goals: tuple[Goal, ...] = ("NEW", "OLD")
    for goal in goals:
        changes = [change for change in found.changes if _goal(change) == goal]
        tasks = {
            name: Task(handle=part, goal=goal)
            for name, handle in opened.handles.items()
            if (part := handle.subset(_driven(found, changes, name))).items
        }
        whole = {
            name: seen
            for name, seen in known.items()
            if name in tasks and len(tasks[name].handle.items) == len(seen.items)
        }
        for name, ended in drive(office, crew, set_id, tasks, whole).items():
            found.devices[name, goal] = ended
    return found


def _driven(found: _Pass, changes: Sequence[ChangeRow], name: str) -> set[str]:
    """Return the services that a device is driven for: what a person has accepted is left alone."""
    return {
        change.service_id for change in changes if (change.change_id, name) not in found.accepted
    }


def _drive_sessions(
    office: Office, crew: Crew, found: _Pass, devices: Mapping[str, Device]
) -> None:
    """CoA for decided changes, never for aborted ones; later where a device will be read later.

    A device that is left to a person does not hold it up: the session follows the ledger.
    """
    tasks = tuple(
        task
        for change in found.changes
        if _stands(change) in ("COMMITTED", "REVERSED")
        and (change.change_id, session_name(change.change_id)) not in found.accepted
        and not any(
            isinstance(end, Stuck) and end.cause in PASSING
            for end in found.of_change(change).values()
        )
        for task in live_task(
            change.change_id,
            found.opened.items[change.change_id],
            back=_stands(change) == "REVERSED",
            applied=change.applied_at is not None,
        )
    )
    if tasks:
        found.live = drive_sessions(office, crew, found.opened.set_id, devices, tasks)


def _write_down(office: Office, found: _Pass, *, closing: bool) -> None:
    opened = found.opened
    with writing(office.engine) as session:
        now = database_now(session)
        _mark_arrivals(session, found, now)
        if found.live is not None:
            _settle_sessions(session, opened.set_id, found.live, now)
        found.astray = frozenset(astray(office, session, opened.set_id, now))
        doubted = _open_exceptions(session, opened.set_id)
        excused: dict[str, bool] = {}
        reached = []
        for change in found.changes:
            excused[change.change_id], unreachable = _excuse(session, found, change, doubted)
            if not unreachable and change.state != "CLOSED":
                reached.append(change)
        _mark_applied(session, opened, reached, now)
        for change in found.changes:
            if change.state == "CLOSED" and not excused[change.change_id]:
                _shift(session, opened, change, now)  # its close had left that to now
        for change in reached:
            quiet = session_name(change.change_id) not in found.astray
            if (closing and quiet) or change.state == "ABORTED":
                _close(session, opened, change, now, excused=excused[change.change_id])


def _open_exceptions(session: Session, set_id: str) -> frozenset[tuple[str, str]]:
    """Return the (change_id, participant) of the set's open exceptions: mostly there are none."""
    rows = session.connection().execute(_DOUBTED, {"of_set": set_id})
    return frozenset((change_id, participant) for change_id, participant in rows)


def _mark_arrivals(session: Session, found: _Pass, now: dt.datetime) -> None:
    rows = [
        {"of_set": found.opened.set_id, "at_name": name, "since": ended.at or now}
        for (name, goal), ended in found.devices.items()
        if isinstance(ended, Arrived) and goal == "NEW"
    ]
    if rows:
        session.connection().execute(_ARRIVED, rows)


def _excuse(
    session: Session, found: _Pass, change: ChangeRow, doubted: frozenset[tuple[str, str]]
) -> tuple[bool, bool]:
    """Open or settle this change's exceptions; say whether any is open and whether one is away."""
    item = found.opened.items[change.change_id]
    excused = any(change_id == change.change_id for change_id, _name in found.accepted)
    unreachable = False
    for name, ended in found.of_change(change).items():
        if isinstance(ended, Arrived):
            if (change.change_id, name) in doubted:
                resolve_settled(session, change, name)
            continue
        open_exception(session, change, item, name, ended.cause, ended.reason)
        excused = True
        unreachable = unreachable or ended.cause in PASSING or _armed(ended)
    live = found.live.endings.get(change.change_id) if found.live is not None else None
    if live is not None:
        name = session_name(change.change_id)
        if live.ending in SETTLED and change.state == "CLOSED" and name in found.astray:
            late = f"{live.text}, but a CoA that was not answered may still arrive: retry later"
            open_exception(session, change, item, name, "session", late)
            excused = True
        elif live.ending in SETTLED:
            if (change.change_id, name) in doubted:
                resolve_settled(session, change, name)
        else:
            cause = "unreachable" if live.ending == "unreachable" else "session"
            open_exception(session, change, item, name, cause, live.text)
            excused = True
            unreachable = unreachable or live.ending == "unreachable"
    return excused, unreachable


def _armed(ended: Stuck) -> bool:
    """Say whether our own timer still runs on a device that refused: it takes back what stands.

    Closed now, its lines would be left out when others of the set are put back, and their commit
    would confirm them.
    """
    return ended.cause == "refused" and ended.seen.pending == "OURS"


def _settle_sessions(session: Session, set_id: str, live: Driven, now: dt.datetime) -> None:
    live.outbox.keep(session, now)
    names = [session_name(name) for name, end in live.endings.items() if end.ending in SETTLED]
    if names:
        where = {"of_set": set_id, "names": names, "now": now}
        session.connection().execute(_SETTLED, where)


def _mark_applied(
    session: Session, opened: OpenSet, changes: Sequence[ChangeRow], now: dt.datetime
) -> None:
    # a time that is still to come was told by a clock that has been set back: counted anew
    fresh = [change for change in changes if change.applied_at is None or change.applied_at > now]
    for state in sorted({change.state for change in fresh}):
        change_ids = tuple(change.change_id for change in fresh if change.state == state)
        values = {"outcome": "done"} if state == "COMMITTED" else {}
        move(session, change_ids, opened.epoch, state, applied_at=now, **values)


def _close(
    session: Session, opened: OpenSet, change: ChangeRow, now: dt.datetime, *, excused: bool
) -> None:
    """Claim the goal that was read, if the decision is still the one the pass began with (W9)."""
    outcome = {"COMMITTED": "done", "ABORTED": "aborted", "REVERSED": "reversed"}[change.state]
    if not excused:
        _shift(session, opened, change, now)
    move(
        session,
        (change.change_id,),
        opened.epoch,
        change.state,
        state="CLOSED",
        outcome=outcome,
        closed_at=now,
    )
    closed = line("closed", change=change.change_id, goal=_goal(change))
    note(session, opened.set_id, closed, now=now)


def _shift(session: Session, opened: OpenSet, change: ChangeRow, now: dt.datetime) -> None:
    """Post the late effect of an upgrade, once: in its close or as its last exception ends (D4)."""
    upgrade = _stands(change) == "COMMITTED" and opened.items[change.change_id].gives_more()
    if upgrade and change.kind != "repair":
        shift_effect(session, opened, change, _verified_at(session, opened, change) or now)


def _verified_at(session: Session, opened: OpenSet, change: ChangeRow) -> dt.datetime | None:
    """Return when the last participant of the change was first read at its goal (D4).

    A device may be at its goal for other services of the set before it is for this one.
    """
    names = [name for name, h in opened.handles.items() if h.subset({change.service_id}).items]
    where = {
        "of_set": opened.set_id,
        "names": [*names, session_name(change.change_id)],
        "of_change": change.change_id,
    }
    session.flush()
    return max(session.connection().execute(_SINCE, where).scalars(), default=None)
