"""The frozen document: everything that is printed, integers and text alone, the same each time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invoice_facts import BUYER, CURRENCIES, SELLER, document, every_kind, line

from billing_bridge import document_text, read_document


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


@pytest.mark.parametrize("currency", CURRENCIES)
def test_it_holds_integers_and_text_alone(currency: str) -> None:
    made = document(currency=currency)
    assert {type(leaf) for leaf in _leaves(made)} == {int, str}
    assert (made["currency"], made["exponent"]) == (currency, CURRENCIES[currency])


def test_the_total_is_the_sum_of_what_is_shown() -> None:
    made = document()
    net = sum(each["amount_minor"] for each in made["lines"])
    tax = sum(each["tax_minor"] for each in made["taxes"])
    assert (made["net_minor"], made["tax_minor"], made["total_minor"]) == (net, tax, net + tax)
    assert (net, tax) == (9541, 1813)


def test_who_sells_and_who_pays_are_in_it() -> None:
    made = document()
    assert made["seller"] == {
        "code": SELLER.code,
        "name": SELLER.name,
        "address": SELLER.address,
        "tax_id": SELLER.tax_id,
    }
    assert made["buyer"]["account_id"] == BUYER.account_id
    assert made["buyer"]["name"] == BUYER.name
    assert made["period"] == {"from": "2026-05-01", "until": "2026-07-01"}


def test_a_credit_note_names_what_it_takes_back() -> None:
    assert "cancels" not in document()
    made = document(kind="credit_note", cancels="i-16", cancels_number="2026-000016")
    assert made["cancels"] == {"number": "2026-000016", "invoice_id": "i-16"}


def test_a_line_explains_itself() -> None:
    usage, rate = (document()["lines"][place] for place in (3, 4))
    assert usage["plan_name"] == "Fiber 500"
    assert usage["usage"] == {
        "counts": "both",
        "included_bytes": 10**12,
        "block_bytes": 10**11,
        "block_minor": 150,
        "cap_minor": 2000,
    }
    assert rate["rate"] == {
        "commit_kbps": 100_000,
        "burst_minor": 75,
        "method": "per_direction",
        "samples": 8568,
        "coverage_bp": 9917,
    }


def test_an_allowance_shrinks_with_its_part_of_the_period() -> None:
    half = line(1, 0, kind="usage", numerator=15, denominator=30)
    assert document([half])["lines"][0]["usage"]["included_bytes"] == 5 * 10**11


def test_an_invoice_without_lines_can_be_made() -> None:
    made = document([line(1, 0, plan_code="gone", price_version_id="gone")])
    assert (made["total_minor"], made["lines"][0]["plan_name"]) == (0, "")


@settings(max_examples=50)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_kept_as_it_is(name: str, said: str) -> None:
    """Goal: what is frozen is what was known. Method: through its text and back."""
    try:
        f"{name}{said}".encode()
    except UnicodeEncodeError:
        return  # no store gives such a text
    made = document(buyer={"name": name}, texts={7: said})
    text = document_text(made)
    assert read_document(text) == made
    assert document_text(read_document(text)) == text
    assert made["buyer"]["name"] == name
    assert made["lines"][6]["text"] == said


def test_the_same_invoice_has_the_same_text() -> None:
    assert document_text(document()) == document_text(document(every_kind()))
