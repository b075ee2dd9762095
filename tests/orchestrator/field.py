"""A small ISP whose devices outlive the commands, and the real command line before it."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.emulators.control import ControlClient
from lab.emulators.fleet import Fleet
from lab.small_isp import SmallIsp
from orchestrator.imports import import_files
from orchestrator.keys import enroll_key
from orchestrator.office import open_office
from orchestrator.settings import load
from tests.orchestrator.rig import Rig
from tests.schema import migrate

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60
_upgrading = threading.Lock()  # alembic has one context for the whole process


@dataclass(frozen=True, slots=True, kw_only=True)
class FarFleet:
    """The fleet in the other process, with the one method of a Fleet that tests use."""

    client: ControlClient

    def control(self, device: str, do: str, /, **args: Any) -> dict[str, Any]:
        """Do one thing on one device from outside the wire."""
        return self.client.call(device, do, **args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command ended with; a negative code is the signal that ended it."""

    code: int
    out: str
    err: str


class Cutter:
    """Runs commands in forks of one warm process: an interpreter's start costs 2 s.

    That process is started when it is first needed; `warm_cutter` lends it to one field after
    another.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def _warm(self) -> subprocess.Popen[str]:
        self._process = self._process or subprocess.Popen(
            [sys.executable, "-m", "lab.cut", "--serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._process

    def run(self, folder: Path, options: tuple[str, ...], words: tuple[str, ...]) -> Ended:
        """Run one command in a folder with options of `lab.cut`."""
        out = folder / "run"
        request = {
            "words": [*options, "--", *words],
            "cwd": str(folder),
            "out": str(out),
            "environ": dict(os.environ),
        }
        process = self._warm()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        code = json.loads(process.stdout.readline())["code"]
        texts = [out.with_suffix(end).read_text("utf-8") for end in (".out", ".err")]
        return Ended(code=code, out=texts[0], err=texts[1])

    def close(self) -> None:
        """End the warm process."""
        if self._process is not None:
            self._process.communicate(timeout=PATIENCE_S)
            assert self._process.returncode == 0


_idle: list[Cutter] = []


@contextmanager
def warm_cutter() -> Iterator[Cutter]:
    """Lend a cutter that nobody uses now; one whose user failed is not lent again."""
    try:
        cutter = _idle.pop()
    except IndexError:
        cutter = Cutter()
    try:
        yield cutter
    except BaseException:
        cutter.close()
        raise
    _idle.append(cutter)


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A folder with settings and store, devices elsewhere, and commands to run there."""

    folder: Path
    rig: Rig
    cutter: Cutter

    def run(self, *words: str, at: str = "", cut: tuple[str, ...] = ()) -> Ended:
        """Run a command to its end; `at` = the edge it is killed at, `cut` = more options."""
        return self.cutter.run(self.folder, _options(at, cut), words)

    def start(
        self, *words: str, at: str = "", cut: tuple[str, ...] = (), **more: Any
    ) -> subprocess.Popen[str]:
        """Start a command as a process of its own, which the caller waits for."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "lab.cut", *_options(at, cut), "--", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            **{**pipes, **more},
        )


def _options(at: str, cut: tuple[str, ...]) -> tuple[str, ...]:
    return (*(("--at", at) if at else ()), *cut)


@contextmanager
def field(
    folder: Path,
    isp: SmallIsp,
    database_url: str,
    setenv: Callable[[str, str], None],
    *,
    apart: bool = True,
    **settings: int,
) -> Iterator[Field]:
    """Set a field up: tables, settings, inventory, enrolled keys, devices.

    `apart`: the devices run in a process of their own, so that fields beside each other have a
    core each.
    """
    for name, value in isp.secrets().items():
        setenv(name, value)
    # a process on a busy machine is slow: only a test about leases lets one run out
    patient = {"lease_ttl_s": 120, "takeover_s": 180}
    given = {"settle_s": 0, "coa_window_s": 0, "lease_wait_s": 2, **patient, **settings}
    lines = [f'database_url = "{database_url}"', 'known_hosts = "known_hosts"']
    lines += [f"{name} = {value}" for name, value in given.items()]
    place = folder / "bandmaster.toml"
    place.write_text("\n".join(lines) + "\n", "utf-8")
    place.chmod(0o600)
    fleet_file, inventory = isp.write(folder)
    with _apart(folder, fleet_file) if apart else _here(isp) as fleet:
        office = open_office(load(place))
        with _upgrading:
            migrate(office.engine)
        rig = Rig(office=office, fleet=fleet, isp=isp)
        import_files(office, (inventory,), "tester")
        for device in rig.devices():
            assert enroll_key(office, device.name, "tester", lambda _new, _old: True) is not None
        try:
            with warm_cutter() as cutter:
                yield Field(folder=folder, rig=rig, cutter=cutter)
        finally:
            office.engine.dispose()


@contextmanager
def _here(isp: SmallIsp) -> Iterator[Fleet]:
    with Fleet(isp.specs()) as fleet:
        yield fleet
    assert fleet.crashes == []


@contextmanager
def _apart(folder: Path, fleet_file: Path) -> Iterator[Any]:
    with devices(folder, fleet_file) as client:
        yield FarFleet(client=client)


@contextmanager
def devices(folder: Path, fleet_file: Path) -> Iterator[ControlClient]:
    """Run the emulated devices until the end; a mistake of theirs fails the test."""
    state = folder / "fleet"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "lab.emulators", "run", str(fleet_file)),
            *("--state", str(state), "--exit-with-pid", str(os.getpid())),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _wait_ready(process, state / "ready")
            yield ControlClient(state)
        finally:
            process.terminate()
            _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said


def _wait_ready(process: subprocess.Popen[str], ready: Path) -> None:
    """Wait for the file that says so; the process's own end is heard of at once."""
    ended = os.pidfd_open(process.pid)
    try:
        while not ready.exists():
            gone, _, _ = select.select([ended], [], [], 0.05)
            assert not gone, process.stderr.read() if process.stderr else "the devices ended"
    finally:
        os.close(ended)
