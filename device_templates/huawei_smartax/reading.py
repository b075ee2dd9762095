"""Reads back what a SmartAX has for service-ports: lists, single displays and configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from device_templates.platform import (
    Database,
    Objects,
    ProfileSeen,
    Reading,
    Section,
    as_section,
)
from device_templates.reading import unreadable
from inventory import MAX_KBPS

PLATFORM_NAME = "huawei_smartax"
# `off`, or no table at all: nothing limits the line. No tier is sold at this rate, so it can
# neither be taken for "not known" (0) nor be picked for a tier.
UNLIMITED_KBPS = MAX_KBPS
NO_TABLE = "-"
STEP_KBPS = 64  # some firmware rounds a table's rate down to a multiple of this
# Inbound is what comes from the subscriber. No capture settles which column shows it; this is the
# one place that says so, and `_check_names` notices a firmware that means the opposite.
RX_IS_INBOUND = True
FEW = 3  # up to here one display a service-port is cheaper than the lists of the whole shelf

TABLES = "display traffic table ip from-index 0"
PORTS = "display service-port all"
_RUNNING_PORTS = "display current-configuration section bbs-config"
_SAVED = (
    "display saved-configuration section global-config",
    "display saved-configuration section bbs-config",
)
_NO_SUCH_PORT = "Failure: The service virtual port does not exist"
_NO_PORTS = "Failure: No service virtual port can be operated"
_REFUSED = re.compile(r"^[ \t]*(?:Failure:|% |Error:)", re.MULTILINE)
_TABLE_ROW = re.compile(
    r"\s*(\d{1,5})\s+(off|\d{1,9})\s+(?:off|\d+)\s+(off|\d{1,9})\s+(?:off|\d+)"
    r"\s+(\d)\s+\S+\s+(\S+)\s*",
    re.ASCII,
)
_PORT_ROW = re.compile(
    r"\s*(\d{1,9})\s+\d+\s+\S+\s+\S+\s+(\d+)\s*/\s*(\d+)\s*/\s*(\d+)\s+(\S+)\s+\S+\s+\S+\s+\S+"
    r"\s+(\d+|-)\s+(\d+|-)\s+(?:up|down)\s*",
    re.ASCII,
)
_TABLE_LINE = re.compile(
    r'traffic table ip index (\d{1,5}) (?:name (?:"[^"]*"|\S+) )?cir (off|\d{1,9})'
    r"(?: cbs \d+)?(?: pir (\d{1,9}))?(?: pbs \d+)?"
    r" priority (\d) priority-policy (local-setting|tag-in-package).*",
    re.ASCII,
)
_PORT_LINE = re.compile(r"service-port (\d{1,9}) vlan \d+ \S+ (\d+/\d+/\d+)(?: .*)?", re.ASCII)
_STATUS_LINE = re.compile(r"service-port (\d{1,9}) adminstatus (enable|disable)", re.ASCII)
_SHORT_POLICY = {"local-setting": "local-pri", "tag-in-package": "tag-pri"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    cir_kbps: int
    pir_kbps: int
    kind: str  # priority and its policy: what else a rebind would change


@dataclass(frozen=True, slots=True, kw_only=True)
class _Port:
    port: str  # frame/slot/port
    ont: str
    inbound: str
    outbound: str
    enabled: bool = True
    programmed: bool = True


def read(database: Database, objects: tuple[Objects, ...]) -> tuple[str, ...]:
    """Return the queries; the running database of few service-ports is read one by one."""
    if database == "startup":
        return _SAVED
    if len(objects) <= FEW:
        return (TABLES, *(f"display service-port {one['service_port']}" for one in objects))
    return (TABLES, PORTS, _RUNNING_PORTS)


def parse(database: Database, objects: tuple[Objects, ...], replies: tuple[str, ...]) -> Reading:
    """Return the reading of the replies to `read`.

    Raises Unreadable for a row that is not understood, a total that does not match, a refusal, a
    configuration that is cut off, or a table that a service-port names and nobody lists.
    """
    if len(replies) != len(read(database, objects)):
        raise unreadable(PLATFORM_NAME, f"{len(replies)} replies came")
    if database == "startup":
        tables = _configured_tables(_body(replies[0], "global-config"))
        ports = _configured_ports(_body(replies[1], "bbs-config"))
    else:
        tables = _listed_tables(replies[0])
        if len(objects) <= FEW:
            ports = _single_ports(objects, replies[1:], tables)
        else:
            ports = _cross_checked(replies[1], replies[2])
    return Reading(
        sections=tuple(_section(one, ports, tables) for one in objects),
        profiles=tuple(_profile(index, tables[index]) for index in sorted(tables, key=int)),
    )


def _profile(index: str, table: _Table) -> ProfileSeen:
    """A table as a profile; one that is no plain rate keeps its index with rate 0."""
    plain = table.cir_kbps == table.pir_kbps < UNLIMITED_KBPS
    return ProfileSeen(name=index, kbps=table.pir_kbps if plain else 0, kind=table.kind)


def _section(objects: Objects, ports: Mapping[str, _Port], tables: Mapping[str, _Table]) -> Section:
    port = ports.get(str(objects["service_port"]))
    # the number may have been given to another line since: then ours does not exist
    if port is None or str(objects.get("port", port.port)) != port.port:
        return ()
    if str(objects.get("ont", port.ont)) != port.ont:
        return ()
    leaves = {
        "state": "on" if port.enabled else "off",
        "inbound": port.inbound,
        "outbound": port.outbound,
        "up_kbps": str(_kbps(port.inbound, tables)),
        "down_kbps": str(_kbps(port.outbound, tables)),
    }
    if not port.programmed:
        leaves["programmed"] = "no"
    return as_section(leaves)


def _kbps(index: str, tables: Mapping[str, _Table]) -> int:
    if index == NO_TABLE:
        return UNLIMITED_KBPS
    if index not in tables:
        raise unreadable(PLATFORM_NAME, f"traffic table {index} is used and not listed")
    return tables[index].pir_kbps


def _listed_tables(text: str) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    for found in _rows(text, _TABLE_ROW, r"Total Num\s*:\s*(\d+)"):
        index, cir, pir, priority, policy = found.groups()
        tables[str(int(index))] = _table(cir, pir, f"{priority} {policy}")
    return tables


def _table(cir: str, pir: str, kind: str) -> _Table:
    rates = [UNLIMITED_KBPS if text == "off" else int(text) for text in (cir, pir)]
    return _Table(cir_kbps=rates[0], pir_kbps=rates[1], kind=kind)


def _rows(text: str, row: re.Pattern[str], total: str) -> list[re.Match[str]]:
    """The rows of a list; as many as the device says there are, each number once."""
    if _REFUSED.search(text):
        raise unreadable(PLATFORM_NAME, "a list was refused")
    found = [match for line in text.split("\n") if (match := row.fullmatch(line.rstrip("\r")))]
    said = re.search(total, text, re.ASCII)
    if said is None or int(said[1]) != len(found) or len({m[1] for m in found}) != len(found):
        count = "no total" if said is None else f"a total of {said[1]:.9}"
        raise unreadable(PLATFORM_NAME, f"{len(found)} rows were understood beside {count}")
    return found


def _single_ports(
    objects: tuple[Objects, ...], replies: tuple[str, ...], tables: Mapping[str, _Table]
) -> dict[str, _Port]:
    ports: dict[str, _Port] = {}
    for one, text in zip(objects, replies, strict=True):
        number = str(one["service_port"])
        if _NO_SUCH_PORT in text:
            continue
        if _REFUSED.search(text):
            raise unreadable(PLATFORM_NAME, f"service-port {number} was refused")
        labels = _labels(text)
        missing = {"Index", "RX", "TX", "Admin status", "F/S/P", "ONT ID"} - labels.keys()
        if missing or labels["Index"] != number:
            problem = f"service-port {number} came as another or without {sorted(missing)}"
            raise unreadable(PLATFORM_NAME, problem)
        _check_names(labels, tables)
        inbound, outbound = _directions(labels["RX"], labels["TX"])
        ports[number] = _Port(
            port=labels["F/S/P"].replace(" ", ""),
            ont=labels["ONT ID"],
            inbound=inbound,
            outbound=outbound,
            enabled=_enabled(labels["Admin status"]),
        )
    return ports


def _labels(text: str) -> dict[str, str]:
    pairs = (line.split(" : ", 1) for line in text.split("\n") if " : " in line)
    return {label.strip(): value.strip() for label, value in pairs}


def _enabled(text: str) -> bool:
    if text not in ("enable", "disable"):
        raise unreadable(PLATFORM_NAME, f"admin status {text!r:.20} is neither enable nor disable")
    return text == "enable"


def _directions(rx: str, tx: str) -> tuple[str, str]:
    """(inbound, outbound) of the two columns."""
    for index in (rx, tx):
        if not re.fullmatch(r"\d{1,5}|-", index, re.ASCII):
            raise unreadable(PLATFORM_NAME, f"RX or TX {index!r:.20} is no table")
    return (rx, tx) if RX_IS_INBOUND else (tx, rx)


def _check_names(labels: Mapping[str, str], tables: Mapping[str, _Table]) -> None:
    """Our tables' names carry their rate: it shows when a firmware swaps RX and TX."""
    inbound, outbound = _directions(labels["RX"], labels["TX"])
    for label, own, other in (
        ("Inbound table name", inbound, outbound),
        ("Outbound table name", outbound, inbound),
    ):
        named = re.fullmatch(r"bm-(\d{1,8})", labels.get(label, ""), re.ASCII)
        if named is None:
            continue
        fits_own, fits_other = (
            _kbps(index, tables) // STEP_KBPS == int(named[1]) // STEP_KBPS
            for index in (own, other)
        )
        if fits_other and not fits_own:
            raise unreadable(PLATFORM_NAME, "this firmware shows the directions the other way")


def _cross_checked(listed: str, configured: str) -> dict[str, _Port]:
    """Directions and admin status from the configuration, held against the list of flows."""
    ports = _configured_ports(_body(configured, "bbs-config"))
    if _NO_PORTS in listed and not ports:
        return ports
    seen = {
        str(int(row[1])): (f"{row[2]}/{row[3]}/{row[4]}", row[5], sorted((row[6], row[7])))
        for row in _rows(listed, _PORT_ROW, r"Total\s*:\s*(\d+)")
    }
    if seen.keys() != ports.keys():
        raise unreadable(PLATFORM_NAME, "the list and the configuration hold other service-ports")
    for number, port in ports.items():
        place, ont, tables = seen[number]
        if place != port.port or tables != sorted((port.inbound, port.outbound)):
            ports[number] = replace(port, programmed=False)
        ports[number] = replace(ports[number], ont=ont)
    return ports


def _body(text: str, section: str) -> list[str]:
    """The lines of one section of a configuration that came whole."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if f"[{section}]" not in lines or lines[-1] != "return":
        raise unreadable(PLATFORM_NAME, f"section {section} did not come whole")
    return lines[lines.index(f"[{section}]") :]


def _configured_tables(lines: list[str]) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    for line in lines:
        if not line.startswith("traffic table ip "):
            continue
        found = _TABLE_LINE.fullmatch(line)
        if found is None or (found[2] != "off" and found[3] is None):
            raise unreadable(PLATFORM_NAME, "a saved traffic table is not understood")
        index, cir, pir, priority, policy = found.groups()
        tables[str(int(index))] = _table(cir, pir or "off", f"{priority} {_SHORT_POLICY[policy]}")
    return tables


def _configured_ports(lines: list[str]) -> dict[str, _Port]:
    ports: dict[str, _Port] = {}
    for line in lines:
        if found := _PORT_LINE.fullmatch(line):
            ont = re.search(r" ont (\d{1,4})(?: |$)", line, re.ASCII)
            ports[str(int(found[1]))] = _Port(
                port=found[2],
                ont=ont[1] if ont else NO_TABLE,
                inbound=_bound(line, "inbound"),
                outbound=_bound(line, "outbound"),
            )
        elif found := _STATUS_LINE.fullmatch(line):
            number = str(int(found[1]))
            if number not in ports:
                raise unreadable(PLATFORM_NAME, f"service-port {number} has a status and no line")
            ports[number] = replace(ports[number], enabled=found[2] == "enable")
        elif re.match(r"service-port \d+ (?:vlan|adminstatus)", line):
            raise unreadable(PLATFORM_NAME, "a configured service-port is not understood")
    return ports


def _bound(line: str, direction: str) -> str:
    found = re.search(rf" {direction} traffic-table index (\d{{1,5}})(?: |$)", line, re.ASCII)
    if found is None and f" {direction} " in line:
        raise unreadable(PLATFORM_NAME, f"the {direction} binding of a line is not understood")
    return str(int(found[1])) if found else NO_TABLE
