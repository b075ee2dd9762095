"""Enrolling a device's host key: the one audited way in (S5)."""

from __future__ import annotations

from collections.abc import Callable

from inventory import find_device
from workflows import HostKey, enroll, enrolled, scan

from .audit import audit
from .database import reading, writing
from .office import Office


def enroll_key(
    office: Office,
    device_name: str,
    actor: str,
    accept: Callable[[HostKey, tuple[HostKey, ...]], bool],
) -> HostKey | None:
    """Read the key a device shows now and believe it from here on, if `accept(new, old)` says so.

    Nothing but the key exchange happens: no login is tried. Returns None when it was not accepted.
    """
    with reading(office.engine) as session:
        device = find_device(session, device_name)
    known_hosts = office.settings.known_hosts
    new = scan(device.host, device.port)
    old = enrolled(known_hosts, device.host, device.port)
    if not accept(new, old):
        return None
    enroll(known_hosts, device.host, device.port, new)
    was = ", ".join(key.fingerprint for key in old) or "none"
    with writing(office.engine) as session:
        audit(session, actor, "enroll-key", device.name, f"{was} -> {new.fingerprint}")
    return new
