"""Findings for people: a list by money, and one with both its sides and the way out."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inventory import money_text, parse_instant
from orchestrator.journal import short

from .output import Painted, clean, paint, table_lines, utc

if TYPE_CHECKING:
    from sqlalchemy import Row

    from billing_bridge import Total

_HOLDS = {
    "line": "the lines of {service_id}",
    "usage": "the usage lines of {service_id}",
    "account": "everything of account {account_id}",
    "run": "the whole run",
}


def listed(rows: Sequence[Row[Any]], sums: Iterable[Total]) -> list[str]:
    """Return findings as a table, then what they come to."""
    if not rows:
        return ["Nothing is wrong."]
    header = ("id", "rule", "days", "at risk", "a month", "status", "whose", "what is wrong")
    lines = table_lines(header, [_row(row) for row in rows])
    return [*lines, "", *_sums(sums)] if sums else lines


def told(row: Row[Any], story: Iterable[Row[Any]]) -> list[str]:
    """Return everything about one finding."""
    from billing_bridge import rules  # only this screen needs the titles

    titles = {rule.rule: rule.title for rule in rules()}
    title = f"{row.rule} {titles.get(row.rule, '')}".strip()
    seen = f"first seen {_brief(row.first_seen)}, last {_brief(row.last_seen)}"
    lines = [
        f"{paint(short(row.finding_id, 'f'), 'bold')}  {title}",
        f"  stands    {standing(row)}",
        f"  what      {clean(row.what)}",
        f"  whose     {_whose(row)}",
        f"  since     {_brief(row.since)}, {_days(row)} d; {seen}",
        f"  money     {_money_words(row)}",
        "",
    ]
    lines += table_lines(("",) * 5, [("", *side) for side in _sides(row)])
    lines += ["", f"  mend it   {clean(row.command)}", ""]
    acts = [("", _brief(act.at), act.act, f"by {act.actor}", act.reason) for act in story]
    return lines + table_lines(("",) * 5, acts)


def standing(row: Row[Any]) -> str:
    """Return how a finding stands, in words."""
    if row.cleared_at is not None:
        return f"over since {_brief(row.cleared_at)}"
    if row.status == "ignored":
        return f"ignored until {_brief(row.ignored_until)} by {row.decided_by}"
    if row.status == "resolved":
        return f"said to be mended by {row.decided_by}; the next check looks"
    word = "seen to" if row.status == "ack" else "open"
    if not row.blocks:
        return f"{word}, holds nothing"
    what = _HOLDS[row.scope].format(service_id=row.service_id, account_id=row.account_id)
    if row.overridden:
        return f"{word}, overridden by {row.decided_by}: {what} may be billed"
    return f"{word}, holds {what}"


def finding_value(row: Row[Any]) -> Mapping[str, Any]:
    """Return a finding as JSON values, its evidence unfolded."""
    values = dict(row._mapping)  # noqa: SLF001  a row's documented name
    return values | {"evidence": json.loads(row.evidence), "days": _days(row)}


def _row(row: Row[Any]) -> tuple[str | Painted, ...]:
    style = "bad" if row.blocks and _counts(row) else "warn" if _counts(row) else "dim"
    return (
        short(row.finding_id, "f"),
        row.rule,
        str(_days(row)),
        _money(row.at_risk_minor, row),
        _money(row.monthly_minor, row),
        Painted(_status(row), style),
        row.service_id or row.account_id or "-",
        row.what,
    )


def _counts(row: Row[Any]) -> bool:
    return row.status in ("open", "ack") and not row.overridden and row.cleared_at is None


def _status(row: Row[Any]) -> str:
    if row.cleared_at is not None:
        return "over"
    if _counts(row) and row.blocks:
        return "holds" if row.status == "open" else "ack, holds"
    return "overridden" if row.overridden else str(row.status)


def _days(row: Row[Any]) -> int:
    end: dt.datetime = row.cleared_at or row.last_seen
    began: dt.datetime = row.since
    return max(0, (end - began).days)


def _money(amount_minor: int, row: Row[Any]) -> str:
    return money_text(amount_minor, row.currency, row.exponent) if row.currency else "-"


def _money_words(row: Row[Any]) -> str:
    if not row.currency:
        return "has no price"
    so_far = _money(abs(row.at_risk_minor), row)
    each = _money(abs(row.monthly_minor), row)
    refund = min(row.at_risk_minor, row.monthly_minor) < 0
    word = "billed, perhaps to be given back" if refund else "not billed"
    return f"{so_far} {word} so far, {each} more each month"


def act_value(act: Row[Any]) -> Mapping[str, Any]:
    """Return one line of a finding's story as JSON values."""
    return dict(act._mapping)  # noqa: SLF001  a row's documented name


def _brief(instant: dt.datetime | None) -> str:
    return utc(instant, seconds=False)


def _whose(row: Row[Any]) -> str:
    whose = [f"service {row.service_id}"] if row.service_id else []
    whose += [f"account {row.account_id}"] if row.account_id else []
    return ", ".join(whose) or clean(row.subject)


def _sides(row: Row[Any]) -> list[tuple[str, ...]]:
    return [
        (
            side["who"],
            side["says"],
            utc(parse_instant(side["at"]), seconds=False) if side["at"] else "never",
            side["ref"],
        )
        for side in json.loads(row.evidence)
    ]


def _sums(sums: Iterable[Total]) -> list[str]:
    lines = []
    for one in sums:
        if not one.currency:
            lines.append(f"{one.findings} findings have no price.")
            continue
        lines.append(paint(f"{one.findings} findings in {one.currency}", "bold"))
        for name, so_far, monthly in (
            ("leakage", one.leakage_minor, one.leakage_monthly_minor),
            ("refund risk", -one.refund_minor, -one.refund_monthly_minor),
        ):
            each, all_of = (money_text(m, one.currency, one.exponent) for m in (monthly, so_far))
            lines.append(f"  {name:<11}  {each} a month, {all_of} so far")
    return lines
