"""Reads back what a Junos router has for subscriber units: set lines and the policer report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from device_templates.platform import Objects, ProfileSeen, Reading, Section, as_section
from device_templates.reading import below, first_text, unreadable, xml_root

PLATFORM_NAME = "juniper_junos"
_VERBS = ("set ", "deactivate ", "protect ", "#")
_TOKEN = re.compile(r'"[^"]*"|[^\s"]+')
# What may be written back; Junos would let a name be longer and quoted.
_NAME = re.compile(r"[A-Za-z0-9._/:-]{1,64}", re.ASCII)
_RATE = re.compile(r"([0-9]{1,12})([kmg]?)", re.ASCII)
_UNIT_BPS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_SIDES = {"input": "up", "output": "down"}  # seen from the router

Unit = tuple[str, str]
"""Interface and unit number as text."""


@dataclass(slots=True, kw_only=True)
class _Unit:
    policers: dict[str, str] = field(default_factory=dict)  # side -> policer
    off: bool = False
    inactive: bool = False


@dataclass(slots=True, kw_only=True)
class _Policer:
    kbps: int = 0  # 0: no rate of whole kbit/s
    discards: bool = False


@dataclass(slots=True, kw_only=True)
class _Config:
    units: dict[Unit, _Unit] = field(default_factory=dict)
    policers: dict[str, _Policer] = field(default_factory=dict)


def parse(objects: tuple[Objects, ...], replies: tuple[str, ...]) -> Reading:
    """Return the reading; with a second reply, the policer report is held against the first.

    Raises Unreadable for a line that is no set line, an unknown rate or a report that is not one.
    """
    config = _config(replies[0])
    programmed = _programmed(replies[1]) if len(replies) > 1 else None
    return Reading(
        sections=tuple(_section(config, programmed, one) for one in objects),
        profiles=tuple(_profile(name, config.policers[name]) for name in sorted(config.policers)),
    )


def _profile(name: str, policer: _Policer) -> ProfileSeen:
    """A policer as a profile; one that cannot be used as a tier keeps its name with rate 0."""
    usable = policer.discards and _NAME.fullmatch(name)
    kind = next((k for k in ("up", "down") if name.startswith(f"{k.upper()}-")), "")
    return ProfileSeen(name=name, kbps=policer.kbps if usable else 0, kind=kind)


def _config(text: str) -> _Config:
    config = _Config()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        raise unreadable(PLATFORM_NAME, "the configuration came empty")
    for number, line in enumerate(lines, start=1):
        if not line.startswith(_VERBS):
            raise unreadable(PLATFORM_NAME, f"line {number} of the configuration is no set line")
        if line.startswith(("set interfaces ", "set firewall policer ")):
            _take(config, _tokens(line))
    for line in lines:
        if line.startswith("deactivate "):
            _deactivate(config, _tokens(line))
    return config


def _tokens(line: str) -> list[str]:
    return [token.strip('"') for token in _TOKEN.findall(line)][1:]


def _take(config: _Config, path: list[str]) -> None:
    match path:
        case ["interfaces", port, "unit", number, *rest]:
            unit = config.units.setdefault((port, number), _Unit())
            match rest:
                case ["disable"]:
                    unit.off = True
                case ["family", "inet", "policer", ("input" | "output") as side, name]:
                    unit.policers[side] = name
        case ["firewall", "policer", name, *rest]:
            policer = config.policers.setdefault(name, _Policer())
            match rest:
                case ["if-exceeding", "bandwidth-limit", rate]:
                    policer.kbps = _kbps(rate)
                case ["then", "discard"]:
                    policer.discards = True


def _kbps(text: str) -> int:
    found = _RATE.fullmatch(text)
    if found is None:
        raise unreadable(PLATFORM_NAME, f"bandwidth-limit {text!r:.30} is no rate")
    bps = int(found[1]) * _UNIT_BPS[found[2]]
    return 0 if bps % 1000 else bps // 1000


def _deactivate(config: _Config, path: list[str]) -> None:
    """Mark what a deactivated statement takes out of force: it is configured and does nothing."""
    for name in config.policers:
        if path[:3] == ["firewall", "policer", name][: len(path)]:
            config.policers[name] = _Policer()
    if path[:1] == ["interfaces"]:
        for (port, number), unit in config.units.items():
            ours = ["interfaces", port, "unit", number, "family", "inet", "policer"]
            size = min(len(path), len(ours))
            if path[:size] == ours[:size] or path == [*ours[:4], "disable"]:
                unit.inactive = True


def _programmed(text: str) -> Mapping[str, dict[str, str]]:
    """Logical interface -> side -> policer instance, from get-interface-policer-information [K]."""
    found: dict[str, dict[str, str]] = {}
    root = xml_root(PLATFORM_NAME, text, "interface-policer-information")
    for logical in below(root, "logical-interface"):
        sides = found.setdefault(first_text(logical, "name"), {})
        for family in below(logical, "policer-family"):
            if first_text(family, "policer-family-name") == "inet":
                for side in _SIDES:
                    if name := first_text(family, f"policer-{side}"):
                        sides[side] = name
    return found


def _section(
    config: _Config, programmed: Mapping[str, dict[str, str]] | None, objects: Objects
) -> Section:
    port, number = str(objects["interface"]), str(objects["unit"])
    unit = config.units.get((port, number))
    if unit is None:
        return ()
    leaves = {"state": "off" if unit.off else "on"}
    for side, direction in _SIDES.items():
        name = unit.policers.get(side, "")
        if name and not _NAME.fullmatch(name):
            raise unreadable(PLATFORM_NAME, f"a policer of {port}.{number} needs quoting")
        policer = config.policers.get(name, _Policer())
        leaves[f"{direction}_kbps"] = "0" if unit.inactive else str(policer.kbps)
        if name:
            leaves[side] = name
    if unit.inactive:
        leaves["inactive"] = "yes"
    if programmed is not None and not unit.off and not unit.inactive:
        wanted = {s: f"{p}-{port}.{number}-inet-{s[0]}" for s, p in unit.policers.items()}
        if programmed.get(f"{port}.{number}", {}) != wanted:
            leaves["programmed"] = "no"
    return as_section(leaves)
