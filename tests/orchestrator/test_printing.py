"""Invoices on paper say what the frozen document says, whatever is in it, in the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from orchestrator.printing.html import html_bytes
from orchestrator.printing.pdf import pdf_bytes
from orchestrator.printing.plain import COLUMNS, csv_bytes, json_bytes
from orchestrator.printing.sheet import NAME_CHARS, one_line, sheet
from tests.billing_bridge.invoice_facts import document, every_kind, line

ROOT = Path(__file__).parents[2]
Render = Callable[[Mapping[str, Any]], bytes]
RENDERERS: tuple[Render, ...] = (json_bytes, csv_bytes, html_bytes, pdf_bytes)
ANEW = """
import hashlib, json, sys
from orchestrator.printing.html import html_bytes
from orchestrator.printing.pdf import pdf_bytes
from orchestrator.printing.plain import csv_bytes, json_bytes
made = json.load(sys.stdin)
found = [render(made) for render in (json_bytes, csv_bytes, html_bytes, pdf_bytes)]
print(json.dumps([hashlib.sha256(text).hexdigest() for text in found]))
"""
# 1666 + 3333 + 500 + 450 + 1759 - 1667 - 1000 + 4500, and 19 % of it
GOLDEN = {
    "EUR": ("95.41", "18.13", "EUR 113.54", "-16.67"),
    "JPY": ("9541", "1813", "JPY 11354", "-1667"),
    "KWD": ("9.541", "1.813", "KWD 11.354", "-1.667"),
}
HOSTILE = (
    "<script>alert('x')</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "{{ 7*7 }}{% raw %}{nb}",
    '=HYPERLINK("http://x")',
    "\u202eevil\u2066\u200f\u2069",
    "one\ntwo\r\nthree\tfour\x00\x1b[31m",
    "محمد بن سلمان",
    "नमस्ते 東京都 서울 ไทย שלום 😀",
    "\U000e0041\ufdd0\U0010ffff private \ue000",
    "W" * 10_000,
    "word " * 2_000,
    "",
)


class _Page(HTMLParser):
    """The tags of a page, and what stands in its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self._open = tag in ("td", "th", "dd", "bdi")
        self.cells += [""] * self._open

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag == "br"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data.strip()


def _html(made: Mapping[str, Any]) -> _Page:
    return _Page(html_bytes(made).decode())


def _pdf(made: Mapping[str, Any]) -> tuple[str, ...]:
    reader = PdfReader(io.BytesIO(pdf_bytes(made)))
    return tuple(page.extract_text() for page in reader.pages)


def _table(made: Mapping[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_bytes(made).decode(), newline="")))


@pytest.mark.parametrize("currency", GOLDEN)
def test_every_currency_has_its_decimals(currency: str) -> None:
    """Goal: the right figures on every kind of paper. Method: golden figures, read back."""
    made = document(currency=currency)
    cells = _html(made).cells
    (page,) = _pdf(made)
    for figure in GOLDEN[currency]:
        assert figure in cells
        assert re.search(rf"(?<![\d.-]){re.escape(figure)}(?![\d])", page), figure
    assert json.loads(json_bytes(made)) == made
    rows = _table(made)
    assert [row["line_amount_minor"] for row in rows[:2]] == ["1666", "3333"]
    assert (rows[-1]["tax_net_minor"], rows[-1]["tax_tax_minor"]) == ("9541", "1813")


@pytest.mark.parametrize("currency", GOLDEN)
def test_the_lines_and_taxes_shown_add_up_to_the_total_shown(currency: str) -> None:
    made = document(currency=currency)
    printed = sheet(made)
    shown = [row.amount for row in printed.rows] + [text for _, text in printed.sums[1:]]
    exponent = made["exponent"]
    total = sum(round(float(text) * 10**exponent) for text in shown)
    assert printed.total[1] == GOLDEN[currency][2]
    assert total == round(float(printed.total[1].partition(" ")[2]) * 10**exponent)
    for text in shown:
        assert text in _html(made).cells
    table = _table(made)
    amounts = [int(row["line_amount_minor"] or row["tax_tax_minor"]) for row in table]
    assert sum(amounts) == made["total_minor"]


def test_a_line_can_be_followed_on_paper() -> None:
    words = " ".join(_pdf(document()))
    for text in (
        "Example ISP GmbH",
        "Tax id DE 123 456 789",
        "Erika Mustermann",
        "2026-06-01 to 2026-06-10",  # both days belong to it
        "10 of 30 days",
        "49.99",
        "Fiber 500, on hold",
        "1.23 TB (1234567890123 bytes) down- and uploaded, 1 TB included",
        "1.50 for each begun 100 GB beyond, at most 20.00",
        "123.456789 Mbit/s measured, 100 Mbit/s committed",
        "95th percentile of 5-minute samples of each direction",
        "8568 samples, coverage 99.17 %",
        "Late: belongs to a period that was billed before",
        "Goodwill for the outage of 3 June",
        "VAT 19 % on 95.41",
    ):
        assert text in words
    cells = " ".join(_html(document()).cells)
    assert "8568 samples, coverage 99.17 %" in cells


def test_a_credit_note_names_the_invoice_it_takes_back() -> None:
    made = document(kind="credit_note", number="7", cancels="i", cancels_number="2026-000016")
    (page,) = _pdf(made)
    assert "Credit note" in page
    assert "Takes back invoice 2026-000016" in page
    assert "2026-000016" in _html(made).cells


def test_a_draft_says_so() -> None:
    made = document(number="")
    assert "Invoice: draft" in _pdf(made)[0]
    assert "none yet" in _html(made).cells


def test_many_lines_have_their_heads_and_numbers_on_every_page() -> None:
    kinds = every_kind()
    made = document([replace(kinds[place % 8], line_no=place + 1) for place in range(120)])
    pages = _pdf(made)
    assert len(pages) > 4
    for place, page in enumerate(pages, start=1):
        assert f"{place} / {len(pages)}" in page
    for page in pages[:-1]:
        assert "Full price" in page
    for page in pages[1:]:
        assert "Invoice 2026-000017, continued" in page
    total = 15 * 9541
    assert f"EUR {(total + round(total * 0.19)) / 100:.2f}" in pages[-1]
    numbers = [
        int(text)
        for page in pages
        for text in re.findall(r"^(\d+) (?:Fiber|C)", page, re.MULTILINE)
    ]
    assert numbers == list(range(1, 121))


def _digests(made: Mapping[str, Any]) -> list[str]:
    return [hashlib.sha256(render(made)).hexdigest() for render in RENDERERS]


def test_the_same_document_gives_the_same_bytes() -> None:
    """Goal: paper can be made again. Method: twice here, once where sets have another order."""
    made = document(buyer={"name": "Žluťoučký 東京 שלום \ue000\ue001\ue002"})
    here = _digests(json.loads(json.dumps(made)))
    assert here == _digests(made)
    there = subprocess.run(
        [
            sys.executable,
            "-c",
            ANEW,
        ],
        input=json.dumps(made),
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(there.stdout) == here


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_breaks_a_page(text: str) -> None:
    """Goal: names are data. Method: the same text as every name, and the page's bones compared."""
    made = document(
        buyer={"name": text, "address": f"{text}\n{text}"},
        seller={"name": text, "address": text, "tax_id": text},
        texts={7: text, 8: text},
        plan_name=text,
    )
    bones = [tag for tag in _html(document()).tags if tag != "bdi"]
    page = _html(made)
    assert [tag for tag in page.tags if tag != "bdi"] == bones
    assert "EUR 113.54" in page.cells
    words = _pdf(made)
    assert len(words) <= 4
    assert "EUR 113.54" in words[-1]
    rows = _table(made)
    assert len(rows) == len(made["lines"]) + len(made["taxes"])
    assert {row["line_plan_name"].lstrip("'") for row in rows[:6]} == {text}


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_any_text_becomes_one_harmless_line(text: str) -> None:
    told = one_line(text)
    assert len(told) <= NAME_CHARS
    assert told.splitlines() in ([], [told])
    assert not set(told) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    assert one_line(told) == told
    page = html_bytes(document(buyer={"name": text})).decode()
    assert page.count("<") == html_bytes(document(buyer={"name": "x"})).decode().count("<")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "=cmd|' /C x'!A0"]
)
def test_a_spreadsheet_runs_nothing_of_a_table(text: str) -> None:
    made = document(texts={7: text}, plan_name=text)
    for row in _table(made):
        for name in ("line_text", "line_plan_name", "seller", "number"):
            assert not row[name].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert _table(made)[6]["line_text"] == f"'{text}"
    assert _table(made)[5]["line_amount_minor"] == "-1667"  # a number stays one


def test_the_table_has_a_row_for_each_line_and_tax() -> None:
    rows = _table(document())
    assert tuple(rows[0]) == COLUMNS
    assert [row["line_no"] for row in rows] == [*map(str, range(1, 9)), ""]
    assert {row["number"] for row in rows} == {"2026-000017"}


@pytest.mark.parametrize(
    ("bps", "told"), [(0, "0 Mbit/s"), (1, "0.000001 Mbit/s"), (10**9, "1000 Mbit/s")]
)
def test_rates_lose_no_digit(bps: int, told: str) -> None:
    made = document([line(1, 1, kind="burst", quantity=bps)])
    assert any(text.startswith(f"{told} measured") for text in sheet(made).rows[0].details)
