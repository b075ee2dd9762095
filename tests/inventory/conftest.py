"""Empty inventory tables for every test, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, Table, text
from sqlmodel import SQLModel

from inventory import radius_rows, rows
from lab.servers.postgres import Postgres
from orchestrator.database import make_engine

TABLES = [
    value
    for module in (rows, radius_rows)
    for value in vars(module).values()
    if isinstance(value, Table)
]


@pytest.fixture
def postgres_url(postgres_server: Postgres, postgres_database: str) -> str:
    return postgres_server.url("migrate", postgres_database)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    made = make_engine(postgres_url)
    with made.begin() as connection:
        connection.execute(text("CREATE SCHEMA radius"))
        SQLModel.metadata.create_all(connection, tables=TABLES)
    yield made
    made.dispose()


@pytest.fixture
def engine(empty_engine: Engine) -> Engine:
    with empty_engine.begin() as connection:
        if empty_engine.dialect.name == "postgresql":
            connection.execute(text("CREATE SCHEMA radius"))
        SQLModel.metadata.create_all(connection, tables=TABLES)
    return empty_engine
