"""Small devices without wires, written from other sides than the platforms: they take the lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import device_templates
from device_templates import Objects, Platform, Reading
from device_templates.platform import Database
from lab.emulators.base import DeviceSpec
from lab.emulators.junos_config import Config
from lab.emulators.smartax_commands import perform
from lab.emulators.smartax_device import CONFIG, Device


def golden(platform: str, name: str) -> str:
    """A golden text of a platform."""
    folder = Path(device_templates.__path__[0], platform, "golden")
    return (folder / f"{name}.txt").read_text("utf-8")


def upgrade(platform: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The golden forward and inverse lines."""
    forward, _, inverse = golden(platform, "upgrade").partition("\n\n")
    return tuple(forward.splitlines()), tuple(inverse.splitlines())


def without(text: str) -> list[str]:
    """The text less one line, for each of its lines."""
    lines = text.split("\n")
    return ["\n".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines))]


class JunosModel:
    """A configuration in which forwarding always agrees; a missing delete is only a warning."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.config, problems = Config({}).load(lines)
        assert problems == []

    def send(self, lines: Iterable[str]) -> None:
        """Take lines; one that is refused fails the test."""
        self.config, problems = self.config.load(lines)
        assert [p for p in problems if p.severity == "error"] == []
        assert self.config.problems() == []

    def ask(self, query: str) -> str:
        """Answer one query."""
        if query == "config:committed":
            return "\n".join(self.config.set_lines())
        assert query == "rpc:get-interface-policer-information"
        return f"<interface-policer-information>{self._policers()}</interface-policer-information>"

    def _policers(self) -> str:
        return "".join(
            f"<logical-interface><name>{unit}</name><policer-family>"
            "<policer-family-name>inet</policer-family-name>"
            + "".join(
                f"<policer-{side}>{name}-{unit}-inet-{side[0]}</policer-{side}>"
                for side, name in families.get("inet", {}).items()
            )
            + "</policer-family></logical-interface>"
            for unit, families in self.config.policers().items()
        )


class SmartaxModel:
    """The emulated OLT's commands, in configuration mode and without a terminal."""

    def __init__(self, **options: object) -> None:
        spec = DeviceSpec(
            name="olt",
            kind="smartax",
            address="127.0.0.1",
            port=1,
            username="u",
            password="p",
            options=dict(options),
        )
        self.device = Device(spec)
        self._shell = self.device.log_in("u", "127.0.0.1", lambda _: None, lambda: None)
        self._shell.mode, self._shell.smart = CONFIG, False

    def ask(self, line: str) -> str:
        """Answer one query."""
        return perform(self.device, self._shell, line)

    def send(self, lines: Iterable[str]) -> None:
        """Take lines; one that is refused fails the test."""
        for line in lines:
            text = self.ask(line)
            assert "Failure" not in text, text
            assert "%" not in text, text


class TcModel:
    """HTB classes and links that print as iproute2 does, unit by unit; saves what is kept."""

    _CHANGE = re.compile(
        r"tc class change dev (\S+) parent 1: classid (1:\w+) htb(?: prio (\d))?"
        r" rate (\d+)kbit ceil (\d+)kbit quantum 1514"
    )

    def __init__(self, interfaces: Iterable[str], minor: str = "10") -> None:
        names = [n for name in interfaces for n in (name, f"ifb-{name}")]
        self.up = dict.fromkeys(names, True)
        self.classes = {(name, f"1:{minor}"): (0, 100_000, 100_000) for name in names}
        self.files: dict[str, list[str]] = {}

    def send(self, lines: Iterable[str]) -> None:
        """Take lines; one that is refused fails the test."""
        for line in lines:
            if found := self._CHANGE.fullmatch(line):
                key = (found[1], found[2])
                assert key in self.classes, line  # RTNETLINK answers: No such file
                self.classes[key] = (int(found[3] or 0), int(found[4]), int(found[5]))
            elif found := re.fullmatch(r"ip link set dev (\S+) (up|down)", line):
                assert found[1] in self.up, line
                self.up[found[1]] = found[2] == "up"
            else:
                self._keep(line)

    def ask(self, query: str) -> str:
        """Answer one query."""
        names = re.findall(r"\S+", query.partition("for d in ")[2].partition(";")[0])
        saved = "cat /etc/bandmaster" in query
        blocks = [self._saved(name) if saved else self._shown(name) for name in names]
        return "".join(f"dev {n}\n{b}" for n, b in zip(names, blocks, strict=True)) + "end\n"

    def _keep(self, line: str) -> None:
        path = re.search(r"mv -f (\S+)\.new \1 ", line)
        assert path is not None, line
        assert f"> {path[1]}.new" in line
        self.files[path[1]] = re.findall(r" '([^']*)'", line.partition("'%s\\n'")[2])

    def _saved(self, name: str) -> str:
        kept = self.files.get(f"/etc/bandmaster/tc.d/{name}.conf", ["no file"])
        return "\n".join([*kept, "rc 0", ""])

    def _shown(self, name: str) -> str:
        if name not in self.up:
            return f'Device "{name}" does not exist.\nCannot find device "{name}"\nrc 1\n'
        flags = "BROADCAST,UP,LOWER_UP" if self.up[name] else "BROADCAST"
        rows = [
            f"class htb {number} root prio {prio} rate {_tc(rate)} ceil {_tc(ceil)} burst 1600b "
            for (where, number), (prio, rate, ceil) in self.classes.items()
            if where == name
        ]
        return "\n".join([f"7: {name}@if2: <{flags}> mtu 1500 qdisc htb", *rows, "rc 0", ""])


def _tc(kbps: int) -> str:
    """print_rate of iproute2: a larger unit where it divides, or where 1000 of them are full."""
    rate, units = kbps * 1000, ["", "K", "M", "G", "T"]
    while len(units) > 1 and rate >= 1000 and not (rate % 1000 and rate < 1_000_000):
        rate //= 1000
        units.pop(0)
    return f"{rate}{units[0]}bit"


Model = JunosModel | SmartaxModel | TcModel


def read(
    platform: Platform, model: Model, objects: tuple[Objects, ...], database: Database = "running"
) -> Reading:
    """What the platform makes of the model's answers."""
    replies = tuple(model.ask(query) for query in platform.read(database, objects))
    return platform.parse(database, objects, replies)
