"""The live session: CoA after the decision only, and what the NAS then really gives (D9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from device_templates import AccessSession, ReplyAttribute
from device_templates import platform as find_platform
from inventory import UNKNOWN_RATE, Device, DeviceProblem, Rate
from workflows import CoaReply, Crew, PlanItem, SessionPart

from .astray import Outbox
from .journal import keep_story, line, session_name
from .office import Office

Ending = Literal["settled", "no session", "exception", "unreachable"]

TOLD_ONE_BY_ONE = 10  # more sessions than that are a flood on a screen
NOTED_TOGETHER = 50  # answers in one transaction: each one waits for the disk
TRIES_506 = 3  # Resources Unavailable: the NAS says itself that it may work in a moment
SESSION_NOT_FOUND = 503
RESOURCES_UNAVAILABLE = 506


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask:
    """One login's session and the rate it is to have; `gone` = it is to be disconnected."""

    change_id: str
    part: SessionPart
    rate: Rate
    gone: bool
    applied: bool  # all of the change was at its goal before


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What became of a login's session, in words a person can act on."""

    ending: Ending
    text: str
    rate: Rate = UNKNOWN_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """Every login's end by change_id, and what was sent on the way."""

    endings: Mapping[str, Live]
    outbox: Outbox


Said = tuple[LiveTask, AccessSession, CoaReply]


def live_task(
    change_id: str, item: PlanItem, *, back: bool, applied: bool = False
) -> tuple[LiveTask, ...]:
    """Return the session's share of a change (`back`: of its reversal); none without a login."""
    if not item.session:
        return ()
    part = item.session[0]
    wanted = item.before if back else item.after
    gone = part.action == "disconnect" and not back
    return (LiveTask(change_id=change_id, part=part, rate=wanted.rate, gone=gone, applied=applied),)


def drive_sessions(
    office: Office,
    crew: Crew,
    set_id: str,
    devices: Mapping[str, Device],
    tasks: tuple[LiveTask, ...],
) -> Driven:
    """Bring every live session to its rate. Sends nothing that already is so.

    Raises DatabaseProblem where the store cannot keep that something is about to be sent.
    """
    found = _read(crew, tasks)
    left = [
        session_name(task.change_id)
        for task in tasks
        if task.applied and _is_behind(task, found[task.change_id])
    ]
    outbox = Outbox(office=office, set_id=set_id, left=left)
    endings, replies = _send_all(office, crew, outbox, devices, tasks, found)
    asked = tuple(task for task in tasks if task.change_id in replies)
    seen = _read(crew, asked)
    for task in asked:
        endings[task.change_id] = _after(task, replies[task.change_id], seen[task.change_id])
    lines = [
        line(
            "session",
            task.part.device,
            change=task.change_id,
            ending=endings[task.change_id].ending,
            text=endings[task.change_id].text,
            rate=str(endings[task.change_id].rate),
        )
        for task in tasks
    ]
    keep_story(office.engine, set_id, lines)
    _tell(office, tasks, endings)
    return Driven(endings=endings, outbox=outbox)


def _send_all(
    office: Office,
    crew: Crew,
    outbox: Outbox,
    devices: Mapping[str, Device],
    tasks: tuple[LiveTask, ...],
    found: Mapping[str, tuple[AccessSession, ...] | DeviceProblem],
) -> tuple[dict[str, Live], dict[str, CoaReply]]:
    """Return the ends that are known by now, and the answers that a reading must prove."""
    endings: dict[str, Live] = {}
    replies: dict[str, CoaReply] = {}
    said: list[Said] = []
    try:
        for task in tasks:
            sessions = found[task.change_id]
            if isinstance(sessions, DeviceProblem):
                endings[task.change_id] = Live(ending="unreachable", text=str(sessions))
                continue
            wire = _Wire(office, crew, outbox, devices[task.part.device], task)
            ended = _drive_login(wire, sessions, said)
            outbox.done(session_name(task.change_id))
            if isinstance(ended, Live):
                endings[task.change_id] = ended
            else:
                replies[task.change_id] = ended
            if len(said) >= NOTED_TOGETHER:
                _note_replies(office, outbox.set_id, said)
    finally:
        _note_replies(office, outbox.set_id, said)
    return endings, replies


def _tell(office: Office, tasks: tuple[LiveTask, ...], endings: Mapping[str, Live]) -> None:
    """Tell each session's end; of many, those that went well are only counted."""
    good: tuple[Ending, ...] = ("settled", "no session")
    for task in tasks:
        live = endings[task.change_id]
        if len(tasks) <= TOLD_ONE_BY_ONE or live.ending not in good:
            office.tell("session", f"{task.part.login} on {task.part.device}: {live.text}")
    if len(tasks) > TOLD_ONE_BY_ONE:
        counts = Counter(live.ending for live in endings.values())
        office.tell("session", " · ".join(f"{counts[end]} {end}" for end in good))


def _read(
    crew: Crew, tasks: tuple[LiveTask, ...]
) -> dict[str, tuple[AccessSession, ...] | DeviceProblem]:
    logins: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        logins[task.part.device] = (*logins.get(task.part.device, ()), task.part.login)
    found = crew.sessions(logins)
    answer: dict[str, tuple[AccessSession, ...] | DeviceProblem] = {}
    for task in tasks:
        seen = found[task.part.device]
        answer[task.change_id] = seen if isinstance(seen, DeviceProblem) else seen[task.part.login]
    return answer


@dataclass(frozen=True, slots=True)
class _Wire:
    """The way to one login's NAS: nothing goes out but under the lease, and written down."""

    office: Office
    crew: Crew
    outbox: Outbox
    device: Device
    task: LiveTask

    def ask(
        self, session: AccessSession, attributes: tuple[ReplyAttribute, ...], action: str
    ) -> CoaReply:
        name = session_name(self.task.change_id)
        self.outbox.ahead(name)
        self.crew.may_send()
        reply = self.office.coa(self.device, session, attributes, action)
        self.outbox.heard(name, reply)
        return reply


def _is_behind(task: LiveTask, sessions: tuple[AccessSession, ...] | DeviceProblem) -> bool:
    return not isinstance(sessions, DeviceProblem) and not _at_goal(task, sessions)


def _drive_login(
    wire: _Wire, sessions: tuple[AccessSession, ...], said: list[Said]
) -> Live | CoaReply:
    """Return the end where nothing is left to read, else the answer to what was sent last."""
    task = wire.task
    reply: CoaReply | None = None
    for session in () if _at_goal(task, sessions) else sessions:
        reply = _send(wire, session)
        said.append((task, session, reply))
        if reply.kind == "NAK" and reply.error_cause != SESSION_NOT_FOUND:
            if not task.part.disconnect_if_needed or task.gone:
                return Live(ending="exception", text=f"NAK {reply.error_cause}: {reply.text}")
            reply = wire.ask(session, (), "disconnect")
    if reply is not None:
        return reply
    if not sessions:
        return Live(ending="no session", text="not online: the next login gets the new rows")
    return Live(ending="settled", text=f"live rate {task.rate}", rate=task.rate)


def _note_replies(office: Office, set_id: str, said: list[Said]) -> None:
    """Write down what was sent and answered, and begin a new page."""
    lines = [
        line(
            "coa",
            task.part.device,
            change=task.change_id,
            acct_session_id=session.acct_session_id,
            action="disconnect" if task.gone else "coa",
            answer=reply.kind,
            error_cause=reply.error_cause,
        )
        for task, session, reply in said
    ]
    keep_story(office.engine, set_id, lines)
    said.clear()


def _at_goal(task: LiveTask, sessions: tuple[AccessSession, ...]) -> bool:
    """Whether no session needs a request any more.

    A suspended subscriber's router logs in again at once and gets the suspended rate: that is no
    session to be ended. After a termination there is no rate that a session may have.
    """
    allowed = not task.gone or task.rate != UNKNOWN_RATE
    return allowed and all(session.rate == task.rate for session in sessions)


def _send(wire: _Wire, session: AccessSession) -> CoaReply:
    task = wire.task
    action = "disconnect" if task.gone else "coa"
    attributes: tuple[ReplyAttribute, ...] = ()
    coa = find_platform(task.part.platform).coa
    if coa is not None and not task.gone:
        # from what the session really has: it may have logged in under older rows (W16: absolute)
        attributes = coa(session.rate, task.rate, False)  # noqa: FBT003
    reply = wire.ask(session, attributes, action)
    for _again in range(TRIES_506 - 1):
        if reply.kind != "NAK" or reply.error_cause != RESOURCES_UNAVAILABLE:
            break
        wire.office.clock.sleep(1)
        reply = wire.ask(session, attributes, action)
    return reply


def _after(
    task: LiveTask, reply: CoaReply, seen: tuple[AccessSession, ...] | DeviceProblem
) -> Live:
    """Judge by the session as it was read once more: an ACK is a hint, its rate is the truth."""
    said = "no answer" if reply.kind == "SILENCE" else reply.kind
    if isinstance(seen, DeviceProblem):
        return Live(ending="unreachable", text=f"{said}, and the session cannot be read: {seen}")
    if not seen:
        return Live(ending="no session", text=f"{said} · session has ended")
    rate = next((session.rate for session in seen if session.rate != task.rate), task.rate)
    if _at_goal(task, seen):
        return Live(ending="settled", text=f"{said} · live rate {rate}", rate=rate)
    if task.gone:
        return Live(ending="exception", text=f"{said}, but the session is still up", rate=rate)
    return Live(ending="exception", text=f"{said}, but the live rate is {rate}", rate=rate)
