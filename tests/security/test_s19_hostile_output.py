"""S19: what a hostile device says ends as that device's problem, in bounded memory and time.

Each wire runs in a process of its own, so that its memory can be read and a hang be seen.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lxml import etree
from ncclient.devices.junos import JunosDeviceHandler
from ncclient.transport.session import SessionListener
from ncclient.transport.ssh import SSHSession

from tests.tree import ROOT
from workflows.transports import netconf_guard

from .hostile import Endless, HostileHost, olt, router, rude_router, shell

MOST_GROWN_MB = 600
DEADLINE_S = 280  # a hang, not slowness, is what it is to find
SHOWN = 700  # characters that a person is shown of it, at most
PART = 64 * 1024
MEGA = 1024 * 1024
NO_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExPWjugsaFLyZTOFKU0VhCRIT1llrzIAKlJOxWfUNf+"


def endless(part: bytes) -> Iterator[bytes]:
    """The same bytes for ever."""
    return itertools.repeat(part * (PART // len(part)))


def times(part: bytes, size: int) -> Iterator[bytes]:
    """The same bytes up to a size."""
    whole = part * (PART // len(part) + 1)
    return itertools.repeat(whole, max(1, size // len(whole)))


Case = tuple[str, str, HostileHost | Endless, str]
"""Name, platform, host and act."""


def meet(folder: Path, cases: Iterable[Case]) -> None:
    """Let one process meet all hosts; fails where it hangs, crashes, believes or takes memory."""
    cases = tuple(cases)
    with ExitStack() as stack:
        for _, _, host, _ in cases:
            stack.enter_context(host)
        asked = [
            {
                "name": name,
                "platform": platform,
                "host": host.address,
                "port": host.port,
                "host_key": getattr(host, "host_key", NO_KEY),
                "act": act,
                "folder": str(folder),
            }
            for name, platform, host, act in cases
        ]
        out = folder / "told"
        with out.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.security.victim"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.PIPE,
            )
            try:
                _, err = process.communicate(json.dumps(asked).encode(), timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, err = process.communicate()
        told = [json.loads(line) for line in out.read_text().splitlines()]
    assert process.returncode == 0, f"hung or died after {told[-1:]}: {err[-2000:]!r}"
    assert [one["name"] for one in told] == [one["name"] for one in asked]
    assert [one for one in told if _wrong(one)] == []
    assert [name for name, _, host, _ in cases if not host.poured] == []
    assert b"hunter2" not in err


def _wrong(told: dict[str, Any]) -> bool:
    """Whether a device was believed, a mistake of ours raised, or too much taken or said."""
    text = told["text"]
    return (
        told["error"] not in ("Unreachable", "Unreadable")
        or told["grown_mb"] > MOST_GROWN_MB
        or len(text) > SHOWN
        or not text.isprintable()
        or "hunter2" in text
    )


LINES: dict[str, bytes] = {
    "endless line": b"A",
    "blank lines": b"\n",
    "spaces": b" ",
    "page prompts": b"---- More ---- ",
    "page prompts without an end": b"---- More",
    "prompts": b"OLT1#\r\n",
    "prompt characters": b"#>$",
    "control sequences": b"\x1b[2J\x1b]0;title\x07\x9b31m\x08\x00",
    "an open control sequence": b"\x1b]0;",
    "a control sequence of digits": b"\x1b[" + b"0" * 998,
    "invalid UTF-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "rows": b"  1  64  64  64  64  0  x  y\r\n",
    "digits": b"1",
    "quotes": b'"',
}
ENDLESS = ("endless line", "blank lines", "page prompts")


def test_an_olt(tmp_path: Path, subnet: str) -> None:
    """Goal: S19 on the CLI. Method: as an answer that came, and some of it without an end."""

    def cases() -> Iterator[Case]:
        for what, part in LINES.items():
            for way, payload in (
                ("endless", lambda part=part: endless(part)),
                ("whole", lambda part=part: (b"\r\n", *times(part, MEGA), b"\r\nOLT1#")),
            ):
                if way == "endless" and what not in ENDLESS:
                    continue
                host = HostileHost(f"{subnet}.11", olt("display traffic", payload))
                yield f"{way} {what}", "huawei_smartax", host, "read"

    meet(tmp_path, cases())


def test_a_linux_box(tmp_path: Path, subnet: str) -> None:
    """Goal: the same over a shell. Method: the same, between the marks."""

    def cases() -> Iterator[Case]:
        for what, part in LINES.items():

            def without_end(mark: str, part: bytes = part) -> Iterable[bytes]:
                return itertools.chain((f"{mark}<\n".encode(),), endless(part))

            def whole(mark: str, part: bytes = part) -> Iterable[bytes]:
                end = f"\n{mark}>0\n".encode()
                return itertools.chain((f"{mark}<\n".encode(),), times(part, MEGA), (end,))

            for way, payload in (("endless", without_end), ("whole", whole)):
                if way == "endless" and what not in ENDLESS:
                    continue
                host = HostileHost(f"{subnet}.11", shell("tc class show", payload))
                yield f"{way} {what}", "linux_tc", host, "read"

    meet(tmp_path, cases())


MARKS: dict[str, Callable[[str], Iterable[bytes]]] = {
    "beginnings": lambda mark: endless(f"{mark}<\n".encode()),
    "beginnings and one end": lambda mark: itertools.chain(
        times(f"{mark}<".encode(), MEGA), (f"\n{mark}>x {mark}>0\n".encode(),)
    ),
    "ends": lambda mark: endless(f"{mark}>0\n".encode()),
    "a status of a million digits": lambda mark: itertools.chain(
        (f"{mark}<\n{mark}>".encode(),), times(b"9", MEGA), (b"\n",)
    ),
}


def test_a_linux_box_that_abuses_the_marks(tmp_path: Path, subnet: str) -> None:
    hosts = {
        what: HostileHost(f"{subnet}.11", shell("tc class show", payload))
        for what, payload in MARKS.items()
    }
    meet(tmp_path, ((what, "linux_tc", host, "read") for what, host in hosts.items()))


def reply(*parts: Iterable[bytes]) -> Callable[[str], Iterable[bytes]]:
    """A reply to the call of that number, whatever is inside."""

    def payload(number: str) -> Iterable[bytes]:
        yield f'<rpc-reply message-id="{number}">'.encode()
        for part in parts:
            yield from part
        yield b"</rpc-reply>]]>]]>"

    return payload


BOMB = b"".join(
    (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "lol">',
        *(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12)),
        b"]>",
    )
)
XML: dict[str, Callable[[str], Iterable[bytes]]] = {
    "without an end": reply(endless(b"A")),
    "elements without an end": reply(endless(b"<a/>")),
    "elements": reply(times(b"<a/>", 48 * MEGA)),
    "depth": reply(times(b"<a>", 8 * MEGA)),
    "closed depth": reply(times(b"<a>", 3 * PART), times(b"</a>", 4 * PART)),
    "attributes": reply((b"<a ",), times(b"b='c' ", 4 * MEGA), (b"/>",)),
    "a long name": reply((b"<",), times(b"a", 8 * MEGA), (b"/>",)),
    "invalid UTF-8": reply((b"<a>\xff\xfe\xc3\x28</a>",)),
    "control characters": reply((b"<a>\x00\x1b[2J\x07</a>",)),
    "an entity bomb": lambda number: (BOMB, *reply((b"<a>&a11;</a>",))(number)),
    "an entity bomb, cut": lambda number: (BOMB[:25], BOMB[25:30], BOMB[30:], *reply()(number)),
    "a file as an entity": lambda number: (
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>',
        *reply((b"<a>&f;</a>",))(number),
    ),
    "an entity bomb in UTF-16": lambda number: (
        BOMB.decode().replace("?>", ' encoding="UTF-16"?>').encode("utf-16"),
        *reply((b"<a>&a11;</a>",))(number),
    ),
    "an error of many words": reply(
        (b"<rpc-error><error-severity>error</error-severity><error-message>",),
        times(b"no \x1b[31m", 4 * MEGA),
        (b"</error-message></rpc-error>",),
    ),
    "many errors": reply(
        times(b"<rpc-error><error-severity>error</error-severity></rpc-error>", 2 * MEGA)
    ),
    "many messages": lambda _number: endless(b"<a/>]]>]]>"),
    "another's reply": lambda _number: reply((b"<ok/>",))("urn:uuid:0"),
    "nothing": lambda _number: (b"]]>]]>",),
    "no XML": lambda _number: (b"% Invalid input]]>]]>",),
}


def routers(tmp_path: Path, talks: dict[str, HostileHost]) -> None:
    meet(tmp_path, ((what, "juniper_junos", host, "read") for what, host in talks.items()))


def test_a_router(tmp_path: Path, subnet: str) -> None:
    talks = {what: HostileHost(f"{subnet}.1", router(payload)) for what, payload in XML.items()}
    routers(tmp_path, talks)


CHUNKS: dict[str, Callable[[str], Iterable[bytes]]] = {
    "a size of many digits": lambda _number: itertools.chain((b"\n#",), endless(b"9")),
    "a chunk that never ends": lambda _number: itertools.chain(
        (b"\n#4294967295\n",), endless(b"A")
    ),
    "chunks of one octet": lambda _number: endless(b"\n#1\nA"),
    "empty chunks": lambda _number: endless(b"\n#0\n"),
    "no chunk": lambda _number: endless(b"A"),
    "an entity bomb, an octet a chunk": lambda number: (
        b"".join(b"\n#1\n" + bytes((octet,)) for part in XML["an entity bomb"](number)
                 for octet in part.removesuffix(b"]]>]]>")) + b"\n##\n",
    ),
}  # fmt: skip


def test_a_router_that_speaks_in_chunks(tmp_path: Path, subnet: str) -> None:
    routers(
        tmp_path,
        {
            what: HostileHost(f"{subnet}.1", router(payload, minor=1))
            for what, payload in CHUNKS.items()
        },
    )


GREETINGS: dict[str, Callable[[], Iterable[bytes]]] = {
    "without an end": lambda: endless(b"A"),
    "elements": lambda: itertools.chain((b"<hello>",), endless(b"<a/>")),
    "an entity bomb": lambda: (BOMB + b"<hello>&a11;</hello>]]>]]>",),
    "silence": lambda: (),
    "no session": lambda: (b"<hello/>]]>]]>",),
}


def test_a_router_s_greeting(tmp_path: Path, subnet: str) -> None:
    routers(
        tmp_path,
        {
            what: HostileHost(f"{subnet}.1", rude_router(payload))
            for what, payload in GREETINGS.items()
        },
    )


SSH: dict[str, Callable[[], Iterable[bytes]]] = {
    "a banner without an end": lambda: endless(b"A"),
    "banners without an end": lambda: endless(b"hello there\r\n"),
    "a version without an end": lambda: itertools.chain((b"SSH-2.0-",), endless(b"A")),
    "a packet of 2 GiB": lambda: itertools.chain(
        (b"SSH-2.0-x\r\n", (0x7FFF_FFF4).to_bytes(4, "big")), endless(b"A")
    ),
    "packets to be ignored": lambda: itertools.chain(
        (b"SSH-2.0-x\r\n",), endless((1020).to_bytes(4, "big") + bytes((4, 2)) + bytes(1018))
    ),
    "silence": lambda: (),
}


WAYS = (("juniper_junos", "read"), ("huawei_smartax", "read"), ("linux_tc", "scan"))


def test_before_the_host_key_is_known(tmp_path: Path, subnet: str) -> None:
    """Goal: S19 where anybody on the path can speak. Method: raw bytes instead of SSH."""
    meet(
        tmp_path,
        (
            (f"{act} {platform} {what}", platform, Endless(f"{subnet}.1", payload), act)
            for what, payload in SSH.items()
            for platform, act in WAYS
        ),
    )


def test_silence_after_the_login(tmp_path: Path, subnet: str) -> None:
    """Goal: an opening ends. Method: the login is taken, the session's request never answered."""
    meet(
        tmp_path,
        (
            (platform, platform, HostileHost(f"{subnet}.1", stalls=True), "read")
            for platform in ("juniper_junos", "huawei_smartax", "linux_tc")
        ),
    )


class Heard(SessionListener):  # type: ignore[misc]
    """Keeps what a NETCONF session has understood."""

    def __init__(self) -> None:
        self.raw: list[str] = []
        self.errors: list[Exception] = []

    def callback(self, _root: object, raw: str) -> None:
        """Keep a message."""
        self.raw.append(raw)

    def errback(self, error: Exception) -> None:
        """Keep an error."""
        self.errors.append(error)


def test_letters_that_are_cut_between_two_reads_are_whole() -> None:
    """Goal: a guard that harms no honest device. Method: octet by octet, by ncclient's session."""
    session = SSHSession(JunosDeviceHandler({"name": "junos"}))
    assert isinstance(session.parser, netconf_guard.Guard)
    heard = Heard()
    session.add_listener(heard)
    text = "Z\u00fcrich \u2014 \u6771\u4eac \U0001f680 <&amp;>".replace("<", "&lt;")
    whole = f"<rpc-reply><data>{text}</data></rpc-reply>]]>]]>".encode()
    for size in (1, 2, 3, 5, 7):
        for place in range(0, len(whole), size):
            session.parser.parse(whole[place : place + size])
    assert heard.errors == []
    assert len(heard.raw) == 5
    for raw in heard.raw:
        found = etree.fromstring(raw).findtext("data")
        assert found == "Z\u00fcrich \u2014 \u6771\u4eac \U0001f680 <&>"
