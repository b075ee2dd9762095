"""The command line over the small emulated ISP: the real entry, in this process or another."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.emulators.fleet import Fleet
from lab.small_isp import SmallIsp
from orchestrator.cli.app import run

ONE = "svc-1001"  # on the first OLT
TWO = "svc-1002"  # on the second OLT
BOTH = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command ended with and wrote."""

    code: int
    out: str
    err: str

    @property
    def both(self) -> str:
        """Everything it wrote."""
        return self.out + self.err

    def value(self) -> Any:
        """The JSON document it wrote."""
        return json.loads(self.out)


class Keyboard(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        """Somebody sits there."""
        return True


@dataclass(slots=True)
class Shell:
    """A directory with settings in which commands are run; everything said is kept."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    said: list[Said] = field(default_factory=list)

    def __call__(self, *words: str, types: str | None = None) -> Said:
        """Run a command in this process; `types` is what a person at a terminal answers."""
        stdin = io.StringIO() if types is None else Keyboard(types)
        self.monkeypatch.setattr(sys, "stdin", stdin)
        self.capsys.readouterr()
        code = run(list(words))
        out, err = self.capsys.readouterr()
        said = Said(code=code, out=out, err=err)
        self.said.append(said)
        return said

    def ok(self, *words: str) -> Said:
        """Run a command that must end well."""
        said = self(*words)
        assert said.code == 0, said.both
        return said

    def change(self, *words: str, code: int = 0) -> str:
        """Run an act with --yes and --json; return its one change_id."""
        said = self(*words, "--yes", "--json")
        assert said.code == code, said.both
        change_id: str = said.value()["outcome"]["items"][0]["change_id"]
        return change_id

    def process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own, at no terminal."""
        return self._run([sys.executable, "-m", "orchestrator.cli", *words])

    def python(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script."""
        return self._run([sys.executable, "-c", script])

    def bash(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script."""
        return self._run(["bash", "-c", script])

    def started(self, *words: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@dataclass(slots=True)
class Noc:
    """A shell in which the small ISP is imported and its keys are enrolled."""

    shell: Shell
    fleet: Fleet
    isp: SmallIsp

    def __call__(self, *words: str, types: str | None = None) -> Said:
        """Run a command as the shell does."""
        return self.shell(*words, types=types)

    def policer(self, service: str) -> str:
        """The download policer that runs on the BNG for a service."""
        unit = f"unit {service.rpartition('-')[2]} family inet policer output "
        lines = self.fleet.control(self.isp.bng, "dump")["running"]
        return next(str(line).rpartition(" ")[2] for line in lines if unit in line)

    def wait_for(self, running: subprocess.Popen[str], device: str, words: str) -> None:
        """Wait until something with these words has come to a device over its wire."""
        while not self._arrived(device, words):
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(timeout=0.02)
                message = f"ended before {words!r} came to {device}: {running.communicate()}"
                raise AssertionError(message)

    def _arrived(self, device: str, words: str) -> bool:
        entries = self.fleet.control(device, "log")["entries"]
        wire = [entry for entry in entries if entry["who"] != "control"]
        return any(words in f"{entry['what']} {entry['text']}" for entry in wire)

    def told(self) -> dict[str, list[str]]:
        """What each device has been told or asked over its wire, without the ends of sessions.

        A device hears of an end a moment after the command that held the session is gone.
        """
        ends = ("disconnected", "logout", "close-session", "session ended")
        logs = {name: self.fleet.control(name, "log")["entries"] for name in self.fleet.devices}
        return {
            name: [
                f"{entry['who']} {entry['what']} {entry['text']}"
                for entry in log
                if entry["who"] != "control" and entry["what"] not in ends
            ]
            for name, log in logs.items()
        }

    def refuse(self, olt: int, text: str) -> None:
        """Let the OLT refuse the next service-port line with these words."""
        self.fleet.control(
            self.isp.olt(olt), "fault", verb="service-port*", kind="refuse", arg=text
        )


StartNoc = Callable[..., Noc]
