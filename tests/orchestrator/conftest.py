"""An office over a fresh store and a fresh fleet for each test, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from lab.small_isp import SmallIsp
from orchestrator.office import Office, open_office
from orchestrator.settings import load
from tests.conftest import StartFleet
from tests.desk import Desk
from tests.orchestrator.field import Field, field
from tests.orchestrator.moments import Hasty
from tests.orchestrator.money_desk import money_desk
from tests.orchestrator.rig import Rig, make_rig
from workflows.transports import cli_session, napalm

StartRig = Callable[..., Rig]
StartField = Callable[..., Field]


@pytest.fixture
def desk(tmp_path: Path, empty_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Accounts and a service of 29.99 a month on both databases, no device."""
    return money_desk(tmp_path, empty_engine, monkeypatch)


@pytest.fixture
def office(desk: Desk) -> Iterator[Office]:
    """The office behind the desk, for other people: who asks is given to each act."""
    found = open_office(load(desk.folder / "bandmaster.toml"))
    yield found
    found.engine.dispose()


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


@pytest.fixture
def hasty_rig(start_rig: StartRig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One BNG, one OLT, and a program that does not wait long for any of them."""
    rig = start_rig(services=2, olts=1, save_s=0.02, timeout_s=2)
    rig.office = replace(rig.office, clock=Hasty())
    monkeypatch.setattr(cli_session, "LINE_S", 1.5)  # a busy OLT is no dead one
    monkeypatch.setattr(napalm, "LOCK_WAIT_S", 0)
    return rig


@pytest.fixture
def start_field(
    tmp_path: Path, subnet: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartField]:
    """A function that sets up a field; `url` = its database, `settings` = lines of its settings.

    Other keyword arguments are those of SmallIsp. Fields of one test have addresses of their own.
    """
    _, second, third = subnet.split(".")
    started: list[Field] = []
    with ExitStack() as stack:

        def start(*, url: str = "", settings: dict[str, int] | None = None, **isp: Any) -> Field:
            place = len(started)
            folder = tmp_path / f"field-{place}"
            folder.mkdir()
            made = field(
                folder,
                SmallIsp(subnet=f"127.{16 + (int(second) + 67 * place) % 200}.{third}", **isp),
                url or f"sqlite:///{folder / 'bandmaster.db'}",
                monkeypatch.setenv,
                apart=False,
                **(settings or {}),
            )
            started.append(stack.enter_context(made))
            return started[-1]

        yield start
