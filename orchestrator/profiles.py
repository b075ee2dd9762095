"""Making the rate profiles that a one-line rebind needs: a change without money (D10)."""

from __future__ import annotations

from contextlib import ExitStack

from device_templates import gate_profiles
from device_templates import platform as find_platform
from inventory import BandmasterError, Rate, find_device, list_tiers

from .audit import audit
from .database import reading, writing
from .office import Office


class ProfilesRefusedError(BandmasterError):
    """The device did not take the profiles; no subscriber was touched."""

    exit_code = 1


def plan_profiles(office: Office, device_name: str) -> tuple[str, ...]:
    """Return the lines that make every profile the catalogue's tiers need and the device lacks."""
    with reading(office.engine) as session:
        device = find_device(session, device_name)
        rates: tuple[Rate, ...] = tuple(tier.rate for tier in list_tiers(session))
    kind = find_platform(device.platform)
    with office.crew((device,), _reader) as crew:
        found = crew.sections({device.name: ()})[device.name]
    if isinstance(found, BandmasterError):
        raise found
    return gate_profiles(kind, kind.profile_lines(rates, found.profiles))


def _reader() -> None:
    """A plan only reads."""


def apply_profiles(office: Office, device_name: str, actor: str) -> tuple[str, ...]:
    """Make the missing profiles under the device's lease; return the lines sent.

    Raises ProfilesRefusedError with the device's words where they are missing afterwards.
    """
    with reading(office.engine) as session:
        device = find_device(session, device_name)
    lines = plan_profiles(office, device_name)
    if not lines:
        return ()
    with ExitStack() as stack:
        leases = stack.enter_context(office.leases(f"profiles of {device.name}"))
        leases.acquire(frozenset({device.name}), wait_s=office.settings.lease_wait_s)
        leases.start_renewing()
        crew = stack.enter_context(office.crew((device,), leases.fence))
        reply = crew.send_profiles({device.name: lines})[device.name]
    left = plan_profiles(office, device_name)
    reason = office.secrets.mask(reply.reason)
    with writing(office.engine) as session:
        audit(session, actor, "profiles", device.name, f"{len(lines)} lines, {len(left)} left")
    if left:
        raise ProfilesRefusedError(
            device.name,
            f"still lacks profiles after {len(lines)} lines: {reason or 'no reason given'}",
            f"See what is left: bandmaster device profiles {device.name}",
        )
    return lines
