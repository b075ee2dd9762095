"""`bandmaster usage collect`: from the attachment to the ledger, over real SNMP messages."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, select, text, update

from billing_bridge import SNMP, mark_due, places_of, tail, usage_check
from billing_bridge.usage_rows import DUE, SAMPLES
from inventory import canonical_json
from lab.snmp_agents import SYS_UPTIME, TIME_TICKS, Oid, SnmpAgents, Value, interface_rows
from orchestrator.collect import Round, collect
from orchestrator.database import reading, writing
from orchestrator.migrate import HEAD
from orchestrator.office import Office, open_office
from orchestrator.settings import Settings
from orchestrator.usage import roll_up
from tests.usage_isp import make_isp

HOST = "127.77.6.1"
ROOT = Path(__file__).resolve().parents[2]
DEVICE = """INSERT INTO device VALUES (
  :name, 'bng', 'linux_tc', :host, 22, 'fra', 'noc', '', '', 15,
  :port, '2c', '', '', '', 'env:BM_COMMUNITY', true, '', 0, '')"""
PORTS = {"svc-1": "sub1", "svc-2": "sub2", "svc-3": "sub3"}
NAMES = {1: "sub1", 2: "sub2", 3: "sub3", 4: "core"}


@pytest.fixture
def agents() -> Iterator[SnmpAgents]:
    with SnmpAgents(0, rows(0), "area-1") as made:
        yield made


@pytest.fixture
def office(
    empty_engine: Engine, agents: SnmpAgents, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    """Three services on one Linux BNG; the first two have logins."""
    monkeypatch.setenv("BM_COMMUNITY", "area-1")
    make_isp(empty_engine)
    with empty_engine.begin() as connection:
        for name, host in (("bng-1", HOST), ("bng-2", "127.77.6.2")):
            given = {"name": name, "host": host, "port": agents.port}
            connection.execute(text(DEVICE), given)
        for service_id, interface in PORTS.items():
            objects = canonical_json({"interface": interface})
            connection.execute(
                text("INSERT INTO attachment VALUES (:s, 'bng', 'bng-1', :o)"),
                {"s": service_id, "o": objects},
            )
    url = empty_engine.url.render_as_string(hide_password=False)
    made = open_office(Settings(database_url=url, usage_wait_s=0, snmp_timeout_s=10))
    yield made
    made.engine.dispose()


def rows(polls: int) -> dict[Oid, Value]:
    """What the agent shows at the n-th poll, five minutes apart: 600,000 octets more received."""
    octets = (1 << 62) + polls * 600_000
    return interface_rows(NAMES, octets=octets) | {SYS_UPTIME: (TIME_TICKS, 100 + polls * 30_000)}


def earlier(office: Office, *, minutes: int) -> tuple[dt.datetime, dt.datetime]:
    """Let time pass: all that was kept is that much older; return its first and last poll."""
    step = dt.timedelta(minutes=minutes)
    times: list[dt.datetime] = []
    with office.engine.begin() as connection:
        connection.execute(delete(DUE))
        for row in connection.execute(select(SAMPLES).order_by(SAMPLES.c.slot)).all():
            mine = SAMPLES.c.slot == row.slot, SAMPLES.c.interface == row.interface
            times.append(row.polled_at - step)
            moved = update(SAMPLES).where(*mine)
            connection.execute(moved.values(slot=row.slot - step, polled_at=times[-1]))
    return min(times), max(times)


def test_rounds_become_usage_of_the_service_whose_interface_it_is(
    office: Office, agents: SnmpAgents
) -> None:
    """Goal: bytes of the line without a login are counted; those with one are RADIUS's to count."""
    for number in range(3):
        agents.set_rows(HOST, rows(number))
        assert collect(office) == Round(devices=1, samples=3, unread={}, missing={}, shared={})
        with office.engine.connect() as connection:
            due = connection.execute(text("SELECT DISTINCT service_id FROM usage_due")).scalars()
            assert list(due) == ["svc-3"]
        earlier(office, minutes=5)
    first, last = earlier(office, minutes=120)
    with writing(office.engine) as session:
        mark_due(session, SNMP, [("svc-3", first, last)], places_of(session, {"svc-3"}))
    roll_up(office.engine, office.settings, "noc")
    with reading(office.engine) as session:
        assert usage_check(session) == ()
        used = [
            (event.service_id, event.payload["meter"], event.quantity) for event in tail(session)
        ]
    assert {name for name, _, _ in used} == {"svc-3"}
    assert sum(octets for _, meter, octets in used if meter == "up") == 2 * 600_000
    assert sum(octets for _, meter, octets in used if meter == "down") == 4 * 600_000


def test_two_collectors_keep_one_sample_of_a_slot(office: Office) -> None:
    with ThreadPoolExecutor(max_workers=2) as both:
        list(both.map(collect, [office, office]))
    with office.engine.connect() as connection:
        found = connection.execute(
            text("SELECT count(*), count(DISTINCT interface) FROM usage_sample GROUP BY slot")
        ).all()
    assert {tuple(row) for row in found} == {(3, 3)}


@contextmanager
def watching(office: Office, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`usage collect --watch` as a process of its own, gone at the end."""
    place = folder / "bandmaster.toml"
    url = office.engine.url.render_as_string(hide_password=False)
    place.touch(mode=0o600)
    place.write_text(f'database_url = "{url}"\nsnmp_timeout_s = 10\n', encoding="utf-8")
    with office.engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT)"))
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "orchestrator.cli", "usage", "collect", "--watch"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stops(process: subprocess.Popen[str], number: int) -> None:
    """It ends with 0, and says so once."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("Stopped.")) == (0, 1), said


def test_a_watch_goes_on_until_it_is_stopped_and_leaves_nothing_half_written(
    office: Office, tmp_path: Path
) -> None:
    """Goal: Ctrl-C and SIGTERM end it with 0, between two rounds. Method: stopped after one."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with watching(office, tmp_path) as process:
            assert process.stdout is not None
            assert "3 interfaces of 1 devices" in process.stdout.readline()
            assert process.stdout.readline()  # what came into the ledger: the round is over
            stops(process, number)
    with office.engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*) FROM usage_sample")).scalar_one()
        assert kept in (3, 6)  # a slot may have ended between both
    with reading(office.engine) as session:
        assert usage_check(session) == ()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_watch_outlives_a_store_that_is_away(office: Office, tmp_path: Path) -> None:
    """Goal: nobody has to start it again. Method: somebody holds its table for a round."""
    with office.engine.begin() as connection:
        connection.execute(text("LOCK TABLE usage_sample IN ACCESS EXCLUSIVE MODE"))
        with watching(office, tmp_path) as process:
            assert process.stderr is not None
            assert "database: canceling statement due to" in process.stderr.readline()
            stops(process, signal.SIGTERM)


def test_what_cannot_be_read_is_named(office: Office, agents: SnmpAgents) -> None:
    agents.set_rows(HOST, interface_rows({1: "sub1", 3: "other"}))
    with office.engine.begin() as connection:
        connection.execute(
            text("UPDATE attachment SET objects = :o WHERE service_id = 'svc-2'"),
            {"o": canonical_json({"interface": "sub1"})},
        )
    done = collect(office)
    assert (done.samples, done.missing) == (0, {"bng-1": ("sub3",)})
    assert done.shared == {"bng-1 sub1": "svc-1 and svc-2"}
    agents.mute(HOST)
    hasty = replace(office, settings=replace(office.settings, snmp_timeout_s=1))
    done = collect(hasty)
    assert done.unread == {"bng-1": "no answer within 1 s"}
