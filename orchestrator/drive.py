"""Driving devices to a goal: read, take the one next step, read again; the same for every start."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from device_templates import section_text
from workflows import Crew, Goal, Handle, Observation, Reply

from .journal import keep_story, line
from .office import Office

Verb = Literal["prepare", "confirm", "save", "abort"]
Cause = Literal["unreachable", "foreign section", "foreign confirm", "refused"]

PAUSE_S = 5  # between a device's refusal and the next try
_WORDS = {
    "prepare": "prepared",
    "confirm": "confirmed",
    "save": "saved",
    "abort": "put back",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One device's share of a pass: a handle (or part of one) and where it is to go."""

    handle: Handle
    goal: Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The device was read at its goal, in running and startup, with no timer of ours."""

    at: dt.datetime | None  # None = not read just now, or the store was away
    seen: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """The device is not at its goal and this pass cannot bring it there."""

    cause: Cause
    reason: str
    seen: Observation


def next_step(  # noqa: PLR0911 - one for each end of the table
    goal: Goal, seen: Observation
) -> Verb | Cause | Literal["done"]:
    """Return the one thing to do for a device that was seen like this. Pure.

    The end of a healthy change and the mending of a broken one both come from here.
    """
    running = seen.running()
    if running == "UNREADABLE" or seen.pending == "UNKNOWN":
        return "unreachable"
    if running == "OTHER":
        return "foreign section"
    if seen.pending == "FOREIGN":
        return "foreign confirm"
    if goal == "NEW":
        if any(item.running == "MIXED" for item in seen.items.values()):
            return "abort"  # half a section stands: back to its known pre-image, then forward
        if running != "NEW":
            return "prepare"
        if seen.pending == "OURS":
            return "confirm"
        return "done" if seen.startup() == "NEW" else "save"
    if running != "OLD" or seen.pending == "OURS":
        return "abort"
    return "done" if seen.startup() == "OLD" else "save"


def drive(
    office: Office,
    crew: Crew,
    set_id: str,
    tasks: Mapping[str, Task],
    known: Mapping[str, Observation],
) -> dict[str, Arrived | Stuck]:
    """Bring every device to its goal, all at once, until each has arrived or is stuck.

    `known` holds observations that are still true (devices locked or leased since): they spare
    the first read. A device that refuses `settings.retries` times is stuck as "refused".
    """
    settled: dict[str, Arrived | Stuck] = {}
    refusals: dict[str, int] = {}
    seen = dict(known)
    # every useful path is prepare, confirm, save at the most; the rest of the bound is for retries
    for _round in range(3 + 2 * office.settings.retries):
        left = {name: task for name, task in tasks.items() if name not in settled}
        if not left:
            break
        found, at = _look(office, crew, set_id, left, seen)
        seen.update(found)
        todo: dict[Verb, dict[str, Handle]] = {}
        for name, task in left.items():
            step = next_step(task.goal, seen[name])
            if step == "done":
                settled[name] = _arrived(office, name, seen[name], at if name in found else None)
            elif step in _WORDS:
                todo.setdefault(step, {})[name] = task.handle  # type: ignore[arg-type]  # a verb
            else:
                settled[name] = _stuck(office, name, step, seen[name])  # type: ignore[arg-type]  # a cause
        again = False
        for verb, handles in todo.items():
            replies = crew.verb(verb, handles)
            _tell_replies(office, set_id, verb, replies)
            for name, reply in replies.items():
                seen.pop(name, None)
                refusals[name] = refusals.get(name, 0) + (reply.verdict != "SENT")
                if refusals[name] >= office.settings.retries:
                    settled[name] = _given_up(office, crew, tasks[name], name, reply)
                again = again or (reply.verdict == "REFUSED" and name not in settled)
        if again:
            # a save that runs, a lock that is held: such refusals end by themselves
            office.clock.sleep(PAUSE_S)
    for name, task in tasks.items():
        if name not in settled:
            reply = Reply(verdict="REFUSED", reason="never reads back what it was told")
            settled[name] = _given_up(office, crew, task, name, reply)
    return settled


def _look(
    office: Office,
    crew: Crew,
    set_id: str,
    left: Mapping[str, Task],
    seen: Mapping[str, Observation],
) -> tuple[dict[str, Observation], dt.datetime | None]:
    found = crew.observe({n: task.handle for n, task in left.items() if n not in seen})
    return found, note_observations(office, set_id, found)


def note_observations(
    office: Office, set_id: str, found: Mapping[str, Observation]
) -> dt.datetime | None:
    """Write down what each device was seen to have; return when, None where the store is away."""
    lines = [
        line(
            "observed",
            name,
            running=seen.running(),
            startup=seen.startup(),
            pending=seen.pending,
            revision=seen.revision,
            rates={
                service_id: section_text(each.section) for service_id, each in seen.items.items()
            },
            evidence=dict(seen.evidence),
        )
        for name, seen in found.items()
    ]
    return keep_story(office.engine, set_id, lines)


def note_replies(office: Office, set_id: str, verb: str, replies: Mapping[str, Reply]) -> None:
    """Write down what each device answered to a verb."""
    lines = [
        line(verb, name, verdict=reply.verdict, reason=office.secrets.mask(reply.reason))
        for name, reply in replies.items()
    ]
    keep_story(office.engine, set_id, lines)


def _arrived(office: Office, name: str, seen: Observation, at: dt.datetime | None) -> Arrived:
    text = rates_text(seen)
    office.tell(name, f"{'stays' if text == 'switched off' else 'keeps'} {text}")
    return Arrived(at=at, seen=seen)


def rates_text(seen: Observation) -> str:
    """Return the rates of an observation for people: one rate, or how many lines."""
    rates = {section_text(item.section) for item in seen.items.values()}
    if len(rates) == 1:
        return rates.pop()
    return f"{len(seen.items)} lines"


def _stuck(office: Office, name: str, cause: Cause, seen: Observation) -> Stuck:
    reason = seen.evidence.get("problem", "")
    if cause == "foreign section":
        reason = "its configuration is neither the old nor the new one: somebody else edited it"
    if cause == "foreign confirm":
        reason = "a commit confirmed of somebody else is running"
    reason = office.secrets.mask(reason)
    office.tell(name, f"{cause}: {reason}")
    return Stuck(cause=cause, reason=reason, seen=seen)


def _given_up(office: Office, crew: Crew, task: Task, name: str, reply: Reply) -> Arrived | Stuck:
    """Look a last time: the answer may have been lost, and the deed done."""
    seen = crew.observe({name: task.handle})[name]
    if next_step(task.goal, seen) == "done":
        return _arrived(office, name, seen, None)
    unread = seen.running() == "UNREADABLE"
    return Stuck(cause="unreachable" if unread else "refused", reason=reply.reason, seen=seen)


def _tell_replies(office: Office, set_id: str, verb: Verb, replies: Mapping[str, Reply]) -> None:
    note_replies(office, set_id, verb, replies)
    for name, reply in replies.items():
        done = reply.verdict == "SENT"
        reason = office.secrets.mask(reply.reason)
        office.tell(name, _WORDS[verb] if done else f"{verb} {reply.verdict.lower()}: {reason}")
