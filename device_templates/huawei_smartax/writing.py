"""Says what a SmartAX is to have for a service-port, and the commands that do it."""

from __future__ import annotations

import re
from pathlib import Path

from device_templates.platform import Objects, ProfileSeen, Section, as_section
from device_templates.render import render_lines
from inventory import ProfileMissing, Rate, Refused

from .reading import NO_TABLE, STEP_KBPS

FOLDER = str(Path(__file__).parent)
LOWEST_KBPS = 64
HIGHEST_KBPS = 10_240_000
FIRST_INDEX = 10  # those below are the factory's on every shelf seen
HIGHEST_INDEX = 1023
_TABLE_LINE = re.compile(
    r"traffic table ip index [0-9]{1,4} name bm-([0-9]{1,8}) cir \1 pir \1"
    r" priority 0 priority-policy local-setting",
    re.ASCII,
)

_OWN_LINE = re.compile(
    r"service-port ([0-9]{1,5}) (?:adminstatus (?:enable|disable)"
    r"|inbound traffic-table index [0-9]{1,5} outbound traffic-table index [0-9]{1,5})",
    re.ASCII,
)


def target(
    objects: Objects, state: str, rate: Rate, before: Section, profiles: tuple[ProfileSeen, ...]
) -> Section:
    """Return the section to reach, with the rates that the picked tables will really read back.

    A terminated service-port is disabled and keeps its tables. Raises ProfileMissing naming the
    table to make, Refused for a service-port that is not there or could not be put back.
    """
    thing = f"service-port {objects['service_port']}"
    old = dict(before)
    if not old:
        problem = "does not exist on the device, or belongs to another line now"
        raise Refused(thing, problem, "Compare the inventory with the device.")
    old.pop("programmed", None)
    if state == "terminated":
        return as_section({**old, "state": "off"})
    if NO_TABLE in (old["inbound"], old["outbound"]):
        problem = "has a direction without a traffic table, which no command could restore"
        raise Refused(thing, problem, "Bind a table in both directions first (6 limits nothing).")
    inbound = _pick(thing, "up", rate.up_kbps, old["inbound"], profiles)
    outbound = _pick(thing, "down", rate.down_kbps, old["outbound"], profiles)
    return as_section(
        {
            "state": "on",
            "inbound": inbound.name,
            "outbound": outbound.name,
            "up_kbps": str(inbound.kbps),
            "down_kbps": str(outbound.kbps),
        }
    )


def _pick(
    thing: str, kind: str, kbps: int, bound: str, profiles: tuple[ProfileSeen, ...]
) -> ProfileSeen:
    """The table of that rate: the bound one, else one that keeps the priority, else the lowest."""
    fitting = [profile for profile in profiles if _fits(profile, kbps)]
    if not fitting:
        raise ProfileMissing(
            thing,
            f"the device has no traffic table of {kbps} kbit/s for {kind}stream",
            f"`bandmaster device profiles` would make bm-{kbps}.",
        )
    now = next((profile.kind for profile in profiles if profile.name == bound), "")
    return min(fitting, key=lambda p: (p.name != bound, p.kind != now, p.kbps != kbps, int(p.name)))


def _fits(profile: ProfileSeen, kbps: int) -> bool:
    return profile.kbps > 0 and profile.kbps in (kbps, kbps // STEP_KBPS * STEP_KBPS)


def render(objects: Objects, before: Section, after: Section) -> tuple[str, ...]:
    """Return the commands: off before a rebind, on after it, both directions in one command."""
    old, new = dict(before), dict(after)
    turns = new["state"] if old.get("state") != new["state"] else ""
    bound = (new["inbound"], new["outbound"])
    rebind = bound != (old.get("inbound"), old.get("outbound"))
    if rebind and NO_TABLE in bound:
        thing = f"service-port {objects['service_port']}"
        raise Refused(
            thing, "a traffic table cannot be unbound", "Bind table 6: it limits nothing."
        )
    return render_lines(
        FOLDER,
        "service_port.j2",
        service_port=objects["service_port"],
        inbound=new["inbound"],
        outbound=new["outbound"],
        rebind=int(rebind),
        disable=int(turns == "off"),
        enable=int(turns == "on"),
    )


def owned(line: str, objects: Objects) -> bool:
    """True for a rebind or an admin status of this service-port, nothing else."""
    found = _OWN_LINE.fullmatch(line)
    return found is not None and found[1] == str(objects["service_port"])


def profile_lines(rates: tuple[Rate, ...], profiles: tuple[ProfileSeen, ...]) -> tuple[str, ...]:
    """Return a line per missing rate, at free indexes; one table serves both directions.

    Raises Refused for a rate the device cannot hold or when no index is free.
    """
    taken = {int(profile.name) for profile in profiles}
    free = (index for index in range(FIRST_INDEX, HIGHEST_INDEX + 1) if index not in taken)
    lines: list[str] = []
    for kbps in sorted({rate.up_kbps for rate in rates} | {rate.down_kbps for rate in rates}):
        if any(_fits(profile, kbps) for profile in profiles):
            continue
        if not LOWEST_KBPS <= kbps <= HIGHEST_KBPS:
            thing, problem = (
                f"rate of {kbps} kbit/s",
                f"a table holds {LOWEST_KBPS}..{HIGHEST_KBPS}",
            )
            raise Refused(thing, f"{problem} kbit/s", "Choose another tier for this device.")
        index = next(free, None)
        if index is None:
            raise Refused(f"table bm-{kbps}", "no index is free", "Remove tables that are unused.")
        lines += render_lines(FOLDER, "traffic_table.j2", index=index, kbps=kbps)
    return tuple(lines)


def profile_owned(line: str) -> bool:
    """True for a line that makes a plain table with a name of ours."""
    return _TABLE_LINE.fullmatch(line) is not None
