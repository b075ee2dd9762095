"""Reads back what a Linux BNG shapes: the kernel's HTB classes, links and our saved lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from device_templates.platform import (
    AccessSession,
    Database,
    Objects,
    Reading,
    Section,
    as_section,
)
from device_templates.reading import unreadable
from inventory import BadField, Rate

PLATFORM_NAME = "linux_tc"
SAVED_DIRECTORY = "/etc/bandmaster/tc.d"  # one file an interface; a boot unit runs them
SESSION_DIRECTORY = "/run/access-sessions"  # one file a login, kept by the access server
SESSION_MINOR = "10"  # the class that a dynamic session is shaped by
_AT_ONCE = 50  # interfaces asked for in one query
_UNIT_BPS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_LINK = re.compile(r"\d+: ([a-z0-9.-]+)(?:@\S+)?: <([A-Z0-9_,-]*)> .*", re.ASCII)
_CLASS = re.compile(
    r"class htb 1:([0-9a-f]{1,4}) (?:root|parent \S+) (?:leaf \S+ )?(?:prio (\d) )?"
    r"(?:quantum \d+ )?rate (\d{1,12})([KMGT]?)bit ceil (\d{1,12})([KMGT]?)bit .*",
    re.ASCII,
)
_SAVED_CLASS = re.compile(
    r"tc class change dev (\S+) parent 1: classid 1:([0-9a-f]{1,4}) htb(?: prio (\d))?"
    r" rate (\d{1,12})(k)bit ceil (\d{1,12})(k)bit quantum \d+",
    re.ASCII,
)
_SAVED_LINK = re.compile(r"ip link set dev (\S+) (up|down)", re.ASCII)
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Class:
    rate_kbps: int
    ceil_kbps: int
    prio: str


@dataclass(slots=True, kw_only=True)
class _Link:
    up: bool = False
    known: bool = False  # that it exists, and whether it is up
    # as printed: what others shape on the interface need not be a rate that we understand
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def htb(self, minor: str) -> _Class | None:
        """Return the class of that number; Unreadable if its rate is not understood."""
        if minor not in self.classes:
            return None
        prio, rate, rate_unit, ceil, ceil_unit = self.classes[minor]
        return _Class(rate_kbps=_kbps(rate, rate_unit), ceil_kbps=_kbps(ceil, ceil_unit), prio=prio)


def ifb(interface: str) -> str:
    """Return the device whose classes shape what comes from the subscriber."""
    return f"ifb-{interface}"


def read(database: Database, objects: tuple[Objects, ...]) -> tuple[str, ...]:
    """Return shell queries, each for some interfaces; a missing one is an answer, not a failure."""
    names = [str(one["interface"]) for one in objects]
    queries = []
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        if database == "startup":
            loop = " ".join(some)
            show = f'cat {SAVED_DIRECTORY}/$d.conf 2>/dev/null || echo "no file"'
        else:
            loop = " ".join(f"{name} {ifb(name)}" for name in some)
            show = "ip -o link show dev $d 2>&1; tc class show dev $d 2>&1"
        queries.append(f'for d in {loop}; do echo "dev $d"; {show}; echo "rc $?"; done; echo end')
    return tuple(queries)


def parse(database: Database, objects: tuple[Objects, ...], replies: tuple[str, ...]) -> Reading:
    """Return the reading of the replies to `read`; Linux needs no rate profiles.

    Raises Unreadable for an answer that is cut off, of other interfaces, or of unknown shape.
    """
    queries = read(database, objects)
    if len(replies) != len(queries):
        raise unreadable(PLATFORM_NAME, f"{len(replies)} replies came")
    links: dict[str, _Link] = {}
    for query, reply in zip(queries, replies, strict=True):
        asked = query.partition("for d in ")[2].partition(";")[0].split()
        blocks = _blocks(reply)
        if [name for name, _ in blocks] != asked:
            raise unreadable(PLATFORM_NAME, "the answer is cut off or of other interfaces")
        for name, lines in blocks:
            _take(links, name, lines, saved=database == "startup")
    return Reading(sections=tuple(_section(one, links) for one in objects))


def _blocks(text: str) -> list[tuple[str, list[str]]]:
    """(interface, lines without the closing `rc`) of an answer that came whole."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines or lines.pop() != "end":
        raise unreadable(PLATFORM_NAME, "the answer does not end as it should")
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in lines:
        if not inside:
            if not line.startswith("dev "):
                raise unreadable(PLATFORM_NAME, f"{line!r:.60} came between two interfaces")
            blocks.append((line.removeprefix("dev "), []))
        elif line.startswith("rc "):
            missing = _absent(*blocks[-1])
            if line != "rc 0" and not missing:
                raise unreadable(PLATFORM_NAME, f"reading {blocks[-1][0]} failed")
        else:
            blocks[-1][1].append(line)
        inside = not line.startswith("rc ")
    if inside:
        raise unreadable(PLATFORM_NAME, "an interface's answer is cut off")
    return blocks


def _absent(name: str, lines: list[str]) -> bool:
    return f'Device "{name}" does not exist.' in lines or lines == ["no file"]


def _take(links: dict[str, _Link], name: str, lines: list[str], *, saved: bool) -> None:
    if _absent(name, lines):
        return
    for device, link in _saved(name, lines) if saved else _running(name, lines):
        whole = links.setdefault(device, _Link())
        whole.classes |= link.classes
        if link.known:
            whole.known, whole.up = True, link.up


def _running(name: str, lines: list[str]) -> Iterator[tuple[str, _Link]]:
    for line in lines:
        if found := _LINK.fullmatch(line):
            if found[1] != name:
                raise unreadable(PLATFORM_NAME, f"another link came instead of {name}")
            yield name, _Link(known=True, up="UP" in found[2].split(","))
        elif found := _CLASS.fullmatch(f"{line} "):
            yield name, _Link(classes={found[1]: found.groups("0")[1:]})
        elif line.startswith("class htb 1:"):
            raise unreadable(PLATFORM_NAME, f"a class of {name} is not understood")


def _saved(name: str, lines: list[str]) -> Iterator[tuple[str, _Link]]:
    for line in lines:
        if found := _SAVED_CLASS.fullmatch(line):
            if found[1] in (name, ifb(name)):
                yield found[1], _Link(classes={found[2]: found.groups("0")[2:]})
        elif (found := _SAVED_LINK.fullmatch(line)) and found[1] == name:
            yield name, _Link(known=True, up=found[2] == "up")
        elif not line.startswith("#"):
            raise unreadable(PLATFORM_NAME, f"a saved line of {name} is not understood")


def _kbps(number: str, unit: str) -> int:
    """Whole kbit/s. From 1 Gbit/s on, tc prints no finer than Mbit/s (iproute2 6.1)."""
    bps = int(number) * _UNIT_BPS[unit.upper()]
    if bps % 1000:
        raise unreadable(PLATFORM_NAME, f"{number}{unit}bit is no whole number of kbit/s")
    return bps // 1000


def _section(objects: Objects, links: Mapping[str, _Link]) -> Section:
    """The line's section: rates are HTB's ceil, which is what a line may do.

    `..._floor_kbps` (HTB's rate) and `..._prio` are there only where they differ from the usual.
    """
    interface, minor = str(objects["interface"]), str(objects["class_minor"])
    link, back = links.get(interface, _Link()), links.get(ifb(interface), _Link())
    down, up = link.htb(minor), back.htb(minor)
    if down is None or up is None or not link.known:
        return ()
    leaves = {"state": "on" if link.up else "off"}
    for kind, htb in (("down", down), ("up", up)):
        leaves[f"{kind}_kbps"] = str(htb.ceil_kbps)
        if htb.rate_kbps != htb.ceil_kbps:
            leaves[f"{kind}_floor_kbps"] = str(htb.rate_kbps)
        if htb.prio != "0":
            leaves[f"{kind}_prio"] = htb.prio
    return as_section(leaves)


def session_read(login: str) -> tuple[str, ...]:
    """Return one query: the login's session file, then the kernel's classes of its interface."""
    if not _LOGIN.fullmatch(login):
        thing = f"login {login!r:.80}"
        raise BadField(thing, "holds a character that may not reach a device")
    show = 'echo "dev {0}" && tc class show dev "{0}" 2>&1; echo "rc $?"'
    path = f"{SESSION_DIRECTORY}/{login}"
    classes = f"{show.format('$d')}; {show.format('ifb-$d')}"
    interface = f"d=$(sed -n 's/^interface //p' {path})"
    return (f"if test -e {path}; then cat {path}; {interface}; {classes}; fi; echo end",)


def session_parse(login: str, replies: tuple[str, ...]) -> tuple[AccessSession, ...]:
    """Return the login's session with the rate that the kernel gives it; () if it has none.

    Raises Unreadable for a session file without its lines or an interface without its classes.
    """
    head, _, tail = f"\n{replies[0]}".partition("\ndev ")
    facts = dict(line.strip().partition(" ")[::2] for line in head.split("\n") if line.strip())
    if set(facts) == {"end"} and not tail:
        return ()
    interface = facts.get("interface", "")
    links: dict[str, _Link] = {}
    for name, lines in _blocks(f"dev {tail}"):
        _take(links, name, lines, saved=False)
    down = links.get(interface, _Link()).htb(SESSION_MINOR)
    up = links.get(ifb(interface), _Link()).htb(SESSION_MINOR)
    if not facts.get("session") or down is None or up is None:
        raise unreadable(PLATFORM_NAME, "a session came without its id, interface or classes")
    return (
        AccessSession(
            acct_session_id=facts["session"],
            login=login,
            rate=Rate(down_kbps=down.ceil_kbps, up_kbps=up.ceil_kbps),
            interface=interface,
            address=facts.get("address", ""),
            started=facts.get("started", ""),
        ),
    )
