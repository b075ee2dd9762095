"""SNMP evidence beside the read-back: shown and kept, never a gate (decisions.md D8)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlmodel import Session, col, select

from device_templates import platform as find_platform
from inventory import Device
from workflows import Crew, Handle

from .database import writing
from .journal import note
from .office import Office
from .rows import StepRow

KIND = "snmp"


def note_evidence(
    office: Office,
    crew: Crew,
    set_id: str,
    devices: Mapping[str, Device],
    handles: Mapping[str, Handle],
) -> None:
    """Read uptime and one subscriber's counters on each device that has SNMP, into the journal.

    Says so when a device has reloaded since the last time in this set: what it was told before
    may be gone, and the read-back that follows decides.
    """
    interfaces = {
        name: kind.snmp_interface(handle.objects()[0])
        for name, handle in handles.items()
        if devices[name].snmp.port
        and (kind := find_platform(handle.platform)).snmp_interface is not None
    }
    found = crew.evidence(interfaces)
    with writing(office.engine) as session:
        for name, seen in found.items():
            before_cs = _uptime(session, set_id, name)
            note(
                session,
                set_id,
                KIND,
                name,
                interface=interfaces[name],
                read=seen.read,
                why_not=office.secrets.mask(seen.why_not),
                sys_uptime_cs=seen.sys_uptime_cs,
                if_high_speed_mbps=seen.if_high_speed_mbps,
                in_octets=seen.in_octets,
                out_octets=seen.out_octets,
            )
            if seen.read and seen.sys_uptime_cs < before_cs:
                office.tell(name, "has reloaded in the course of this change (sysUpTime)")
            elif not seen.read:
                office.tell(name, f"SNMP not read: {office.secrets.mask(seen.why_not)}")


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
