"""Databases for every test that needs one: a SQLite file, and a private PostgreSQL server."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from inventory import new_id
from lab.emulators.base import DeviceSpec
from lab.emulators.fleet import Fleet
from lab.servers.daemon import LabError
from lab.servers.postgres import Postgres, binaries
from orchestrator.database import make_engine
from tests.required import missing
from tests.statements import share_statements

# how long an example takes says how busy the host is, and nothing about the code; a run that
# fails must fail again
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

StartFleet = Callable[..., Fleet]

share_statements()

# a run in a script's background is started with SIGINT ignored, and every process it starts
# would be too: Ctrl-C is to be tested as a person at a terminal would press it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PORTS = (8830, 2222)  # of the emulated BNG and OLTs
_subnets = itertools.count(os.getpid() * 7919)


# modules that take a minute or more by themselves, whatever the number of their tests
LONG = (
    "orchestrator/test_recover_sqlite.py",
    "orchestrator/test_recover_kinds.py",
    "orchestrator/test_workers.py",
    "kills/test_server.py",
    "kills/test_schedulers.py",
    "kills/test_streams.py",
    "billing_bridge/test_attack_readers.py",
    "lab/test_product_change.py",
    "lab/test_product_crash.py",
    "model/test_explore.py",
    "model/test_conformance.py",
    "simulation/test_simulation.py",
    "faults/test_radius.py",
    "security/test_s01_injection.py",
    "security/test_s05_host_keys.py",
    "security/test_s06_processes.py",
    "security/test_s06_secrets.py",
    "security/test_s10_radius.py",
    "security/test_s19_hostile_output.py",
    "security/test_s20_files.py",
    "workflows/test_transport_netmiko.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long modules: the last one to begin keeps one core busy and no other."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what stays until the end: tests, modules, what they load."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cases FILE`: other billing cases than those kept beside the tests."""
    parser.addoption(
        "--cases", type=Path, default=None, metavar="FILE", help="billing cases to run instead"
    )


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One throw-away server for all tests; skipped where none is installed, never under CI."""
    try:
        binaries()
    except LabError as error:
        missing(str(error))
    server = Postgres(tmp_path_factory.mktemp("postgres-server"), durable=False)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres_database(postgres_server: Postgres) -> Iterator[str]:
    """The name of an empty database of this test's own."""
    name = f"test_{new_id().replace('-', '')}"
    postgres_server.create_database(name)
    yield name
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once on SQLite and once on PostgreSQL (role migrate)."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bandmaster.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.url("migrate", request.getfixturevalue("postgres_database"))


@pytest.fixture
def empty_engine(database_url: str) -> Iterator[Engine]:
    """An engine on an empty database."""
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def start_fleet() -> Iterator[StartFleet]:
    """A function that runs the given specs as a fleet until teardown, which must show no crash."""
    fleets: list[Fleet] = []
    with ExitStack() as stack:

        def start(*specs: DeviceSpec) -> Fleet:
            fleet = stack.enter_context(Fleet(specs))
            fleets.append(fleet)
            return fleet

        yield start
    assert [crash for fleet in fleets for crash in fleet.crashes] == []


@pytest.fixture
def subnet() -> str:
    """The first three octets of loopback addresses that nobody on this host uses now."""
    for number in _subnets:
        found = f"127.{16 + number // 256 % 200}.{number % 256}"
        if all(_free(f"{found}.{host}", port) for host in (1, 11, 12) for port in _PORTS):
            return found
    raise AssertionError


def _free(address: str, port: int) -> bool:
    """Say whether nobody listens there: tests run beside each other, and beside a demo."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) != 0
