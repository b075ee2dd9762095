"""`bandmaster ledger`: what is owed, event by event, and the proof that nothing was altered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import data, json_line, say, show, table, utc

if TYPE_CHECKING:
    from billing_bridge import LedgerEvent

After = Annotated[
    int, typer.Option(help="Begin after this sequence number.", min=0, metavar="SEQ")
]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, metavar="N")]
BATCH = 500


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("The ledger: append-only, hash-chained, what every bill comes from.")
    command(group, "tail", "ledger tail", "ledger tail --after 48200 --json")(tail)
    command(group, "verify", "ledger verify --deep")(verify)
    command(group, "export", "ledger export --after 48200 > events.jsonl")(export)
    command(group, "replay", "ledger replay --check")(replay)
    app.add_typer(group, name="ledger")


def tail(
    after: Annotated[
        int, typer.Option(help="Begin after this sequence number; without it the newest.",
                          min=-1, metavar="SEQ")
    ] = -1,
    limit: Limit = 20,
    json: JsonFlag = False,
) -> None:
    """Show the newest events, or those after a sequence number."""
    from billing_bridge import ledger_head
    from billing_bridge import tail as read
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        start = after if after >= 0 else max(0, ledger_head(session).seq - limit)
        events = read(session, start, limit)
    if json:
        data(events)
    elif events:
        table(
            ("seq", "recorded", "type", "service", "account", "after it", "money", "change", "by"),
            [_row(event) for event in events],
        )
    else:
        say("The ledger holds nothing there.")


def _row(event: LedgerEvent) -> tuple[str, ...]:
    from inventory import money_text
    from orchestrator.journal import short

    payload = event.payload
    after = f"{payload.get('plan', '')} {payload.get('state', '')}".strip()
    money = "-"
    if event.currency:
        money = money_text(event.amount_minor, event.currency, event.exponent)
    change = short(event.change_id, "c") if event.change_id else "-"
    return (str(event.seq), utc(event.recorded_at), event.type, event.service_id,
            event.account_id, after or "-", money, change, event.actor)


def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every column with the text that was hashed.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check the chain over all events: no gap, no altered byte, nothing cut from its middle."""
    from billing_bridge import verify as check
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        report = check(session, deep=deep)
    if json:
        data(report)
    else:
        for line in str(report).splitlines():
            show(line)
    raise typer.Exit(0 if report.ok else 1)


def export(after: After = 0, limit: Limit = 1_000_000_000) -> None:
    """Write events as CloudEvents, one JSON document a line, in order, from a cursor."""
    from billing_bridge import export as write
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        for line in write(session, after, limit):
            show(line)


def replay(
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the services; nothing is written.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Fold the ledger and compare what it makes of each service with the service table."""
    from billing_bridge import replay_check
    from inventory import WrongUse, list_services
    from orchestrator.database import reading

    if not check:
        raise WrongUse("ledger replay", "only compares", "Add --check.")
    with desk.store() as (_settings, engine), reading(engine) as session:
        services = list_services(session)
        found = replay_check(session, services)
    if json:
        data({"services": len(services), "mismatches": found})
    elif found:
        for mismatch in found:
            json_line(mismatch)
    else:
        show(f"ok: the ledger makes {len(services)} services what the service table says")
    raise typer.Exit(1 if found else 0)
