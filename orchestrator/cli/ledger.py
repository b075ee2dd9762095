"""`bandmaster ledger`: what is owed, event by event, and the proof that nothing was altered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import data, plain, say, show, table, utc

_DIGITS = 19  # of a sequence number that a store can hold
COLUMNS = ("seq", "recorded", "type", "of", "says", "change", "by")

if TYPE_CHECKING:
    from sqlmodel import Session

    from billing_bridge import Head, LedgerEvent

Limit = Annotated[int, typer.Option(help="How many at most.", min=1, metavar="N")]


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("The ledger: append-only, hash-chained, what every bill comes from.")
    command(group, "tail", "ledger tail", "ledger tail --after 48200 --json")(tail)
    command(
        group, "verify", "ledger verify --deep", "ledger verify --anchors ledger-anchors.jsonl"
    )(verify)
    command(group, "anchor", "ledger anchor --file /mnt/worm/bandmaster.jsonl")(anchor)
    command(
        group,
        "export",
        "ledger export > events.jsonl",
        "ledger export --after 48200 > more.jsonl",
    )(export)
    command(group, "replay", "ledger replay --check")(replay)
    app.add_typer(group, name="ledger")


def tail(
    after: Annotated[
        int,
        typer.Option(
            help="Begin after this sequence number; without it the newest.", min=-1, metavar="SEQ"
        ),
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
        # the account stands in --json: with it a line would not fit a terminal
        columns: tuple[str, ...] = COLUMNS
        rows = [_row(event) for event in events]
        if any(event.currency for event in events):
            columns = (*columns, "money")
            rows = [(*row, _money(event)) for row, event in zip(rows, events, strict=True)]
        table(columns, rows)
    else:
        say("The ledger holds nothing there.")


def _row(event: LedgerEvent) -> tuple[str, ...]:
    from orchestrator.journal import short

    change = short(event.change_id, "c") if event.change_id else "-"
    return (
        str(event.seq),
        utc(event.recorded_at),
        event.type,
        event.service_id or event.account_id,
        _said(event) or "-",
        change,
        event.actor,
    )


def _said(event: LedgerEvent) -> str:
    """Return what a service is after the event, what was metered, or what was issued."""
    payload = event.payload
    if event.unit:
        return f"{payload['meter']} {event.quantity} {event.unit}"
    return f"{payload.get('plan', '')} {payload.get('state', '')}".strip() or payload.get(
        "number", ""
    )


def _money(event: LedgerEvent) -> str:
    from inventory import money_text

    if not event.currency:
        return "-"
    return money_text(event.amount_minor, event.currency, event.exponent)


def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every column with the text that was hashed.")
    ] = False,
    anchor: Annotated[
        list[str] | None,
        typer.Option(help="A head kept elsewhere: the chain must pass it.", metavar="SEQ:HASH"),
    ] = None,
    anchors: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of anchors: the chain must pass them all; looks as --deep does.",
            metavar="FILE",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check the chain over all events: no gap, no altered byte, nothing cut out.

    Ends with 1 where anything is wrong. What a tail cut off or a chain rewritten by its owner would
    hide shows against anchors kept elsewhere: --anchors with the file of `ledger anchor`, or
    --anchor with the line that a good run prints.
    """
    from billing_bridge import agreeing, read_anchors
    from billing_bridge import verify as check
    from orchestrator.database import reading

    kept = [one.head for file in anchors or () for one in read_anchors(file)]
    heads = agreeing([*kept, *(_anchor(text) for text in anchor or ())])
    deep = deep or bool(anchors)  # whoever asks for this proof asks for all of it
    with desk.store() as (_settings, engine), reading(engine) as session:
        report = check(session, deep=deep, processes=_cores(), anchors=heads)
    if json:
        data({**plain(report), "ok": not report.problem, "deep": deep, "anchors": len(heads)})
    elif report.problem:
        show(f"BROKEN at seq {report.bad_seq}: {report.problem}")
        show("Bill nothing from this ledger until it is known why.")
    else:
        how = "chain and columns hold" if deep else "chain holds"
        passed = f", anchors passed: {len(heads)}" if heads else ""
        show(f"ok: {report.events} events, {how}{passed}")
        show(f"anchor {report.last.seq}:{report.last.hash.hex()}")
    raise typer.Exit(1 if report.problem else 0)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _anchor(text: str) -> Head:
    from billing_bridge import Head
    from inventory import WrongUse

    seq, _, digest = text.partition(":")
    try:
        return Head(seq=int(seq), hash=bytes.fromhex(digest))
    except ValueError as error:
        raise WrongUse(
            f"--anchor {text}", "is not SEQ:HASH", "Copy it from `bandmaster ledger verify`."
        ) from error


def anchor(
    file: Annotated[
        Path | None,
        typer.Option(
            help="Where to; without it ledger-anchors.jsonl beside the settings.", metavar="FILE"
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check the chain, then add its newest event's place, hash and time to a file.

    Run it from a timer, and keep the file where whoever owns the database cannot write: on another
    host, or on a medium that can only grow. Refuses a chain that does not pass the file's anchors.
    """
    from billing_bridge import open_anchors
    from orchestrator.database import database_now, reading

    with desk.store() as (settings, engine):
        place = file or Path(settings.path).parent / "ledger-anchors.jsonl"
        with open_anchors(place) as opened, reading(engine) as session:
            made = opened.add(session, database_now(session), _cores())
    if json:
        data({**plain(made.head), "time": made.anchored_at, "file": str(place)})
    else:
        show(f"anchor {made.head.seq}:{made.head.hash.hex()}")
        say(f"Added to {place} at {utc(made.anchored_at)}.")


def export(
    after: Annotated[
        str,
        typer.Option(
            help="Begin after this sequence number; with the hash it had, only if it still has it.",
            metavar="SEQ[:HASH]",
        ),
    ] = "0",
    limit: Annotated[int, typer.Option(help="How many at most; 0 = all.", min=0, metavar="N")] = 0,
) -> None:
    """Write events as CloudEvents, one JSON document a line, in order, from a cursor.

    Every link of the chain is checked before its line is written. Go on after the last line that
    you have kept with its `sequence` and `ledgerhash`: a ledger that was put back from a copy, or
    rewritten, is then refused instead of continued.
    """
    from billing_bridge import export_lines
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        for line in export_lines(session, _place(session, after), limit):
            if not show(line):
                return


def _place(session: Session, text: str) -> Head:
    """Return the place after which to begin; LedgerBroken where it has another hash by now."""
    from billing_bridge import Head, head_at
    from inventory import LedgerBroken, UnknownName, WrongUse

    seq, colon, digest = text.partition(":")
    number = seq.isascii() and seq.isdecimal() and len(seq) < _DIGITS
    if not number or bool(colon) != bool(digest):
        raise WrongUse(
            f"--after {text}", "is not SEQ or SEQ:HASH", "Copy it from the last line that you have."
        )
    wanted = _anchor(text) if colon else Head()
    try:
        found = head_at(session, int(seq))
    except UnknownName as error:
        raise WrongUse(
            f"--after {text}", "lies behind the newest event", "See: bandmaster ledger tail"
        ) from error
    if digest and wanted.hash != found.hash:
        raise LedgerBroken(
            "ledger",
            f"seq {seq} is not the event that was exported",
            "Was the database put back from a copy? Find out: bandmaster ledger verify",
        )
    return found


def replay(
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the services; nothing is written.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Fold the ledger and compare what it makes of each service with the tables beside it.

    Those of the services, and of their usage by window. Ends with 1 where they differ.
    """
    from billing_bridge import Mismatch, replay_check, usage_check
    from inventory import WrongUse, list_services
    from orchestrator.database import reading

    if not check:
        raise WrongUse("ledger replay", "only compares", "Add --check.")
    with desk.store() as (_settings, engine), reading(engine) as session:
        services = list_services(session)
        usage = usage_check(session)
        found = replay_check(session, services)
    found += tuple(
        Mismatch(
            service_id=one.service_id,
            field=f"{one.meter} from {one.since}",
            ledger=one.ledger,
            table=one.table,
        )
        for one in usage
    )
    if json:
        data({"services": len(services), "mismatches": found})
    elif found:
        table(
            ("service", "field", "ledger", "table"),
            [(one.service_id, one.field, one.ledger, one.table) for one in found],
        )
    else:
        show(f"ok: the ledger makes {len(services)} services what the service table says")
    raise typer.Exit(1 if found else 0)
