"""Where a line of an invoice comes from, from the money down to the device and the person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing_bridge import InvoiceLine, LedgerEvent
from inventory import Rate, money_text
from orchestrator.explain import Agreed, Explained, Origin, Used
from orchestrator.journal import short
from orchestrator.views import Story

from .output import clean, paint, utc
from .story_text import part_lines, step_line

_NAME = 10
_READS = ("observed", "snmp")


def explained_lines(explained: Explained) -> list[str]:
    """Return the explanation for people, the line first."""
    lines = [_title(explained), *_line(explained), ""]
    for used in explained.used:
        lines += [*_used(used), ""]
    shown = [one for one in explained.origins if not (explained.used and _is_usage(one.event))]
    for origin in shown:
        lines += [*_origin(origin), ""]
    if not shown and not explained.used:
        lines.append("  no ledger event is named by this line")
    return lines if lines[-1] else lines[:-1]


def _title(explained: Explained) -> str:
    line = explained.line
    what = "credit note" if explained.kind == "credit_note" else "invoice"
    name = clean(explained.number) or f"{short(explained.invoice_id, 'i')} (draft)"
    money = money_text(line.amount_minor, explained.currency, explained.exponent)
    return f"{paint(f'{what} {name} line {line.line_no}', 'bold')}    {paint(money, 'bold')}"


def _row(word: str, text: str) -> str:
    return f"  {word:<{_NAME}}  {text}"


def _line(explained: Explained) -> list[str]:
    line = explained.line
    issued = f"issued {utc(explained.issued_at)}" if explained.issued_at else "not issued"
    marks = [word for word, set_ in (("late", line.late), ("held", line.finding_id)) if set_]
    kind = " ".join((line.kind, *marks))
    lines = [_row("takes back", clean(explained.cancels))] if explained.cancels else []
    lines += [
        _row("account", f"{explained.account_id}, {issued}, {explained.state}"),
        _row("service", f"{line.service_id or 'the whole account'}, {line.plan_code or 'no plan'}"),
        _row(
            "dates",
            f"{line.from_date} .. {line.until_date} of {line.period_from} .. {line.period_until}, "
            f"{explained.time_zone}",
        ),
        _row("kind", paint(kind, "warn" if marks else "")),
    ]
    if line.price_version_id:
        lines.append(_row("price", f"{line.price_version_id}: {_sum(explained, line)}"))
    lines.append(_row("known", f"the ledger up to seq {explained.known_seq}"))
    return lines


def _sum(explained: Explained, line: InvoiceLine) -> str:
    """Return what explains the amount; that of a correction is a difference and not a product."""
    full = money_text(line.full_amount_minor, explained.currency, explained.exponent)
    part = f"{full} x {line.numerator}/{line.denominator} {line.unit}"
    if line.quantity:
        return f"{line.quantity} {line.unit} used"
    return f"{part}, less what was billed before" if line.kind == "correction" else part


def _used(used: Used) -> list[str]:
    seqs = f"seq {used.first_seq}" + (f" .. {used.last_seq}" if used.events > 1 else "")
    events = "1 event" if used.events == 1 else f"{used.events} events"
    counted = f", {used.samples} samples" if used.samples else ""
    if used.coverage_bp >= 0:
        counted += f", coverage {used.coverage_bp // 100}.{used.coverage_bp % 100:02} %"
    late = f", {used.late} late" if used.late else ""
    return [
        _row("usage", f"{used.meter}  {used.quantity} {used.unit}"),
        _row(
            "ledger", f"{seqs}, {events} from {', '.join(used.sources) or 'nobody'}{counted}{late}"
        ),
    ]


def _is_usage(event: LedgerEvent) -> bool:
    return event.type.startswith("usage.")


def _origin(origin: Origin) -> list[str]:
    lines = [_event(origin.event)]
    if origin.reversed:
        lines.append(_row("takes back", _event_text(origin.reversed)))
    lines += [_row("read back", _evidence(one)) for one in origin.evidence]
    if origin.agreed:
        return [*lines, *_agreed(origin.agreed)]
    if not origin.stories:
        return [*lines, _row("change", _no_change(origin.event))]
    return lines + [text for story in origin.stories for text in _story(story)]


def _story(story: Story) -> list[str]:
    plan = f"{short(story.plan_id, 'p')}, hash {story.plan_hash[:12]}" if story.plan_id else "none"
    lines = [_row("plan", plan)]
    for part in story.changes:
        lines += [f"  {text}" for text in part_lines(part)]
    return lines + [f"  {step_line(one, story)}" for one in story.steps if one.kind in _READS]


def _agreed(agreed: Agreed) -> list[str]:
    asked = f"{agreed.asked_by} at {utc(agreed.asked_at)}: {clean(agreed.reason)}"
    lines = [_row("asked by", f"{asked}  {short(agreed.credit_id, 'm')}")]
    if agreed.decided_by not in ("", agreed.asked_by):
        lines.append(_row("agreed by", f"{agreed.decided_by} at {utc(agreed.decided_at)}"))
    return lines


def _event(event: LedgerEvent) -> str:
    return _row("ledger", paint(_event_text(event), "bold"))


def _event_text(event: LedgerEvent) -> str:
    after = f"{event.payload.get('plan', '')} {event.payload.get('state', '')}".strip()
    money = ""
    if event.type == "price.overridden":
        said = event.payload
        price = money_text(said["price_minor"], said["currency"], said["exponent"])
        after += f" at {price} from {said['from']}"
        after += f" until {said['until']}" if "until" in said else ""
    if event.currency:
        money = f"  {money_text(event.amount_minor, event.currency, event.exponent)}"
    return (
        f"seq {event.seq}  {event.type}{money}  effective {utc(event.effective_at)}  "
        f"{short(event.event_id, 'e')}" + (f"  {after}" if after else "")
    )


def _evidence(seen: Mapping[str, Any]) -> str:
    rate = Rate(down_kbps=seen["down_kbps"], up_kbps=seen["up_kbps"])
    return (
        f"{seen['device']}  {clean(seen['object'])}  {rate}  at {seen['observed_at']}  "
        f"digest {seen['digest'][:12]}"
    )


def _no_change(event: LedgerEvent) -> str:
    return f"none: nothing was sent to a device; {event.actor}, {event.reason_code}"
