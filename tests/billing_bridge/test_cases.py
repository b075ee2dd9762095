"""The collected billing cases, run through the functions that bill.

`--cases FILE` runs those of another file of the same form. What a case calls by other words, and
how its figures are laid out, is translated in `case_*.py`; every figure comes from billing_bridge.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import case_ledger
import case_rating
import case_usage
import pytest
import yaml
from sqlalchemy import Engine

KEPT = Path(__file__).with_name("billing_cases.yaml")


def named(prefix: str, *modules: ModuleType) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): function
        for module in modules
        for name, function in vars(module).items()
        if name.startswith(prefix)
    }


PURE = named("run_", case_rating, case_usage, case_ledger)
STORED = named("on_", case_ledger)


def read_cases(path: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]
    return cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case: on both databases where the ledger itself is asked."""
    if "case" not in metafunc.fixturenames:
        return
    cases = read_cases(metafunc.config.getoption("--cases") or KEPT)
    stored = "engine" in metafunc.fixturenames
    mine = [case for case in cases if (case["kind"] in STORED) == stored]
    metafunc.parametrize("case", mine, ids=[case["id"] for case in mine])


def test_case(case: dict[str, Any]) -> None:
    assert case["kind"] in PURE, "a kind of case that nothing here translates"
    check(case, PURE[case["kind"]](case["given"]))


def test_stored_case(case: dict[str, Any], engine: Engine) -> None:
    if case["kind"] == "cursor":  # it tells what a reader without the lock would lose
        assert STORED["cursor"](case["given"], engine)["lost"] == []
        assert case["expect"]["lost"] != []
        return
    check(case, STORED[case["kind"]](case["given"], engine))


def check(case: dict[str, Any], got: dict[str, Any]) -> None:
    """Every figure that is expected is had; what a case does not ask for is not looked at."""
    expected = case["expect"]
    assert {name: got.get(name, "not computed") for name in expected} == expected


def test_every_kind_of_case_is_kept() -> None:
    assert {case["kind"] for case in read_cases(KEPT)} == set(PURE) | set(STORED)
