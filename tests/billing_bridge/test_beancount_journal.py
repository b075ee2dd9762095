"""The sample consumer: each event once in the journal, whenever it dies; bean-check accepts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_facts import take_guards_away
from sqlalchemy import Engine, create_engine, text

from billing_bridge import ddl, view_ddl
from billing_bridge.examples import beancount_journal as sample
from lab.servers.postgres import Postgres
from orchestrator.database import make_engine
from orchestrator.invoicing import void_invoice
from orchestrator.migrate import upgrade
from tests.orchestrator.billing_world import BILLS, World, make_world, sold

BATCH = 3  # small, so that there are many writes to die in
AT_ANY_TIME = replace(BILLS, backdate_days=100_000)
SUMS = """
import json, sys, collections
from beancount import loader
from beancount.core.data import Transaction
entries, errors, _ = loader.load_file(sys.argv[1])
sums = collections.defaultdict(int)
for entry in entries:
    if isinstance(entry, Transaction):
        for posting in entry.postings:
            sums[posting.account, posting.units.currency] += posting.units.number
print(json.dumps([[*name, str(value)] for name, value in sums.items() if value] + [len(errors)]))
"""


def make_books(engine: Engine) -> World:
    """Two accounts in two currencies, credits, charges, reversals, invoices and a credit note."""
    world = make_world(engine)
    with engine.begin() as connection:
        for statement in view_ddl(engine.dialect.name):
            connection.exec_driver_sql(statement)
    world.sell(sold("f100", 3000), sold("yen", 500, currency="JPY", exponent=0))
    world.account()
    world.account("j.2_b-C", currency="JPY")
    world.starts("svc-1", "f100", "2026-03-01T00:00")
    world.starts("svc-2", "yen", "2026-03-01T00:00", account="j.2_b-C")
    world.gives("credit.issued", 500)
    world.takes_back(world.gives("credit.issued", 77))
    world.gives("charge.issued", 4900, "svc-1")
    world.run("2026-04-01", AT_ANY_TIME)
    (first,) = world.invoices("A-1", "final")
    void_invoice(world.engine, AT_ANY_TIME, first.invoice_id, "anna", "wrong")
    world.takes_back(world.gives("charge.issued", 123))
    world.run("2026-05-01", AT_ANY_TIME)
    world.gives("credit.issued", 250)
    return world


@pytest.fixture
def books(empty_engine: Engine) -> World:
    """What is to be posted."""
    return make_books(empty_engine)


def url_of(engine: Engine) -> str:
    """The URL as the sample takes it."""
    return engine.url.render_as_string(hide_password=False)


def post(url: str, place: Path) -> None:
    """Run the sample in this process, in small batches."""
    engine = create_engine(url)
    try:
        with sample.open_journal(place) as journal:
            sample.post_new(engine, journal, BATCH)
    finally:
        engine.dispose()


def checked(place: Path) -> dict[tuple[str, str], str]:
    """Let bean-check judge the journal; return the balances as beancount itself reads them."""
    tool = Path(sys.executable).with_name("bean-check")
    said = subprocess.run([tool, place], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SUMS, str(place)],
        capture_output=True,
        text=True,
        check=True,
    )
    *sums, errors = json.loads(told.stdout)
    assert errors == 0
    return {(account, currency): value for account, currency, value in sums}


def test_the_journal_says_what_the_ledger_says(books: World, tmp_path: Path) -> None:
    """Goal: receivables are the invoices, what is unbilled the open credits; all through main()."""
    place = tmp_path / "bills.beancount"
    arguments = [url_of(books.engine), str(place)]
    assert sample.main(arguments) == 0
    once = place.read_bytes()
    assert sample.main(arguments) == 0
    assert place.read_bytes() == once
    sums = checked(place)
    invoices = books.invoices()
    assert {one.kind for one in invoices} == {"invoice", "credit_note"}
    owed = {
        currency: sum(one.total_minor for one in invoices if one.currency == currency)
        for currency in ("EUR", "JPY")
    }
    taxes = sum(one.tax_minor for one in invoices if one.currency == "EUR")
    mine, other = "C-A--1", "C-j-x2e2-x5fb--C"
    assert sums["Assets:Receivable:" + mine, "EUR"] == f"{owed['EUR'] / 100:.2f}"
    assert sums["Assets:Receivable:" + other, "JPY"] == str(owed["JPY"])
    assert sums["Liabilities:Tax", "EUR"] == f"{-taxes / 100:.2f}"
    # the last credit is open; all others were billed or taken back before
    assert sums["Assets:Unbilled:" + mine, "EUR"] == "-2.50"
    assert sums["Expenses:Goodwill", "EUR"] == "7.50"
    assert sums["Income:Charges", "EUR"] == "-49.00"
    assert ("Assets:Unbilled:" + other, "JPY") not in sums
    ids = re.findall(rb'event_id: "([^"]+)"', once)
    assert len(ids) == len(set(ids)) == 7 + len(invoices)


Edge = tuple[Any, str]
EDGES: list[Edge] = [(os, "open"), (os, "write"), (os, "fsync"), (os, "ftruncate"), (os, "link"),
                     (os, "close"), (sample.fcntl, "flock")]  # fmt: skip


def die_at(number: int, url: str, place: Path) -> bool:
    """Run it in a child that dies at its `number`th touch of the file system, and say if it did.

    A write that it dies in has put down half of what it was given.
    """
    child = os.fork()
    if not child:
        count = 0

        def edge(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def touched(*given: Any) -> Any:
                nonlocal count
                count += 1
                if count == number:
                    if name == "write":
                        real(given[0], given[1][: len(given[1]) // 2])
                    os._exit(9)
                done = real(*given)
                count += 1
                if count == number:
                    os._exit(9)
                return done

            return touched

        try:
            for module, name in EDGES:
                setattr(module, name, edge(name, getattr(module, name)))
            post(url, place)
        except BaseException:  # noqa: BLE001  # a child must not go on as a second test run
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def test_it_may_die_anywhere_and_posts_each_event_once(books: World, tmp_path: Path) -> None:
    """Goal: exactly once. Method: die at every touch of the disk, also twice, and run again."""
    whole = tmp_path / "whole.beancount"
    url = url_of(books.engine)
    books.engine.dispose()  # a connection must not be shared with the children
    post(url, whole)
    wanted = whole.read_bytes()
    place = tmp_path / "torn.beancount"
    number = 0
    torn = 0
    while True:
        number += 1
        place.unlink(missing_ok=True)
        if not die_at(number, url, place):
            break
        torn += place.exists() and not wanted.startswith(place.read_bytes())
        die_at(number, url, place)  # and once more, wherever that is by now
        post(url, place)
        assert place.read_bytes() == wanted, f"died at {number}"
    assert number > 2 * (wanted.count(b"; ledger seq") + 4)
    checked(place)


def test_two_at_once_wait_for_each_other(books: World, tmp_path: Path) -> None:
    place = tmp_path / "bills.beancount"
    command = [sys.executable, "-m", "billing_bridge.examples.beancount_journal",
               url_of(books.engine), str(place)]  # fmt: skip
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for one in running:
        _, said = one.communicate()
        assert one.returncode == 0, said
    ids = re.findall(rb'event_id: "([^"]+)"', place.read_bytes())
    assert len(ids) == len(set(ids)) > 5


def test_a_ledger_that_is_another_stops_it(
    books: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: verified on read, nothing written. Method: what only an owner of the tables can do."""
    place = tmp_path / "bills.beancount"
    url = url_of(books.engine)
    post(url, place)
    before = place.read_bytes()
    books.gives("credit.issued", 1)
    altered = (
        "UPDATE billing_event SET body = replace(body, 'anna', 'thief')"
        " WHERE seq = (SELECT max(seq) FROM billing_event)"
    )
    take_guards_away(books.engine, altered)
    with books.engine.begin() as connection:
        for statement in _ledger_views(books.engine):
            connection.execute(text(statement))
    assert sample.main([url, str(place)]) == 1
    assert "does not hold" in capsys.readouterr().err
    with books.engine.begin() as connection:
        connection.execute(text("UPDATE billing_event SET hash = prev_hash"))
    assert sample.main([url, str(place)]) == 1
    assert "another event" in capsys.readouterr().err
    assert place.read_bytes() == before


def _ledger_views(engine: Engine) -> list[str]:
    return [one for one in ddl(engine.dialect.name) if "VIEW" in one]


def test_somebody_elses_file_is_left_alone(books: World, tmp_path: Path) -> None:
    place = tmp_path / "mine.beancount"
    place.write_text("2026-01-01 open Assets:Cash\n; ledger seq 5 hash unfinished")
    before = place.read_bytes()
    assert sample.main([url_of(books.engine), str(place)]) == 1
    assert place.read_bytes() == before


def test_the_role_report_is_enough(
    postgres_server: Postgres, postgres_database: str, tmp_path: Path
) -> None:
    """Goal: views alone, as another system has them. Method: the migrated store, role report."""
    engine = make_engine(postgres_server.url("migrate", postgres_database))
    upgrade(engine)
    engine.dispose()
    url = postgres_server.url("report", postgres_database)
    place = tmp_path / "bills.beancount"
    assert sample.main([url, str(place)]) == 0
    assert place.read_text().endswith(f"; ledger seq 0 hash {'0' * 64}\n")
