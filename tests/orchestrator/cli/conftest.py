"""A shell in an empty directory, and one over the small emulated ISP."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.servers.postgres import Postgres
from lab.small_isp import SmallIsp
from orchestrator.database import make_engine
from tests.conftest import StartFleet
from tests.orchestrator.cli.cli_rig import Noc, Shell, StartNoc
from tests.schema import migrate


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """A shell in an empty directory without settings of anybody."""
    folder = tmp_path / "noc"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("BANDMASTER_DATABASE_URL", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Shell(folder=folder, capsys=capsys, monkeypatch=monkeypatch)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty SQLite database, or of what BOTH asks for."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'bandmaster.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.url("migrate", request.getfixturevalue("postgres_database"))


@pytest.fixture
def start_noc(
    shell: Shell,
    start_fleet: StartFleet,
    subnet: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[StartNoc]:
    """A function that builds the ISP in a shell; on PostgreSQL it works with role app.

    At the end no secret of the ISP may stand in anything that was said.
    """
    noc: list[Noc] = []

    def start(**options: Any) -> Noc:
        isp = SmallIsp(subnet=subnet, **options)
        fleet = start_fleet(*isp.specs())
        for name, value in isp.secrets().items():
            monkeypatch.setenv(name, value)
        _settings(shell, database_url, request)
        _, inventory = isp.write(shell.folder)
        shell.ok("inventory", "import", str(inventory))
        made = Noc(shell=shell, fleet=fleet, isp=isp)
        known_hosts = shell.folder / "known_hosts"
        lines = [f"[{spec.address}]:{spec.port} {fleet.host_key}\n" for spec in isp.specs()]
        known_hosts.write_text("".join(lines))
        known_hosts.chmod(0o600)
        noc.append(made)
        return made

    yield start
    for one in noc:
        for secret in one.isp.secrets().values():
            assert not [said for said in shell.said if secret in said.both]


def _settings(shell: Shell, database_url: str, request: pytest.FixtureRequest) -> None:
    """Create the tables as their owner; work as the role that may do no more than it must."""
    url = database_url
    if url.startswith("postgresql"):
        server = request.getfixturevalue("postgres_server")
        url = server.url("app", request.getfixturevalue("postgres_database"))
    place = shell.folder / "bandmaster.toml"
    place.write_text(f'database_url = "{url}"\nsettle_s = 0\ncoa_window_s = 0\nlease_wait_s = 2\n')
    place.chmod(0o600)
    engine = make_engine(database_url)
    migrate(engine)
    engine.dispose()


@pytest.fixture
def noc(start_noc: StartNoc) -> Noc:
    """The usual small ISP."""
    return start_noc()
