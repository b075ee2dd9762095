"""Reading a device: its sections now, and the one truth about it in the course of a change."""

from __future__ import annotations

import contextlib

from device_templates import (
    AccessSession,
    Database,
    Objects,
    Platform,
    Reading,
    Section,
    typed_objects,
)
from inventory import BadField, DeviceProblem, Unreadable

from .participant import (
    Handle,
    ItemSeen,
    Observation,
    PendingSeen,
    Seen,
    Wire,
    classify,
)

FEW = 10  # up to here one query a login is cheaper than the list of all sessions
NOT_READ = ItemSeen(running="UNREADABLE", startup="UNREADABLE")


def read_sections(wire: Wire, platform: Platform, objects: tuple[Objects, ...]) -> Reading:
    """Return what runs on the device for these objects; Unreachable or Unreadable if it cannot."""
    return _read(wire, platform, "running", objects)


def _read(
    wire: Wire, platform: Platform, database: Database, objects: tuple[Objects, ...]
) -> Reading:
    """Ask only about objects that the platform's fields allow: their values stand in the queries.

    They may come from a stored handle, and what is stored can be altered.
    """
    try:
        typed = tuple(typed_objects(platform, "a stored change", one) for one in objects)
    except BadField as bad:
        raise Unreadable(platform.name, f"nothing was asked or sent: {bad}") from bad
    return platform.parse(database, typed, wire.ask(platform.read(database, typed)))


def read_sessions(
    wire: Wire, platform: Platform, logins: tuple[str, ...]
) -> dict[str, tuple[AccessSession, ...]]:
    """Return each login's live sessions as the NAS shows them; none where it keeps no sessions.

    Many logins are looked up in the one list of all sessions, where the NAS has such a list.
    """
    if platform.session_read is None or platform.session_parse is None:
        return dict.fromkeys(logins, ())
    if len(logins) > FEW and platform.session_list:
        # somebody else's session that is not understood must not hide ours: then one by one
        with contextlib.suppress(Unreadable):
            listed: dict[str, list[AccessSession]] = {login: [] for login in logins}
            for session in platform.session_parse("", wire.ask(platform.session_list)):
                if session.login in listed:
                    listed[session.login].append(session)
            return {login: tuple(sessions) for login, sessions in listed.items()}
    return {
        login: platform.session_parse(login, wire.ask(platform.session_read(login)))
        for login in logins
    }


def observe(wire: Wire, platform: Platform, handle: Handle, *, startup: bool = True) -> Observation:
    """Read running, startup and the revert timer, and say where each item stands.

    Never raises for what a device does: what cannot be read is UNREADABLE. Without `startup` the
    startup configuration is not asked for and is given as UNREADABLE.
    """
    try:
        pending, revision = wire.pending(handle)
        running = read_sections(wire, platform, handle.objects()).sections
        saved = _startup(wire, platform, handle, pending, running) if startup else ()
    except DeviceProblem as problem:
        return Observation(
            pending="UNKNOWN",
            items={item.service_id: NOT_READ for item in handle.items},
            evidence={"problem": str(problem)},
        )
    return Observation(
        pending=pending,
        revision=revision,
        items={
            item.service_id: ItemSeen(
                running=classify(item.before, item.after, running[place]),
                startup=_classify_saved(handle, place, saved),
                section=running[place],
            )
            for place, item in enumerate(handle.items)
        },
    )


def _startup(
    wire: Wire,
    platform: Platform,
    handle: Handle,
    pending: PendingSeen,
    running: tuple[Section, ...],
) -> tuple[Section, ...]:
    if platform.mechanism == "native_confirm":
        # confirming is saving there: while a timer runs, a reload would bring the old text back
        armed = pending in ("OURS", "FOREIGN")
        return tuple(item.before for item in handle.items) if armed else running
    sections = _read(wire, platform, "startup", handle.objects()).sections
    if len(sections) != len(handle.items):
        raise Unreadable(handle.device, "the saved configuration lacks some of our objects")
    return sections


def _classify_saved(handle: Handle, place: int, saved: tuple[Section, ...]) -> Seen:
    if not saved:
        return "UNREADABLE"
    item = handle.items[place]
    return classify(_kept(item.before), _kept(item.after), _kept(saved[place]))


def _kept(section: Section) -> Section:
    """Drop what only the data plane can tell: a saved text has no `programmed` leaf."""
    return tuple(pair for pair in section if pair[0] != "programmed")
