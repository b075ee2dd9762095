"""Desks for a person who gets things wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from lab.small_isp import SmallIsp
from orchestrator.database import make_engine
from tests.conftest import StartFleet
from tests.desk import Desk, bare_desk, open_desk


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An engine on an empty SQLite file, where the kind of store plays no part."""
    made = make_engine(f"sqlite:///{tmp_path / 'bandmaster.db'}")
    yield made
    made.dispose()


@pytest.fixture
def desk(
    tmp_path: Path,
    start_fleet: StartFleet,
    subnet: str,
    empty_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """The small ISP behind the command line, on both databases."""
    isp = SmallIsp(subnet=subnet)
    return open_desk(tmp_path, empty_engine, start_fleet(*isp.specs()), isp, monkeypatch)


@pytest.fixture
def sqlite_desk(
    tmp_path: Path,
    start_fleet: StartFleet,
    subnet: str,
    sqlite: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """The same on SQLite alone."""
    isp = SmallIsp(subnet=subnet)
    return open_desk(tmp_path, sqlite, start_fleet(*isp.specs()), isp, monkeypatch)


@pytest.fixture
def bare(tmp_path: Path, sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A folder with a settings file and empty tables; no devices."""
    desk = bare_desk(tmp_path, sqlite, monkeypatch)
    desk.good("init")
    return desk
