"""A list of names as one parameter: each of them is found, and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, Text, bindparam, select

from inventory.sql import one_of
from orchestrator.database import reading

HOSTILE = (
    "",
    "a",
    "NULL",
    '"',
    "\\",
    '\\"',
    "','",
    '","',
    "{a,b}",
    "}",
    "a,b",
    "[]",
    "a b",
    "é\n☃",
)
ABSENT = ("b", "b}", "{a", " ", "null", '""', "\\\\")


@pytest.mark.parametrize("names", [HOSTILE, HOSTILE[1:2], ()])
def test_of_hostile_names_each_is_found_and_no_other(
    empty_engine: Engine, names: tuple[str, ...]
) -> None:
    asked = select(one_of(bindparam("value", type_=Text()), "names"))
    with reading(empty_engine) as session:
        found = {
            value
            for value in (*HOSTILE, *ABSENT)
            if session.execute(asked, {"value": value, "names": names}).scalar_one()
        }
    assert found == set(names)
