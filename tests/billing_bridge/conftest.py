"""A ledger of its own for every test, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_facts import make_ledger
from sqlalchemy import Engine

from inventory import new_id
from lab.servers.daemon import LabError
from lab.servers.postgres import Postgres, binaries
from orchestrator.database import make_engine


@pytest.fixture(scope="session")
def ledger_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    try:
        binaries()
    except LabError as missing:
        pytest.skip(str(missing))
    server = Postgres(tmp_path_factory.mktemp("ledger-server"), durable=False)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def ledger_database(ledger_server: Postgres) -> Iterator[str]:
    name = f"ledger_{new_id().replace('-', '')}"
    ledger_server.create_database(name)
    yield name
    ledger_server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine of the owner of fresh ledger tables with their guards."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        server: Postgres = request.getfixturevalue("ledger_server")
        url = server.url("migrate", request.getfixturevalue("ledger_database"))
    made = make_engine(url)
    make_ledger(made)
    yield made
    made.dispose()
