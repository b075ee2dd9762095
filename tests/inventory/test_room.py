"""The room's door: every name it offers is there, and opening it costs little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from inventory_rig import EXAMPLE, load
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

import inventory
from inventory.radius_rows import RADUSERGROUP
from inventory.rows import LINE
from orchestrator.database import writing

ROOT = Path(inventory.__file__).parent.parent


def test_every_name_offered_is_there() -> None:
    for name in inventory.__all__:
        assert getattr(inventory, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        inventory.no_such_name  # noqa: B018


def test_the_door_loads_no_heavy_library() -> None:
    """`--help` must answer at once: a fresh interpreter imports the room and looks around."""
    code = "import sys, inventory; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"sqlalchemy", "sqlmodel", "pydantic", "nornir", "yaml"}
    assert heavy & set(done.stdout.split()) == set()


def test_the_database_itself_allows_a_login_once(engine: Engine) -> None:
    load(engine, EXAMPLE)
    line = {"account_id": "acc-1001", "password_ref": "", "adopted": ""}
    with writing(engine) as session:  # many lines have none
        session.execute(insert(LINE), [{"service_id": one, "login": "", **line} for one in "ab"])
        session.execute(insert(RADUSERGROUP), [{"username": "anna", "groupname": "x"}])
    with pytest.raises(IntegrityError), writing(engine) as session:
        session.execute(insert(LINE), [{"service_id": "c", "login": "praxis@nordnetz", **line}])
    with pytest.raises(IntegrityError), writing(engine) as session:
        session.execute(insert(RADUSERGROUP), [{"username": "anna", "groupname": "y"}])
