"""`bandmaster exceptions`: what a person must decide, and the ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, Reason, Yes, command, new_group
from .output import Painted, clean, data, say, show, span, table
from .progress import Progress

if TYPE_CHECKING:
    from orchestrator.rows import ExceptionRow

Id = Annotated[str, typer.Argument(help="The exception, as listed.", metavar="ID")]
_ASKED = ("reverse", "accept")  # what cannot simply be done again
_MEANS = {
    "retry": "drive the participant to its goal once more",
    "reverse": "take the change back: the ledger reverses it, the devices go back",
    "accept": "leave the device as it is and close the exception; needs --reason",
}


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("What could not be settled without a person.")
    command(group, "list", "exceptions list")(list_)
    command(group, "show", "exceptions show x-0197a3f2")(show_)
    command(
        group,
        "resolve",
        "exceptions resolve x-0197a3f2 retry",
        'exceptions resolve x-0197a3f2 accept --reason "line is being rebuilt"',
    )(resolve)
    app.add_typer(group, name="exceptions")


def list_(json: JsonFlag = False) -> None:
    """List what waits for a person, dearest first."""
    from inventory import money_text
    from orchestrator.database import database_now, reading
    from orchestrator.exceptions import age, list_open
    from orchestrator.journal import short

    with desk.store() as (_settings, engine), reading(engine) as session:
        rows = list_open(session)
        now = database_now(session)
    if json:
        data([row.model_dump() for row in rows])
        return
    if not rows:
        say("Nothing waits for a person.")
        return
    table(
        ("id", "since", "at stake", "service", "participant", "what is known", "you can"),
        [
            (
                short(row.exception_id, "x"),
                span(age(row, now)),
                Painted(money_text(row.at_stake_minor, row.currency, row.exponent) + "/mo", "warn"),
                row.service_id,
                participant(row),
                known(row),
                row.actions.replace(",", " · "),
            )
            for row in rows
        ],
    )


def show_(identifier: Id, json: JsonFlag = False) -> None:
    """Tell the story of one exception, with the command for each way out."""
    from inventory import money_text
    from orchestrator.database import reading
    from orchestrator.exceptions import find_exception
    from orchestrator.views import change_story

    from .ids import resolve as resolve_id
    from .story_text import story_lines

    with desk.store() as (_settings, engine), reading(engine) as session:
        _, exception_id = resolve_id(session, "x", identifier)
        row = find_exception(session, exception_id)
        story = change_story(session, row.set_id, row.change_id)
    if json:
        data({"exception": row.model_dump(), "story": story})
        return
    at_stake = money_text(row.at_stake_minor, row.currency, row.exponent)
    show(f"{row.service_id}: {concerned(row)}, {at_stake} a month at stake")
    show(f"  wanted   {clean(row.wanted)}")
    show(f"  seen     {clean(row.seen)}")
    if row.resolved_at is not None:
        show(f"  settled  {clean(row.resolution)} by {row.resolved_by}")
    show()
    for line in story_lines(story):
        show(line)
    if row.resolved_at is None:
        show()
        show("You can:")
        for action in row.actions.split(","):
            show(f"  {_MEANS[action]}:")
            show(f"    {way_out(row, action)}")


def resolve(
    identifier: Id,
    action: Annotated[str, typer.Argument(help="retry, reverse or accept.", metavar="ACTION")],
    reason: Reason = "",
    yes: Yes = False,
    json: JsonFlag = False,
) -> None:
    """Answer an exception."""
    from orchestrator.answers import answer_exception
    from orchestrator.database import reading

    from .ask import agreed, refuse_without_person
    from .ids import resolve as resolve_id
    from .plan_text import outcome_json, outcome_lines

    if action in _ASKED:
        refuse_without_person(yes=yes)
    with desk.office(Progress()) as office:
        with reading(office.engine) as session:
            _, exception_id = resolve_id(session, "x", identifier)
        meaning = _MEANS.get(action, action)
        if action in _ASKED and not agreed(f"This will {meaning}. Do it?", yes=yes):
            raise typer.Exit(3)
        outcome = answer_exception(office, exception_id, action, desk.actor(), reason)
    if json:
        data(outcome_json("", outcome), acted=True)
    else:
        for line in outcome_lines("", outcome):
            say(line)
    raise typer.Exit(outcome.exit_code())


def participant(row: ExceptionRow) -> str:
    """Return who is concerned, for people."""
    return "session" if row.participant.startswith("session:") else row.participant


def concerned(row: ExceptionRow) -> str:
    """Return who is concerned and by what."""
    return row.cause if row.cause == participant(row) else f"{participant(row)} {row.cause}"


def known(row: ExceptionRow) -> str:
    """Return what is known, in one line."""
    cause = "" if row.cause == participant(row) else f"{row.cause}: "
    return f"{cause}{row.seen}; wanted {row.wanted}"


def way_out(row: ExceptionRow, action: str) -> str:
    """Return the exact command for one way out."""
    from orchestrator.journal import short

    reason = ' --reason "..."' if action == "accept" else ""
    return f"bandmaster exceptions resolve {short(row.exception_id, 'x')} {action}{reason}"
