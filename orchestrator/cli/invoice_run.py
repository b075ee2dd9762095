"""`bandmaster invoice run`, `finalise` and `void`: bills are drafted, looked at, and issued."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import desk
from .ask import agreed, refuse_without_person
from .options import JsonFlag, Yes, command
from .output import can_move, clean, data, draw, say, table

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlmodel import Session

    from orchestrator.bills import Bills
    from orchestrator.settings import Settings

On = Annotated[
    dt.datetime | None,
    typer.Option(help="Up to this date; today without it.", formats=["%Y-%m-%d"], metavar="DATE"),
]
Entity = Annotated[str, typer.Option(help="The issuer, where there are several.", metavar="CODE")]
WITH_REFUSALS = 4
_SHOWN = 10


def add(group: typer.Typer) -> None:
    """Add the commands to the group of invoices."""
    command(group, "run", "invoice run --on 2026-12-01", "invoice run --entity isp-de")(run)
    command(
        group,
        "finalise",
        "invoice finalise r-0197a3f2",
        'invoice finalise r-0197a3f2 --override f-0197b1c4 --reason "agreed with the customer"',
    )(finalise)
    command(group, "void", 'invoice void isp-000017 --reason "billed to the wrong account"')(void)


def run(on: On = None, entity: Entity = "", json: JsonFlag = False) -> None:
    """Draft the bill of every account whose period ended up to a date; nothing is issued.

    Interrupted, it goes on where it stopped. Repeated, it drafts anew what was not finalised. Ends
    with 4 where accounts had to be left out, each with its reason.
    """
    from orchestrator.invoicing import draft_run

    with desk.store() as (settings, engine):
        issuer = _issuer(engine, entity)
        date = on.date() if on else _today(engine)
        found = draft_run(engine, _bills(settings), issuer, date, desk.actor(), _teller("accounts"))
    _tell_end()
    if found.helpers_missing:
        say(
            "Slower than usual: a process that was to price beside this one could not start, "
            "or was ended. No bill is different for it."
        )
    left = [{"account": name, "why": why} for name, why in found.left_out]
    if json:
        data({"run": found.run, "left_out": left}, acted=True)
    else:
        say(
            f"{found.run.drafts} bills of {found.run.accounts} accounts are drafted "
            f"(run r-{found.run.run_id})."
        )
        for one in left[:_SHOWN]:
            say(f"left out: {one['account']}: {clean(one['why'])}")
        if len(left) > _SHOWN:
            say(f"and {len(left) - _SHOWN} more; all of them: --json")
        say("Look for what is wrong: bandmaster billing check")
        say(f"Then issue them: bandmaster invoice finalise r-{found.run.run_id}")
    raise typer.Exit(WITH_REFUSALS if left else 0)


def finalise(
    which: Annotated[str, typer.Argument(help="The run.", metavar="RUN")],
    early: Annotated[
        bool, typer.Option("--early", help="Do not wait for late usage of the period.")
    ] = False,
    override: Annotated[
        list[str] | None,
        typer.Option(help="A finding that is to hold nothing; with --reason.", metavar="FINDING"),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it may be overridden.", metavar="TEXT")] = "",
    yes: Yes = False,
    json: JsonFlag = False,
) -> None:
    """Issue the bills of a run: numbers without gaps, taxes, one ledger event each. For good.

    Lines that a finding holds are left out and come with a later bill; ends with 4 where there are
    any. Interrupted, it goes on with the next number.
    """
    from billing_bridge import drafts_left
    from orchestrator.database import reading
    from orchestrator.invoicing import finalise as issue

    from .ids import resolve

    with desk.store() as (settings, engine):
        with reading(engine) as session:
            _, run_id = resolve(session, "r", which)
            count = drafts_left(session, run_id)
            _tell_unchecked(session, run_id)
        if count:
            refuse_without_person(yes=yes)
            if not agreed(f"Issue {count} bills for good?", yes=yes):
                raise typer.Exit(3)
        _override(engine, override or [], reason)
        found = issue(engine, _bills(settings), run_id, desk.actor(), _teller("bills"), early=early)
    _tell_end()
    held = found.held_lines or found.drafts_left
    if json:
        data(found, acted=True)
    else:
        say(f"{found.issued} bills are issued.")
        if held:
            say(f"{found.held_lines} lines are held; {found.drafts_left} bills stay drafts.")
            say("Why: bandmaster billing findings list")
            say("Mend it, or let it hold nothing: bandmaster billing override ID --reason TEXT")
            say("What an issued bill left out comes with the next one.")
        if found.drafts_left:
            say(f"Then issue the drafts that are left: bandmaster invoice finalise r-{run_id}")
    raise typer.Exit(WITH_REFUSALS if held else 0)


def _tell_unchecked(session: Session, run_id: str) -> None:
    """Say where no check has looked since the drafts were made: what is wrong holds nothing yet."""
    from billing_bridge import find_run, last_check

    run, checked = find_run(session, run_id), last_check(session)
    if checked is None or checked.started_at < (run.ended_at or run.started_at):
        say("Nothing was checked since these bills were drafted: bandmaster billing check")


def void(
    which: Annotated[str, typer.Argument(help="An invoice: number or id.", metavar="INVOICE")],
    reason: Annotated[str, typer.Option(help="Why, in words; it is kept.", metavar="TEXT")],
    yes: Yes = False,
    json: JsonFlag = False,
) -> None:
    """Take an invoice back by a credit note; what it billed comes with the next bill.

    The invoice itself stays as it was issued, and is void.
    """
    from inventory import WrongUse, money_text
    from orchestrator.database import reading
    from orchestrator.invoicing import void_invoice

    from .ids import resolve_invoice

    if not reason.strip():
        raise WrongUse("--reason", "is empty", "Say why the invoice is taken back.")
    with desk.store() as (settings, engine):
        with reading(engine) as session:
            _, invoice_id = resolve_invoice(session, "i", which)
        refuse_without_person(yes=yes)
        if not agreed(f"Void invoice {which}?", yes=yes):
            raise typer.Exit(3)
        note = void_invoice(engine, _bills(settings), invoice_id, desk.actor(), reason)
    if json:
        data(note, acted=True)
    else:
        amount = money_text(note.total_minor, note.currency, note.exponent)
        say(f"Credit note {note.number} of {amount} takes it back.")


def issuers(engine: Engine) -> list[tuple[str, str]]:
    """Return every issuer's code and name."""
    from inventory import list_legal_entities
    from orchestrator.database import reading

    with reading(engine) as session:
        return [(one.code, one.name) for one in list_legal_entities(session)]


def _issuer(engine: Engine, entity: str) -> str:
    """Return the issuer that is meant; WrongUse where several could be."""
    from inventory import UnknownName, WrongUse

    known = issuers(engine)
    codes = [code for code, _ in known]
    if entity:
        if entity not in codes:
            raise UnknownName(entity, "issues no invoices", f"Issuers are {', '.join(codes)}.")
        return entity
    if len(codes) == 1:
        return codes[0]
    if codes:
        table(("issuer", "name"), known)
    raise WrongUse("--entity", f"must say which of {len(codes)} issuers", "Name it: --entity CODE")


def _today(engine: Engine) -> dt.date:
    """Return the newest date that has begun for every account: nobody's period is cut short."""
    from inventory import account_zones, local_date
    from orchestrator.database import database_now, reading

    with reading(engine) as session:
        now = database_now(session)
        issuers_ = [code for code, _ in issuers(engine)]
        zones = [name for code in issuers_ for name in account_zones(session, code)]
    return min((local_date(now, name) for name in zones), default=now.date())


def _override(engine: Engine, findings: list[str], reason: str) -> None:
    from inventory import WrongUse
    from orchestrator.database import reading
    from orchestrator.gate import decide

    from .ids import resolve

    if findings and not reason.strip():
        raise WrongUse("--override", "needs a reason, which is kept", "Say why: --reason TEXT")
    for text in findings:
        with reading(engine) as session:
            _, finding_id = resolve(session, "f", text)
        decide(engine, finding_id, "override", actor=desk.actor(), reason=reason, until=None)


def _bills(settings: Settings) -> Bills:
    from orchestrator.bills import bills

    return bills(settings)


def _teller(what: str) -> Any:
    def tell(done: int, total: int) -> None:
        if can_move():
            draw(f"\r\x1b[K{done} of {total} {what}")

    return tell


def _tell_end() -> None:
    if can_move():
        draw("\r\x1b[K")
