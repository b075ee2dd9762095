"""`bandmaster find`: from a piece of text to what it belongs to."""

from __future__ import annotations

from typing import Annotated

import typer

from . import desk
from .options import JsonFlag, command
from .output import data, say, table

LONGEST = 200  # nothing that can be found is longer


def add(app: typer.Typer) -> None:
    """Add the command to the tree."""
    command(app, "find", "find ge-0/0/1.1042", "find 'Elm Street'")(find)


def find(
    text: Annotated[
        str, typer.Argument(help="Part of a service, account, login, device, port or ONU.")
    ],
    json: JsonFlag = False,
) -> None:
    """Search by service, account, login, device, port, ONU."""
    from inventory import WrongUse, find_text
    from orchestrator.database import reading

    if len(text) > LONGEST:
        raise WrongUse("find", f"takes at most {LONGEST} characters, got {len(text)}")
    with desk.store() as (_settings, engine), reading(engine) as session:
        hits = find_text(session, text)
    if json:
        data(hits)
    elif hits:
        table(("kind", "id", "found"), [(hit.kind, hit.id, hit.shown) for hit in hits])
    else:
        say(f"Nothing found for {text!r}.")
