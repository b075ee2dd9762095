"""Collecting usage from interfaces: whose they are, what they count, a round every five minutes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlmodel import Session

from billing_bridge import ServiceSample, keep_samples, slot_of
from device_templates import platform as find_platform
from inventory import Device, Service, list_devices, list_services
from workflows import Polled, PollTarget, poll_devices

from .database import database_now, reading, writing
from .office import Office

_LIVE = ("active", "suspended")
_KEPT_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The interface that carries a service; `by_volume` = its bytes are counted here."""

    service_id: str
    by_volume: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round of polling brought: samples, silent devices with why, interfaces not found.

    `shared` are interfaces that several services say is theirs: none of them is counted by it.
    """

    devices: int
    samples: int
    unread: dict[str, str]
    missing: dict[str, tuple[str, ...]]
    shared: dict[str, str]


def collect(office: Office) -> Round:
    """Poll every interface that carries a service, once, and keep what was read.

    Bytes are counted here of services without a login; those with one are counted by RADIUS.
    """
    with reading(office.engine) as session:
        ports, shared = _told_apart(_ports(session))
        begun = database_now(session)
    devices = {device.name: device for device, _ in ports.values()}
    wanted: dict[str, list[str]] = {}
    for name, interface in ports:
        wanted.setdefault(name, []).append(interface)
    targets = [
        PollTarget(
            device=name,
            host=device.host,
            snmp=device.snmp,
            interfaces=frozenset(wanted[name]),
        )
        for name, device in sorted(devices.items())
    ]
    polled = poll_devices(
        targets,
        office.secrets,
        in_flight=office.settings.snmp_in_flight,
        timeout_s=office.settings.snmp_timeout_s,
    )
    samples = [sample for one in polled for sample in _samples(one, ports, begun)]
    for start in range(0, len(samples), _KEPT_AT_ONCE):
        with writing(office.engine) as session:
            keep_samples(session, samples[start : start + _KEPT_AT_ONCE])
    return Round(
        devices=len(targets),
        samples=len(samples),
        unread={one.device: office.secrets.mask(one.why_not) for one in polled if one.why_not},
        missing={one.device: one.missing for one in polled if one.missing},
        shared=shared,
    )


def _told_apart(
    found: Iterable[tuple[tuple[str, str], tuple[Device, Port]]],
) -> tuple[dict[tuple[str, str], tuple[Device, Port]], dict[str, str]]:
    """Return the ports of one service each, and those of several: nobody knows whose bytes."""
    ports: dict[tuple[str, str], tuple[Device, Port]] = {}
    shared: dict[str, str] = {}
    for place, (device, port) in found:
        other = ports.setdefault(place, (device, port))[1]
        if other != port:
            shared[" ".join(place)] = f"{other.service_id} and {port.service_id}"
    for name in shared:
        device_name, _, interface = name.partition(" ")
        ports.pop((device_name, interface), None)
    return ports, shared


def _ports(session: Session) -> Iterator[tuple[tuple[str, str], tuple[Device, Port]]]:
    """Yield the ports by (device, interface): of a service the BNG's, else the OLT's."""
    polled = {
        device.name: device
        for device in list_devices(session)
        if device.snmp.port and find_platform(device.platform).snmp_interface is not None
    }
    for name, device in polled.items():
        for service in list_services(session, device=name):
            found = _port(service, polled)
            if found is not None and found[0] == name and service.state in _LIVE:
                port = Port(service_id=service.service_id, by_volume=not service.login)
                yield found, (device, port)


def _port(service: Service, polled: dict[str, Device]) -> tuple[str, str] | None:
    for attachment in sorted(service.attachments, key=lambda one: one.role):
        device = polled.get(attachment.device)
        if device is None or not attachment.objects:
            continue
        ask = find_platform(device.platform).snmp_interface
        if ask is not None:
            return attachment.device, ask(dict(attachment.objects))
    return None


def _samples(
    one: Polled, ports: dict[tuple[str, str], tuple[Device, Port]], begun: dt.datetime
) -> Iterator[ServiceSample]:
    for seen in one.counters:
        _, port = ports[one.device, seen.interface]
        polled_at = begun + dt.timedelta(seconds=seen.after_s)
        yield ServiceSample(
            service_id=port.service_id,
            by_volume=port.by_volume,
            device=one.device,
            interface=seen.interface,
            slot=slot_of(polled_at),
            polled_at=polled_at,
            in_octets=seen.in_octets,
            out_octets=seen.out_octets,
            uptime_cs=seen.uptime_cs,
            discontinuity_cs=seen.restart_cs,
            speed_mbps=seen.speed_mbps,
        )
