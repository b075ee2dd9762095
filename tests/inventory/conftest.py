"""Empty inventory tables for every test, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, Table, text
from sqlmodel import SQLModel

from inventory import new_id, radius_rows, rows
from lab.servers.daemon import LabError
from lab.servers.postgres import Postgres, binaries
from orchestrator.database import make_engine

TABLES = [
    value
    for module in (rows, radius_rows)
    for value in vars(module).values()
    if isinstance(value, Table)
]


@pytest.fixture(scope="session")
def inventory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    try:
        binaries()
    except LabError as missing:
        pytest.skip(str(missing))
    server = Postgres(tmp_path_factory.mktemp("inventory-server"), durable=False)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(inventory_server: Postgres) -> Iterator[str]:
    name = f"inventory_{new_id().replace('-', '')}"
    inventory_server.create_database(name)
    yield inventory_server.url("migrate", name)
    inventory_server.drop_database(name)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    made = make_engine(postgres_url)
    with made.begin() as connection:
        connection.execute(text("CREATE SCHEMA radius"))
        SQLModel.metadata.create_all(connection, tables=TABLES)
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres")
        return
    made = make_engine(f"sqlite:///{tmp_path / 'inventory.db'}")
    with made.begin() as connection:
        SQLModel.metadata.create_all(connection, tables=TABLES)
    yield made
    made.dispose()
