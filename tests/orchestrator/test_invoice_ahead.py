"""Pricing ahead in a process beside: the bills are the same, whatever becomes of that process."""

from __future__ import annotations

import datetime as dt
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from billing_bridge import invoice_rows as rows
from orchestrator import ahead, invoicing
from orchestrator.invoicing import draft_run, finalise
from tests.orchestrator.billing_world import BILLS, World, make_world, quiet, said, sold

APRIL, MAY = dt.date(2025, 4, 1), dt.date(2025, 5, 1)
ACCOUNTS = 7
WAIT_S = 120
# bills with a process beside, says that process's id after the first batch, and waits to be killed
DYING = """
import datetime as dt, sys, time
from orchestrator import ahead, invoicing
from orchestrator.database import make_engine
from tests.orchestrator.billing_world import BILLS

invoicing.BATCH, ahead.WORTH_A_PROCESS = 2, 0
start = ahead.start_beside

def started(program):
    global helper
    helper = start(program)
    return helper

def tell(done, total):
    print(helper.pid, flush=True)
    time.sleep(600)

ahead.start_beside = started
engine = make_engine(sys.argv[1])
invoicing.draft_run(engine, BILLS, "isp", dt.date(2025, 4, 1), "worker", tell)
"""


@pytest.fixture
def world(empty_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> World:
    """Seven accounts with a service each, one that cannot be priced; two are billed at once."""
    made = make_world(empty_engine)
    made.sell(sold("f100", 3000), sold("unpriced", 100, since=dt.date(2025, 9, 1)))
    for number in range(ACCOUNTS):
        made.account(f"A-{number}")
        made.starts(f"svc-{number}", "f100", f"2025-03-{number + 10}T10:00", f"A-{number}")
    made.account("A-5b")
    made.starts("svc-5b", "unpriced", "2025-03-10T10:00", "A-5b")
    monkeypatch.setattr(invoicing, "BATCH", 2)
    return made


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Have every run priced beside; the processes that were started for it."""
    found: list[subprocess.Popen[bytes]] = []
    start = ahead.start_beside

    def started(program: str) -> subprocess.Popen[bytes]:
        found.append(start(program))
        return found[-1]

    monkeypatch.setattr(ahead, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(ahead, "start_beside", started)
    return found


def drafted(world: World) -> list[tuple[str, list[tuple[str, str, str, str, int]]]]:
    """Each account's draft."""
    return sorted((one.account_id, said(lines)) for one, lines in world.billed())


def test_a_short_run_starts_no_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(program: str) -> None:
        raise AssertionError(program)

    monkeypatch.setattr(ahead, "start_beside", never)
    assert draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet).run.drafts == ACCOUNTS


def test_beside_the_bills_are_the_same(
    world: World, helpers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: it prices all of them, and the same. Method: nothing may be priced in this process."""
    monkeypatch.setattr(ahead, "WORTH_A_PROCESS", 100)
    draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet)
    here = drafted(world)
    assert helpers == []
    with world.engine.begin() as connection:
        for table in (rows.InvoiceLineRow, rows.InvoiceRow, rows.InvoiceRunRow):
            connection.execute(delete(table))
    monkeypatch.setattr(ahead, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(ahead.Pricer, "price", lambda *_: pytest.fail("priced in this process"))
    found = draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet)
    assert drafted(world) == here
    assert len(here) == ACCOUNTS
    assert found.left_out == (("A-5b", "unpriced: has no price on 2025-03-10"),)
    (helper,) = helpers
    assert helper.returncode == -signal.SIGKILL  # it is gone, and was waited for


@pytest.mark.parametrize("after", [0, 2, 4])
def test_without_that_process_the_run_ends_the_same(
    world: World, helpers: list[subprocess.Popen[bytes]], after: int
) -> None:
    """Goal: nothing hangs on it. Method: it is killed before the first batch, and between them."""

    def die(done: int, _total: int) -> None:
        if done == after:
            helpers[-1].kill()
            helpers[-1].wait()

    if not after:
        with ahead.pricing(world.engine, job(world)) as dead:
            die(0, 0)
            for name in ("", "A-1"):
                dead.ask(name)
                assert dead.answer().after == name
    found = draft_run(world.engine, BILLS, "isp", APRIL, "test", die)
    assert (found.run.state, found.run.drafts) == ("drafted", ACCOUNTS)
    assert [name for name, _ in found.left_out] == ["A-5b"]
    assert [name for name, _ in drafted(world)] == [f"A-{number}" for number in range(ACCOUNTS)]


def job(world: World) -> ahead.Job:
    """A run as it has just begun."""
    with invoicing._billing(world.engine, "isp") as session:
        now = dt.datetime.now(dt.UTC)
        run = invoicing.begin_run(session, "isp", APRIL, "test", now, 100)
    return ahead.Job(run_id=run.run_id, size=2, backdate_days=90)


def test_where_no_process_can_be_started_all_is_priced_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_program: str) -> None:
        raise BlockingIOError

    monkeypatch.setattr(ahead, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(ahead, "start_beside", full)
    assert draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet).run.drafts == ACCOUNTS


@pytest.mark.parametrize("where", ["here", "beside"])
def test_what_is_voided_after_it_was_priced_is_priced_again(
    world: World,
    helpers: list[subprocess.Popen[bytes]],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: what is read ahead is not believed blindly. Method: a void between read and write."""
    if where == "here":
        monkeypatch.setattr(ahead, "WORTH_A_PROCESS", 100)
    bills = replace(BILLS, backdate_days=10_000)
    run = draft_run(world.engine, bills, "isp", APRIL, "test", quiet).run
    finalise(world.engine, bills, run.run_id, "test", quiet, early=True)
    april = {one.account_id: one.invoice_id for one in world.invoices()}

    def void_ahead(done: int, _total: int) -> None:
        if done == 2:
            if where == "beside":  # until the next two accounts are priced
                assert select.select([helpers[-1].stdout], [], [], WAIT_S)[0]
            invoicing.void_invoice(world.engine, bills, april["A-2"], "test", "wrong address")

    assert draft_run(world.engine, bills, "isp", MAY, "test", void_ahead).run.drafts == ACCOUNTS
    lines = {one.account_id: len(lines) for one, lines in world.billed() if one.state == "draft"}
    assert lines == {f"A-{number}": 3 if number == 2 else 1 for number in range(ACCOUNTS)}


def test_it_ends_with_who_asked(world: World) -> None:
    """Goal: a killed run leaves nobody behind. Method: SIGKILL to the run; its helper ends."""
    root = Path(__file__).parents[2]
    url = world.engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        (sys.executable, "-c", DYING, url),
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as worker:
        assert worker.stdout is not None
        helper = Path(f"/proc/{int(worker.stdout.readline())}/stat")
        assert helper.exists()
        worker.kill()
    deadline = time.monotonic() + WAIT_S
    while _runs(helper):
        assert time.monotonic() < deadline, "the helper goes on by itself"
        time.sleep(0.01)


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text("ascii").rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False
