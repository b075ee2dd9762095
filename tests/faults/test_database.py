"""Rows of the matrix about the store that other modules do not have: given up, busy, cut off."""

from __future__ import annotations

import sqlite3
import threading

import psycopg
import pytest

from lab.servers.postgres import Postgres
from orchestrator import coordinator
from tests.faults.moments import consistent
from tests.orchestrator.moments import OLT, ONE, is_as_before, is_done, upgrade, when
from tests.orchestrator.rig import Rig, truth

ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
GIVES_UP = """
CREATE SEQUENCE public.given_up;
GRANT USAGE ON SEQUENCE public.given_up TO PUBLIC;
CREATE FUNCTION public.give_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- what a sequence has counted outlives the transaction that is given up
  IF NEW.verdict = 'COMMIT' AND nextval('public.given_up') <= {times} THEN
    RAISE EXCEPTION 'given up for another transaction' USING ERRCODE = '{state}';
  END IF;
  RETURN NEW;
END $$;
CREATE {kind} give_up {when} INSERT ON public.decision {deferred}
FOR EACH ROW EXECUTE FUNCTION public.give_up();
"""
AT_INSERT = {"kind": "TRIGGER", "when": "BEFORE", "deferred": ""}
AT_COMMIT = {
    "kind": "CONSTRAINT TRIGGER",
    "when": "AFTER",
    "deferred": "DEFERRABLE INITIALLY DEFERRED",
}


def give_up(server: Postgres, rig: Rig, state: str, times: int, moment: dict[str, str]) -> None:
    """Let the server end the decision's transaction, so many times, as it does with a victim."""
    info = server.conninfo("postgres", str(rig.office.engine.url.database))
    with psycopg.connect(info, autocommit=True) as connection:
        connection.execute(GIVES_UP.format(state=state, times=times, **moment))


def times_decided(server: Postgres, rig: Rig) -> int:
    """Return how often the decision was tried, by the server's own count."""
    info = server.conninfo("postgres", str(rig.office.engine.url.database))
    with psycopg.connect(info) as connection:
        row = connection.execute("SELECT last_value FROM public.given_up").fetchone()
    assert row is not None
    return int(row[0])


@ON_POSTGRES
@pytest.mark.parametrize("moment", [AT_INSERT, AT_COMMIT], ids=["statement", "commit"])
@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_serialization_failure_or_deadlock_is_tried_again(
    isp: Rig, postgres_server: Postgres, state: str, moment: dict[str, str]
) -> None:
    """Only the transaction is done again: the devices are armed already, the event is one."""
    give_up(postgres_server, isp, state, coordinator.COMMIT_TRIES - 1, moment)
    since = isp.fleet.control(OLT, "log")["last"]
    assert upgrade(isp)[0] == "done"
    assert times_decided(postgres_server, isp) == coordinator.COMMIT_TRIES
    entries = isp.fleet.control(OLT, "log", since=since)["entries"]
    assert len([e for e in entries if e["text"].startswith("service-port")]) == 1
    is_done(isp)


@ON_POSTGRES
@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_serialization_failure_or_deadlock_for_ever_is_an_abort(
    isp: Rig, postgres_server: Postgres, state: str
) -> None:
    """A confirm timer runs meanwhile: three tries, then everything is put back, nothing billed."""
    give_up(postgres_server, isp, state, 1_000, AT_INSERT)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "given up" in outcome.items[0].reason
    assert times_decided(postgres_server, isp) == coordinator.COMMIT_TRIES
    is_as_before(isp)


@ON_SQLITE
@pytest.mark.parametrize(
    ("who", "text"), [(OLT, "prepared"), ("decision", "committed")], ids=["decision", "applied"]
)
def test_sqlite_busy_for_a_moment_is_waited_for(isp: Rig, who: str, text: str) -> None:
    """BEGIN IMMEDIATE waits for the other writer; longer than that: test_store_faults.py."""
    other = sqlite3.connect(
        str(isp.office.engine.url.database), isolation_level=None, check_same_thread=False
    )

    def hold() -> None:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, other.execute, ["ROLLBACK"]).start()

    when(isp, who, text, hold)
    assert upgrade(isp)[0] == "done"
    assert not other.in_transaction
    other.close()
    consistent(isp)
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed")
    is_done(isp)
