"""`bandmaster recover`: what a dead process left open is settled, without a person."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, command
from .output import Painted, clean, data, paint, say, table
from .progress import Progress
from .trouble import stopped_with

if TYPE_CHECKING:
    from orchestrator.recover import Recovered

Watch = Annotated[bool, typer.Option("--watch", help="Again and again, until stopped.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait out the time that logins take, then close.")
]
AfterRestore = Annotated[
    bool,
    typer.Option(
        "--after-restore",
        help="The database was put back from a copy: read every device, list what differs.",
    ),
]
EXIT_DECIDED_WITH_REST = 4
EXIT_UNDECIDED = 6


def add(app: typer.Typer) -> None:
    """Add the command to the tree."""
    command(
        app, "recover", "recover", "recover --wait", "recover --watch", "recover --after-restore"
    )(recover)


def recover(
    watch: Watch = False,
    wait: Wait = False,
    after_restore: AfterRestore = False,
    json: JsonFlag = False,
) -> None:
    """Settle every change that nobody is driving: finish what was decided, undo what was not.

    Safe at any time and as often as you like. A change that a living process is driving is left
    to it and named. With --after-restore nothing is sent: every line that differs from the ledger
    becomes an exception, and a device that cannot be read is put on hold. Ends with 0 when
    nothing is left open, 4 when a person is needed, 6 when a change is still driven by somebody
    else.
    """
    from orchestrator.recover import recover as run
    from orchestrator.recover import watch as run_always

    if after_restore:
        if watch or wait:
            from inventory import WrongUse

            raise WrongUse("--after-restore", "stands alone", "Run recover again afterwards.")
        _after_restore(json=json)
    words = "Stopped. What is not settled yet stays as it is: run bandmaster recover again."
    code = 0 if watch else EXIT_UNDECIDED
    with stopped_with(code, words), desk.office(Progress(), notices=False) as office:
        if watch:
            run_always(office)
        found = run(office, wait_settle=wait)
    if json:
        data({**_value(found), "exit_code": _exit_code(found)})
    else:
        _tell(found)
    raise typer.Exit(_exit_code(found))


def _after_restore(*, json: bool) -> None:
    from orchestrator.journal import short
    from orchestrator.restore import after_restore

    with desk.office(Progress(), notices=False) as office:
        found = after_restore(office, desk.actor())
    code = EXIT_DECIDED_WITH_REST if found.differences or found.unread else 0
    if json:
        data({**dataclasses.asdict(found), "exit_code": code})
        raise typer.Exit(code)
    say(f"The store is at epoch {found.epoch}; {found.services} services were compared.")
    rows = [
        (
            line.service_id,
            line.where,
            line.ledger,
            line.seen,
            Painted(line.meaning, "warn"),
            short(line.exception_id, "x"),
        )
        for line in found.differences
    ]
    if rows:
        table(("service", "where", "the ledger says", "seen", "meaning", "exception"), rows)
        say("Each waits for a person; retry puts it back to the ledger: bandmaster exceptions list")
    for name, why in found.unread:
        say(paint(f"{name} is on hold, it could not be read: {clean(why)}", "warn"))
    if found.unread:
        say("When they answer, run it again: bandmaster recover --after-restore")
    if found.waiting:
        say(f"Open in the copy: {', '.join(found.waiting)}. Settle them: bandmaster recover")
    if code == 0:
        say("Every line and session is as the ledger says.")
    raise typer.Exit(code)


def _tell(found: Recovered) -> None:
    from orchestrator.journal import short

    if not found.outcome.items and not found.skipped:
        say("Nothing to settle.")
    rows = []
    for item in found.outcome.items:
        style = "good" if item.ending != "in doubt" and not item.exceptions else "warn"
        opens = " ".join(short(exception, "x") for exception in item.exceptions)
        rows.append(
            (
                item.service_id,
                short(item.change_id, "c"),
                Painted(item.ending, style),
                opens,
                item.reason,
            )
        )
    if rows:
        table(("service", "change", "ended", "exceptions", "why"), rows)
    for line in found.skipped:
        say(f"left as it is: {clean(line)}")
    for line in found.waiting:
        say(f"settled, not closed yet: {clean(line)}")
    if any(item.exceptions for item in found.outcome.items):
        say("A person is needed: bandmaster exceptions list")


def _value(found: Recovered) -> dict[str, object]:
    return {
        "items": found.outcome.items,
        "skipped": found.skipped,
        "waiting": found.waiting,
    }


def _exit_code(found: Recovered) -> int:
    """An aborted change is a success of recovery: everything reads back as before."""
    items = found.outcome.items
    if found.skipped or any(i.ending == "in doubt" and not i.exceptions for i in items):
        return EXIT_UNDECIDED
    return EXIT_DECIDED_WITH_REST if any(item.exceptions for item in items) else 0
