"""`bandmaster credit` and `charge`: money that no plan asks for, and who agreed to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, command, new_group
from .output import Painted, data, say, table, utc

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from billing_bridge import CreditKind, CreditRow

Words = Annotated[
    list[str],
    typer.Argument(
        help="The account and the amount; with --service the amount alone.",
        metavar="[ACCOUNT] AMOUNT",
    ),
]
Reason = Annotated[str, typer.Option(help="Why, in words; kept beside the event.", metavar="TEXT")]
Service = Annotated[str, typer.Option(help="For this service of the account.", metavar="S")]
Currency = Annotated[
    str, typer.Option(help="Refuse unless the account is billed in it.", metavar="CODE")
]
Key = Annotated[
    str,
    typer.Option(
        "--idempotency-key",
        help="The same key and request again never act twice.",
        metavar="KEY",
    ),
]
Id = Annotated[str, typer.Argument(help="The credit or charge, as listed.", metavar="ID")]
EXIT_WAITING = 3  # nothing is posted until a second person agrees


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    credits_ = new_group("Credits: money given back or given away, above a limit by two people.")
    command(
        credits_,
        "issue",
        'credit issue A-204 12.50 --reason "two days without service"',
        'credit issue --service svc-1042 12.50 --reason "late installation"',
    )(issue)
    command(credits_, "list", "credit list --waiting", "credit list --account A-204")(list_)
    command(credits_, "approve", "credit approve m-0197a3f2")(approve)
    command(credits_, "reject", 'credit reject m-0197a3f2 --reason "not our outage"')(reject)
    command(credits_, "reverse", 'credit reverse m-0197a3f2 --reason "wrong account"')(reverse)
    app.add_typer(credits_, name="credit")
    charges = new_group("Charges that no plan asks for, above a limit by two people.")
    command(
        charges, "issue", 'charge issue A-204 49 --reason "visit of a technician, own equipment"'
    )(charge)
    app.add_typer(charges, name="charge")


def issue(
    words: Words,
    reason: Reason,
    service: Service = "",
    currency: Currency = "",
    key: Key = "",
    json: JsonFlag = False,
) -> None:
    """Give an account a credit: it comes off the next invoice, as a line of its own.

    An amount above the setting credit_limit_minor, together with what you gave the account alone
    within 24 hours, waits for another person (exit 3). Amounts are exact decimals in the account's
    currency.
    """
    _issue("credit", words, reason, service, currency, key, json=json)


def charge(
    words: Words,
    reason: Reason,
    service: Service = "",
    currency: Currency = "",
    key: Key = "",
    json: JsonFlag = False,
) -> None:
    """Charge an account once: it comes onto the next invoice, as a line of its own.

    The limit is that of credits; what waits stands in `bandmaster credit list` and is approved,
    rejected and reversed there.
    """
    _issue("charge", words, reason, service, currency, key, json=json)


def list_(
    account: Annotated[str, typer.Option(help="Of this account alone.", metavar="A")] = "",
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only what waits for a second person.")
    ] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, metavar="N")] = 100,
    json: JsonFlag = False,
) -> None:
    """List credits, charges and reversals, newest first."""
    from billing_bridge import list_credits
    from inventory import find_account
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        if account:
            find_account(session, account)
        rows = list_credits(session, account_id=account, waiting=waiting, limit=limit)
    if json:
        data([row.model_dump() for row in rows])
    elif rows:
        header = ("id", "asked", "kind", "amount", "for", "by", "state", "decided by", "reason")
        table(header, [_row(row) for row in rows])
    else:
        say("No credit or charge is there.")


def approve(identifier: Id, json: JsonFlag = False) -> None:
    """Post what waits, as a second person: whoever asked for it is refused (exit 5)."""
    from orchestrator.credits import approve as act

    with desk.office() as office:
        row = act(office, _resolved(office.engine, identifier), desk.actor())
    _told(row, json=json)


def reject(identifier: Id, reason: Reason, json: JsonFlag = False) -> None:
    """Let what waits never be posted; whoever asked for it may take it back so."""
    from orchestrator.credits import reject as act

    with desk.office() as office:
        row = act(office, _resolved(office.engine, identifier), reason, desk.actor())
    _told(row, json=json)


def reverse(identifier: Id, reason: Reason, key: Key = "", json: JsonFlag = False) -> None:
    """Take a posted credit or charge back; above the limit that too needs another person."""
    from inventory import new_id
    from orchestrator.credits import reverse as act

    with desk.office() as office:
        credit_id = _resolved(office.engine, identifier)
        row = act(office, credit_id, reason, key or new_id(), desk.actor())
    _told(row, json=json)


def _issue(
    kind: CreditKind,
    words: list[str],
    reason: str,
    service: str,
    currency: str,
    key: str,
    *,
    json: bool,
) -> None:
    from inventory import WrongUse, new_id
    from orchestrator.credits import CreditOrder
    from orchestrator.credits import issue as act

    account, amount = words if len(words) == 2 else ("", words[0])  # noqa: PLR2004  two words
    if len(words) > 2 or not (account or service):  # noqa: PLR2004
        raise WrongUse(
            f"{kind} issue",
            "needs an account and an amount, or --service and an amount",
            f"See: bandmaster {kind} issue --help",
        )
    order = CreditOrder(
        kind=kind,
        account_id=account,
        service_id=service,
        amount=amount,
        currency=currency,
        reason=reason,
        idempotency_key=key or new_id(),
    )
    with desk.office() as office:
        row = act(office, order, desk.actor())
    _told(row, json=json)


def _resolved(engine: Engine, identifier: str) -> str:
    from orchestrator.database import reading

    from .ids import resolve

    with reading(engine) as session:
        return resolve(session, "m", identifier)[1]


def _told(row: CreditRow, *, json: bool) -> None:
    from orchestrator.journal import short

    shown = short(row.credit_id, "m")
    if json:
        data(row.model_dump(), acted=True)
    elif row.state == "waiting":
        say(f"{shown}: {row.kind} of {_money(row)} waits for a second person.")
        given = f"what {row.asked_by} gave {row.account_id} alone within 24 h"
        say(f"With {given} it is above the limit.")
        say(f"Another person runs: bandmaster credit approve {shown}")
    else:
        say(f"{shown}: {row.kind} of {_money(row)} for {row.account_id} is {row.state}.")
    raise typer.Exit(EXIT_WAITING if row.state == "waiting" else 0)


def _row(row: CreditRow) -> tuple[str | Painted, ...]:
    from orchestrator.journal import short

    return (
        short(row.credit_id, "m"),
        utc(row.asked_at, seconds=False),
        row.kind,
        _money(row),
        row.service_id or row.account_id,
        row.asked_by,
        Painted(row.state, "warn" if row.state == "waiting" else ""),
        row.decided_by or "-",
        row.decision or row.reason,
    )


def _money(row: CreditRow) -> str:
    from inventory import money_text

    return money_text(row.amount_minor, row.currency, row.exponent)
