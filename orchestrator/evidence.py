"""SNMP evidence beside the read-back: shown and kept, never a gate (decisions.md D8)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from device_templates import platform as find_platform
from inventory import DatabaseProblem, Device, DeviceProblem
from workflows import Crew, Handle, PlanItem, SnmpEvidence

from .database import reading
from .journal import Line, keep_story, line
from .office import Office
from .rows import StepRow

KIND = "snmp"


def note_evidence(
    office: Office,
    crew: Crew,
    set_id: str,
    devices: Mapping[str, Device],
    handles: Mapping[str, Handle],
    items: Sequence[PlanItem],
) -> None:
    """Read uptime and one subscriber's counters on each device that has SNMP, into the journal.

    Says so when a device has reloaded since the last time in this set: what it was told before
    may be gone, and the read-back that follows decides.
    """
    interfaces = _of_lines(devices, handles) | _of_sessions(crew, devices, handles, items)
    found = crew.evidence(interfaces)
    if found:
        with contextlib.suppress(DatabaseProblem):
            with reading(office.engine) as session:
                lines = [
                    _line(office, session, set_id, interfaces[name], name, seen)
                    for name, seen in found.items()
                ]
            keep_story(office.engine, set_id, lines)


def _of_lines(devices: Mapping[str, Device], handles: Mapping[str, Handle]) -> dict[str, str]:
    """Return the interface of the first line on each device, by device."""
    return {
        name: kind.snmp_interface(handle.objects()[0])
        for name, handle in handles.items()
        if devices[name].snmp.port
        and (kind := find_platform(handle.platform)).snmp_interface is not None
    }


def _of_sessions(
    crew: Crew,
    devices: Mapping[str, Device],
    handles: Mapping[str, Handle],
    items: Sequence[PlanItem],
) -> dict[str, str]:
    """Return the interface of one live session on each NAS that no line of ours stands on."""
    logins = {
        part.device: (part.login,)
        for item in items
        for part in item.session
        if devices[part.device].snmp.port and part.device not in handles
    }
    interfaces: dict[str, str] = {}
    for name, seen in crew.sessions(logins).items():
        live = () if isinstance(seen, DeviceProblem) else seen[logins[name][0]]
        for session in live:
            if session.interface:
                interfaces[name] = session.interface
    return interfaces


def _line(
    office: Office, session: Session, set_id: str, interface: str, name: str, seen: SnmpEvidence
) -> Line:
    why_not = office.secrets.mask(seen.why_not)
    if seen.read and seen.sys_uptime_cs < _uptime(session, set_id, name):
        office.tell(name, "has reloaded in the course of this change (sysUpTime)")
    elif not seen.read:
        office.tell(name, f"SNMP not read: {why_not}")
    return line(
        KIND,
        name,
        interface=interface,
        read=seen.read,
        why_not=why_not,
        sys_uptime_cs=seen.sys_uptime_cs,
        if_high_speed_mbps=seen.if_high_speed_mbps,
        in_octets=seen.in_octets,
        out_octets=seen.out_octets,
    )


def _uptime(session: Session, set_id: str, name: str) -> int:
    rows = session.exec(
        select(StepRow.detail)
        .where(
            col(StepRow.set_id) == set_id,
            col(StepRow.kind) == KIND,
            col(StepRow.participant) == name,
        )
        .order_by(col(StepRow.step_id))
    )
    return max((int(json.loads(text)["sys_uptime_cs"]) for text in rows), default=0)
