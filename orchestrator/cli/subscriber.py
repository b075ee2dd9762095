"""`bandmaster subscriber`: one subscriber on one screen."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import data, show

if TYPE_CHECKING:
    from orchestrator.line_views import LiveView, SubscriberView


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Who is served.")
    command(group, "show", "subscriber show svc-1042", "subscriber show 1042@isp --live")(show_)
    app.add_typer(group, name="subscriber")


def show_(
    name: Annotated[str, typer.Argument(help="A service, a login or an account.", metavar="ID")],
    live: Annotated[bool, typer.Option("--live", help="Read the devices now as well.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show services, state, intended and observed rate, live session, changes, ledger events."""
    from orchestrator.database import reading
    from orchestrator.line_views import subscriber_view

    from .subscriber_text import subscriber_lines

    read: dict[str, LiveView] = {}
    if live:
        view, read = _with_live(name)
    else:
        with desk.store() as (_settings, engine), reading(engine) as session:
            view = subscriber_view(session, name)
    if json:
        data(_value(view, read))
        return
    for line in subscriber_lines(view, read):
        show(line)


def _with_live(name: str) -> tuple[SubscriberView, dict[str, LiveView]]:
    from orchestrator.database import database_now, reading
    from orchestrator.line_views import read_live, subscriber_view

    with desk.office() as office:
        with reading(office.engine) as session:
            view = subscriber_view(session, name)
            now = database_now(session)
        read = {
            one.service.service_id: read_live(office, one.service, now) for one in view.services
        }
    return view, read


def _value(view: SubscriberView, read: dict[str, LiveView]) -> dict[str, object]:
    services = []
    for one in view.services:
        names = [field.name for field in dataclasses.fields(one) if field.name != "exceptions"]
        value = {name: getattr(one, name) for name in names}
        value["exceptions"] = [row.model_dump() for row in one.exceptions]
        if one.service.service_id in read:
            value["live"] = read[one.service.service_id]
        services.append(value)
    return {"account": view.account, "services": services}
