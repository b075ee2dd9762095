"""`bandmaster change`: plans and changes, what became of them, and the way back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk, options, output
from .act import Ways, act, plan_and_act, show_plan
from .ask import refuse_without_person
from .options import JsonFlag, command, new_group
from .output import Painted, data, say, table, utc
from .progress import Progress

if TYPE_CHECKING:
    from sqlmodel import Session

    from orchestrator.outcome import ItemOutcome
    from workflows import ChangePlan

PlanId = Annotated[str, typer.Argument(help="The plan, as shown.", metavar="PLAN_ID")]
ChangeId = Annotated[
    str, typer.Argument(help="A change or a change set, as shown.", metavar="CHANGE_ID")
]
_STYLES = {"done": "good", "open": "warn"}


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Plans and changes: look, apply, cancel, undo.")
    command(group, "list", "change list", "change list --service svc-1042 --limit 50")(list_)
    command(group, "show", "change show c-0197a3f2", "change show p-0197a3f2 --show undo")(show_)
    command(group, "apply", "change apply p-0197a3f2 --yes")(apply)
    command(group, "cancel", "change cancel p-0197a3f2")(cancel)
    command(
        group,
        "rollback",
        "change rollback c-0197a3f2",
        'change rollback c-0197a3f2 --as-never --reason "wrong customer"',
    )(rollback)
    app.add_typer(group, name="change")


def list_(
    service: Annotated[str, typer.Option(help="Only of this service.", metavar="ID")] = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only those not closed.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, metavar="N")] = 20,
    json: JsonFlag = False,
) -> None:
    """List the newest changes, and the plans that wait to be applied."""
    from orchestrator.database import reading
    from orchestrator.journal import short
    from orchestrator.views import list_changes, open_plans

    with desk.store() as (_settings, engine), reading(engine) as session:
        changes = list_changes(session, service_id=service, open_only=open_only, limit=limit)
        plans = () if service or open_only else open_plans(session, limit)
    if json:
        data({"changes": changes, "plans": plans})
        return
    rows = [
        (
            short(line.change_id, "c"),
            utc(line.created_at),
            line.service_id,
            line.what,
            line.net,
            Painted(line.outcome, _STYLES.get(line.outcome, "bad")),
            line.actor,
            line.ticket or "-",
            line.refusal,
        )
        for line in changes
    ]
    if rows:
        table(("change", "begun", "service", "what", "net", "ended", "by", "ticket", "why"), rows)
    else:
        say("No changes.")
    if plans:
        output.show()
        table(
            ("plan", "made", "frozen until", "services", "what"),
            [
                (
                    short(plan.plan_id, "p"),
                    utc(plan.created_at),
                    utc(plan.expires_at),
                    str(plan.services),
                    plan.what,
                )
                for plan in plans
            ],
        )


def show_(
    identifier: Annotated[
        str, typer.Argument(help="A change, a change set or a plan.", metavar="ID")
    ],
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Show a plan, or the whole story of a change: who, why, every step, ledger events, money."""
    from orchestrator.apply import load_plan
    from orchestrator.database import reading
    from orchestrator.views import change_story, set_of_change

    from .ids import resolve
    from .story_text import story_lines

    undo = options.wants_undo(show)
    with desk.store() as (_settings, engine), reading(engine) as session:
        letter, found = resolve(session, "csp", identifier)
        if letter == "p":
            plan, row = load_plan(session, found)
            show_plan(plan, Ways(plan_only=True, undo=undo, json=json))
            say(f"This plan is {row.status}.")
            return
        set_id = found if letter == "s" else set_of_change(session, found)
        story = change_story(session, set_id, found if letter == "c" else "")
    if json:
        data(story)
        return
    for line in story_lines(story):
        output.show(line)


def apply(
    plan_id: PlanId,
    yes: options.Yes = False,
    set_max: options.SetMax = 0,
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Apply a plan exactly as it was shown; what is done already is skipped."""
    from orchestrator.apply import done_before, load_plan
    from orchestrator.database import database_now, reading

    from .ids import resolve

    ways = Ways(yes=yes, undo=options.wants_undo(show), json=json, set_max=set_max)
    refuse_without_person(yes=yes)
    progress = Progress()
    with desk.office(progress) as office:
        with reading(office.engine) as session:
            _, found = resolve(session, "p", plan_id)
            plan, row = load_plan(session, found)
            over = row.status == "cancelled" or database_now(session) > row.expires_at
            done = tuple(done_before(session, plan).values())
            if len(done) == len(plan.items):
                _tell_done(session, plan, done, ways)
        if over:  # applying refuses it with the reason, so nobody is asked in vain
            ways = dataclasses.replace(ways, yes=True)
        act(office, progress, plan, ways)


def _tell_done(
    session: Session, plan: ChangePlan, done: tuple[ItemOutcome, ...], ways: Ways
) -> None:
    """End with what became of a plan of which nothing is left to apply."""
    from billing_bridge import find_by_change
    from orchestrator.journal import short
    from orchestrator.outcome import Outcome
    from orchestrator.rows import ChangeRow

    from .act import plan_value
    from .plan_text import SHOWN_REFUSALS, next_steps, outcome_json

    for item in done[:SHOWN_REFUSALS]:
        at = session.get_one(ChangeRow, item.change_id).applied_at
        events = find_by_change(session, item.change_id)
        say(
            f"{item.service_id}: {item.ending} already{f', applied {utc(at)}' if at else ''}, "
            f"change {short(item.change_id, 'c')}, "
            + ", ".join(f"ledger seq {event.seq} {event.type}" for event in events)
        )
    if len(done) > SHOWN_REFUSALS:
        say(f"... and {len(done) - SHOWN_REFUSALS} more services")
    say(f"Nothing is left to apply of {short(plan.plan_id, 'p')}, and nothing was sent.")
    outcome = Outcome(items=done)
    for line in next_steps(plan.plan_id, done, outcome.exit_code()):
        say(line)
    if ways.json:
        data({"plan": plan_value(plan), "outcome": outcome_json(plan.plan_id, outcome)})
    raise typer.Exit(outcome.exit_code())


def cancel(plan_id: PlanId) -> None:
    """Cancel a plan, so that nobody can apply it any more."""
    from orchestrator.apply import cancel_plan
    from orchestrator.database import reading
    from orchestrator.journal import short

    from .ids import resolve

    with desk.office() as office:
        with reading(office.engine) as session:
            _, found = resolve(session, "p", plan_id)
        cancel_plan(office, found)
    say(f"{short(found, 'p')} is cancelled.")


def rollback(
    change_id: ChangeId,
    service: Annotated[str, typer.Option(help="Of a set: this one.", metavar="ID")] = "",
    as_never: Annotated[
        bool, typer.Option("--as-never", help="As if it had never been: nothing is billed for it.")
    ] = False,
    plan_only: options.PlanOnly = False,
    yes: options.Yes = False,
    ticket: options.Ticket = "",
    reason: options.Reason = "",
    show: options.Show = "",
    json: JsonFlag = False,
) -> None:
    """Undo a service's newest change: a new change back, effective now; used days are billed."""
    from orchestrator.database import reading
    from orchestrator.office import Office
    from orchestrator.rollback import Undo, plan_rollback

    from .ids import resolve

    undo = Undo(actor=desk.actor(), reason=reason, ticket=ticket, as_never=as_never)

    def make(office: Office) -> ChangePlan:
        with reading(office.engine) as session:
            _, found = resolve(session, "cs", change_id)
        return plan_rollback(office, found, undo, service_id=service)

    shown = options.wants_undo(show)
    plan_and_act(make, Ways(plan_only=plan_only, yes=yes, undo=shown, json=json))
