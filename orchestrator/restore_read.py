"""After a restore, what devices show beside what the ledger says: read only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlmodel import col, select

from device_templates import AccessSession, Section, gate, section_rate, section_text
from device_templates import platform as find_platform
from inventory import (
    UNKNOWN_RATE,
    Account,
    BandmasterError,
    Device,
    DeviceProblem,
    Plan,
    Rate,
    Service,
    Tier,
    accounts_many,
    list_plans,
    list_services,
    list_tiers,
)
from workflows import DevicePart, HandleItem, SessionPart, no_fence

from .database import reading
from .journal import OPEN_STATES
from .line_views import DeviceRead, drift_text, intended_rate
from .office import Office
from .rows import ChangeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """A difference as it was read, with what puts it right; the last two may be missing."""

    where: str
    what: str
    rate: Rate
    on: bool
    part: DevicePart | None = None
    session: SessionPart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What the store says, read once."""

    services: Mapping[str, Service]
    accounts: Mapping[str, Account]
    tiers: Mapping[str, Tier]
    plans: Mapping[str, Plan]
    busy: frozenset[str]  # services whose change was not applied yet: recovery drives those


def failed(read: DeviceRead) -> bool:
    """Say whether a device could not be read."""
    return isinstance(read.seen, DeviceProblem)


def point(service: Service, rate: Rate = UNKNOWN_RATE) -> str:
    """Return what the ledger says of a service, in a few words."""
    plan = f"{service.plan_code} " if service.state in ("active", "suspended") else ""
    given = f" at {rate}" if rate != UNKNOWN_RATE else ""
    return f"{plan}{'not active yet' if service.state == 'none' else service.state}{given}"


def load_store(office: Office) -> Store:
    """Read what the store says of every service."""
    with reading(office.engine) as session:
        services = {service.service_id: service for service in list_services(session)}
        busy = session.exec(
            select(ChangeRow.service_id).where(
                col(ChangeRow.state).in_(OPEN_STATES), col(ChangeRow.applied_at).is_(None)
            )
        )
        return Store(
            services=services,
            accounts=accounts_many(session, {s.account_id for s in services.values()}),
            tiers={tier.code: tier for tier in list_tiers(session)},
            plans={plan.code: plan for plan in list_plans(session)},
            busy=frozenset(busy),
        )


def odd_lines(store: Store, reads: Iterable[DeviceRead]) -> dict[str, list[Odd]]:
    """Return the lines that are not as the ledger says, by service; open changes are left out."""
    found: dict[str, list[Odd]] = {}
    for read in reads:
        for place, (service, _objects) in enumerate(read.lines):
            if service.service_id in store.busy:
                continue
            odd = _odd_line(store, read, place)
            if odd is not None:
                found.setdefault(service.service_id, []).append(odd)
    return found


def _odd_line(store: Store, read: DeviceRead, place: int) -> Odd | None:
    seen = read.seen
    if isinstance(seen, DeviceProblem):
        return None  # the device is put on hold as a whole
    service, objects = read.lines[place]
    kind = find_platform(read.device.platform)
    section = seen.sections[place]
    rate = section_rate(section)
    on = dict(section).get("state") == "on"
    due = intended_rate(service, store.tiers)
    if service.state in ("active", "suspended"):
        what = drift_text(kind, service, objects, place, seen, due)
    else:
        # a line that was made ready and never sold is not live: one that has a tier's rate is
        sold = {tier.rate for tier in store.tiers.values()}
        live = on and (service.state == "terminated" or rate in sold)
        said = f"is switched on, {section_text(section)}, the ledger says {point(service)}"
        what = said if live else ""
    if not what:
        return None
    part = None
    try:
        state = service.state if service.state in ("active", "suspended") else "terminated"
        target = kind.target(objects, state, due, section, seen.profiles)
        part = _device_part(read.device, service, objects, section, target)
    except BandmasterError as problem:
        what = f"{what}; {problem}"
    return Odd(where=read.device.name, what=what, rate=rate, on=on, part=part)


def _device_part(
    device: Device,
    service: Service,
    objects: Mapping[str, str | int],
    section: Section,
    target: Section,
) -> DevicePart | None:
    kind = find_platform(device.platform)
    forward = kind.render(dict(objects), section, target)
    inverse = kind.render(dict(objects), target, section)
    if not forward:
        return None
    for lines in (forward, inverse):
        gate(kind, lines, dict(objects))
    item = HandleItem(
        service_id=service.service_id,
        objects=tuple(objects.items()),
        before=section,
        after=target,
        forward=forward,
        inverse=inverse,
    )
    return DevicePart(
        device=device.name,
        platform=kind.name,
        mechanism=kind.mechanism,
        note=kind.note,
        item=item,
    )


def odd_sessions(
    office: Office, store: Store, devices: Mapping[str, Device], unread: dict[str, str]
) -> dict[str, list[Odd]]:
    """Return the live sessions that have another rate than the ledger says; names who is away."""
    logins: dict[str, dict[str, Service]] = {}
    for service in store.services.values():
        for place in service.attachments:
            if place.role == "bng" and service.login and place.device not in unread:
                logins.setdefault(place.device, {})[service.login] = service
    with office.crew(tuple(devices[name] for name in sorted(logins)), no_fence) as crew:
        seen = crew.sessions({name: tuple(sorted(mine)) for name, mine in logins.items()})
    found: dict[str, list[Odd]] = {}
    for name, mine in logins.items():
        shown = seen[name]
        if isinstance(shown, DeviceProblem):
            unread[name] = str(shown)
            continue
        for login, service in mine.items():
            due = intended_rate(service, store.tiers)
            wrong = [live for live in shown[login] if live.rate != due or due == UNKNOWN_RATE]
            if wrong and service.service_id not in store.busy:
                found[service.service_id] = [_odd_session(devices[name], service, wrong[0], due)]
    return found


def _odd_session(device: Device, service: Service, live: AccessSession, due: Rate) -> Odd:
    kind = find_platform(device.platform)
    gone = due == UNKNOWN_RATE
    suspended = service.state == "suspended"
    part = SessionPart(
        device=device.name,
        platform=kind.name,
        login=service.login,
        action="disconnect" if gone else "coa",
        attributes=() if gone or kind.coa is None else kind.coa(live.rate, due, suspended),
        acct_session_id=live.acct_session_id,
        rate_seen=live.rate,
        since=live.started,
    )
    what = f"the live session has {live.rate}, the ledger says {point(service)}"
    return Odd(where=f"session on {device.name}", what=what, rate=live.rate, on=True, session=part)
