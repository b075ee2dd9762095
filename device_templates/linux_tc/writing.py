"""Says what a Linux BNG is to shape for a line, the shell lines that do it and that keep it."""

from __future__ import annotations

import re
from pathlib import Path

from device_templates.gate import check_lines
from device_templates.platform import Objects, ProfileSeen, Section, as_section
from device_templates.render import render_lines
from inventory import Rate, Refused

from .reading import SAVED_DIRECTORY, ifb

FOLDER = str(Path(__file__).parent)
FINE_KBPS = 1_000_000  # from here on the kernel's answer is printed in whole Mbit/s

_OWN_LINK = re.compile(r"ip link set dev ([a-z0-9.-]+) (?:up|down)", re.ASCII)
_OWN_CLASS = re.compile(
    r"tc class change dev (?:ifb-)?([a-z0-9.-]+) parent 1: classid 1:([0-9a-f]{1,4}) htb"
    r"(?: prio [0-7])? rate [0-9]{1,9}kbit ceil [0-9]{1,9}kbit quantum 1514",
    re.ASCII,
)


def target(
    objects: Objects,
    state: str,
    rate: Rate,
    before: Section,
    profiles: tuple[ProfileSeen, ...],  # noqa: ARG001 - a class needs none
) -> Section:
    """Return the section to reach; a terminated line's interface is down and keeps its rates.

    Raises Refused for a line that is not there, or a rate that could not be read back exactly.
    """
    thing = f"{objects['interface']} class 1:{objects['class_minor']}"
    old = dict(before)
    if not old:
        problem = f"the interface, {ifb(str(objects['interface']))} or a class is missing"
        raise Refused(thing, problem, "Make the line's qdiscs and classes first.")
    if state == "terminated":
        return as_section({**old, "state": "off"})
    for kbps in (rate.down_kbps, rate.up_kbps):
        if kbps >= FINE_KBPS and kbps % 1000:
            problem = f"{kbps} kbit/s is shown in whole Mbit/s and could not be read back"
            raise Refused(thing, problem, "Choose a tier of whole Mbit/s.")
    leaves = {"state": "on", "down_kbps": str(rate.down_kbps), "up_kbps": str(rate.up_kbps)}
    leaves |= {leaf: value for leaf, value in old.items() if leaf.endswith("_prio")}
    return as_section(leaves)


def render(objects: Objects, before: Section, after: Section) -> tuple[str, ...]:
    """Return the lines for the classes and the link that differ: down first, up last."""
    old, new = dict(before), dict(after)
    turns = new["state"] if old.get("state") != new["state"] else ""
    return _lines(
        objects,
        new,
        set_down=_class_leaves(old, "down") != _class_leaves(new, "down"),
        set_up=_class_leaves(old, "up") != _class_leaves(new, "up"),
        turns=turns,
    )


def _class_leaves(leaves: dict[str, str], kind: str) -> tuple[str | None, ...]:
    return tuple(leaves.get(f"{kind}_{part}") for part in ("kbps", "floor_kbps", "prio"))


def _lines(
    objects: Objects, leaves: dict[str, str], *, set_down: bool, set_up: bool, turns: str
) -> tuple[str, ...]:
    values: dict[str, int] = {}
    for kind in ("down", "up"):
        kbps = leaves[f"{kind}_kbps"]
        values[f"{kind}_kbps"] = int(kbps)
        values[f"{kind}_floor_kbps"] = int(leaves.get(f"{kind}_floor_kbps", kbps))
        values[f"{kind}_prio"] = int(leaves.get(f"{kind}_prio", "0"))
    return render_lines(
        FOLDER,
        "rates.j2",
        interface=objects["interface"],
        ifb=ifb(str(objects["interface"])),
        class_minor=objects["class_minor"],
        set_down=int(set_down),
        set_up=int(set_up),
        disable=int(turns == "off"),
        enable=int(turns == "on"),
        **values,
    )


def save_lines(objects: Objects, section: Section) -> tuple[str, ...]:
    """Return the line that keeps a section for the next boot: written aside, synced, renamed."""
    leaves = dict(section)
    kept = _lines(objects, leaves, set_down=True, set_up=True, turns=leaves["state"])
    quoted = " ".join(f"'{line}'" for line in kept)
    path = f"{SAVED_DIRECTORY}/{objects['interface']}.conf"
    line = (
        f"mkdir -p {SAVED_DIRECTORY} && printf '%s\\n' {quoted} > {path}.new"
        f" && sync {path}.new && mv -f {path}.new {path} && sync {SAVED_DIRECTORY}"
    )
    return check_lines("saved rates", (line,))


def owned(line: str, objects: Objects) -> bool:
    """True for a change of the line's two classes or of its link, nothing else."""
    if found := _OWN_LINK.fullmatch(line):
        return found[1] == objects["interface"]
    found = _OWN_CLASS.fullmatch(line)
    return found is not None and found.groups() == (
        objects["interface"],
        str(objects["class_minor"]),
    )


def profile_lines(
    rates: tuple[Rate, ...],  # noqa: ARG001
    profiles: tuple[ProfileSeen, ...],  # noqa: ARG001
) -> tuple[str, ...]:
    """Return nothing: a class carries its own rate."""
    return ()


def profile_owned(line: str) -> bool:  # noqa: ARG001
    """False: there is no profile to make."""
    return False
