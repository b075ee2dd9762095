"""Append-only as far as the database allows: every statement that would rewrite history fails."""

from __future__ import annotations

import psycopg
import pytest
from ledger_facts import at, lifecycle, make_ledger, usage
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from billing_bridge import append, ledger_head, verify
from inventory import DatabaseProblem
from lab.servers.postgres import Postgres
from orchestrator.database import make_engine, reading, writing

COLUMNS = (
    "seq, event_id, source, idempotency_key, payload_hash, type, schema_version, account_id, "
    "service_id, service_version, change_id, effective_at, effective_until, recorded_at, "
    "price_version_id, quantity, unit, amount_minor, currency, exponent, reverses_event_id, "
    "actor, reason_code, body, prev_hash, hash"
)
# A row that would be the next event in everything but what a test changes in it.
NEXT = {
    "seq": "seq + 1",
    "event_id": "'e-new'",
    "idempotency_key": "'k-new'",
    "service_version": "service_version + 1",
    "change_id": "'c-new'",
    "reverses_event_id": "'r-new'",
    "prev_hash": "hash",
}
LAST = "FROM billing_event ORDER BY seq DESC LIMIT 1"
SAME = {
    "seq": "1",
    "event_id": "(SELECT event_id FROM billing_event WHERE seq = 1)",
    "idempotency_key": "(SELECT idempotency_key FROM billing_event WHERE seq = 1)",
    "service_version": "1",
    "change_id": "(SELECT change_id FROM billing_event WHERE seq = 1)",
    "reverses_event_id": "(SELECT reverses_event_id FROM billing_event WHERE seq = 3)",
    "prev_hash": "prev_hash",
}


def insert_next(verb: str = "INSERT", **changed: str) -> str:
    values = NEXT | changed
    listed = ", ".join(values.get(name, name) for name in COLUMNS.split(", "))
    return f"{verb} INTO billing_event ({COLUMNS}) SELECT {listed} {LAST}"


@pytest.fixture
def full(engine: Engine) -> Engine:
    """Three events: an activation, a tier change, the reversal of the change."""
    with writing(engine) as session:
        append(session, [lifecycle("service.activated", 1), lifecycle("tier.changed", 2)], at(0))
    with writing(engine) as session:
        changed = session.execute(text("SELECT event_id FROM billing_event WHERE seq = 2"))
        back = lifecycle(
            "event.reversed", 3, reverses_event_id=changed.scalar_one(), reason_code="as_never"
        )
        append(session, [back], at(1))
    return engine


def refused(engine: Engine, statement: str) -> None:
    with reading(engine) as session:
        before = session.execute(text("SELECT * FROM billing_event ORDER BY seq")).all()
        head = ledger_head(session)
    with pytest.raises(DBAPIError), writing(engine) as session:
        session.execute(text(statement))
    with reading(engine) as session:
        assert session.execute(text("SELECT * FROM billing_event ORDER BY seq")).all() == before
        assert ledger_head(session) == head
        assert verify(session, deep=True).problem == ""


HISTORY = (
    "UPDATE billing_event SET body = '{}' WHERE seq = 1",
    "UPDATE billing_event SET seq = seq + 10",
    "DELETE FROM billing_event WHERE seq = 3",
    "DELETE FROM billing_event",
    "DELETE FROM ledger_head",
    "UPDATE ledger_head SET seq = 2, hash = (SELECT hash FROM billing_event WHERE seq = 2)",
    "UPDATE ledger_head SET seq = 4",
    "UPDATE ledger_head SET hash = prev_hash FROM billing_event WHERE billing_event.seq = 3",
    "INSERT INTO ledger_head (id, seq, hash) SELECT 2, seq, hash FROM ledger_head",
    "UPDATE ledger_head SET id = 2",
)


@pytest.mark.parametrize("statement", HISTORY)
def test_history_and_head_cannot_be_rewritten(full: Engine, statement: str) -> None:
    refused(full, statement)


@pytest.mark.parametrize(
    "changed",
    [
        {"seq": "seq + 2"},
        {"seq": "seq"},
        {"seq": "0"},
        {"prev_hash": "prev_hash"},
        {"recorded_at": "(SELECT min(recorded_at) FROM billing_event)"},
        {"type": "'service.forgotten'"},
        {"reason_code": "'felt like it'"},
        {"amount_minor": "5"},
        *({name: value} for name, value in SAME.items() if name != "prev_hash"),
    ],
    ids=str,
)
def test_only_the_next_event_can_be_inserted(full: Engine, changed: dict[str, str]) -> None:
    """Every unique column is one way in for a second event of the same thing."""
    more = {"type": "'event.reversed'"} if "reverses_event_id" in changed else {}
    if "change_id" in changed:
        more = {"type": "'service.activated'"}
    refused(full, insert_next(**more, **changed))


@pytest.mark.parametrize("name", SAME)
def test_insert_or_replace_replaces_nothing(full: Engine, name: str) -> None:
    """SQLite would delete the row in the way without asking a DELETE trigger."""
    if full.dialect.name != "sqlite":
        statement = insert_next(**{name: SAME[name]}) + (
            " ON CONFLICT (event_id) DO UPDATE SET body = '{}'"
        )
        refused(full, statement)
        return
    kind = {"type": "'service.activated'"} if name == "change_id" else {}
    refused(full, insert_next("INSERT OR REPLACE", **kind, **{name: SAME[name]}))
    refused(full, insert_next("REPLACE", **kind, **{name: SAME[name]}))
    conflict = insert_next(**kind, **{name: SAME[name]})
    refused(full, f"{conflict} ON CONFLICT DO UPDATE SET body = '{{}}'")


def test_the_guard_lets_the_next_event_through(full: Engine) -> None:
    """The statement that the other tests bend is a good one: else they would prove nothing."""
    statement = insert_next()
    with writing(full) as session:
        session.execute(text(statement))
        head = "(SELECT hash FROM billing_event WHERE seq = 4)"
        session.execute(text(f"UPDATE ledger_head SET seq = 4, hash = {head}"))  # noqa: S608
    with reading(full) as session:
        assert ledger_head(session).seq == 4


def test_an_event_cannot_be_committed_past_the_head(full: Engine) -> None:
    if full.dialect.name == "sqlite":
        with writing(full) as session:
            session.execute(text(insert_next()))
        with reading(full) as session:
            assert verify(session).bad_seq == 4  # found, where it cannot be forbidden
        return
    refused(full, insert_next())


def test_running_the_guards_again_changes_nothing(full: Engine) -> None:
    make_ledger(full)
    refused(full, HISTORY[0])
    with writing(full) as session:
        append(session, [usage(1)], at(2))


@pytest.fixture
def server_ledger(postgres_server: Postgres, postgres_database: str) -> str:
    owner = make_engine(postgres_server.url("migrate", postgres_database))
    make_ledger(owner)
    owner.dispose()
    return postgres_database


def test_the_application_role_can_append_and_nothing_else(
    postgres_server: Postgres, server_ledger: str
) -> None:
    """commit-protocol.md S7: also no truncate, no DDL, no way around a trigger."""
    app = make_engine(postgres_server.url("app", server_ledger))
    with writing(app) as session:
        append(session, [lifecycle("service.activated", 1), usage(1)], at(0))
    for statement in (
        *HISTORY[:5],
        "TRUNCATE billing_event",
        "TRUNCATE ledger_head",
        "ALTER TABLE billing_event DISABLE TRIGGER ALL",
        "ALTER TABLE billing_event ADD COLUMN note text",
        "DROP TABLE billing_event CASCADE",
        "DROP TRIGGER billing_event_keep ON billing_event",
        "SET session_replication_role = replica",
        "DROP FUNCTION public.ledger_refuse() CASCADE",
    ):
        with pytest.raises((DBAPIError, DatabaseProblem)), writing(app) as session:
            session.execute(text(statement))
    with reading(app) as session:
        assert verify(session, deep=True).events == 2
    app.dispose()


def test_the_superuser_is_stopped_by_the_triggers_too(
    postgres_server: Postgres, server_ledger: str
) -> None:
    owner = make_engine(postgres_server.url("migrate", server_ledger))
    with writing(owner) as session:
        append(session, [usage(1)], at(0))
    owner.dispose()
    info = postgres_server.conninfo("postgres", server_ledger)
    with psycopg.connect(info, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in (
            "UPDATE billing_event SET actor = 'x'",
            "DELETE FROM billing_event",
            "TRUNCATE billing_event",
            "MERGE INTO billing_event USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
        ):
            with pytest.raises(psycopg.IntegrityError):
                connection.execute(statement)


def test_the_report_role_reads_the_views_and_nothing_else(
    postgres_server: Postgres, server_ledger: str
) -> None:
    owner = make_engine(postgres_server.url("migrate", server_ledger))
    with writing(owner) as session:
        (made,) = append(session, [lifecycle("service.activated", 1)], at(0))
    owner.dispose()
    info = postgres_server.conninfo("report", server_ledger)
    with psycopg.connect(info, autocommit=True) as connection:
        rows = connection.execute("SELECT seq, body, hash FROM ledger_event_v1").fetchall()
        assert rows == [(1, made.body, made.hash.hex())]
        for statement in (
            "SELECT * FROM billing_event",
            "SELECT * FROM consumer_cursor",
            "INSERT INTO ledger_head_v1 VALUES (2, '')",
            "DELETE FROM ledger_event_v1",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.DatabaseError)):
                connection.execute(statement)


def test_the_views_say_what_the_ledger_says(full: Engine) -> None:
    with reading(full) as session:
        events = session.execute(text("SELECT seq, type, hash FROM ledger_event_v1 ORDER BY seq"))
        services = session.execute(
            text(
                "SELECT service_id, account_id, service_version, last_seq, plan_code, tier_code, "
                "state FROM ledger_service_v1"
            )
        )
        head = ledger_head(session)
        newest = session.execute(text("SELECT seq, hash FROM ledger_head_v1")).one()
        assert [row.seq for row in events] == [1, 2, 3]
        assert [tuple(row) for row in services] == [
            ("svc-1", "A-1", 3, 3, "fiber-100", "t100", "active")
        ]
        assert tuple(newest) == (head.seq, head.hash.hex())


def test_a_refusal_is_an_integrity_error(full: Engine) -> None:
    """A guard's refusal is told apart from a database that is away."""
    with pytest.raises(IntegrityError), writing(full) as session:
        session.execute(text(HISTORY[0]))
