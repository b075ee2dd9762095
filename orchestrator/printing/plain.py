"""A document as data: its own JSON, and a table for spreadsheets that run nothing of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from billing_bridge import document_text

_HEAD = ("number", "kind", "issued_on", "closes_on", "seller", "account_id", "currency", "exponent")
_LINE = (
    *("no", "kind", "service_id", "plan", "plan_name", "text", "charge", "price_version_id"),
    *("period_from", "period_until", "from", "until", "numerator", "denominator", "unit"),
    *("full_amount_minor", "quantity", "amount_minor", "late"),
)
_TAX = ("name", "rate_bp", "net_minor", "tax_minor")
COLUMNS = (*_HEAD, *(f"line_{name}" for name in _LINE), *(f"tax_{name}" for name in _TAX))
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet begins a formula with


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the document itself, in its one spelling, with a line's end."""
    return (document_text(document) + "\n").encode()


def csv_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a row for each line and each tax (UTF-8, CRLF); amounts are integers of minor units.

    A text that a spreadsheet could take for a formula begins with an apostrophe.
    """
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\r\n")
    table.writerow(COLUMNS)
    head = [_cell(_head(document, name)) for name in _HEAD]
    for line in document["lines"]:
        table.writerow([*head, *(_cell(line[name]) for name in _LINE), *("" for _ in _TAX)])
    for tax in document["taxes"]:
        table.writerow([*head, *("" for _ in _LINE), *(_cell(tax[name]) for name in _TAX)])
    return stream.getvalue().encode()


def _head(document: Mapping[str, Any], name: str) -> str | int:
    if name == "seller":
        return str(document["seller"]["code"])
    if name == "account_id":
        return str(document["buyer"]["account_id"])
    value: str | int = document[name]
    return value


def _cell(value: str | int) -> str | int:
    """Return a cell; numbers stay numbers, negative ones too."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_RUNS):
        return f"'{value}"
    return value
