"""The migrated store: the same tables as the models on both databases, guards, roles, refusals."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from inventory import DatabaseProblem, Plan, PriceVersion, Refused, list_plans, new_id
from lab.servers.postgres import Postgres
from orchestrator.database import make_engine, reading
from orchestrator.migrate import HEAD, _config, check_schema, current, upgrade
from tests.orchestrator.cli.cli_rig import BOTH
from tests.schema import create_schema

Shape = dict[str, Any]


@pytest.fixture
def twin(empty_engine: Engine, request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Engine]:
    """A second empty database of the same kind."""
    if empty_engine.dialect.name == "sqlite":
        made = make_engine(f"sqlite:///{tmp_path / 'twin.db'}")
        yield made
        made.dispose()
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = f"twin_{new_id().replace('-', '')}"
    server.create_database(name)
    made = make_engine(server.url("migrate", name))
    yield made
    made.dispose()
    server.drop_database(name)


def shape(engine: Engine) -> Shape:
    """Every table with its columns, keys, indexes and checks, as the database itself tells."""
    seen = inspect(engine)
    schemas = [None] if engine.dialect.name == "sqlite" else ["public", "radius"]
    found: Shape = {}
    for schema in schemas:
        for table in seen.get_table_names(schema):
            if table == "alembic_version":
                continue
            found[f"{schema}.{table}"] = {
                "columns": [
                    (c["name"], str(c["type"]), c["nullable"], c["default"])
                    for c in seen.get_columns(table, schema)
                ],
                "key": seen.get_pk_constraint(table, schema)["constrained_columns"],
                "foreign": sorted(
                    (f["constrained_columns"], f["referred_table"], f["referred_columns"])
                    for f in seen.get_foreign_keys(table, schema)
                ),
                "unique": sorted(
                    u["column_names"] for u in seen.get_unique_constraints(table, schema)
                ),
                "indexes": sorted(
                    (i["name"], i["column_names"], bool(i["unique"]), _options(i))
                    for i in seen.get_indexes(table, schema)
                ),
                "checks": sorted(c["sqltext"] for c in seen.get_check_constraints(table, schema)),
            }
    return found


def _options(index: Any) -> list[tuple[str, str]]:
    return sorted((name, str(value)) for name, value in index["dialect_options"].items())


def strict_tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        return {name for name, sql in rows if re.search(r"\)\s*STRICT", sql)}


@BOTH
def test_migrated_tables_are_the_models(empty_engine: Engine, twin: Engine) -> None:
    assert upgrade(empty_engine) == ("", HEAD)
    create_schema(twin)
    migrated, made = shape(empty_engine), shape(twin)
    assert migrated.keys() == made.keys()
    for table, expected in made.items():
        assert migrated[table] == expected, table
    if empty_engine.dialect.name == "sqlite":
        assert strict_tables(empty_engine) == strict_tables(twin) != set()


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "orchestrator:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


@BOTH
def test_upgrading_twice_does_nothing(empty_engine: Engine) -> None:
    upgrade(empty_engine)
    assert upgrade(empty_engine) == (HEAD, HEAD)


@BOTH
def test_ledger_is_guarded(empty_engine: Engine) -> None:
    upgrade(empty_engine)
    with pytest.raises(Exception, match="append-only"), empty_engine.begin() as connection:
        connection.execute(text("DELETE FROM ledger_head"))


@BOTH
def test_missing_older_and_newer_tables_are_refused(empty_engine: Engine) -> None:
    with (
        pytest.raises(DatabaseProblem, match="no tables") as missing,
        reading(empty_engine) as session,
    ):
        check_schema(session)
    assert "bandmaster init" in missing.value.remedy
    upgrade(empty_engine)
    with reading(empty_engine) as session:
        check_schema(session)
    for revision, word in (("0001", "db upgrade"), ("9999", "newer program")):
        with empty_engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        with (
            pytest.raises(DatabaseProblem, match=revision) as other,
            reading(empty_engine) as session,
        ):
            check_schema(session)
        assert word in other.value.remedy


@BOTH
def test_what_was_sold_before_plans_had_terms_goes_on_being_sold(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        connection.execute(text("INSERT INTO tier (code, down_kbps, up_kbps) VALUES ('t', 9, 9)"))
        connection.execute(
            text(
                "INSERT INTO plan (code, name, tier_code, currency, exponent, period_months,"
                " bill_in, proration, price_policy)"
                " VALUES ('p', 'P', 't', 'EUR', 2, 1, 'advance', 'day', 'pinned')"
            )
        )
        connection.execute(
            text("INSERT INTO price_version VALUES ('p@2026-01-01', 'p', '2026-01-01', 2999)")
        )
    assert upgrade(empty_engine)[0] == "0006"
    price = PriceVersion(
        price_version_id="p@2026-01-01",
        plan_code="p",
        valid_from=dt.date(2026, 1, 1),
        amount_minor=2999,
    )
    sold = Plan(
        code="p",
        name="P",
        tier_code="t",
        currency="EUR",
        exponent=2,
        price_policy="pinned",
        prices=(price,),
    )
    with reading(empty_engine) as session:
        assert list_plans(session) == (sold,)


@BOTH
def test_open_changes_stop_an_upgrade(empty_engine: Engine) -> None:
    upgrade(empty_engine)
    with empty_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO change (change_id, set_id, order_id, service_id, kind, state,"
                " outcome, epoch, item, item_hash, refusal, created_at) VALUES ('c', 's', 'o',"
                " 'svc', 'service', 'INTENT', 'open', 1, '{}', '', '',"
                " '2026-01-01T00:00:00.000000Z')"
            )
        )
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    with pytest.raises(Refused, match="change sets are open"):
        upgrade(empty_engine)
    with empty_engine.connect() as connection:
        assert current(connection) == "0004"


@BOTH
def test_a_failed_upgrade_leaves_nothing(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "CREATE TABLE half_done (a int) nonsense"
    monkeypatch.setattr("billing_bridge.ddl", lambda _dialect: (broken,))
    with pytest.raises(Exception, match="nonsense"):
        upgrade(empty_engine)
    assert inspect(empty_engine).get_table_names() == []


def test_roles_may_do_their_work_and_no_more(
    postgres_server: Postgres, postgres_database: str
) -> None:
    engine = make_engine(postgres_server.url("migrate", postgres_database))
    upgrade(engine)
    engine.dispose()
    allowed: dict[str, tuple[str, ...]] = {
        "app": ("SELECT * FROM radius.radacct", "SELECT * FROM public.alembic_version"),
        "radius": (
            "SELECT * FROM radius.radcheck",
            "INSERT INTO radius.radpostauth (username) VALUES ('u')",
        ),
        "report": ("SELECT * FROM ledger_event_v1", "SELECT * FROM ledger_service_v1"),
    }
    refused: dict[str, tuple[str, ...]] = {
        "app": ("DELETE FROM audit", "UPDATE decision SET verdict = 'COMMIT'",
                "DELETE FROM billing_event", "DELETE FROM change", "DROP TABLE lease",
                "ALTER TABLE billing_event DISABLE TRIGGER ALL"),
        "radius": ("SELECT * FROM public.device", "DELETE FROM radius.radcheck",
                   "INSERT INTO radius.radusergroup (username, groupname) VALUES ('u', 'g')"),
        "report": ("SELECT * FROM public.line", "SELECT * FROM billing_event",
                   "SELECT * FROM radius.radcheck"),
    }  # fmt: skip
    for role, statements in allowed.items():
        with psycopg.connect(postgres_server.conninfo(role, postgres_database)) as connection:
            for statement in statements:
                connection.execute(statement)
    for role, statements in refused.items():
        for statement in statements:
            with psycopg.connect(postgres_server.conninfo(role, postgres_database)) as connection:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
                connection.rollback()
