"""Every statement that would change an event, by every way a database knows, is refused.

What a plain UPDATE, DELETE, REPLACE and upsert do is in test_guards.py; here are the ways around.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

import psycopg
import pytest
from attack_facts import COLUMNS, EVENTS, look, snapshot, tell_story
from ledger_facts import make_ledger
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from lab.servers.postgres import Postgres
from orchestrator.database import make_engine, writing

LISTED = ", ".join(COLUMNS)
LAST = f"FROM billing_event WHERE seq = {EVENTS}"


def statements(script: str) -> tuple[str, ...]:
    """Return the statements of a script; a line that goes on begins with a space."""
    script = script.replace("@s_columns", ", ".join(f"s.{name}" for name in COLUMNS))
    parts = re.split(r";\n(?! )", script.replace("@columns", LISTED))
    return tuple(part.strip() for part in parts if part.strip())


EVERYWHERE = statements(
    """
UPDATE billing_event SET amount_minor = 0;
UPDATE billing_event SET seq = -seq;
UPDATE billing_event SET actor = 'x' FROM ledger_head WHERE billing_event.seq = 7;
WITH old AS (SELECT seq FROM billing_event WHERE seq < 9) UPDATE billing_event SET actor = 'x'
  WHERE seq IN (SELECT seq FROM old);
WITH old AS (SELECT seq FROM billing_event WHERE seq < 9) DELETE FROM billing_event WHERE seq IN
  (SELECT seq FROM old);
DELETE FROM billing_event WHERE seq = 7 RETURNING seq;
UPDATE billing_event SET actor = 'x' WHERE seq = 7 RETURNING seq;
UPDATE billing_event SET actor = actor;
INSERT INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
INSERT INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7 ON CONFLICT (seq)
  DO UPDATE SET actor = 'x';
INSERT INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7 ON CONFLICT (event_id)
  DO UPDATE SET actor = 'x' WHERE billing_event.seq = 7;
DELETE FROM ledger_head RETURNING seq;
INSERT INTO ledger_head SELECT id, seq, hash FROM ledger_head WHERE true ON CONFLICT (id) DO
  UPDATE SET seq = 7;
UPDATE ledger_head SET seq = 0, hash = (SELECT prev_hash FROM billing_event WHERE seq = 1);
"""
)
ON_SQLITE = statements(
    """
UPDATE OR REPLACE billing_event SET actor = 'x' WHERE seq = 7;
UPDATE OR IGNORE billing_event SET actor = 'x' WHERE seq = 7;
UPDATE OR ROLLBACK billing_event SET actor = 'x' WHERE seq = 7;
UPDATE OR FAIL billing_event SET actor = 'x' WHERE seq = 7;
UPDATE OR ABORT billing_event SET actor = 'x' WHERE seq = 7;
UPDATE OR REPLACE billing_event SET seq = 7 WHERE seq = 8;
UPDATE OR REPLACE billing_event SET event_id = (SELECT event_id FROM billing_event WHERE seq = 7)
  WHERE seq = 8;
INSERT OR REPLACE INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
INSERT OR IGNORE INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
INSERT OR ROLLBACK INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
INSERT OR FAIL INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
INSERT OR ABORT INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
REPLACE INTO billing_event SELECT @columns FROM billing_event WHERE seq = 7;
REPLACE INTO ledger_head SELECT 1, 7, hash FROM billing_event WHERE seq = 7;
UPDATE OR REPLACE ledger_head SET seq = 7;
UPDATE ledger_event_v1 SET actor = 'x';
DELETE FROM ledger_event_v1;
"""
)
ON_POSTGRES = statements(
    """
TRUNCATE billing_event;
TRUNCATE billing_event, ledger_head, consumer_cursor RESTART IDENTITY CASCADE;
TRUNCATE ONLY ledger_head;
DELETE FROM ONLY billing_event USING ledger_head WHERE billing_event.seq = ledger_head.seq;
MERGE INTO billing_event e USING (SELECT 7 AS seq) s ON e.seq = s.seq WHEN MATCHED THEN UPDATE SET
  actor = 'x';
MERGE INTO billing_event e USING (SELECT 7 AS seq) s ON e.seq = s.seq WHEN MATCHED THEN DELETE;
MERGE INTO billing_event e USING (SELECT * FROM billing_event WHERE seq = 7) s ON false WHEN NOT
  MATCHED THEN INSERT (@columns) VALUES (@s_columns);
MERGE INTO ledger_head h USING (SELECT 7 AS seq) s ON true WHEN MATCHED THEN DELETE;
WITH gone AS (DELETE FROM billing_event WHERE seq = 7 RETURNING *) SELECT * FROM gone;
WITH gone AS (UPDATE billing_event SET actor = 'x' RETURNING *) SELECT count(*) FROM gone;
WITH gone AS (DELETE FROM billing_event WHERE seq = 40 RETURNING *) INSERT INTO billing_event
  SELECT * FROM gone;
UPDATE ledger_event_v1 SET actor = 'x';
DELETE FROM ledger_event_v1;
DO $$ BEGIN DELETE FROM public.billing_event; END $$;
DO $$ DECLARE c CURSOR FOR SELECT * FROM public.billing_event FOR UPDATE; r record; BEGIN OPEN c;
  FETCH c INTO r; DELETE FROM public.billing_event WHERE CURRENT OF c; END $$;
"""
)


@pytest.fixture
def book(engine: Engine) -> Engine:
    """Forty events behind their guards."""
    tell_story(engine)
    return engine


def refused(engine: Engine, *tried: str) -> None:
    """Run each statement as it stands; it must fail, and nothing may have moved."""
    before = snapshot(engine)
    passed = []
    for statement in tried:
        with contextlib.suppress(DBAPIError), engine.begin() as connection:
            connection.exec_driver_sql(statement)
            passed.append(statement)
        assert snapshot(engine) == before, statement
    assert passed == []
    assert look(engine).problem == ""


def test_no_statement_changes_an_event(book: Engine) -> None:
    """As the owner of the tables: what is refused here no role may do."""
    refused(book, *EVERYWHERE)
    refused(book, *(ON_SQLITE if book.dialect.name == "sqlite" else ON_POSTGRES))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("pragma", ["ignore_check_constraints = 1", "recursive_triggers = 0",
                                    "foreign_keys = 0", "defer_foreign_keys = 1"])  # fmt: skip
def test_no_pragma_switches_the_guards_off(book: Engine, pragma: str) -> None:
    before = snapshot(book)
    for statement in (*EVERYWHERE, *ON_SQLITE):
        with book.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            connection.rollback()
            raw.execute(f"PRAGMA {pragma}")
            with pytest.raises(DBAPIError):
                connection.exec_driver_sql(statement)
            connection.invalidate()  # the pragma goes with its connection
    assert snapshot(book) == before


def test_a_copy_that_brings_events_of_its_own_is_refused(
    postgres_server: Postgres, server_book: str
) -> None:
    """COPY fires the same triggers: an event twice, out of its place, past the head."""
    info = postgres_server.conninfo("migrate", server_book)
    with psycopg.connect(info, autocommit=True) as connection:
        before = connection.execute("SELECT * FROM billing_event ORDER BY seq").fetchall()
        middle, rest = ", ".join(COLUMNS[4:9]), ", ".join(COLUMNS[10:24])
        for query in (
            LISTED,
            f"seq + 1, 'e-new', source, 'k-new', {middle}, 0, {rest}, hash, prev_hash",
            f"seq + 2, 'e-new', source, 'k-new', {middle}, 0, {rest}, hash, prev_hash",
        ):
            out = io.BytesIO()
            with connection.cursor().copy(f"COPY (SELECT {query} {LAST}) TO STDOUT") as reader:
                for part in reader:
                    out.write(part)
            assert out.getvalue().count(b"\n") == 1
            with (
                pytest.raises(psycopg.IntegrityError),
                connection.cursor().copy(f"COPY billing_event ({LISTED}) FROM STDIN") as writer,
            ):
                writer.write(out.getvalue())
        assert connection.execute("SELECT * FROM billing_event ORDER BY seq").fetchall() == before


@pytest.fixture
def server_book(postgres_server: Postgres, postgres_database: str) -> str:
    """The name of a database with the forty events."""
    owner = make_engine(postgres_server.url("migrate", postgres_database))
    make_ledger(owner)
    tell_story(owner)
    owner.dispose()
    return postgres_database


@pytest.fixture
def app(postgres_server: Postgres, server_book: str) -> Iterator[Engine]:
    """The application's own role."""
    made = make_engine(postgres_server.url("app", server_book))
    yield made
    made.dispose()


def test_the_application_may_not_change_an_event_by_any_statement(app: Engine) -> None:
    refused(app, *EVERYWHERE, *ON_POSTGRES)


DDL = statements(
    """
ALTER TABLE public.billing_event DISABLE TRIGGER ALL;
ALTER TABLE public.billing_event DISABLE TRIGGER USER;
ALTER TABLE public.billing_event DISABLE TRIGGER billing_event_keep;
ALTER TABLE public.billing_event ENABLE REPLICA TRIGGER billing_event_keep;
ALTER TABLE public.billing_event DROP COLUMN body;
ALTER TABLE public.billing_event ADD COLUMN note text;
ALTER TABLE public.billing_event ALTER COLUMN body SET DEFAULT '';
ALTER TABLE public.billing_event ALTER COLUMN amount_minor TYPE integer;
ALTER TABLE public.billing_event DROP CONSTRAINT billing_event_key;
ALTER TABLE public.billing_event RENAME TO old_event;
ALTER TABLE public.billing_event OWNER TO app;
ALTER TABLE public.billing_event SET SCHEMA radius;
ALTER TABLE public.billing_event RENAME COLUMN body TO text;
ALTER TABLE public.billing_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.billing_event NO FORCE ROW LEVEL SECURITY;
ALTER TABLE public.billing_event SET UNLOGGED;
ALTER TABLE public.billing_event REPLICA IDENTITY FULL;
ALTER TABLE public.ledger_head DISABLE TRIGGER ALL;
DROP TABLE public.billing_event;
DROP TABLE public.billing_event, public.ledger_head CASCADE;
DROP TRIGGER billing_event_keep ON public.billing_event;
ALTER TRIGGER billing_event_keep ON public.billing_event RENAME TO other;
CREATE TRIGGER aaa BEFORE INSERT ON public.billing_event FOR EACH ROW EXECUTE FUNCTION
  public.ledger_refuse();
CREATE RULE hide AS ON INSERT TO public.billing_event DO INSTEAD NOTHING;
CREATE POLICY hide ON public.billing_event USING (false);
CREATE UNIQUE INDEX one ON public.billing_event (source);
DROP INDEX public.billing_event_version;
CREATE OR REPLACE FUNCTION public.ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RETURN NEW; END $$;
ALTER FUNCTION public.ledger_append() RENAME TO other;
DROP FUNCTION public.ledger_append() CASCADE;
CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE public.child () INHERITS (public.billing_event);
CREATE TABLE public.mine (n int);
CREATE OR REPLACE VIEW public.ledger_event_v1 AS SELECT 1 AS seq;
DROP VIEW public.ledger_event_v1;
DROP SCHEMA public CASCADE;
ALTER SCHEMA public RENAME TO old;
CREATE SCHEMA mine;
ALTER DEFAULT PRIVILEGES FOR ROLE migrate GRANT ALL ON TABLES TO app;
REASSIGN OWNED BY migrate TO app;
DROP OWNED BY migrate CASCADE;
ALTER ROLE app SUPERUSER;
CREATE ROLE mine SUPERUSER;
GRANT migrate TO app;
SET ROLE migrate;
SET SESSION AUTHORIZATION postgres;
SET session_replication_role = replica;
ALTER DATABASE postgres SET session_replication_role = replica;
ALTER ROLE app SET session_replication_role = replica;
COPY public.billing_event FROM PROGRAM 'true';
COPY public.billing_event FROM '/dev/null';
CREATE EXTENSION dblink;
CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION public.ledger_refuse();
COMMENT ON TABLE public.billing_event IS 'x';
CLUSTER public.billing_event USING billing_event_pkey;
CREATE PUBLICATION mine FOR TABLE public.billing_event;
"""
)


def test_the_application_may_not_touch_the_tables_themselves(
    postgres_server: Postgres, server_book: str, app: Engine
) -> None:
    """S7: tables, triggers, functions, rights, roles. Method: the server's own words say why."""
    info = postgres_server.conninfo("app", server_book)
    refusals = {statement: _refusal(info, statement) for statement in DDL}
    others = {name: why for name, why in refusals.items() if why != "InsufficientPrivilege"}
    assert others == {}
    with writing(app) as session:
        assert session.execute(text("SELECT count(*) FROM billing_event")).scalar() == EVENTS
    assert look(app).problem == ""


def _refusal(info: str, statement: str) -> str:
    """Return the kind of error that a statement meets, "" for none."""
    with psycopg.connect(info, autocommit=True) as connection:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            return type(error).__name__
    return ""


def test_the_application_cannot_give_itself_rights(
    postgres_server: Postgres, server_book: str
) -> None:
    """PostgreSQL only warns of a GRANT by who may not grant: the rights themselves are asked."""
    rights = "SELECT has_table_privilege('app', 'public.billing_event', %s)"
    info = postgres_server.conninfo("app", server_book)
    with psycopg.connect(info, autocommit=True) as connection:
        connection.execute("GRANT UPDATE, DELETE, TRUNCATE, TRIGGER ON billing_event TO app")
        connection.execute("REVOKE SELECT ON ledger_event_v1 FROM report")
        for right in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES"):
            assert connection.execute(rights, (right,)).fetchone() == (False,), right
        report = "SELECT has_table_privilege('report', 'public.ledger_event_v1', 'SELECT')"
        assert connection.execute(report).fetchone() == (True,)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_of_ones_own_fools_no_guard(book: Engine) -> None:
    """A temporary table that is called like ours stands before it in every unqualified name."""
    (again,) = statements(
        "INSERT INTO public.billing_event SELECT @columns FROM public.billing_event WHERE seq = 40"
    )
    own = "CREATE TEMPORARY TABLE billing_event (LIKE public.billing_event) ON COMMIT DROP"
    with book.connect() as connection:
        connection.exec_driver_sql(own)
        with pytest.raises(IntegrityError):
            connection.exec_driver_sql(again)
    assert look(book).problem == ""
