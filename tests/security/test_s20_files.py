"""S20: what the program writes is its owner's alone, and what others can read is refused.

Refused files are tested in tests/orchestrator/bad_input; the plan's binding to its hash (S15) in
tests/orchestrator/test_change.py (an altered, cancelled, expired or stale plan).
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import tier
from tests.tree import ROOMS, modules, tree

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
    given = {"inventory.yaml", "fleet.yaml"}  # by the test itself
    made = [path for path in desk.folder.iterdir() if path.is_file() and path.name not in given]
    assert {path.name for path in made} >= {"bandmaster.toml", "known_hosts", "store-seen.json"}
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


def test_tables_for_spreadsheets_are_written_in_one_place() -> None:
    """Goal: no cell that a spreadsheet would run. Method: who in the rooms writes CSV at all.

    The ledger is exported as JSON lines; the table of an invoice neutralises = + - @, which
    tests/orchestrator/test_printing.py shows.
    """
    writers = {
        path
        for path in modules(*ROOMS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and (
            ast.unparse(node) == "csv.writer"
            or ast.unparse(node).rpartition(".")[2] in ("DictWriter", "to_csv", "QUOTE_ALL")
        )
    }
    assert writers == {"orchestrator/printing/plain.py"}


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C x'!A0")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_export_quotes_what_a_spreadsheet_would_run(guarded: Guarded) -> None:
    """Goal: one JSON line an event, whatever is in it. Method: formulas as reason and ticket."""
    desk = guarded.desk
    plans = itertools.cycle(("fiber-500", "fiber-1000"))
    for text in FORMULAS:
        told = desk.run(*tier("svc-1001", next(plans), f"--reason={text}", f"--ticket={text}"))
        assert told.code in (0, 2), told.text
    exported = desk.good("ledger", "export").out
    lines = exported.splitlines()
    assert len(lines) == exported.count("\n")
    assert all(json.loads(line)["specversion"] == "1.0" for line in lines)
    assert all(line.startswith("{") for line in lines)
