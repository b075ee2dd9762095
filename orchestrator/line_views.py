"""Lines as people ask for them: what is intended, what was last observed, what a device shows."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlmodel import Session, col, select

from billing_bridge import LedgerEvent, Shown, find_by_service, keep_observations
from device_templates import AccessSession, Objects, Platform, Reading, section_rate, section_text
from device_templates import platform as find_platform
from inventory import (
    SUSPENDED_TIER,
    UNKNOWN_RATE,
    Account,
    Device,
    DeviceProblem,
    OpenSession,
    ProfileMissing,
    Rate,
    Service,
    Tier,
    UnknownName,
    find_account,
    find_device,
    find_text,
    list_devices,
    list_services,
    list_tiers,
    open_sessions,
    read_login,
    services_many,
)
from workflows import SnmpEvidence, no_fence

from .coordinator import objects_text
from .database import database_now, reading, writing
from .exceptions import list_open
from .journal import OPEN_STATES
from .office import Office
from .rows import ChangeRow, ExceptionRow, StepRow
from .views import ChangeLine, list_changes

SEARCHED = 2_000  # journal steps looked through for a service's newest reading
NEWEST = 5  # changes and events shown of a service


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The newest rate a device was read to give a service, and when; "live" = just now."""

    device: str
    rate: Rate
    at: dt.datetime
    live: bool = False
    problem: str = ""
    text: str = ""  # the rate for people, or why there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """One service on one screen."""

    service: Service
    pending: bool  # a change of it is open
    intended: Rate
    observed: tuple[Observed, ...]
    radius_group: str
    accounted: tuple[OpenSession, ...]  # sessions that accounting holds for open
    sessions: tuple[AccessSession, ...]  # what the NAS itself shows; only when read live
    changes: tuple[ChangeLine, ...]
    events: tuple[LedgerEvent, ...]
    exceptions: tuple[ExceptionRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberView:
    """Who, and all of their services."""

    account: Account
    services: tuple[ServiceView, ...]


def subscriber_view(session: Session, name: str) -> SubscriberView:
    """Return the subscriber that a service_id, login or account_id names; UnknownName if none."""
    account_id, services = _named(session, name)
    tiers = {tier.code: tier for tier in list_tiers(session)}
    return SubscriberView(
        account=find_account(session, account_id),
        services=tuple(_service_view(session, service, tiers) for service in services),
    )


def _named(session: Session, name: str) -> tuple[str, tuple[Service, ...]]:
    hits = find_text(session, name)
    for hit in hits:
        if hit.kind in ("service", "login") and name in (hit.id, hit.shown.split(" ")[0]):
            service = services_many(session, (hit.id,))[0]
            return service.account_id, (service,)
    for hit in hits:
        if hit.kind == "account" and hit.id == name:
            mine = [s for s in list_services(session) if s.account_id == name]
            return name, tuple(mine)
    near = sorted({hit.id for hit in hits})[:3]
    raise UnknownName(
        name,
        "is not a service, login or account",
        f"Did you mean {' or '.join(near)}?" if near else "See: bandmaster find TEXT",
    )


def _service_view(session: Session, service: Service, tiers: Mapping[str, Tier]) -> ServiceView:
    service_id = service.service_id
    pending = session.exec(
        select(ChangeRow.change_id).where(
            col(ChangeRow.service_id) == service_id, col(ChangeRow.state).in_(OPEN_STATES)
        )
    ).first()
    return ServiceView(
        service=service,
        pending=pending is not None,
        intended=intended_rate(service, tiers),
        observed=last_observed(session, service),
        radius_group=read_login(session, service.login).group if service.login else "",
        accounted=open_sessions(session, service.login) if service.login else (),
        sessions=(),
        changes=list_changes(session, service_id=service_id, limit=NEWEST),
        events=find_by_service(session, service_id)[-NEWEST:],
        exceptions=list_open(session, service_ids=(service_id,)),
    )


def intended_rate(service: Service, tiers: Mapping[str, Tier]) -> Rate:
    """Return what the ledger means the line to give; UNKNOWN_RATE for one that gives nothing."""
    codes = {"active": service.tier_code, "suspended": SUSPENDED_TIER}
    tier = tiers.get(codes.get(service.state, ""))
    return tier.rate if tier else UNKNOWN_RATE


def last_observed(session: Session, service: Service) -> tuple[Observed, ...]:
    """Return the newest reading of each device in the journal of the service's changes."""
    sets = select(ChangeRow.set_id).where(col(ChangeRow.service_id) == service.service_id)
    rows = session.exec(
        select(StepRow)
        .where(col(StepRow.set_id).in_(sets), col(StepRow.kind) == "observed")
        .order_by(col(StepRow.step_id).desc())
        .limit(SEARCHED)
    )
    found: dict[str, Observed] = {}
    for row in rows:
        rates = json.loads(row.detail).get("rates", {})
        text = rates.get(service.service_id)
        if text and row.participant not in found:
            found[row.participant] = Observed(
                device=row.participant, rate=rate_of(text), at=row.at, text=text
            )
    return tuple(found[name] for name in sorted(found))


def rate_of(text: str) -> Rate:
    """Return the rate whose text is `500/100 Mbit/s`; UNKNOWN_RATE for any other text."""
    numbers, _, unit = text.partition(" ")
    scale = {"Mbit/s": 1000, "kbit/s": 1}.get(unit, 0)
    down, _, up = numbers.partition("/")
    if not scale or not down.isdigit() or not up.isdigit():
        return UNKNOWN_RATE
    return Rate(down_kbps=int(down) * scale, up_kbps=int(up) * scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """What the devices of one service show just now."""

    observed: tuple[Observed, ...]
    sessions: tuple[AccessSession, ...]
    evidence: Mapping[str, SnmpEvidence]  # by device; only where SNMP is set up


def read_live(office: Office, service: Service, now: dt.datetime) -> LiveView:
    """Read the service's devices now; nothing is sent that changes anything."""
    places = {place.device: dict(place.objects) for place in service.attachments}
    with reading(office.engine) as session:
        devices = {name: find_device(session, name) for name in sorted(places)}
    nas = {p.device for p in service.attachments if p.role == "bng" and service.login}
    with office.crew(tuple(devices.values()), no_fence) as crew:
        sections = crew.sections({n: (objects,) for n, objects in places.items() if objects})
        logins = crew.sessions(dict.fromkeys(nas, (service.login,)))
        found = {
            name: seen[service.login]
            for name, seen in logins.items()
            if not isinstance(seen, DeviceProblem)
        }
        evidence = crew.evidence(_snmp_interfaces(devices, places, found))
    sessions = tuple(one for seen in found.values() for one in seen)
    return LiveView(
        observed=tuple(_observed(name, seen, now) for name, seen in sorted(sections.items())),
        sessions=sessions,
        evidence=evidence,
    )


def _observed(name: str, seen: Reading | DeviceProblem, now: dt.datetime) -> Observed:
    if isinstance(seen, DeviceProblem):
        return Observed(device=name, rate=UNKNOWN_RATE, at=now, live=True, problem=str(seen))
    section = seen.sections[0]
    return Observed(
        device=name, rate=section_rate(section), at=now, live=True, text=section_text(section)
    )


def _snmp_interfaces(
    devices: Mapping[str, Device],
    places: Mapping[str, Objects],
    sessions: Mapping[str, tuple[AccessSession, ...]],
) -> dict[str, str]:
    """Return the interface to ask for, by device: the line's own, else the live session's."""
    found: dict[str, str] = {}
    for name, device in devices.items():
        ask = find_platform(device.platform).snmp_interface
        if not device.snmp.port or ask is None:
            continue
        live = next((one.interface for one in sessions.get(name, ()) if one.interface), "")
        interface = ask(places[name]) if places[name] else live
        if interface:
            found[name] = interface
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCheck:
    """One service on a device: what it is to give and what it gives; `ok` = the same."""

    service_id: str
    state: str
    intended: Rate
    seen: Rate
    ok: bool
    what: str  # what is wrong, "" where nothing is


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCheck:
    """What a device answers; `problem` = it could not be used at all."""

    device: str
    problem: str
    remedy: str
    lines: tuple[LineCheck, ...]

    @property
    def drifted(self) -> bool:
        """Whether a line gives something else than the ledger says."""
        return any(not line.ok for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRead:
    """A device, our lines on it, and what it shows for them, in the same order."""

    device: Device
    lines: tuple[tuple[Service, Objects], ...]
    seen: Reading | DeviceProblem


def check_devices(office: Office, names: Iterable[str]) -> tuple[DeviceCheck, ...]:
    """Log in to the devices, read every line of ours and compare it with the ledger's tier.

    What they show is kept as observations.
    """
    found = read_devices(office, names)
    _remember(office, found)
    with reading(office.engine) as session:
        tiers = {tier.code: tier for tier in list_tiers(session)}
    return tuple(_check(each, tiers) for each in found)


def _remember(office: Office, reads: Iterable[DeviceRead]) -> None:
    """Keep what the devices showed: the gate holds it to what is billed."""
    read = [each for each in reads if not isinstance(each.seen, DeviceProblem)]
    shown = [
        Shown(
            device=each.device.name,
            object=objects_text(tuple(objects.items())),
            service_id=service.service_id,
            rate=section_rate(each.seen.sections[place]),
            present=dict(each.seen.sections[place]).get("state") == "on",
        )
        for each in read
        if not isinstance(each.seen, DeviceProblem)
        for place, (service, objects) in enumerate(each.lines)
    ]
    with writing(office.engine) as session:
        names = [each.device.name for each in read]
        keep_observations(session, names, shown, database_now(session))


def read_devices(office: Office, names: Iterable[str]) -> tuple[DeviceRead, ...]:
    """Log in to the devices (none named = all) and read every line of ours; nothing is sent."""
    with reading(office.engine) as session:
        wanted = frozenset(names)
        for name in sorted(wanted):
            find_device(session, name)
        devices = tuple(
            device
            for device in list_devices(session)
            if device.role != "radius" and (not wanted or device.name in wanted)
        )
        on = {d.name: _lines_on(d.name, list_services(session, device=d.name)) for d in devices}
    with office.crew(devices, no_fence) as crew:
        found = crew.sections(
            {name: tuple(objects for _s, objects in lines) for name, lines in on.items()}
        )
    return tuple(DeviceRead(device=d, lines=on[d.name], seen=found[d.name]) for d in devices)


def _lines_on(name: str, services: Iterable[Service]) -> tuple[tuple[Service, Objects], ...]:
    return tuple(
        (service, dict(place.objects))
        for service in services
        for place in service.attachments
        if place.device == name and place.objects
    )


def _check(read: DeviceRead, tiers: Mapping[str, Tier]) -> DeviceCheck:
    device, seen = read.device, read.seen
    if isinstance(seen, DeviceProblem):
        return DeviceCheck(device=device.name, problem=str(seen), remedy=seen.remedy, lines=())
    kind = find_platform(device.platform)
    checked = tuple(
        _line(kind, service, objects, place, seen, intended_rate(service, tiers))
        for place, (service, objects) in enumerate(read.lines)
    )
    return DeviceCheck(device=device.name, problem="", remedy="", lines=checked)


def _line(  # the parts of one comparison
    kind: Platform, service: Service, objects: Objects, place: int, seen: Reading, rate: Rate
) -> LineCheck:
    section = seen.sections[place]
    given = section_rate(section)
    what = ""
    if service.state in ("active", "suspended"):
        what = drift_text(kind, service, objects, place, seen, rate)
    elif service.state == "terminated" and dict(section).get("state") == "on":
        what = f"is switched on, {section_text(section)}, the ledger says terminated"
    return LineCheck(
        service_id=service.service_id,
        state=service.state,
        intended=rate,
        seen=given,
        ok=not what,
        what=what,
    )


def drift_text(  # the parts of one comparison
    kind: Platform, service: Service, objects: Objects, place: int, seen: Reading, rate: Rate
) -> str:
    """Say in what a line differs from what its device can give for the ledger's tier."""
    section = seen.sections[place]
    if not section:
        return "the line does not exist on the device"
    try:
        due = kind.target(objects, service.state, rate, section, seen.profiles)
    except ProfileMissing as missing:
        return str(missing)
    leaves = dict(section)
    if leaves.get("state") != dict(due).get("state"):
        return f"is switched {leaves.get('state', 'unknown')}"
    if leaves.get("programmed") == "no":
        return "is configured, but the data plane does something else"
    if section_rate(section) != section_rate(due):
        return f"gives {section_text(section)}, the ledger says {rate}"
    return ""
