"""`bandmaster doctor`: what is missing and how to get it."""

from __future__ import annotations

import typer

from . import desk
from .options import JsonFlag, command
from .output import Painted, data, say, table

_STYLES = {"ok": "good", "missing": "bad", "note": "dim"}


def add(app: typer.Typer) -> None:
    """Add the command to the tree."""
    command(app, "doctor", "doctor", "doctor --json")(doctor)


def doctor(json: JsonFlag = False) -> None:
    """Say what is missing on this host and how to get it; ends with 1 where something is.

    No device is spoken to and no secret is shown.
    """
    from orchestrator.doctor import examine

    with desk.office(greet=False) as office:
        findings = examine(office)
    missing = [finding for finding in findings if finding.word == "missing"]
    if json:
        data(findings)
    else:
        rows = [
            (Painted(finding.word, _STYLES[finding.word]), finding.thing, finding.text)
            for finding in findings
        ]
        table(("", "thing", "what"), rows)
        remedies = list(dict.fromkeys(f.remedy for f in findings if f.remedy))
        if remedies:
            say("\nWhat to do:")
        for remedy in remedies:
            say(f"  {remedy}")
    raise typer.Exit(1 if missing else 0)
