"""Invoices on paper and explained: a real change is billed, and a line is followed back to it."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import Engine, insert, select, update

from billing_bridge import (
    InvoiceLine,
    LedgerEvent,
    Rollup,
    document_text,
    find_by_service,
    midnight,
    read_document,
    record_usage,
)
from billing_bridge.invoice_rows import INVOICE, LINE
from inventory import canonical_json, local_date, money_text, new_id
from orchestrator.database import database_now, make_engine, reading, writing
from tests.billing_bridge.invoice_facts import invoice, line
from tests.orchestrator.cli.cli_rig import BOTH, ONE, TWO, Noc

NUMBER = "isp-000001"  # of the first account


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine of the tables' owner."""
    made = make_engine(database_url)
    yield made
    made.dispose()


def _events(engine: Engine, service: str) -> tuple[LedgerEvent, ...]:
    with reading(engine) as session:
        return find_by_service(session, service)


def _draft(engine: Engine, account: str, *lines: InvoiceLine) -> str:
    """Keep a draft of an account with lines of our own; return its name."""
    made = replace(
        invoice(), invoice_id=new_id(), run_id="", account_id=account, number="", state="draft"
    )
    with writing(engine) as session:
        session.execute(insert(INVOICE).values(**asdict(made)))
        for one in lines:
            names = canonical_json(list(one.event_ids))
            values = asdict(one) | {"invoice_id": made.invoice_id, "event_ids": names}
            session.execute(insert(LINE).values(**values))
    return f"i-{made.invoice_id}"


def _run(noc: Noc, *, finalise: bool = True) -> str:
    """Draft the bills of every account, and issue them; return the run."""
    run_id: str = noc.shell.ok("invoice", "run", "--json").value()["run"]["run_id"]
    if finalise:
        noc.shell.ok("invoice", "finalise", f"r-{run_id}", "--early", "--yes")
    return run_id


def _lines(noc: Noc, plan: str) -> list[Any]:
    lines = noc.shell.ok("invoice", "show", NUMBER, "--json").value()["lines"]
    return [line for line in lines if line["plan_code"] == plan]


@pytest.fixture
def billed(noc: Noc) -> str:
    """A run over a service that was adopted, and then changed by a person with a ticket."""
    noc.shell.change(
        *("service", "tier", ONE, "fiber-500"),
        *("--ticket", "CHG-88123", "--reason", "wants more\x1b[31m"),
    )
    return _run(noc)


@BOTH
def test_a_line_is_followed_to_device_person_and_ticket(
    noc: Noc, engine: Engine, billed: str
) -> None:
    """Goal: the chain of issue 4. Method: each link, looked up elsewhere, is on the screen."""
    adopted, changed = (event for event in _events(engine, ONE) if event.service_version)
    story = noc.shell.ok("change", "show", f"c-{changed.change_id}", "--json").value()
    (part,) = story["changes"]
    (line,) = _lines(noc, "fiber-500")
    assert line["event_ids"] == [changed.event_id]
    told = noc.shell.ok("invoice", "explain", NUMBER, str(line["line_no"])).out
    for words in (
        f"invoice {NUMBER} line {line['line_no']}    EUR ",
        f"EUR 49.99 x {line['numerator']}/{line['denominator']} day",
        f"seq {changed.seq}  tier.changed",
        f"c-{changed.change_id.replace('-', '')[:16]}",
        "fiber-100 -> fiber-500",
        f"p-{story['plan_id'].replace('-', '')[:16]}, hash {story['plan_hash'][:12]}",
        "ticket CHG-88123",
        f"asked by    {part['actor']} at ",
        "wants more\\x1b[31m",
    ):
        assert words in told, told
    for device in part["devices"]:
        for text in (device["device"], *device["forward"], *device["inverse"]):
            assert text in told
    for seen in changed.payload["evidence"]:
        assert f"read back   {seen['device']}  {seen['object']}  500/100 Mbit/s" in told
    value = noc.shell.ok("invoice", "explain", NUMBER, str(line["line_no"]), "--json").value()
    (origin,) = value["origins"]
    assert origin["event"]["event_id"] == changed.event_id
    assert origin["stories"][0]["changes"] == [part]
    assert origin["evidence"] == list(changed.payload["evidence"])
    assert value["line"] == line
    first = _lines(noc, "fiber-100")[0]
    assert first["event_ids"][0] == adopted.event_id
    told = noc.shell.ok("invoice", "explain", NUMBER, str(first["line_no"])).out
    assert f"seq {adopted.seq}  service.adopted" in told
    assert "none: nothing was sent to a device" in told
    assert ", import" in told
    assert billed


def test_money_of_a_person_names_who_asked_and_what_took_it_back(noc: Noc, engine: Engine) -> None:
    asked = ("credit", "issue", "--service", ONE, "12.50", "--reason", "two days without", "--json")
    noc.shell.ok(*asked)
    *_, credit = _events(engine, ONE)
    noc.shell.ok("credit", "reverse", f"m-{credit.payload['credit_id']}", "--reason", "wrong one")
    *_, back = _events(engine, ONE)
    named = (
        line(1, -1250, event_ids=(credit.event_id,)),
        line(2, 1250, event_ids=(back.event_id,)),
    )
    draft = _draft(engine, "A-1001", *named)
    told = noc.shell.ok("invoice", "explain", draft, "1").out
    assert f"seq {credit.seq}  credit.issued  EUR 12.50" in told
    assert ": two days without  m-" in told
    told = noc.shell.ok("invoice", "explain", draft, "2").out
    assert f"seq {back.seq}  event.reversed" in told
    assert f"takes back  seq {credit.seq}  credit.issued" in told


def test_a_change_taken_back_is_shown_behind_its_reversal(noc: Noc, engine: Engine) -> None:
    change = noc.shell.change("service", "tier", ONE, "fiber-500", "--ticket", "CHG-1")
    words = ("change", "rollback", f"c-{change}", "--as-never", "--reason", "wrong customer")
    noc.shell.change(*words)
    _, changed, back = _events(engine, ONE)
    draft = _draft(engine, "A-1001", line(1, -5, event_ids=(back.event_id,)))
    told = noc.shell.ok("invoice", "explain", draft, "1").out
    assert f"takes back  seq {changed.seq}  tier.changed" in told
    assert "ticket CHG-1" in told


def test_usage_is_found_again_by_its_time(noc: Noc, engine: Engine) -> None:
    """Goal: a line of usage names its windows. Method: some on its date, one beside it."""
    zone = noc.isp.time_zone
    with writing(engine) as session:
        now = database_now(session)
        today = local_date(now, zone)
        start = midnight(today - dt.timedelta(days=3), zone)
        hour = dt.timedelta(hours=1)
        rollups = [
            Rollup(
                service_id=ONE,
                account_id="A-1001",
                meter=meter,
                since=start + place * hour,
                until=start + (place + 1) * hour,
                quantity=1000 + place,
                unit="byte",
                source="radius",
                samples=12,
                coverage_bp=9_900 + place,
            )
            for meter in ("down", "up")
            for place in (0, 1, 30)
        ]
        posted = record_usage(session, rollups, now, actor="tester").events
    day = today - dt.timedelta(days=3)
    mine = [event for event in posted if event.payload["meter"] == "down"]
    names = (mine[0].event_id, mine[1].event_id)
    used = line(
        1,
        7,
        service_id=ONE,
        kind="usage",
        plan_code="fiber-100",
        quantity=4002,
        unit="byte",
        from_date=day,
        until_date=day + dt.timedelta(days=1),
        event_ids=names,
    )
    draft = _draft(engine, "A-1001", used)
    told = noc.shell.ok("invoice", "explain", draft, "1").out
    assert "usage       down  2001 byte" in told
    assert "usage       up  2001 byte" in told
    assert f"seq {mine[0].seq} .. {mine[1].seq}, 2 events from radius, 24 samples" in told
    assert "coverage 99.00 %" in told
    assert "service.adopted" in told  # what gave it the plan that prices this


@pytest.mark.usefixtures("billed")
def test_what_is_not_there_is_named(noc: Noc, engine: Engine) -> None:
    last = len(noc.shell.ok("invoice", "show", NUMBER, "--json").value()["lines"])
    for words, told in (
        (("explain", NUMBER, "99"), f"is not on this invoice It has the lines 1 to {last}."),
        (("explain", "2026-000019", "1"), "2026-000019: is no invoice"),
        (("explain", "INV/7", "1"), "INV/7: is not an identifier"),
        (("explain", "i-ffffffff", "1"), "is no invoice"),
        (("export", "r-ffffffff"), "is no invoice run"),
        (("export", NUMBER, "--format", "docx"), "is not a format Write one of json, csv"),
    ):
        said = noc("invoice", *words)
        assert (said.code, said.out) == (2, "")
        assert told in " ".join(said.err.split()), said.err
    draft = _draft(engine, "A-1002", line(1, 1, service_id=TWO))
    said = noc("invoice", "explain", draft, "1")
    assert said.code == 1
    assert "is named by invoice" in said.err  # its event is one that no ledger holds
    said = noc("invoice", "export", draft, "--out", "p")
    assert said.code == 5
    assert "is a draft" in said.err
    assert not (noc.shell.folder / "p").exists()


@BOTH
def test_a_run_is_exported_in_every_format(noc: Noc, billed: str) -> None:
    folder = noc.shell.folder / "papers"
    numbers = [f"isp-{place:06d}" for place in range(1, 5)]
    for form in ("json", "csv", "html", "pdf"):
        words = ("invoice", "export", f"r-{billed[:13]}", "--format", form, "--out", "papers")
        said = noc.shell.ok(*words)
        assert said.out.splitlines() == [f"papers/{number}.{form}" for number in numbers]
        assert "4 written to papers, 0 there already." in said.err
    made = {path.name: path for path in folder.iterdir()}
    assert set(made) == {f"{n}.{form}" for n in numbers for form in ("json", "csv", "html", "pdf")}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.values()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shown = noc.shell.ok("invoice", "show", NUMBER, "--json").value()
    document = json.loads(made[f"{NUMBER}.json"].read_text("utf-8"))
    assert document["number"] == NUMBER
    assert document["total_minor"] == shown["total_minor"]
    rows = list(csv.DictReader(io.StringIO(made[f"{NUMBER}.csv"].read_text("utf-8"))))
    amounts = [int(row["line_amount_minor"]) for row in rows if row["line_amount_minor"]]
    assert amounts == [line["amount_minor"] for line in shown["lines"]]
    total = money_text(shown["total_minor"], "EUR", 2)
    assert total in made[f"{NUMBER}.html"].read_text("utf-8")
    pages = [page.extract_text() for page in PdfReader(made[f"{NUMBER}.pdf"]).pages]
    assert total in pages[-1]
    assert "Subscriber 1001" in pages[0]


@pytest.mark.usefixtures("billed")
def test_a_file_that_is_there_is_never_written_over(noc: Noc) -> None:
    words = ("invoice", "export", NUMBER, "--format", "json", "--json")
    assert noc.shell.ok(*words).value()["written"] == [f"{NUMBER}.json"]
    path = noc.shell.folder / f"{NUMBER}.json"
    before = path.stat()
    said = noc.shell.ok(*words).value()
    assert said == {"folder": ".", "written": [], "same": 1, "drafts_left_out": 0}
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    path.write_bytes(b"mine")
    refused = noc(*words)
    assert (refused.code, refused.out) == (5, "")
    assert "is there already and says something else" in refused.err
    assert path.read_bytes() == b"mine"
    path.unlink()
    elsewhere = noc.shell.folder / "elsewhere"
    path.symlink_to(elsewhere)
    assert noc(*words).code == 5
    assert not elsewhere.exists()
    assert [p.name for p in noc.shell.folder.iterdir() if p.name.startswith(".")] == []
    said = noc("invoice", "export", NUMBER, "--format", "json", "--out", "bandmaster.toml")
    assert (said.code, said.out) == (2, "")
    assert "--out bandmaster.toml: is no folder" in said.err


def test_drafts_of_a_run_are_left_out(noc: Noc) -> None:
    run_id = _run(noc, finalise=False)
    said = noc.shell.ok("invoice", "export", f"r-{run_id}", "--out", "p")
    assert said.out == ""
    assert "0 written to p, 0 there already, 4 drafts left out." in said.err


def test_a_credit_note_is_printed_beside_the_invoice_it_takes_back(noc: Noc) -> None:
    _run(noc)
    words = ("invoice", "export", NUMBER, "--format", "json")
    noc.shell.ok(*words)
    noc.shell.ok("invoice", "void", NUMBER, "--reason", "wrong account", "--yes")
    noc.shell.ok("invoice", "export", "isp-CN-000001", "--format", "json")
    note = json.loads((noc.shell.folder / "isp-CN-000001.json").read_text("utf-8"))
    taken = json.loads((noc.shell.folder / f"{NUMBER}.json").read_text("utf-8"))
    assert note["cancels"] == {"number": NUMBER, "invoice_id": taken["invoice_id"]}
    assert note["total_minor"] == -taken["total_minor"]
    told = noc.shell.ok("invoice", "explain", "isp-CN-000001", "1").out
    assert told.startswith("credit note isp-CN-000001 line 1")
    assert f"takes back  {NUMBER}" in told
    assert "1 there already" in noc.shell.ok(*words).err  # void, its paper stays what it was


@pytest.mark.usefixtures("billed")
def test_a_document_that_the_ledger_does_not_know_is_not_printed(noc: Noc, engine: Engine) -> None:
    """Goal: paper says what was issued. Method: the owner of the tables makes a bill dearer."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER invoice_keep")
        told = connection.execute(
            select(INVOICE.c.document).where(INVOICE.c.number == NUMBER)
        ).scalar_one()
        document = read_document(told)
        document["lines"][0]["amount_minor"] += 1
        connection.execute(
            update(INVOICE)
            .where(INVOICE.c.number == NUMBER)
            .values(document=document_text(document))
        )
    said = noc("invoice", "export", NUMBER, "--format", "json")
    assert (said.code, said.out) == (1, "")
    assert "is not the one that the ledger says was issued" in said.err
    assert not (noc.shell.folder / f"{NUMBER}.json").exists()
