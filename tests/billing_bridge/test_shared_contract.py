"""The contract with other systems as the README states it: views, columns and examples are run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, inspect, text

import billing_bridge
from inventory import Refused
from lab.servers.postgres import Postgres
from orchestrator.database import make_engine, writing
from orchestrator.migrate import upgrade
from tests.orchestrator.billing_world import MARCH, World

README = (Path(billing_bridge.__file__).parent / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+_v\d+)` \| ([^|]+) \|$", README, re.MULTILINE)
SQL = [
    part.strip()
    for block in re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    for part in block.split(";")
    if part.strip()
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SPOKEN_OF = {"ledger_event_v1"}  # its columns are those of an event, said in another place


@pytest.fixture
def migrated(empty_engine: Engine) -> Engine:
    """A store as `bandmaster init` makes it."""
    upgrade(empty_engine)
    return empty_engine


def test_views_have_the_columns_that_were_promised(migrated: Engine) -> None:
    seen = inspect(migrated)
    assert {name for name, _ in ROWS} == {
        name for name in seen.get_view_names() if name.endswith("_v1")
    }
    for view, said in ROWS:
        if view in SPOKEN_OF:
            continue
        promised = re.findall(r"\w+", said.partition(";")[0].partition(":")[0])
        assert [column["name"] for column in seen.get_columns(view)] == promised, view


def test_examples_in_sql_run(migrated: Engine) -> None:
    assert len(SQL) > 6
    with migrated.connect() as connection:
        for example in SQL:
            connection.execute(text(example)).all()


def test_a_cursor_sees_each_event_once_as_written(migrated: Engine) -> None:
    """Goal: the package's example. Method: its own text, twice, over three events."""
    world = World(migrated)
    for amount in (1, 2, 3):
        world.gives("credit.issued", amount)
    example = next(one for one in PYTHON if "read_batch" in one)
    counts = []
    for _ in range(2):
        with writing(migrated) as session:
            given: dict[str, Any] = {"session": session}
            exec(example, given)  # noqa: S102  # our own README
            counts.append(len(given["events"]))
    assert counts == [3, 0]


def test_a_receiver_refuses_a_stranger_as_written() -> None:
    example = next(one for one in PYTHON if "check_signature" in one)
    given: dict[str, Any] = {}
    exec(example, given)  # noqa: S102
    body, now_s, seen = b'{"id":"e-1"}', int(MARCH.timestamp()), set[str]()
    headers = billing_bridge.signed_headers("kept-in-a-safe-place", body, now_s)
    given["receive"](headers, body, now_s, seen)
    given["receive"](headers, body, now_s, seen)
    assert seen == {"e-1"}
    with pytest.raises(Refused):
        given["receive"](headers, b'{"id":"e-2"}', now_s, seen)


def test_the_role_report_reads_the_views_and_nothing_else(
    postgres_server: Postgres, postgres_database: str
) -> None:
    engine = make_engine(postgres_server.url("migrate", postgres_database))
    upgrade(engine)
    engine.dispose()
    with psycopg.connect(postgres_server.conninfo("report", postgres_database)) as connection:
        may = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('public', 'radius') AND c.relkind IN ('r', 'v')"
            " AND has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')"
        ).fetchall()
    assert {name for (name,) in may} == {name for name, _ in ROWS}


def test_nothing_of_a_person_is_in_a_view(migrated: Engine) -> None:
    """Goal: ids, dates and numbers alone. Method: no column of a text that a person wrote."""
    seen = inspect(migrated)
    texts = {"reason", "what", "evidence", "document", "decision", "address", "identifier", "login"}
    for view, _ in ROWS:
        assert not texts & {column["name"] for column in seen.get_columns(view)}, view
