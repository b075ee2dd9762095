"""A frozen document as the words and figures of a page: what HTML and PDF both print."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAME_CHARS = 200  # a longer name is cut on paper; the JSON has all of it
_ADDRESS_LINES = 6
_TITLES = {"invoice": "Invoice", "credit_note": "Credit note"}
_JOINERS = "\u200c\u200d"  # format characters that spell words in some scripts
_METHODS = {
    "per_direction": "of 5-minute samples of each direction, the higher of both",
    "per_sample_max": "of the higher direction of each 5-minute sample",
    "sum": "of both directions of each 5-minute sample together",
}
_COUNTS = {"down": "downloaded", "up": "uploaded", "both": "down- and uploaded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: its title, what explains it, and the figures of its columns ("" = none)."""

    no: str
    title: str
    details: tuple[str, ...]
    part: str
    price: str
    amount: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A page's words in their order; all texts are one line each and hold nothing that steers."""

    title: str
    number: str
    seller: tuple[str, ...]
    buyer: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    money: str  # the currency over the columns of amounts
    rows: tuple[Row, ...]
    sums: tuple[tuple[str, str], ...]
    total: tuple[str, str]
    notes: tuple[str, ...]


def sheet(document: Mapping[str, Any]) -> Sheet:
    """Return what is printed of a document."""
    money = _Money(currency=document["currency"], exponent=document["exponent"])
    number = document["number"]
    title = _TITLES[document["kind"]]
    lines = document["lines"]
    return Sheet(
        title=title if number else f"{title}: draft",
        number=one_line(number),
        seller=_seller(document["seller"]),
        buyer=_party(document["buyer"]),
        facts=_facts(document),
        money=money.currency,
        rows=tuple(_row(line, money) for line in lines),
        sums=(
            ("Net", money.figure(document["net_minor"])),
            *((_tax_text(tax, money), money.figure(tax["tax_minor"])) for tax in document["taxes"]),
        ),
        total=("Total", f"{money.currency} {money.figure(document['total_minor'])}"),
        notes=_notes(document),
    )


def one_line(text: str, most: int = NAME_CHARS) -> str:
    """Return text as one line without control or direction characters, cut where it is too long."""
    kept = "".join(" " if c.isspace() else c for c in text if _harmless(c))
    joined = " ".join(kept.split())
    return joined if len(joined) <= most else joined[: most - 1].rstrip() + "…"


def _harmless(char: str) -> bool:
    return (
        char.isspace() or char in _JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Money:
    """Figures of one currency: integers of the minor unit become text here and nowhere before."""

    currency: str
    exponent: int

    def figure(self, amount_minor: int) -> str:
        """Return an amount without its currency, with as many decimals as that has."""
        sign = "-" if amount_minor < 0 else ""
        whole, part = divmod(abs(amount_minor), 10**self.exponent)
        return f"{sign}{whole}" + (f".{part:0{self.exponent}d}" if self.exponent else "")


def _seller(seller: Mapping[str, Any]) -> tuple[str, ...]:
    tax_id = one_line(seller["tax_id"])
    return (*_party(seller), *((f"Tax id {tax_id}",) if tax_id else ()))


def _party(party: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a name and the lines of an address, which may be several or one with commas."""
    lines = [one_line(line) for line in party["address"].splitlines()]
    address = [line for line in lines if line][:_ADDRESS_LINES]
    return (one_line(party["name"]), *address)


def _facts(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Number", one_line(document["number"]) or "none yet"),
        ("Date", document["issued_on"]),
        ("Account", one_line(document["buyer"]["account_id"])),
        ("Period", _span(document["period"]["from"], document["period"]["until"])),
    ]
    if "cancels" in document:
        facts.insert(1, ("Takes back invoice", one_line(document["cancels"]["number"])))
    return tuple(facts)


def _span(since: str, until: str) -> str:
    """Return half-open dates as people say them: with the last day, not the one after it."""
    last = dt.date.fromisoformat(until) - dt.timedelta(days=1)
    return since if last <= dt.date.fromisoformat(since) else f"{since} to {last.isoformat()}"


def _row(line: Mapping[str, Any], money: _Money) -> Row:
    measured = "usage" in line or "rate" in line
    details = [one_line(line["text"], 2 * NAME_CHARS)] if line["text"] else []
    if line["service_id"]:
        details.append(f"{one_line(line['service_id'])}, {_span(line['from'], line['until'])}")
    if "usage" in line:
        details += _usage(line, money)
    if "rate" in line:
        details += _rate(line, money)
    if line["kind"] == "correction":
        details.append("Correction: what is owed for this time, less what was billed before")
    if line["late"]:
        more = ", and is priced together with that" if measured else ""
        details.append(f"Late: belongs to a period that was billed before{more}")
    return Row(
        no=str(line["no"]),
        title=_title(line),
        details=tuple(details),
        part="" if measured else _part(line),
        price=money.figure(line["full_amount_minor"]) if _part(line) and not measured else "",
        amount=money.figure(line["amount_minor"]),
    )


def _title(line: Mapping[str, Any]) -> str:
    plan = one_line(line["plan_name"] or line["plan"])
    what = {
        "usage": "data used",
        "burst": "rate above the committed one",
        "correction": "correction",
    }.get(line["kind"], "on hold" if line["charge"] == "hold" else "")
    if line["kind"] == "correction" and line["charge"] == "hold":
        what = "on hold, correction"
    if plan:
        return f"{plan}, {what}" if what else plan
    return {"credit": "Credit", "charge": "Charge"}.get(line["kind"], "Settlement")


def _part(line: Mapping[str, Any]) -> str:
    """Return the part of the full period that is charged, "" where a line has no such part."""
    if not line["denominator"] or line["kind"] in ("credit", "charge"):
        return ""
    unit = {"day": "days", "second": "s"}.get(line["unit"], line["unit"])
    return f"{line['numerator']} of {line['denominator']} {unit}"


def _usage(line: Mapping[str, Any], money: _Money) -> list[str]:
    usage = line["usage"]
    used = f"{_bytes(line['quantity'])} {_COUNTS[usage['counts']]}"
    details = [f"{used}, {_bytes(usage['included_bytes'])} included"]
    if usage["block_bytes"]:
        price = (
            f"{money.figure(usage['block_minor'])} for each begun {_bytes(usage['block_bytes'])}"
        )
        cap = f", at most {money.figure(usage['cap_minor'])}" if usage["cap_minor"] else ""
        details.append(f"{price} beyond{cap}")
    return details


def _rate(line: Mapping[str, Any], money: _Money) -> list[str]:
    rate = line["rate"]
    rates = f"{_mbps(line['quantity'])} measured, {_mbps(rate['commit_kbps'] * 1000)} committed"
    details = [
        f"{rates}, {money.figure(rate['burst_minor'])} for each Mbit/s above",
        f"95th percentile {_METHODS[rate['method']]}: the 5 % highest samples are left out",
    ]
    if rate["samples"]:
        details.append(f"{rate['samples']} samples, coverage {_percent(rate['coverage_bp'])}")
    return details


def _bytes(count: int) -> str:
    """Return bytes in a decimal unit; where that hides a digit, with all of them."""
    if count < 0:
        return f"-{_bytes(-count)}"
    for name, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            short = f"{_decimal(count * 100 // size, 2)} {name}"
            return short if count % (size // 100) == 0 else f"{short} ({count} bytes)"
    return f"{count} bytes"


def _mbps(bps: int) -> str:
    return f"{_decimal(bps, 6)} Mbit/s"


def _percent(basis_points: int) -> str:
    return f"{_decimal(basis_points, 2)} %"


def _decimal(value: int, places: int) -> str:
    """Return value / 10^places without trailing zeros."""
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), 10**places)
    fraction = f"{part:0{places}d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _tax_text(tax: Mapping[str, Any], money: _Money) -> str:
    return f"{one_line(tax['name'])} {_percent(tax['rate_bp'])} on {money.figure(tax['net_minor'])}"


def _notes(document: Mapping[str, Any]) -> tuple[str, ...]:
    zone = one_line(document["buyer"]["time_zone"])
    return (f"Dates are local dates in {zone}; of a period both days named belong to it.",)
