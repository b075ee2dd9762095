"""The command `bandmaster`: its tree of commands, its errors and its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer

from orchestrator.heap import collect_less

from . import (
    billing,
    change,
    credit,
    db,
    device,
    doctor_,
    exceptions_,
    find,
    hold_,
    inventory_,
    invoice,
    lab,
    ledger,
    plan_,
    price,
    recover_,
    service,
    subscriber,
    usage,
    webhook,
)
from .options import EXIT_CODES, new_group
from .output import finish, say
from .trouble import is_stop, quiet, tell

app = new_group(
    "Change what a subscriber's line can do and what the subscriber is charged, as one act.",
    epilog=EXIT_CODES,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(metadata.version("bandmaster"))
        raise typer.Exit


@app.callback()
def everywhere(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the trace of an error, secrets masked.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options that every command takes."""


db.add(app)
doctor_.add(app)
inventory_.add(app)
device.add(app)
plan_.add(app)
subscriber.add(app)
service.add(app)
change.add(app)
recover_.add(app)
exceptions_.add(app)
hold_.add(app)
invoice.add(app)
ledger.add(app)
credit.add(app)
price.add(app)
billing.add(app)
usage.add(app)
webhook.add(app)
find.add(app)
lab.add(app)


def main() -> None:
    """Entry point: ends the process with the exit code of what became of the command."""
    collect_less()
    _have_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # open now
    quiet(debug=_take_debug(sys.argv[1:])[0])
    sys.exit(finish(run(sys.argv[1:])))


def _have_streams() -> None:
    """Open what the caller has closed: the store's file would get its number, and our words."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


@cache
def tree() -> Callable[..., Any]:
    """Return the commands with all their options, which typer reads from the functions."""
    return typer.main.get_command(app)


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code. Errors are told on standard error, never raised."""
    debug, left = _take_debug(arguments)
    try:
        _refuse_broken_text(left)
        tree()(args=left, prog_name="bandmaster")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        say("Stopped.")
        return 1
    except Exception as error:  # noqa: BLE001  # the last one to hear of it tells a person
        if is_stop(error):
            say("Stopped.")
            return 1
        return tell(error, debug=debug)
    return 0


def _refuse_broken_text(arguments: list[str]) -> None:
    """Raise WrongUse for an argument that is not UTF-8: no store and no device can take it."""
    for text in arguments:
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            from inventory import WrongUse

            raise WrongUse(
                text, "is not UTF-8 text", "Type it again, or set the terminal to UTF-8."
            )


def _take_debug(arguments: list[str]) -> tuple[bool, list[str]]:
    """Take `--debug` from wherever a person put it, up to a lone `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    left = [word for word in arguments[:end] if word != "--debug"] + arguments[end:]
    return len(left) != len(arguments), left
