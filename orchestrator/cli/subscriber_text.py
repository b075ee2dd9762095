"""One subscriber as a tired engineer needs it: one screen, the newest last."""

from __future__ import annotations

from collections.abc import Mapping

from inventory import Service, money_text
from orchestrator.journal import short
from orchestrator.line_views import LiveView, Observed, ServiceView, SubscriberView
from workflows import SnmpEvidence

from .output import Painted, clean, paint, table_lines, utc

_STYLES = {"active": "good", "suspended": "warn", "terminated": "bad", "none": "dim"}
_LIVE = ("active", "suspended")
_NAME = 10


def subscriber_lines(view: SubscriberView, read: Mapping[str, LiveView]) -> list[str]:
    """Return the screen; `read` holds, by service, what its devices showed just now."""
    account = view.account
    where = clean(account.address) or "no address"
    lines = [
        f"{paint(account.account_id, 'bold')}  {clean(account.name)}, {where}",
        _line(
            "billed",
            f"on day {account.cycle_day}, {account.time_zone}, {account.currency}, "
            f"by {account.legal_entity}",
        ),
    ]
    for one in view.services:
        lines += ["", *_service(one, read.get(one.service.service_id))]
    return lines if view.services else [*lines, "no services"]


def _service(one: ServiceView, live: LiveView | None) -> list[str]:
    service = one.service
    state = paint(service.state, _STYLES[service.state])
    pending = paint("  change pending", "warn") if one.pending else ""
    since = f" since {utc(service.active_since, seconds=False)}" if service.active_since else ""
    name = paint(service.service_id, "bold")
    lines = [
        f"{name}  {service.plan_code or 'no plan'}, {state}{since}{pending}",
        _line("intended", str(one.intended) if one.service.state in _LIVE else "nothing"),
    ]
    lines += [_observed(seen, one) for seen in (live.observed if live else one.observed)]
    if not live and not one.observed:
        lines.append(_line("observed", "not read yet; read it now: add --live"))
    lines += [_line("attached", text) for text in _places(service)]
    if service.login:
        lines.append(_line("radius", f"user {service.login}, group {one.radius_group or 'none'}"))
        lines += [_line("session", text) for text in _sessions(one, live)]
    lines += [
        _line("evidence", f"{name}: {_evidence(seen)}")
        for name, seen in (live.evidence.items() if live else ())
    ]
    for row in one.exceptions:
        lines.append(
            _line(
                "exception",
                paint(f"{short(row.exception_id, 'x')} {row.cause}: {row.seen}", "warn"),
            )
        )
    return [*lines, *_changes(one), *_events(one)]


def _line(word: str, text: str) -> str:
    return f"  {word:<{_NAME}}  {text}"


def _observed(seen: Observed, one: ServiceView) -> str:
    when = "now" if seen.live else f"at {utc(seen.at)}"
    if seen.problem:
        return _line("observed", f"{seen.device}: {clean(seen.problem)}")
    same = seen.rate == one.intended
    word = seen.text if same else paint(f"{seen.text}, differs", "warn")
    return _line("observed", f"{word}  {seen.device} {when}")


def _places(service: Service) -> list[str]:
    return [
        f"{place.role} {place.device} "
        + (" ".join(f"{name} {value}" for name, value in place.objects) or "by RADIUS alone")
        for place in service.attachments
    ]


def _sessions(one: ServiceView, live: LiveView | None) -> list[str]:
    if live is not None:
        found = [
            f"{clean(s.acct_session_id)} {s.rate} {clean(s.address)} {clean(s.interface)} "
            f"since {clean(s.started) or 'unknown'}"
            for s in live.sessions
        ]
        return found or ["none on the NAS now"]
    accounted = [
        f"{clean(s.acct_session_id)} {clean(s.framed_address)} since {utc(s.started_at)}, "
        f"in {s.input_octets} out {s.output_octets} octets by accounting"
        for s in one.accounted
    ]
    return accounted or ["none in accounting; ask the NAS: add --live"]


def _evidence(seen: SnmpEvidence) -> str:
    if not seen.read:
        return f"not read ({clean(seen.why_not)})"
    return (
        f"up {seen.sys_uptime_cs // 100} s, {seen.if_high_speed_mbps} Mbit/s port, "
        f"in {seen.in_octets} out {seen.out_octets} octets"
    )


def _changes(one: ServiceView) -> list[str]:
    if not one.changes:
        return [_line("changes", "none")]
    rows = [
        (
            f"  {'changes' if place == 0 else '':<{_NAME}}",
            short(line.change_id, "c"),
            utc(line.created_at),
            line.what,
            line.net,
            Painted(line.outcome, "good" if line.outcome == "done" else "warn"),
            line.ticket or "-",
        )
        for place, line in enumerate(reversed(one.changes))
    ]
    return table_lines(("",) * 7, rows)


def _events(one: ServiceView) -> list[str]:
    rows = []
    for place, event in enumerate(one.events):
        money = "-"
        if event.currency:
            money = money_text(event.amount_minor, event.currency, event.exponent)
        after = f"{event.payload.get('plan', '')} {event.payload.get('state', '')}".strip()
        rows.append(
            (
                f"  {'ledger' if place == 0 else '':<{_NAME}}",
                f"seq {event.seq}",
                utc(event.recorded_at),
                event.type,
                after or "-",
                money,
            )
        )
    return table_lines(("",) * 6, rows) if rows else [_line("ledger", "nothing yet")]
