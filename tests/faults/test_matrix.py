"""The table in the README is true: each row has tests, they exist, and none here is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = 29  # faults of the protocol's matrix; one row here joins two of the store's
TEST = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")


def rows() -> dict[str, list[tuple[str, str]]]:
    """Return each fault of the table with the (file, function) of its tests."""
    text = (HERE / "README.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return {line.split(" | ")[0].removeprefix("| "): TEST.findall(line) for line in lines}


def functions(path: Path) -> set[str]:
    """Return the names of a module's test functions."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_has_tests_and_all_of_them_exist() -> None:
    table = rows()
    assert len(table) == ROWS
    assert [fault for fault, named in table.items() if not named] == []
    missing = [
        f"{fault}: {file}::{name}"
        for fault, named in table.items()
        for file, name in named
        if name not in functions(HERE.parent / file)
    ]
    assert missing == []


def test_every_test_of_this_folder_stands_in_a_row() -> None:
    named = {(file, name) for tests in rows().values() for file, name in tests}
    here = {
        (f"faults/{path.name}", name)
        for path in HERE.glob("test_*.py")
        if path.name != Path(__file__).name
        for name in functions(path)
        if name.startswith("test_")
    }
    assert here - named == set()
