"""What bills of a real run say on paper: measured rates with their proof, people's words, voids."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from billing_bridge import Rollup, midnight, read_document, record_usage
from orchestrator.database import writing
from orchestrator.invoicing import void_invoice
from orchestrator.printing.sheet import sheet
from tests.orchestrator.billing_world import BILLS, World, make_world, sold


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """An account with a circuit of which 10 Mbit/s are paid, and data beyond 100 GB cost."""
    made = make_world(empty_engine)
    made.sell(
        sold(
            "metered",
            3000,
            commit_kbps=10_000,
            burst_minor=50,
            allowance_bytes=100 * 10**9,
            block_bytes=10**10,
            block_minor=200,
        )
    )
    made.account()
    made.starts("svc-1", "metered", "2026-03-01T00:00")
    return made


def _use(world: World, meter: str, quantity: int, **more: Any) -> None:
    with writing(world.engine) as session:
        rollup = Rollup(
            service_id="svc-1",
            account_id="A-1",
            meter=meter,  # type: ignore[arg-type]
            since=midnight(dt.date(2026, 3, 1), "UTC"),
            until=midnight(dt.date(2026, 4, 1), "UTC"),
            quantity=quantity,
            unit="bit_per_s" if meter == "p95" else "byte",
            source="snmp",
            **more,
        )
        now = dt.datetime(2026, 4, 1, 1, tzinfo=dt.UTC)
        assert record_usage(session, [rollup], now, actor="test").events


def _papers(world: World) -> list[dict[str, Any]]:
    return [read_document(one.document) for one in world.invoices()]


def test_a_measured_rate_names_its_proof_and_so_does_its_credit_note(world: World) -> None:
    _use(world, "p95", 12_500_000, samples=8_800, coverage_bp=9_856)
    _use(world, "down", 123 * 10**9)
    world.run("2026-04-01")
    (invoice,) = world.invoices()
    ever = replace(BILLS, backdate_days=36_500)  # this March is long ago
    note = void_invoice(world.engine, ever, invoice.invoice_id, "test", "wrong")
    for document, sign in (
        (read_document(invoice.document), 1),
        (read_document(note.document), -1),
    ):
        lines = {line["kind"]: line for line in document["lines"]}
        assert lines["burst"]["quantity"] == sign * 12_500_000
        assert lines["burst"]["rate"] == {
            "commit_kbps": 10_000,
            "burst_minor": 50,
            "method": "per_direction",
            "samples": 8_800,
            "coverage_bp": 9_856,
        }
        assert lines["usage"]["usage"]["included_bytes"] == 100 * 10**9
        words = [text for row in sheet(document).rows for text in row.details]
        minus = "" if sign > 0 else "-"
        for text in (
            f"{minus}12.5 Mbit/s measured, 10 Mbit/s committed, 0.50 for each Mbit/s above",
            "8800 samples, coverage 98.56 %",
            f"{minus}123 GB down- and uploaded, 100 GB included",
            "2.00 for each begun 10 GB beyond",
        ):
            assert text in words
        shown = [int(row.amount.replace(".", "")) for row in sheet(document).rows]
        assert sum(shown) == document["net_minor"]
    assert read_document(note.document)["cancels"]["number"] == invoice.number


def test_what_comes_late_says_so(world: World) -> None:
    world.run("2026-04-01")
    _use(world, "down", 123 * 10**9)
    world.run("2026-05-01")
    first, second = _papers(world)
    assert [line["kind"] for line in first["lines"]] == ["recurring", "recurring"]
    (late,) = (line for line in second["lines"] if line["late"])
    (row,) = (row for row in sheet(second).rows if row.no == str(late["no"]))
    assert row.title == "metered, data used"
    assert row.details[-1].startswith("Late: belongs to a period that was billed before")
    assert row.amount == "6.00"  # three begun blocks


def test_every_line_names_its_events_and_price(world: World) -> None:
    _use(world, "p95", 12_500_000)
    world.run("2026-04-01")
    for line in _papers(world)[0]["lines"]:
        assert line["events"]
        assert line["price_version_id"] == "metered@1"
