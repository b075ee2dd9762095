"""Showing a plan, asking, applying and telling what became of it: the same for every command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from . import desk
from .ask import agreed, refuse_without_person, typed
from .output import data, plain, say, show
from .progress import Progress

if TYPE_CHECKING:
    from orchestrator.office import Office
    from workflows import ChangePlan

MANY = 20  # services; above it a person types the count
PENDING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a command is to act."""

    plan_only: bool = False
    yes: bool = False
    undo: bool = False  # show the undo lines
    json: bool = False
    set_max: int = 0


def plan_and_act(make: Callable[[Office], ChangePlan], ways: Ways) -> None:
    """Make a plan, show it, ask, apply it and end with the exit code of what became of it."""
    if not ways.plan_only:
        refuse_without_person(yes=ways.yes, look="Look first with --plan-only")
    progress = Progress()
    with desk.office(progress) as office:
        try:
            plan = make(office)
        except KeyboardInterrupt:
            say("Stopped while planning. Nothing has been touched.")
            raise typer.Exit(1) from None
        act(office, progress, plan, ways)


def act(office: Office, progress: Progress, plan: ChangePlan, ways: Ways) -> None:
    """Show a plan, ask, apply it and end with its exit code."""
    from orchestrator.apply import apply_plan
    from orchestrator.interrupt import Interrupts
    from orchestrator.journal import short

    from .plan_text import outcome_json, outcome_lines

    show_plan(plan, ways)
    name = short(plan.plan_id, "p")
    if ways.plan_only or not _agreed(plan, ways):
        say(f"Nothing has been touched. Apply it later: bandmaster change apply {name}")
        raise typer.Exit(PENDING)
    interrupts = Interrupts()
    interrupts.install()
    progress.watch(lambda: interrupts.requested)
    outcome = apply_plan(office, interrupts, plan.plan_id, set_max=ways.set_max)
    for line in outcome_lines(plan.plan_id, outcome):
        say(line)
    if ways.json:
        value = {"plan": plan_value(plan), "outcome": outcome_json(plan.plan_id, outcome)}
        data(value, acted=True)
    raise typer.Exit(outcome.exit_code())


def show_plan(plan: ChangePlan, ways: Ways) -> None:
    """Show a plan: as data where it is all that was asked for, else to the person asked."""
    from .plan_text import plan_lines

    if ways.plan_only and ways.json:
        data({"plan": plan_value(plan)})
        return
    write = show if ways.plan_only else say
    for line in plan_lines(plan, undo=ways.undo):
        write(line)


def plan_value(plan: ChangePlan) -> object:
    """Return a plan as JSON values, with its hash."""
    from workflows import plan_json

    return plain({"plan_hash": plan.plan_hash(), **plan_json(plan)})


def _agreed(plan: ChangePlan, ways: Ways) -> bool:
    say()
    count = len(plan.items)
    if count > MANY:
        question = f"Nothing has been touched. To change {count} services type {count}:"
        return typed(question, str(count), yes=ways.yes)
    return agreed("Nothing has been touched. Apply this plan?", yes=ways.yes)
