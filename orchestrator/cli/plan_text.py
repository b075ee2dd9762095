"""A change plan and an outcome as a tired engineer needs them, in the order needed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from billing_bridge import MoneyPreview
from device_templates import section_text
from inventory import money_text
from orchestrator.journal import short
from orchestrator.outcome import Ending, ItemOutcome, Outcome
from orchestrator.views import move_text
from workflows import ChangePlan, DevicePart, PlanItem, RadiusPart, SessionPart

from .output import clean, paint, utc

FULL = 3  # services shown line by line; the rest is counted
SHOWN_REFUSALS = 20
_HASH_DIGITS = 12
_NAME = 10
_MARKS = {"done": "good", "in doubt": "warn"}


def plan_lines(plan: ChangePlan, *, undo: bool) -> list[str]:
    """Return a plan for people; `undo` shows the lines of the way back as well."""
    ordered = sorted(plan.items, key=lambda item: item.order.service_id)
    if len(ordered) == 1:
        (item,) = ordered
        lines = [_title(plan, item), "", *_network(item, undo=undo), "", *_money(item.money), ""]
    else:
        lines = [_set_title(plan), ""]
        for item in ordered[:FULL]:
            lines += [*_brief(item, undo=undo), ""]
        lines += [*_totals(ordered), ""]
    lines += _skipped(plan)
    lines.append(
        paint(
            f"  plan hash {plan.plan_hash()[:_HASH_DIGITS]}, frozen until "
            f"{utc(plan.expires_at, seconds=False)}",
            "dim",
        )
    )
    return lines


def _set_title(plan: ChangePlan) -> str:
    name = paint(short(plan.plan_id, "p"), "bold")
    moves = Counter(move_text(item) for item in plan.items)
    shown = ", ".join(f"{count} x {move}" for move, count in moves.most_common(FULL))
    return f"Change plan {name}  {len(plan.items)} services: {shown}"


def _title(plan: ChangePlan, item: PlanItem) -> str:
    return f"Change plan {paint(short(plan.plan_id, 'p'), 'bold')} {_service_title(item)}"


def _service_title(item: PlanItem) -> str:
    where = f"account {item.account_id}" + (f", {clean(item.address)}" if item.address else "")
    return f"{paint(item.order.service_id, 'bold')}  {where}    {move_text(item)}"


def _brief(item: PlanItem, *, undo: bool) -> list[str]:
    """One service of many: every line that is sent, the rest in a line each."""
    lines = [_service_title(item)]
    for part in item.devices:
        lines += _lines(part, undo=undo)
    for radius in item.radius:
        lines.append(f"  {'radius':<{_NAME}}  {_groups(radius)}")
    for live in item.session:
        seen = clean(live.acct_session_id) or "not online"
        lines.append(f"  {'session':<{_NAME}}  {seen}  {_session_act(live, item)}")
    money = item.money
    told = [f"{line.kind} {_amount(money, line.amount_minor)}" for line in money.lines]
    net = _amount(money, money.net_minor)
    told += [f"net {money.currency} {net}", _then(money)]
    return [*lines, f"  {'money':<{_NAME}}  {', '.join(told)}"]


def _network(item: PlanItem, *, undo: bool) -> list[str]:
    lines = [line for part in item.devices for line in _device(part, undo=undo)]
    lines += [line for part in item.radius for line in _radius(part)]
    lines += [line for part in item.session for line in _session(part, item)]
    return lines or ["  no device line, RADIUS row or session is concerned"]


def _device(part: DevicePart, *, undo: bool) -> list[str]:
    size = max(_NAME, len(part.device))
    lines = [f"  {part.device:<{size}}  {part.platform:<14}  {paint(clean(part.note), 'dim')}"]
    count = len(part.item.inverse)
    now = f"reads back as {section_text(part.item.before)} now"
    told = f"    undo {count} line{'' if count == 1 else 's'} · {now}"
    forward, inverse = _sent(part), _undo(part) if undo else []
    return [*lines, *forward, told, *inverse]


def _lines(part: DevicePart, *, undo: bool) -> list[str]:
    return [f"  {part.device}", *_sent(part), *(_undo(part) if undo else [])]


def _sent(part: DevicePart) -> list[str]:
    return [paint(f"    + {clean(line)}", "good") for line in part.item.forward]


def _undo(part: DevicePart) -> list[str]:
    return [paint(f"    - {clean(line)}", "warn") for line in part.item.inverse]


def _radius(part: RadiusPart) -> list[str]:
    return [
        f"  {'radius':<{_NAME}}  user {clean(part.login)}, rows change in the ledger transaction",
        f"    {_groups(part)}",
    ]


def _groups(part: RadiusPart) -> str:
    return f"group {part.group_before or 'no row'} -> {part.group_after or 'no row'}"


def _session(part: SessionPart, item: PlanItem) -> list[str]:
    if part.acct_session_id:
        since = f", since {clean(part.since)}" if part.since else ""
        seen = f"{clean(part.acct_session_id)} on {part.device}{since}, {part.rate_seen}"
    else:
        seen = f"{clean(part.login)} is not online on {part.device} now"
    return [f"  {'session':<{_NAME}}  {seen}", f"    {_session_act(part, item)}"]


def _session_act(part: SessionPart, item: PlanItem) -> str:
    if part.action == "disconnect":
        return "Disconnect after the decision"
    more = ", Disconnect if the NAS cannot" if part.disconnect_if_needed else ""
    return f"CoA after the decision to {item.after.rate}, rate read back{more}"


def _money(money: MoneyPreview) -> list[str]:
    spans = {(line.from_date, line.until_date) for line in money.lines}
    sizes = {(line.numerator, line.denominator, line.unit) for line in money.lines}
    start, until = next(iter(spans)) if len(spans) == 1 else (money.period_from, money.period_until)
    title = f"  Money, {money.currency}, {start} .. {until}"
    if len(sizes) == 1:
        part, whole, unit = next(iter(sizes))
        title += f" ({part} of {whole} {unit}s)"
    lines = [title]
    for line in money.lines:
        full = _amount(money, line.full_amount_minor)
        what = (line.plan_code or "billed") + (" on hold" if line.charge == "hold" else "")
        text = f"{what}  {full} x {line.numerator}/{line.denominator}"
        if len(spans) > 1:
            text += f"  {line.from_date} .. {line.until_date}"
        lines.append(f"    {line.kind:<6}  {text:<44}{_amount(money, line.amount_minor):>10}")
    then = _then(money)
    net = _amount(money, money.net_minor)
    return [*lines, f"    {'net on the next invoice':<52}{paint(f'{net:>10}', 'bold')}    {then}"]


def _then(money: MoneyPreview) -> str:
    if not money.then_minor:
        return "then nothing more"
    every = "a month" if money.then_months == 1 else f"every {money.then_months} months"
    return f"then {_amount(money, money.then_minor)} {every}"


def _amount(money: MoneyPreview, minor: int) -> str:
    return money_text(minor, money.currency, money.exponent).partition(" ")[2]


def _totals(items: list[PlanItem]) -> list[str]:
    lines = []
    rest = len(items) - FULL
    if rest > 0:
        lines.append(f"  ... and {rest} more service{'' if rest == 1 else 's'}")
    parts = {part.device: part for item in items for part in item.devices}
    counts = Counter(part.device for item in items for part in item.devices)
    size = max(_NAME, *map(len, parts), 0)
    for name, part in sorted(parts.items()):
        kind = f"{part.platform:<14}  {counts[name]:>5} services"
        lines.append(f"  {name:<{size}}  {kind}  {paint(clean(part.note), 'dim')}")
    sessions = sum(bool(part.acct_session_id) for item in items for part in item.session)
    lines.append(f"  {'sessions':<{_NAME}}  {sessions} live now")
    for currency, exponent in sorted({(i.money.currency, i.money.exponent) for i in items}):
        mine = [i for i in items if (i.money.currency, i.money.exponent) == (currency, exponent)]
        net = sum(item.money.net_minor for item in mine)
        monthly = sum(item.monthly_delta_minor for item in mine)
        lines.append(
            f"  {'money':<{_NAME}}  net now {money_text(net, currency, exponent)}, "
            f"from then on {money_text(monthly, currency, exponent)} a period"
        )
        lines += _extremes(mine)
    return lines


def _extremes(items: list[PlanItem]) -> list[str]:
    least = min(items, key=lambda item: item.money.net_minor)
    most = max(items, key=lambda item: item.money.net_minor)
    if least.money.net_minor == most.money.net_minor:
        return []
    lines = []
    for word, item in (("least", least), ("most", most)):
        money = item.money
        amount = money_text(money.net_minor, money.currency, money.exponent)
        lines.append(f"  {word:<{_NAME}}  {item.order.service_id} {amount}  {move_text(item)}")
    return lines


def _skipped(plan: ChangePlan) -> list[str]:
    if not plan.skipped:
        return []
    lines = [paint(f"  left out: {len(plan.skipped)}", "warn")]
    lines += [f"    {clean(why)}" for _name, why in plan.skipped[:SHOWN_REFUSALS]]
    rest = len(plan.skipped) - SHOWN_REFUSALS
    return [*lines, *([f"    ... and {rest} more"] if rest > 0 else []), ""]


def outcome_lines(plan_id: str, outcome: Outcome) -> list[str]:
    """Return what became of a plan, and what a person may do next."""
    if len(outcome.items) == 1:
        return _one(plan_id, outcome, outcome.items[0])
    lines = []
    bad = [item for item in outcome.items if item.ending != "done"]
    for item in bad[:SHOWN_REFUSALS]:
        why = clean(item.reason) or "no reason given"
        lines.append(f"  {item.service_id:<{_NAME}}  {paint(item.ending, 'bad')}: {why}")
    if len(bad) > SHOWN_REFUSALS:
        lines.append(f"  ... and {len(bad) - SHOWN_REFUSALS} more, see --json")
    endings: tuple[Ending, ...] = ("done", "reversed", "aborted", "refused", "in doubt")
    counts = [(ending, outcome.count(ending)) for ending in endings]
    counted = ", ".join(
        paint(f"{count} {ending}", _MARKS.get(ending, "bad")) for ending, count in counts if count
    )
    seq = f"  ledger seq {outcome.last_seq}" if outcome.count("done") else ""
    before = sum(item.earlier for item in outcome.items)
    earlier = f" {before} of them had ended so before and were sent nothing." if before else ""
    lines.append(f"{counted or 'nothing to do'} in {outcome.elapsed_s:.1f} s.{earlier}{seq}")
    return lines + next_steps(plan_id, outcome.items, outcome.exit_code())


def _one(plan_id: str, outcome: Outcome, item: ItemOutcome) -> list[str]:
    change = short(item.change_id, "c") if item.change_id else "none"
    steps = next_steps(plan_id, outcome.items, outcome.exit_code())
    if item.earlier:
        return [f"{item.ending} before, by change {change}. Nothing was sent.", *steps]
    if item.ending == "done" and not item.exceptions:
        return [
            paint(f"Applied in {outcome.elapsed_s:.1f} s.", "good")
            + f"   ledger seq {outcome.last_seq}   Undo: bandmaster change rollback {change}"
        ]
    if item.ending == "done":
        return [
            paint(f"Decided and billed, but not everything is settled: {change}", "warn"),
            *steps,
        ]
    reason = f"  {clean(item.reason)}"
    if item.ending in ("aborted", "refused"):
        said = f"Nothing changed and nothing was billed. Change {change} {item.ending} (exit 1)."
    elif item.ending == "reversed":
        said = f"Taken back after the decision: billed and credited in full. Change {change}."
    else:
        said = f"Not settled yet: change {change} (exit {outcome.exit_code()})."
    return [reason, paint(said, "bad"), *steps]


def next_steps(plan_id: str, items: Iterable[ItemOutcome], exit_code: int) -> list[str]:
    """Return what a person may do next, a line each; nothing where all went well."""
    opens = [exception for item in items for exception in item.exceptions]
    lines = [
        f"A person is needed: bandmaster exceptions show {short(exception, 'x')}"
        for exception in opens[:FULL]
    ]
    if exit_code == 6:  # noqa: PLR2004  # undecided, as the README's table of exit codes says
        lines.append("Settle it: bandmaster recover")
    endings = {item.ending for item in items}
    if endings & {"aborted", "refused"} and not opens and plan_id:
        again = f"bandmaster change apply {short(plan_id, 'p')}"
        lines.append(f"When the cause is gone, try again: {again}")
    return lines


def outcome_json(plan_id: str, outcome: Outcome) -> dict[str, object]:
    """Return an outcome as JSON values, under full identifiers."""
    values = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
    return {"plan_id": plan_id, **values, "exit_code": outcome.exit_code()}
