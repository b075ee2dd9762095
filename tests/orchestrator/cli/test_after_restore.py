"""A database put back from an older copy: noticed, nothing is sent, every line accounted for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from lab.servers.postgres import Postgres
from tests.orchestrator.cli.cli_rig import BOTH, ONE, TWO, Noc, StartNoc

THREE = "svc-1003"
AGAIN = ("recover", "--after-restore")
Move = Callable[[], None]


@pytest.fixture
def backup(database_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Move, Move]]:
    """Two functions: take a copy of the database, and put it back in the database's place."""
    url = make_url(database_url)
    name = str(url.database)
    if url.get_backend_name() == "sqlite":
        copied = f"{name}.copy"
        yield lambda: _pour(name, copied), lambda: _pour(copied, name)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    copied = f"{name}_copy"
    yield (
        lambda: _replace(server, copied, of=name),
        lambda: _replace(server, name, of=copied),
    )
    server.drop_database(copied)


def _pour(source: str, target: str) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{target}{ending}").unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _replace(server: Postgres, name: str, *, of: str) -> None:
    with psycopg.connect(server.conninfo("postgres", "postgres"), autocommit=True) as connection:
        for words in ("DROP DATABASE IF EXISTS {} WITH (FORCE)", "CREATE DATABASE {} TEMPLATE {}"):
            connection.execute(sql.SQL(words).format(sql.Identifier(name), sql.Identifier(of)))


def change(noc: Noc, *words: str) -> None:
    said = noc(*words, "--yes")
    assert said.code == 0, said.both


def listed(noc: Noc) -> list[tuple[str, str]]:
    rows = noc("exceptions", "list", "--json").value()
    return sorted((row["service_id"], row["cause"]) for row in rows)


def restored(noc: Noc, *, code: int = 4) -> dict[str, Any]:
    said = noc(*AGAIN, "--json")
    assert said.code == code, said.both
    found: dict[str, Any] = said.value()
    return found


@BOTH
def test_nothing_is_sent_until_the_devices_have_been_read(
    noc: Noc, backup: tuple[Move, Move]
) -> None:
    """An upgrade is live and paid for, the ledger has forgotten it: a person is asked, once."""
    take, put_back = backup
    plan = noc("service", "tier", TWO, "fiber-500", "--plan-only", "--json").value()["plan"]
    take()
    change(noc, "service", "tier", ONE, "fiber-500")
    put_back()
    before = noc.told()
    for words in (
        ("service", "tier", TWO, "fiber-500", "--yes"),
        ("change", "apply", plan["plan_id"], "--yes"),
        ("recover",),
        ("inventory", "import", str(noc.shell.folder / "inventory.yaml")),
    ):
        said = noc(*words)
        assert said.code == 5, said.both
        assert "bandmaster recover --after-restore" in said.err, words
        assert "ledger seq 5, now 4" in said.err
    assert noc.told() == before
    assert "put back" in noc("doctor").out

    said = noc(*AGAIN)
    assert said.code == 4
    assert "live, not billed" in said.out
    assert noc.policer(ONE) == "DOWN-500M"
    rows = noc("exceptions", "list", "--json").value()
    assert {row["service_id"] for row in rows} == {ONE}
    assert sorted(row["participant"].partition(":")[0] for row in rows) == [
        "bng-fra-1",
        "olt-fra-1",
        "session",
    ]
    assert {row["at_stake_minor"] for row in rows} == {2000}
    assert noc("ledger", "verify").code == 0
    assert noc("ledger", "replay", "--check").code == 0
    assert noc("service", "tier", ONE, "fiber-1000", "--yes").code == 5
    change(noc, "change", "apply", plan["plan_id"])  # the other lines are free again


@BOTH
def test_retry_puts_a_line_back_to_the_ledger(noc: Noc, backup: tuple[Move, Move]) -> None:
    take, put_back = backup
    take()
    change(noc, "service", "tier", ONE, "fiber-500")
    put_back()
    assert len(restored(noc)["differences"]) == 3
    rows = noc("exceptions", "list", "--json").value()
    said = noc("exceptions", "resolve", rows[0]["exception_id"], "retry")
    assert said.code == 0, said.both
    assert noc.policer(ONE) == "DOWN-100M"
    assert noc("device", "check").code == 0
    assert listed(noc) == []
    assert restored(noc, code=0)["differences"] == []
    change(noc, "service", "tier", ONE, "fiber-500")
    assert noc.policer(ONE) == "DOWN-500M"


def test_billed_and_dead_is_told_from_live_and_unbilled(
    start_noc: StartNoc, backup: tuple[Move, Move]
) -> None:
    """Stopped after the copy: the ledger charges for a line that is down."""
    noc = start_noc(logins=False)
    take, put_back = backup
    change(noc, "service", "terminate", TWO)
    take()
    change(noc, "service", "terminate", ONE)
    change(noc, "service", "activate", TWO, "--plan", "fiber-100")
    put_back()
    found = {
        (line["service_id"], line["where"]): line["meaning"]
        for line in restored(noc)["differences"]
    }
    assert found[ONE, "olt-fra-1"] == found[ONE, "bng-fra-1"] == "billed, not live"
    assert found[TWO, "olt-fra-2"] == found[TWO, "bng-fra-1"] == "live, not billed"


def test_accept_keeps_the_line_and_tells_the_ledger(noc: Noc, backup: tuple[Move, Move]) -> None:
    take, put_back = backup
    take()
    change(noc, "service", "tier", ONE, "fiber-500")
    put_back()
    restored(noc)
    for row in noc("exceptions", "list", "--json").value():
        reason = ("--reason", "the customer pays by hand this month", "--yes")
        said = noc("exceptions", "resolve", row["exception_id"], "accept", *reason)
    assert said.code == 0
    assert noc.policer(ONE) == "DOWN-500M"
    events = noc("ledger", "tail", "--json").value()
    assert [event["type"] for event in events][-3:] == ["reconciliation.adopted"] * 3
    assert noc("ledger", "verify").code == 0


def test_a_device_that_cannot_be_read_is_on_hold_until_it_is(
    start_noc: StartNoc, backup: tuple[Move, Move]
) -> None:
    noc = start_noc(timeout_s=2)
    take, put_back = backup
    take()
    change(noc, "service", "tier", ONE, "fiber-500")
    put_back()
    noc.fleet.control("olt-fra-1", "die")
    found = restored(noc)
    assert [name for name, _why in found["unread"]] == ["olt-fra-1"]
    assert {line["where"] for line in found["differences"]} == {"bng-fra-1", "session on bng-fra-1"}
    held = noc("service", "tier", THREE, "fiber-500", "--yes")
    assert held.code == 5
    assert "on hold" in held.err
    change(noc, "service", "tier", TWO, "fiber-500")  # on the other OLT
    noc.fleet.control("olt-fra-1", "revive")
    assert restored(noc)["unread"] == []
    change(noc, "service", "tier", THREE, "fiber-500")
    assert {service for service, _cause in listed(noc)} == {ONE}


def test_a_change_that_never_came_to_its_decision_is_missed_as_well(
    noc: Noc, backup: tuple[Move, Move]
) -> None:
    """No event tells of it: the intent that this host remembers does."""
    take, put_back = backup
    take()
    noc.refuse(1, "busy")
    assert noc("service", "tier", ONE, "fiber-500", "--yes").code == 1
    put_back()
    said = noc("recover")
    assert said.code == 5
    assert "--after-restore" in said.err
    assert restored(noc, code=0)["differences"] == []


def test_each_host_notices_by_itself_and_learns_from_the_other(
    noc: Noc, backup: tuple[Move, Move], tmp_path: Path
) -> None:
    """A second host has its own folder; what one has read need not be read by the other."""
    take, put_back = backup
    here, there = noc.shell.folder, tmp_path / "second-host"
    there.mkdir()
    for name in ("bandmaster.toml", "known_hosts"):
        (there / name).write_bytes((here / name).read_bytes())
        (there / name).chmod(0o600)
    take()
    change(noc, "service", "tier", ONE, "fiber-500")
    noc.shell.monkeypatch.chdir(there)
    assert noc("recover").code == 0  # has seen the newest event
    put_back()
    for folder in (here, there):
        noc.shell.monkeypatch.chdir(folder)
        assert noc("recover").code == 5
    restored(noc)
    noc.shell.monkeypatch.chdir(here)
    assert noc("recover").code == 0
    put_back()  # a second time the same copy: its epoch is the old one
    for folder in (here, there):
        noc.shell.monkeypatch.chdir(folder)
        assert noc("recover").code == 5


def test_open_changes_of_the_copy_are_left_to_recovery(
    start_noc: StartNoc, backup: tuple[Move, Move]
) -> None:
    noc = start_noc(timeout_s=3)
    take, put_back = backup
    noc.fleet.control("olt-fra-1", "fault", verb="save", kind="die")
    assert noc("service", "tier", ONE, "fiber-500", "--yes").code == 4
    take()
    noc.fleet.control("olt-fra-1", "revive")
    change(noc, "service", "tier", TWO, "fiber-500")
    put_back()
    found = restored(noc)
    assert {line["service_id"] for line in found["differences"]} == {TWO}
    assert len(found["waiting"]) == 1
    assert noc("recover").code == 0
    assert noc.policer(ONE) == "DOWN-500M"


def test_a_memory_that_cannot_be_read_is_no_memory_to_go_on_with(noc: Noc) -> None:
    change(noc, "service", "tier", ONE, "fiber-500")
    place = noc.shell.folder / "store-seen.json"
    place.write_text("half of it")
    said = noc("service", "tier", TWO, "fiber-500", "--yes")
    assert said.code == 2
    assert "store-seen.json: cannot be read" in said.err
    place.unlink()
    assert restored(noc, code=0)["differences"] == []
    change(noc, "service", "tier", TWO, "fiber-500")


def test_after_restore_stands_alone(noc: Noc) -> None:
    assert noc(*AGAIN, "--watch").code == 2
    assert noc(*AGAIN, "--wait").code == 2
