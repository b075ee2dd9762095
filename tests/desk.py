"""A person at the command line: real commands, a folder, store and emulated ISP of their own."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, select

from lab.emulators.fleet import Fleet
from lab.small_isp import SmallIsp
from orchestrator.cli.app import run as run_command
from tests.schema import migrate

ROOT = Path(__file__).resolve().parent.parent
PASSING = {"lease", "alembic_version"}  # rows that come and go without meaning
PLANS = frozenset({"change_plan"})  # a stored plan blocks nothing and sends nothing
ALIKE = ("running", "startup", "saved", "pending", "traffic_tables", "service_ports")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a command ended with and wrote."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything a person saw."""
        return self.out + self.err

    def says(self, *words: str) -> None:
        """Assert that a person is told all of this, on standard error, and sees no trace."""
        for word in words:
            assert word in self.err, f"{word!r} is not in:\n{self.err}"
        assert "Traceback" not in self.text
        assert "bug in bandmaster" not in self.text


@dataclass(slots=True)
class Desk:
    """The folder a person works in, and the world behind it."""

    folder: Path
    engine: Engine
    fleet: Fleet | None = None
    isp: SmallIsp = field(default_factory=SmallIsp)
    tables: MetaData = field(default_factory=MetaData)  # as found in the store; empty = look again

    def run(self, *arguments: str) -> Told:
        """Run one command in this process; the signal handlers it sets are taken off again."""
        out, err = io.StringIO(), io.StringIO()
        with _signals(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command([str(argument) for argument in arguments])
        return Told(code=code, out=out.getvalue(), err=err.getvalue())

    def spawn(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Told:
        """Run one command as a process of its own, without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Told(code=done.returncode, out=done.stdout, err=done.stderr)

    def good(self, *arguments: str, code: int = 0) -> Told:
        """Run a command that must end with `code`."""
        told = self.run(*arguments)
        assert told.code == code, told.text
        return told

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        """Write a file into the folder; return its name."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return name

    def control(self, device: str, do: str, /, **args: Any) -> Any:
        """Do one thing to a device from outside the wire."""
        assert self.fleet is not None
        return self.fleet.control(device, do, **args)

    def world(self, *, but: frozenset[str] = frozenset()) -> tuple[dict[str, Any], dict[str, Any]]:
        """All rows of all tables except `but`, and what every device holds."""
        if not self.tables.tables:
            self.tables = found_tables(self.engine)
        return stored(self.engine, self.tables, but), self.devices()

    def devices(self) -> dict[str, Any]:
        """What every device holds, running and kept."""
        if self.fleet is None:
            return {}
        dumps = {name: self.control(name, "dump") for name in self.fleet.devices}
        return {
            name: {key: dump[key] for key in ALIKE if key in dump} for name, dump in dumps.items()
        }


def found_tables(engine: Engine) -> MetaData:
    """Return the tables that the store itself shows, whatever the program thinks it has."""
    tables = MetaData()
    for schema in (None,) if engine.dialect.name == "sqlite" else ("public", "radius"):
        tables.reflect(engine, schema=schema)
    return tables


def stored(
    engine: Engine, tables: MetaData, but: frozenset[str] = frozenset()
) -> dict[str, list[str]]:
    """Return every table's rows, read without the program's own store functions."""
    with engine.connect() as connection:
        return {
            table.name: sorted(repr(tuple(row)) for row in connection.execute(select(table)))
            for table in tables.sorted_tables
            if table.name not in PASSING | but
        }


def bare_desk(folder: Path, engine: Engine, patch: pytest.MonkeyPatch) -> Desk:
    """Return a folder without settings, devices or tables, and go there."""
    patch.chdir(folder)
    patch.delenv("BANDMASTER_DATABASE_URL", raising=False)
    return Desk(folder=folder, engine=engine)


def open_desk(
    folder: Path, engine: Engine, fleet: Fleet, isp: SmallIsp, patch: pytest.MonkeyPatch
) -> Desk:
    """Set everything up with the commands a person would use: init, import, enrol."""
    desk = bare_desk(folder, engine, patch)
    desk.fleet, desk.isp = fleet, isp
    for name, value in isp.secrets().items():
        patch.setenv(name, value)
    url = engine.url.render_as_string(hide_password=False)
    migrate(engine)
    desk.good("init", "--database", url)
    settings = folder / "bandmaster.toml"
    waits = "settle_s = 0\ncoa_window_s = 0\nlease_wait_s = 2\n"
    settings.write_text(f"{settings.read_text('utf-8')}{waits}", "utf-8")
    isp.write(folder)
    desk.good("inventory", "import", "inventory.yaml")
    for device in fleet.devices:
        desk.good("device", "enroll-key", device, "--yes")
    return desk


def refused(desk: Desk, arguments: tuple[str, ...], code: int, *words: str) -> Told:
    """Run a command that must be refused with these words and leave no trace anywhere."""
    before = desk.world(but=PLANS)
    told = desk.run(*arguments)
    assert told.code == code, f"{arguments}: {told.text}"
    told.says(*words)
    assert told.out == ""
    assert desk.world(but=PLANS) == before, arguments
    return told


def tier(service: str, plan: str = "fiber-500", *more: str) -> tuple[str, ...]:
    """The words of a tier change that asks nobody."""
    return ("service", "tier", service, plan, "--yes", *more)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
