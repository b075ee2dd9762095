"""An office over a fresh store and a fresh fleet for each test, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from lab.small_isp import SmallIsp
from tests.conftest import StartFleet
from tests.orchestrator.rig import Rig, make_rig

StartRig = Callable[..., Rig]


@pytest.fixture
def start_rig(
    tmp_path: Path,
    start_fleet: StartFleet,
    subnet: str,
    empty_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> StartRig:
    """A function that builds a rig; keyword arguments are those of SmallIsp."""

    def start(**options: Any) -> Rig:
        isp = SmallIsp(subnet=subnet, **options)
        fleet = start_fleet(*isp.specs())
        return make_rig(tmp_path, fleet, isp, empty_engine, monkeypatch.setenv)

    return start


@pytest.fixture
def rig(start_rig: StartRig) -> Rig:
    """The usual small ISP."""
    return start_rig()
