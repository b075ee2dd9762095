"""The story of a change in time order: who asked, every step, ledger events, money."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from inventory import money_text
from orchestrator.journal import short
from orchestrator.views import ChangePart, DeviceLines, Step, Story

from .output import clean, paint, utc

FULL = 3  # changes of a set shown in full; the rest is a line each
_STYLES = {"done": "good", "open": "warn"}
_NAME = 10


def story_lines(story: Story) -> list[str]:
    """Return the story for people."""
    lines = []
    for part in story.changes[:FULL]:
        lines += [*part_lines(part), ""]
    lines += [_short_part(part) for part in story.changes[FULL:]]
    if story.changes[FULL:]:
        lines.append("")
    plan = f"plan {short(story.plan_id, 'p')} hash {story.plan_hash[:12]}"
    lines.append(
        f"change set {short(story.set_id, 's')} of {story.services}, attempt {story.attempt}, "
        + (plan if story.plan_id else "found after a restore")
    )
    lines += [step_line(step, story) for step in story.steps]
    for row in story.exceptions:
        name = short(row.exception_id, "x")
        ended = f"{clean(row.resolution)} by {row.resolved_by}" if row.resolved_at else "open"
        who = "" if row.participant.startswith("session:") else f"{row.participant}: "
        lines.append(
            f"  {_clock(row.opened_at)}  {paint('exception', 'warn')} {name}  "
            f"{who}{row.cause}: {clean(row.seen)}  ({ended})"
        )
    return lines


def part_lines(part: ChangePart) -> list[str]:
    """Return one change of a story: who asked for what, what was sent, its money and events."""
    ended = paint(part.outcome, _STYLES.get(part.outcome, "bad"))
    name = paint(short(part.change_id, "c"), "bold")
    lines = [
        f"Change {name}  {part.service_id}  account {part.account_id}    {part.what}    {ended}",
        f"  {'asked by':<{_NAME}}  {_asked(part)}",
        f"  {'order':<{_NAME}}  {short(part.order_id, 'o')}, item hash {part.item_hash[:12]}",
        f"  {'key':<{_NAME}}  {clean(part.idempotency_key)}",
        f"  {'times':<{_NAME}}  {_times(part)}",
    ]
    if part.refusal:
        lines.append(f"  {'why':<{_NAME}}  {paint(clean(part.refusal), 'bad')}")
    for device in part.devices:
        lines += _device(device)
    if part.login:
        before, after = part.radius_group_before or "no row", part.radius_group_after or "no row"
        lines.append(f"  {'radius':<{_NAME}}  user {clean(part.login)}   group {before} -> {after}")
    lines.append(f"  {'money':<{_NAME}}  {_money(part)}")
    for event in part.events:
        lines.append(
            f"  {'ledger':<{_NAME}}  seq {event.seq}  {event.type}  {utc(event.recorded_at)}  "
            f"{short(event.event_id, 'e')}"
        )
    if not part.events:
        lines.append(f"  {'ledger':<{_NAME}}  nothing posted")
    return lines


def _asked(part: ChangePart) -> str:
    why = f": {clean(part.reason)}" if part.reason else ""
    ticket = clean(part.ticket) or "none"
    return f"{part.actor} at {utc(part.asked_at)}, ticket {ticket}, {part.reason_code}{why}"


def _short_part(part: ChangePart) -> str:
    ended = paint(part.outcome, _STYLES.get(part.outcome, "bad"))
    return f"  {short(part.change_id, 'c')}  {part.service_id}  {part.what}  {ended}"


def _times(part: ChangePart) -> str:
    named = (
        ("begun", part.created_at),
        (f"decided {part.verdict}".rstrip(), part.decided_at),
        ("applied", part.applied_at),
        ("closed", part.closed_at),
    )
    return " · ".join(f"{name} {_clock(at)}" for name, at in named if at is not None)


def _device(device: DeviceLines) -> list[str]:
    lines = [f"  {device.device:<{_NAME}}  {device.platform}"]
    lines += [paint(f"    + {clean(line)}", "good") for line in device.forward]
    return lines + [paint(f"    - {clean(line)}", "warn") for line in device.inverse]


def _money(part: ChangePart) -> str:
    money = part.money
    lines = ", ".join(
        f"{line.kind} {line.plan_code} "
        f"{money_text(line.amount_minor, money.currency, money.exponent)}"
        for line in money.lines
    )
    net = money_text(money.net_minor, money.currency, money.exponent)
    return f"{lines or 'no line'}; net {net} in {money.period_from} .. {money.period_until}"


def step_line(step: Step, story: Story) -> str:
    """Return one line of the journal for people."""
    tell = _TELLERS.get(step.kind, _any)
    who = f"{step.participant}  " if step.participant else ""
    return f"  {_clock(step.at)}  {step.kind:<9}  {who}{clean(tell(step.detail, story))}"


def _clock(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%H:%M:%S.%f}"[:-3] + "Z"


def _intent(detail: Mapping[str, Any], _story: Story) -> str:
    count = detail["services"]
    what = "1 service" if count == 1 else f"{count} services"
    return f"{what} on {', '.join(detail['devices']) or 'no device'}"


def _reply(detail: Mapping[str, Any], _story: Story) -> str:
    reason = f": {detail['reason']}" if detail.get("reason") else ""
    return f"{detail['verdict'].lower()}{reason}"


def _observed(detail: Mapping[str, Any], _story: Story) -> str:
    rates = sorted(set(detail["rates"].values()))
    shown = ", ".join(rates[:FULL]) + (" ..." if len(rates) > FULL else "")
    text = f"reads {shown or 'nothing'}; running {detail['running']}"
    if detail["startup"] != "UNREADABLE" or detail["running"] == "UNREADABLE":
        text += f", startup {detail['startup']}"
    if detail["pending"] != "NONE":
        text += f", timer {detail['pending']}"
    problem = detail.get("evidence", {}).get("problem", "")
    return f"{text}; {problem}" if problem else text


def _decision(detail: Mapping[str, Any], _story: Story) -> str:
    if detail["verdict"] == "COMMIT":
        return f"COMMIT, ledger seq {detail['seq']}"
    reasons = "; ".join(sorted(set(detail.get("reasons", {}).values())))
    return f"ABORT: {reasons}"


def _reversal(detail: Mapping[str, Any], _story: Story) -> str:
    return f"{len(detail['changes'])} taken back, ledger seq {detail['seq']}: {detail['why']}"


def _coa(detail: Mapping[str, Any], _story: Story) -> str:
    cause = f" {detail['error_cause']}" if detail.get("error_cause") else ""
    return f"{detail['action']} {detail['acct_session_id']}: {detail['answer']}{cause}"


def _session(detail: Mapping[str, Any], _story: Story) -> str:
    return f"{detail['ending']}: {detail['text']}"


def _closed(detail: Mapping[str, Any], story: Story) -> str:
    service = {part.change_id: part.service_id for part in story.changes}
    return f"{service.get(detail['change'], detail['change'])} at {detail['goal']}"


def _any(detail: Mapping[str, Any], _story: Story) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value)


_TELLERS: dict[str, Callable[[Mapping[str, Any], Story], str]] = {
    "intent": _intent,
    "prepare": _reply,
    "confirm": _reply,
    "save": _reply,
    "abort": _reply,
    "observed": _observed,
    "decision": _decision,
    "reversal": _reversal,
    "coa": _coa,
    "session": _session,
    "closed": _closed,
}
