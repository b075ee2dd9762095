"""S20: what the program writes is its owner's alone, and what others can read is refused.

Refused files are tested in tests/orchestrator/bad_input; the plan's binding to its hash (S15) in
tests/orchestrator/test_change.py (an altered, cancelled, expired or stale plan).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import tier

from .conftest import Guarded


@pytest.fixture
def loose_umask() -> Iterator[None]:
    """A person whose new files everybody may read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("loose_umask")
def test_files_are_made_for_their_owner_alone(guarded: Guarded) -> None:
    desk = guarded.desk
    desk.good(*tier("svc-1001"))
    made = [desk.folder / name for name in ("bandmaster.toml", "known_hosts")]
    made += desk.folder.glob("bandmaster.db*")
    assert {path.name: oct(_mode(path)) for path in made} == {path.name: "0o600" for path in made}


def test_a_settings_file_that_is_there_is_never_written_over(guarded: Guarded) -> None:
    path = guarded.desk.folder / "bandmaster.toml"
    before = path.read_bytes()
    told = guarded.desk.good("init")
    assert "is there already" in told.err
    assert path.read_bytes() == before


def test_enrolling_mends_nothing_that_others_could_have_written(guarded: Guarded) -> None:
    path = guarded.desk.folder / "known_hosts"
    path.chmod(0o666)
    before = path.read_bytes()
    told = guarded.desk.run("device", "enroll-key", "bng-fra-1", "--yes")
    assert told.code == 2
    told.says("others can write to it", "chmod 600")
    assert (path.read_bytes(), _mode(path)) == (before, 0o666)
