"""Reads what is sold from a file: plans with their terms and dated prices."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

from .catalog import Plan, PriceVersion, SuspendPolicy
from .importers_fields import Reader
from .money import EXPONENTS, USUAL_EXPONENT
from .units import MAX_KBPS

_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_POLICIES = ("stop", "continue", "hold_fee")
_FEES = ("hold", "block", "cap", "burst")


def read_plan(reader: Reader) -> tuple[str, Plan]:
    """Return a plan by its code; what is wrong is noted with the reader."""
    code = reader.code("code")
    currency = read_currency(reader)
    suspend: SuspendPolicy = reader.choice("suspend", _POLICIES, "stop") or "stop"
    allowance, fair_use, commit = (reader.child(n) for n in ("allowance", "fair_use", "commit"))
    plan = Plan(
        code=code,
        name=reader.text("name"),
        tier_code=reader.code("tier"),
        currency=currency,
        exponent=_exponent(reader, currency),
        period_months=reader.integer("period_months", 1, 120, 1),
        bill_in=reader.choice("bill_in", ("advance", "arrears"), "advance"),
        proration=reader.choice("proration", ("day", "second"), "day"),
        price_policy=reader.choice(
            "price_policy", ("at_period_start", "pinned"), "at_period_start"
        ),
        month_days=_month_days(reader),
        last_day_billed=reader.flag("last_day_billed"),
        min_billable_days=reader.integer("min_billable_days", 0, 1, 0),
        suspend=suspend,
        suspend_unpaid=reader.choice("suspend_unpaid", _POLICIES, suspend),
        allowance_bytes=_bytes(allowance, "include"),
        allowance_counts=allowance.choice("counts", ("down", "up", "both"), "both"),
        block_bytes=_bytes(allowance, "block"),
        fair_use_bytes=_bytes(fair_use, "after"),
        fair_use_tier=fair_use.code("tier", ""),
        commit_kbps=read_kbps(commit, "") if commit.record.fields else 0,
    )
    for part in (allowance, fair_use, commit):
        part.done()
    _check_terms(reader, plan)
    return code, replace(plan, prices=_prices(reader, plan))


def read_currency(reader: Reader) -> str:
    """Return an ISO 4217 code."""
    text = reader.text("currency")
    if text and not (len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()):  # noqa: PLR2004  ISO 4217
        reader.bad("currency", f"must be an ISO 4217 code like EUR, got {text!r}")
    return text


def read_kbps(reader: Reader, prefix: str) -> int:
    """Return a rate in kbit/s from the field `PREFIXkbps` or `PREFIXmbps`."""
    kbps, mbps = f"{prefix}kbps", f"{prefix}mbps"
    if reader.has(kbps) and reader.has(mbps):
        reader.bad(mbps, f"is given beside {kbps}: write one of them")
    if reader.has(mbps):
        return reader.integer(mbps, 1, MAX_KBPS // 1000) * 1000
    return reader.integer(kbps, 1, MAX_KBPS)


def _exponent(reader: Reader, currency: str) -> int:
    usual = EXPONENTS.get(currency, USUAL_EXPONENT)
    exponent = int(reader.choice("exponent", ("0", "2", "3"), str(usual)) or usual)
    if currency in EXPONENTS and exponent != usual:
        reader.bad("exponent", f"of {currency} is {usual}, got {exponent}")
    return exponent


def _month_days(reader: Reader) -> int:
    text = reader.choice("month_days", ("actual", "28", "29", "30"), "actual")
    return int(text) if text.isdecimal() else 0


def _bytes(reader: Reader, name: str) -> int:
    """A volume like `500 GB` (10^9) or `500 GiB` (2^30) in bytes; 0 if absent."""
    text = reader.text(name, "")
    match = re.fullmatch(r"([1-9][0-9]{0,8}) ?([A-Za-z]{2,3})", text, re.ASCII)
    if match is None or match[2] not in _BYTES:
        if text:
            reader.bad(name, f"must be a volume like 500 GB (of {', '.join(_BYTES)}), got {text!r}")
        return 0
    return int(match[1]) * _BYTES[match[2]]


def _prices(reader: Reader, plan: Plan) -> tuple[PriceVersion, ...]:
    """Return the prices by date. Each lasts until the next begins; `until` may say so again."""
    found: dict[dt.date, tuple[PriceVersion, Reader]] = {}
    for item in reader.items("prices"):
        date = item.date("from")
        if date in found:
            item.bad("from", f"two prices begin on {date}")
        fees = {f"{name}_minor": _fee(item, name, plan) for name in _FEES}
        price = PriceVersion(
            price_version_id=f"{plan.code}@{date}",  # its plan and date are what it is
            plan_code=plan.code,
            valid_from=date,
            amount_minor=item.minor("amount", plan.exponent),
            **fees,
        )
        found[date] = (price, item)
    if not found:
        reader.bad("prices", "must hold at least one price")
    ordered = [found[date] for date in sorted(found)]
    nexts = [price.valid_from for price, _item in ordered[1:]]
    for (price, item), follows in zip(ordered, [*nexts, None], strict=False):
        _check_end(price, item, follows)
        item.done()
    return tuple(price for price, _item in ordered)


def _fee(item: Reader, name: str, plan: Plan) -> int:
    """What a price asks for beside its amount, and must where the plan's terms need it."""
    holds = "hold_fee" in (plan.suspend, plan.suspend_unpaid)
    needed = {"hold": holds, "block": plan.block_bytes > 0, "burst": plan.commit_kbps > 0}
    because = {"hold": "suspend: hold_fee", "block": "allowance.block", "burst": "commit"}
    why = because.get(name, because["block"])
    if not item.has(name):
        if needed.get(name):
            item.bad(name, f"is missing: the plan says {why}")
        return 0
    if not needed.get(name, needed["block"]):
        item.bad(name, f"is given, but the plan does not say {why}")
    return item.minor(name, plan.exponent)


def _check_end(price: PriceVersion, item: Reader, follows: dt.date | None) -> None:
    if not item.has("until"):
        return
    until = item.date("until")
    if until <= price.valid_from:
        item.bad("until", f"must come after {price.valid_from}")
    elif follows is None:
        item.bad("until", "no price follows: name the one that does, or leave the end out")
    elif until > follows:
        item.bad("until", f"overlaps the price from {follows}")
    elif until < follows:
        item.bad("until", f"leaves the days before {follows} without a price")


def _check_terms(reader: Reader, plan: Plan) -> None:
    """What cannot be said together."""
    if plan.proration == "second":
        for name in ("month_days", "last_day_billed", "min_billable_days"):
            if getattr(plan, name):
                reader.bad(name, "is for plans that are prorated by the day")
    allowance, fair_use = reader.child("allowance"), reader.child("fair_use")
    if allowance.record.fields and not plan.allowance_bytes:
        allowance.bad("include", "must say what is included, like 500 GB")
    if bool(plan.fair_use_bytes) != bool(plan.fair_use_tier):
        fair_use.bad("after", "and tier belong together: from when on, and to what")
