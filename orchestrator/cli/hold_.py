"""`bandmaster hold` and `bandmaster release`: nothing new starts while a hold stands."""

from __future__ import annotations

from typing import Annotated

import typer

from . import desk
from .options import JsonFlag, command
from .output import data, say, table, utc

Device = Annotated[str, typer.Option(help="Only this device; all of them without it.", metavar="D")]
EVERYWHERE = "*"


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    command(
        app, "hold", 'hold --device olt-fra-3 "card swap until 04:00"', 'hold "core works"', "hold"
    )(hold)
    command(app, "release", "release --device olt-fra-3", "release")(release)


def hold(
    reason: Annotated[
        str, typer.Argument(help="Why, for the next person; without it the holds are listed.")
    ] = "",
    device: Device = "",
    json: JsonFlag = False,
) -> None:
    """Let nothing new start, everywhere or on one device; what has begun is finished."""
    if not reason and not device:
        _list(json=json)
        return
    from orchestrator.holds import hold as put

    with desk.office() as office:
        put(office, device or EVERYWHERE, reason, desk.actor())
    where = device or "everything"
    way_out = "bandmaster release" + (f" --device {device}" if device else "")
    say(f"{where} is on hold. When that is over: {way_out}")


def release(device: Device = "") -> None:
    """End a hold."""
    from orchestrator.holds import release as end

    with desk.office() as office:
        end(office, device or EVERYWHERE, desk.actor())
    say(f"{device or 'everything'} is no longer on hold.")


def _list(*, json: bool) -> None:
    from orchestrator.database import reading
    from orchestrator.holds import list_holds

    with desk.store() as (_settings, engine), reading(engine) as session:
        holds = list_holds(session)
    if json:
        data([row.model_dump() for row in holds])
    elif holds:
        rows = [(_where(row.device), utc(row.since), row.actor, row.reason) for row in holds]
        table(("on hold", "since", "by", "reason"), rows)
    else:
        say("Nothing is on hold.")


def _where(device: str) -> str:
    return "everything" if device == EVERYWHERE else device
