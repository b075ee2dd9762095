"""The databases that the benchmarks run on: a SQLite file, and a private durable PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.servers.postgres import Postgres

DATABASES = ("SQLite", "PostgreSQL")


@contextmanager
def database(name: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database, gone at the end; LabError without a server installed."""
    if name == "SQLite":
        yield f"sqlite:///{folder / 'bandmaster.db'}"
        return
    server = Postgres(folder, durable=True)
    try:
        yield server.start()
    finally:
        server.remove()
