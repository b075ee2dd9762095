"""`bandmaster inventory`: what exists, from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import data, say, table
from .progress import Progress

Files = Annotated[
    list[Path],
    typer.Argument(help="YAML and CSV files, in any order.", metavar="FILE...", show_default=False),
]


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("What exists: subscribers, services, plans, tiers, devices.")
    command(group, "import", "inventory import isp.yaml services.csv")(import_)
    app.add_typer(group, name="inventory")


def import_(files: Files, json: JsonFlag = False) -> None:
    """Read inventory files: all or nothing, and nothing a second time.

    Services that a file says are live are adopted: the ledger begins with what they are.
    Nothing is sent to any device. Errors name file, line and field.
    """
    from orchestrator.imports import import_files

    with desk.office(Progress()) as office:
        result = import_files(office, tuple(files), desk.actor())
    if json:
        data(result)
        return
    table(
        ("", "new", "changed", "unchanged"),
        [
            (count.kind.replace("_", " "), str(count.new), str(count.changed), str(count.unchanged))
            for count in result.counts
        ],
    )
    if result.adoptions:
        say(f"{len(result.adoptions)} live services adopted into the ledger.")
    if result.changed_services:
        say(f"{len(result.changed_services)} known services had their line corrected.")
