"""`bandmaster lab`: the laboratory of a checkout, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonFlag, command, new_group

State = Annotated[
    str, typer.Option(help="Directory of the lab's state.", metavar="DIR", show_default=False)
]


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("A small ISP in network namespaces: real routers, RADIUS, PostgreSQL.")
    command(group, "up", "lab up")(up)
    command(group, "down", "lab down")(down)
    command(group, "status", "lab status --json")(status)
    app.add_typer(group, name="lab")


def up(state: State = "") -> None:
    """Build the lab and start its servers (as root); does nothing if it is up."""
    _run("up", state)


def down(state: State = "") -> None:
    """Stop the servers and remove the namespaces."""
    _run("down", state)


def status(state: State = "", json: JsonFlag = False) -> None:
    """Say what runs."""
    _run("status", state, *(["--json"] if json else []))


def _run(verb: str, state: str, *more: str) -> None:
    import subprocess

    from inventory import WrongUse

    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "lab" / "__main__.py").is_file():
        raise WrongUse(
            "lab",
            "is not part of the installed program",
            "Run it from a checkout of the source: python -m lab up",
        )
    words = [sys.executable, "-m", "lab", verb, *more]
    words += ["--state", str(Path(state).resolve())] if state else []
    ended = subprocess.run(words, cwd=checkout, check=False)  # noqa: S603  # our own words
    raise typer.Exit(ended.returncode)
