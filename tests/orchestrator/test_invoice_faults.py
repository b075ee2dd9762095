"""Kills, races and broken ledgers: nobody is billed twice, and no number is left out."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from billing_bridge import list_runs
from inventory import LedgerBroken, Refused, UnknownName
from orchestrator import invoicing
from orchestrator.database import make_engine, reading
from orchestrator.invoicing import draft_run, finalise
from tests.orchestrator.billing_world import BILLS, World, make_world, quiet, said, sold

APRIL = dt.date(2025, 4, 1)
ACCOUNTS = 7
# one process that bills, two accounts at a time, and says after which transaction it stands
WORKER = """
import datetime as dt, sys
from orchestrator import invoicing
from orchestrator.database import make_engine
from tests.orchestrator.billing_world import BILLS

url, what, run_id = sys.argv[1:]
invoicing.BATCH = 2
engine = make_engine(url)

def tell(done, total):
    print(done, flush=True)
    sys.stdin.readline()

print("ready", flush=True)
sys.stdin.readline()
def inside(function):
    def pausing(*given):
        made = function(*given)
        tell(0, 0)
        return made
    return pausing

if what == "inside":  # stands still before the commit instead of after it
    invoicing.keep_drafts, invoicing.issue = inside(invoicing.keep_drafts), inside(invoicing.issue)
if what == "run" or not run_id:
    invoicing.draft_run(engine, BILLS, "isp", dt.date(2025, 4, 1), "worker", tell)
else:
    invoicing.finalise(engine, BILLS, run_id, "worker", tell, early=True)
"""


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """Seven accounts with a service each."""
    made = make_world(empty_engine)
    made.sell(sold("f100", 3000))
    for number in range(ACCOUNTS):
        made.account(f"A-{number}")
        made.starts(f"svc-{number}", "f100", f"2025-03-{number + 10}T10:00", f"A-{number}")
    return made


def outcome(world: World) -> list[tuple[str, str, str, int, list[tuple[str, str, str, str, int]]]]:
    """Everything that somebody was billed, and under which number."""
    return sorted(
        (one.account_id, one.state, one.number, one.total_minor, said(lines))
        for one, lines in world.billed()
    )


def start(world: World, what: str, run_id: str = "") -> subprocess.Popen[str]:
    url = world.engine.url.render_as_string(hide_password=False)
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        (sys.executable, "-c", WORKER, url, what, run_id),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def step(worker: subprocess.Popen[str]) -> str:
    """Let it go on to its next word; "" = it has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()


def dies(world: World, what: str, run_id: str = "") -> str:
    """Start a process and kill it where it stands still; return what it said there."""
    worker = start(world, what, run_id)
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == "ready"
    said_last = step(worker)
    kill(worker)
    return said_last


def kill(worker: subprocess.Popen[str]) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        assert stream is not None
        stream.close()


def test_killed_after_every_batch_and_resumed_it_ends_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the same bills and numbers, without a gap. Method: a process dies at each boundary."""
    monkeypatch.setattr(invoicing, "BATCH", 2)
    for what, done in (("inside", "0"), ("run", "2"), ("run", "2"), ("inside", "0")):
        assert dies(world, what) == done
    run = draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet).run
    assert (run.state, run.drafts) == ("drafted", ACCOUNTS)
    for what in ("inside", "finalise", "finalise", "inside"):
        assert dies(world, what, run.run_id)
    finalise(world.engine, BILLS, run.run_id, "test", quiet, early=True)
    numbers = [number for _, _, number, _, _ in outcome(world)]
    assert numbers == [f"isp-{number:06d}" for number in range(1, ACCOUNTS + 1)]
    lines = [said(lines) for _, lines in world.billed()]
    assert Counter(len(each) for each in lines) == {2: ACCOUNTS}
    assert world.run("2025-04-01").issued == 0


@pytest.mark.parametrize("what", ["run", "finalise"])
def test_of_two_at_once_each_account_is_billed_by_one(
    world: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: no account twice. Method: two threads with engines of their own begin together."""
    monkeypatch.setattr(invoicing, "BATCH", 1)
    run_id = ""
    if what == "finalise":
        run_id = draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet).run.run_id
    gate = threading.Barrier(2)
    problems: list[BaseException] = []

    def work() -> None:
        engine = make_engine(world.engine.url.render_as_string(hide_password=False))
        try:
            gate.wait()
            if what == "run":
                draft_run(engine, BILLS, "isp", APRIL, "test", quiet)
            else:
                finalise(engine, BILLS, run_id, "test", quiet, early=True)
        except BaseException as problem:  # noqa: BLE001 - told below, by the test's own thread
            problems.append(problem)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    if what == "run":
        run_id = draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet).run.run_id
        finalise(world.engine, BILLS, run_id, "test", quiet, early=True)
    found = outcome(world)
    assert [each[0] for each in found] == [f"A-{number}" for number in range(ACCOUNTS)]
    assert sorted(each[2] for each in found) == [
        f"isp-{number:06d}" for number in range(1, ACCOUNTS + 1)
    ]


def test_a_broken_chain_stops_the_run_and_says_where(world: World) -> None:
    run = draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet).run
    with world.engine.begin() as connection:
        if world.engine.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER billing_event_no_update"))
        else:
            connection.execute(text("ALTER TABLE billing_event DISABLE TRIGGER ALL"))
        connection.execute(
            text("UPDATE billing_event SET body = replace(body, 'f100', 'f001') WHERE seq = 3")
        )
    before = outcome(world)
    with pytest.raises(LedgerBroken, match="broken at seq 3"):
        draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet)
    with pytest.raises(LedgerBroken, match="broken at seq 3"):
        finalise(world.engine, BILLS, run.run_id, "test", quiet, early=True)
    assert outcome(world) == before


def test_what_is_not_over_or_unknown_is_refused(world: World) -> None:
    ahead = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)
    with pytest.raises(Refused, match="not over"):
        draft_run(world.engine, BILLS, "isp", ahead, "test", quiet)
    with pytest.raises(UnknownName, match="nobody"):
        draft_run(world.engine, BILLS, "nobody", APRIL, "test", quiet)
    with pytest.raises(UnknownName):
        finalise(world.engine, BILLS, "r-1", "test", quiet)
    assert outcome(world) == []


def test_a_draft_from_inside_the_grace_window_waits_unless_told(world: World) -> None:
    """Goal: late usage gets its chance. Method: a window so long that the draft lies in it."""
    long = invoicing.Bills(grace_hours=24 * 10_000, backdate_days=90, tax=BILLS.tax)
    run = draft_run(world.engine, long, "isp", APRIL, "test", quiet).run
    with pytest.raises(Refused, match="was drafted before"):
        finalise(world.engine, long, run.run_id, "test", quiet)
    assert {one.state for one in world.invoices()} == {"draft"}
    assert finalise(world.engine, long, run.run_id, "test", quiet, early=True).issued == ACCOUNTS


def test_a_run_that_was_not_finished_comes_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead(Exception):
        pass

    def death(*_: int) -> None:
        raise Dead

    monkeypatch.setattr(invoicing, "BATCH", 2)
    with pytest.raises(Dead):
        draft_run(world.engine, BILLS, "isp", APRIL, "test", death)
    with pytest.raises(Refused, match="2025-04-01 is not finished"):
        draft_run(world.engine, BILLS, "isp", dt.date(2025, 5, 1), "test", quiet)
    with reading(world.engine) as session:
        run_id = list_runs(session)[0].run_id
    with pytest.raises(Refused, match="not drafted to its end"):
        finalise(world.engine, BILLS, run_id, "test", quiet, early=True)
    assert world.run("2025-04-01").issued == ACCOUNTS
