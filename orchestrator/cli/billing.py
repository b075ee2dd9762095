"""`bandmaster billing`: what must be right before invoices go out, and what people decide of it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import can_move, clean, data, draw, say, show, utc

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlmodel import Session

    from billing_bridge import Decision

Id = Annotated[str, typer.Argument(help="The finding, as listed.", metavar="ID")]
Why = Annotated[str, typer.Option("--reason", help="Why, in words; it is kept.", metavar="TEXT")]
OPEN, HELD = 3, 4
SHOWN = 20  # findings that a check lists; the dearest come first


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("What must be right before invoices go out.")
    command(group, "check", "billing check", "billing check --json")(check)
    command(group, "ack", 'billing ack f-0197a3f2 --reason "ticket INC-4711"')(ack)
    command(
        group,
        "ignore",
        'billing ignore f-0197a3f2 --until 2026-12-31 --reason "a test line of ours"',
    )(ignore)
    command(group, "resolve", 'billing resolve f-0197a3f2 --reason "policer put back"')(resolve)
    command(group, "override", 'billing override f-0197a3f2 --reason "agreed with the customer"')(
        override
    )
    below = new_group("What the checks have found.")
    command(
        below,
        "list",
        "billing findings list",
        "billing findings list --rule R-01 --limit 100",
        "billing findings list --service svc-1042 --past",
    )(list_)
    command(below, "show", "billing findings show f-0197a3f2")(show_)
    group.add_typer(below, name="findings")
    app.add_typer(group, name="billing")


def check(json: JsonFlag = False) -> None:
    """Judge every service, change and usage record by all rules, and keep what is wrong.

    Findings that are still true keep their id and what was decided; what is mended is cleared.
    Ends with 0 where nothing is wrong, 3 while findings are open, 4 while some of them hold lines.
    """
    from billing_bridge import totals
    from orchestrator.database import reading
    from orchestrator.gate import check as run

    from .finding_text import finding_value, listed

    with desk.store() as (settings, engine):
        checked = run(engine, desk.actor(), _tell, proved_days=settings.backdate_days)
        with reading(engine) as session:
            rows = _open(session, 0 if json else SHOWN)
            sums = totals(session)
    _tell_end()
    held = any(row.blocks and not row.overridden for row in rows)
    if json:
        found = [finding_value(row) for row in rows]
        data({"check": checked, "totals": sums, "findings": found})
    else:
        said = f"{checked.services} services judged: {checked.found} findings"
        say(f"{said}, {checked.opened} of them new; {checked.cleared} cleared.")
        for line in listed(rows, sums):
            show(line)
    if rows:
        raise typer.Exit(HELD if held else OPEN)


def list_(
    rule: Annotated[str, typer.Option(help="Of one rule, R-01 to R-13.", metavar="R")] = "",
    account: Annotated[str, typer.Option(help="Of one account.", metavar="ID")] = "",
    service: Annotated[str, typer.Option(help="Of one service.", metavar="ID")] = "",
    status: Annotated[
        str, typer.Option(help="open, ack, ignored or resolved.", metavar="STATUS")
    ] = "",
    past: Annotated[bool, typer.Option("--past", help="Those that are over as well.")] = False,
    limit: Annotated[int, typer.Option(help="How many; 0 = all.", min=0, metavar="N")] = 50,
    json: JsonFlag = False,
) -> None:
    """List findings, dearest first, with the money of each direction apart."""
    from billing_bridge import Filters, last_check, list_findings, totals
    from orchestrator.database import reading

    from .finding_text import finding_value, listed

    filters = Filters(
        rule=rule.upper(), account_id=account, service_id=service, status=status, past=past
    )
    _refuse_unknown(rule.upper(), status)
    with desk.store() as (_settings, engine), reading(engine) as session:
        rows = list(list_findings(session, filters, limit))
        sums = () if filters != Filters() else totals(session)
        checked = last_check(session)
    if json:
        data([finding_value(row) for row in rows])
        return
    for line in listed(rows, sums):
        show(line)
    if len(rows) == limit:
        say(f"The {limit} dearest. More: --limit 0")
    if checked is None:
        say("Nothing has been checked yet: bandmaster billing check")
    else:
        say(f"Checked at {utc(checked.ended_at, seconds=False)} by {checked.actor}.")


def show_(identifier: Id, json: JsonFlag = False) -> None:
    """Tell one finding: both sides with their times, its money, its story, the way out."""
    from billing_bridge import find_finding, finding_story
    from orchestrator.database import reading

    from .finding_text import act_value, finding_value, told

    with desk.store() as (_settings, engine), reading(engine) as session:
        finding_id = _named(session, identifier)
        row = find_finding(session, finding_id)
        story = finding_story(session, finding_id)
    if json:
        data({"finding": finding_value(row), "story": [act_value(act) for act in story]})
        return
    for line in told(row, story):
        show(line)


def ack(identifier: Id, reason: Why, json: JsonFlag = False) -> None:
    """Say that somebody is at work on it. It goes on holding what it holds."""
    _decide(identifier, "ack", reason, json=json)


def ignore(
    identifier: Id,
    until: Annotated[
        dt.datetime,
        typer.Option(help="Until then (UTC, 00:00).", formats=["%Y-%m-%d"], metavar="DATE"),
    ],
    reason: Why,
    json: JsonFlag = False,
) -> None:
    """Leave a finding alone until a date. It holds nothing meanwhile.

    It comes back on that date, or when its money has grown beyond what it will then have come to.
    """
    _decide(identifier, "ignored", reason, until=until.replace(tzinfo=dt.UTC), json=json)


def resolve(identifier: Id, reason: Why, json: JsonFlag = False) -> None:
    """Say that it is mended. The next check looks, and brings it back if it is not."""
    _decide(identifier, "resolved", reason, json=json)


def override(identifier: Id, reason: Why, json: JsonFlag = False) -> None:
    """Let the lines be billed that a finding holds, though it is not mended.

    It holds them again when its money has grown by more than a month of the same.
    """
    _decide(identifier, "override", reason, json=json)


def _decide(
    identifier: str,
    decision: Decision,
    reason: str,
    *,
    json: bool,
    until: dt.datetime | None = None,
) -> None:
    from billing_bridge import find_finding
    from orchestrator.database import reading
    from orchestrator.gate import decide

    from .finding_text import finding_value, standing

    with desk.store() as (_settings, engine):
        with reading(engine) as session:
            finding_id = _named(session, identifier)
        decide(engine, finding_id, decision, actor=desk.actor(), reason=reason, until=until)
        with reading(engine) as session:
            row = find_finding(session, finding_id)
    if json:
        data(finding_value(row), acted=True)
    else:
        say(f"{row.rule} {clean(row.subject)}: {standing(row)}.")


def _named(session: Session, identifier: str) -> str:
    from .ids import resolve as resolve_id

    return resolve_id(session, "f", identifier)[1]


def _open(session: Session, limit: int) -> list[Row[Any]]:
    """Return the open and acknowledged findings, dearest first."""
    from billing_bridge import Filters, list_findings

    found = list_findings(session, Filters(), 0)
    rows = (row for row in found if row.status in ("open", "ack"))
    return [row for number, row in enumerate(rows) if not limit or number < limit]


def _refuse_unknown(rule: str, status: str) -> None:
    from billing_bridge import rule_numbers
    from inventory import UnknownName

    if rule and rule not in rule_numbers():
        raise UnknownName(rule, "is no rule", f"Rules are {', '.join(rule_numbers())}.")
    known = ("open", "ack", "ignored", "resolved")
    if status and status not in known:
        raise UnknownName(status, "is no status", f"They are {', '.join(known)}.")


def _tell(accounts: int) -> None:
    if can_move():
        draw(f"\r\x1b[K{accounts} accounts judged")


def _tell_end() -> None:
    if can_move():
        draw("\r\x1b[K")
