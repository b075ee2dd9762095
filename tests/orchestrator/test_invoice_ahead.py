"""Pricing ahead in a process beside: the bills are the same, whatever becomes of that process."""

from __future__ import annotations

import datetime as dt
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
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
# bills with processes beside, says their ids after the first batch, and waits to be killed
DYING = """
import datetime as dt, sys, time
from orchestrator import ahead, invoicing
from orchestrator.database import make_engine
from tests.orchestrator.billing_world import BILLS

invoicing.BATCH, ahead.WORTH_A_PROCESS = 2, 0
start = ahead.start_beside

helpers = []

def started(program):
    helpers.append(start(program))
    return helpers[-1]

def tell(done, total):
    print(*(helper.pid for helper in helpers), flush=True)
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
    # they are gone, and were waited for
    assert [helper.returncode for helper in helpers] == [-signal.SIGKILL] * ahead.PROCESSES
    assert found.helpers_missing == 0


@pytest.mark.parametrize("who", [[0], [1], [0, 1]], ids=["one", "other", "both"])
def test_without_these_processes_the_run_ends_the_same(
    world: World, helpers: list[subprocess.Popen[bytes]], who: list[int]
) -> None:
    """Goal: nothing hangs on them, and it is told. Method: killed after the first batch."""

    def die(done: int, _total: int) -> None:
        if done == 2:
            kill(helpers[number] for number in who)

    found = draft_run(world.engine, BILLS, "isp", APRIL, "test", die)
    assert (found.run.state, found.run.drafts) == ("drafted", ACCOUNTS)
    assert found.helpers_missing == len(who)
    assert [name for name, _ in found.left_out] == ["A-5b"]
    assert [name for name, _ in drafted(world)] == [f"A-{number}" for number in range(ACCOUNTS)]


def test_a_process_that_ends_at_once_is_done_without(
    world: World, helpers: list[subprocess.Popen[bytes]]
) -> None:
    with ahead.pricing(world.engine, job(world)) as priced:
        kill(helpers)
        for name, last in (("", "A-1"), ("A-1", "A-3"), ("A-6", None)):
            batch = priced.batch(name)
            assert (batch.after, (*batch.account_ids, None)[-2:][0]) == (name, last)
        assert priced.missing == ahead.PROCESSES


def test_another_batch_than_the_expected_one_is_priced_too(
    world: World, helpers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: who shares a run with another gets what he asks for. Method: forth, back and again."""
    monkeypatch.setattr(ahead.Pricer, "price", lambda *_: pytest.fail("priced in this process"))
    with ahead.pricing(world.engine, job(world)) as priced:
        for name in ("", "A-1", "A-5", "", "", "A-3", "A-5", "A-6"):
            assert priced.batch(name).after == name
        assert (priced.missing, len(helpers)) == (0, ahead.PROCESSES)


def kill(helpers: Iterable[subprocess.Popen[bytes]]) -> None:
    """End them, and wait until they are gone."""
    for helper in helpers:
        helper.kill()
        helper.wait()


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
    found = draft_run(world.engine, BILLS, "isp", APRIL, "test", quiet)
    assert (found.run.drafts, found.helpers_missing) == (ACCOUNTS, ahead.PROCESSES)


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
            for helper in helpers[-ahead.PROCESSES :]:  # until the next accounts are priced
                assert select.select([helper.stdout], [], [], WAIT_S)[0]
            invoicing.void_invoice(world.engine, bills, april["A-2"], "test", "wrong address")

    assert draft_run(world.engine, bills, "isp", MAY, "test", void_ahead).run.drafts == ACCOUNTS
    lines = {one.account_id: len(lines) for one, lines in world.billed() if one.state == "draft"}
    assert lines == {f"A-{number}": 3 if number == 2 else 1 for number in range(ACCOUNTS)}


def test_it_ends_with_who_asked(world: World) -> None:
    """Goal: a killed run leaves nobody behind. Method: SIGKILL to the run; its helpers end."""
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
        helpers = [Path(f"/proc/{int(pid)}/stat") for pid in worker.stdout.readline().split()]
        assert [helper.exists() for helper in helpers] == [True] * ahead.PROCESSES
        worker.kill()
    deadline = time.monotonic() + WAIT_S
    while any(map(_runs, helpers)):
        assert time.monotonic() < deadline, "a helper goes on by itself"
        time.sleep(0.01)


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text("ascii").rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False
