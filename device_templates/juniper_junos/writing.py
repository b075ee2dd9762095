"""Says what a Junos router is to have for a subscriber's unit, and the set lines that do it."""

from __future__ import annotations

import re
from pathlib import Path

from device_templates.platform import Objects, ProfileSeen, Section, as_section
from device_templates.render import render_lines
from inventory import ProfileMissing, Rate, Refused

FOLDER = str(Path(__file__).parent)
LOWEST_KBPS = 8  # Junos takes 8000 bit/s .. 100 Gbit/s
HIGHEST_KBPS = 100_000_000
_SIDES = {"input": "up", "output": "down"}
_PROFILE_LINE = re.compile(
    r"set firewall policer ((?:UP|DOWN)-([1-9][0-9]{0,8})([KM])(?:-[0-9]{1,3})?) .*", re.ASCII
)

_OWN_LINE = re.compile(
    r"(?:set|delete) interfaces ([A-Za-z0-9/:-]+) unit ([0-9]+) disable"
    r"|set interfaces ([A-Za-z0-9/:-]+) unit ([0-9]+)"
    r" family inet policer (?:input|output) [A-Za-z0-9._/:-]{1,64}"
    r"|delete interfaces ([A-Za-z0-9/:-]+) unit ([0-9]+) family inet policer (?:input|output)",
    re.ASCII,
)


def target(
    objects: Objects, state: str, rate: Rate, before: Section, profiles: tuple[ProfileSeen, ...]
) -> Section:
    """Return the section to reach; a terminated unit is disabled and has no policers.

    Raises ProfileMissing naming the policer to make, Refused for a unit that is not there or is
    deactivated by hand.
    """
    thing = f"{objects['interface']}.{objects['unit']}"
    old = dict(before)
    if not old:
        raise Refused(thing, "the unit is not configured", "Configure the unit first.")
    if "inactive" in old:
        raise Refused(thing, "the unit or its policer is deactivated by hand", "Activate it first.")
    if state == "terminated":
        return as_section({"state": "off", "down_kbps": "0", "up_kbps": "0"})
    leaves = {"state": "on", "down_kbps": str(rate.down_kbps), "up_kbps": str(rate.up_kbps)}
    kbps = {"up": rate.up_kbps, "down": rate.down_kbps}
    for side, kind in _SIDES.items():
        leaves[side] = _pick(thing, kind, kbps[kind], old.get(side, ""), profiles)
    return as_section(leaves)


def _pick(thing: str, kind: str, kbps: int, bound: str, profiles: tuple[ProfileSeen, ...]) -> str:
    """The policer of that rate: the bound one, else the conventional one, else the first name."""
    usual = _usual(kind, kbps)
    fitting = [p.name for p in profiles if p.kbps == kbps and p.kind in (kind, "") and kbps]
    if not fitting:
        name = _free_name(usual, {p.name for p in profiles})
        raise ProfileMissing(
            thing,
            f"the device has no policer of {kbps} kbit/s for {kind}stream",
            f"`bandmaster device profiles` would make {name}.",
        )
    return min(fitting, key=lambda name: (name != bound, name != usual, name))


def _usual(kind: str, kbps: int) -> str:
    rate = f"{kbps}K" if kbps % 1000 else f"{kbps // 1000}M"
    return f"{kind.upper()}-{rate}"


def render(objects: Objects, before: Section, after: Section) -> tuple[str, ...]:
    """Return the lines for the leaves that differ, one per leaf; a delete may find nothing."""
    old, new = dict(before), dict(after)
    changed = {leaf for leaf in ("input", "output", "state") if old.get(leaf) != new.get(leaf)}
    turns = new.get("state") if "state" in changed else ""
    return render_lines(
        FOLDER,
        "rebind.j2",
        interface=objects["interface"],
        unit=objects["unit"],
        input=new.get("input", "") if "input" in changed else "",
        output=new.get("output", "") if "output" in changed else "",
        drop_input=int("input" in changed),
        drop_output=int("output" in changed),
        disable=int(turns == "off"),
        enable=int(turns == "on"),
    )


def owned(line: str, objects: Objects) -> bool:
    """True for a set or delete of the unit's policer bindings or its `disable`, nothing else."""
    found = _OWN_LINE.fullmatch(line)
    if found is None:
        return False
    named = tuple(part for part in found.groups() if part is not None)
    return named == (objects["interface"], str(objects["unit"]))


def profile_lines(rates: tuple[Rate, ...], profiles: tuple[ProfileSeen, ...]) -> tuple[str, ...]:
    """Return the lines that make a policer per missing rate and direction, never changing one.

    Raises Refused for a rate that Junos cannot police.
    """
    taken = {profile.name for profile in profiles}
    wanted = {("up", rate.up_kbps) for rate in rates} | {("down", rate.down_kbps) for rate in rates}
    lines: list[str] = []
    for kind, kbps in sorted(wanted):
        if any(p.kbps == kbps and p.kind in (kind, "") for p in profiles):
            continue
        if not LOWEST_KBPS <= kbps <= HIGHEST_KBPS:
            thing = f"{kind}stream rate of {kbps} kbit/s"
            problem = f"a policer gives {LOWEST_KBPS}..{HIGHEST_KBPS} kbit/s"
            raise Refused(thing, problem, "Choose another tier for this device.")
        lines += _policer(_free_name(_usual(kind, kbps), taken), kbps)
    return tuple(lines)


def _free_name(usual: str, taken: set[str]) -> str:
    """The usual name, numbered where a policer of another rate has it: others may be bound."""
    numbered = (f"{usual}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (usual, *numbered) if name not in taken)


def profile_owned(line: str) -> bool:
    """True for a line that makes a policer of ours, with the rate and burst its name stands for."""
    found = _PROFILE_LINE.fullmatch(line)
    if found is None:
        return False
    return line in _policer(found[1], int(found[2]) * (1000 if found[3] == "M" else 1))


def _policer(name: str, kbps: int) -> tuple[str, ...]:
    return render_lines(
        FOLDER,
        "policer.j2",
        name=name,
        bandwidth=_suffixed(kbps * 1000),
        burst=_suffixed(_burst_bytes(kbps)),
    )


def _burst_bytes(kbps: int) -> int:
    """50 ms at the policed rate: about one round trip, or TCP never fills what is paid for.

    At least ten full frames, which is what Juniper advises where the rate is low; that is above
    the 1500 bytes Junos insists on.
    """
    return max(15_000, kbps * 25 // 4)


def _suffixed(value: int) -> str:
    for suffix, size in (("g", 1_000_000_000), ("m", 1_000_000), ("k", 1_000)):
        if value % size == 0:
            return f"{value // size}{suffix}"
    return str(value)
