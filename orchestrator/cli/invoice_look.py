"""`bandmaster invoice preview`, `show` and `list`: what was billed, and what comes next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import desk
from .options import JsonFlag, command
from .output import data, plain, say, table

if TYPE_CHECKING:
    from billing_bridge import Draft, Invoice, InvoiceLine, InvoiceRun

_COLUMNS = ("line", "what", "service", "plan", "from", "until", "part", "amount")


def add(group: typer.Typer) -> None:
    """Add the commands to the group of invoices."""
    command(
        group, "preview", "invoice preview A-204", "invoice preview A-204 --on 2026-12-01 --json"
    )(preview)
    command(group, "show", "invoice show isp-000017", "invoice show i-0197a3f2 --json")(show)
    command(
        group,
        "list",
        "invoice list --account A-204",
        "invoice list --run r-0197a3f2 --state draft",
        "invoice list --runs",
    )(list_)


def preview(
    account: Annotated[str, typer.Argument(help="Who pays.", metavar="ACCOUNT")],
    on: Annotated[
        dt.datetime | None,
        typer.Option(
            help="The bill of the newest boundary up to this date.",
            formats=["%Y-%m-%d"],
            metavar="DATE",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show the next bill of one account as it would be now; nothing is written."""
    from inventory import find_account
    from orchestrator.bills import bills
    from orchestrator.database import reading
    from orchestrator.invoicing import next_bill

    with desk.store() as (settings, engine), reading(engine) as session:
        payer = find_account(session, account)
        drafts = next_bill(session, bills(settings), payer, on.date() if on else None)
    if json:
        data([_draft_value(draft) for draft in drafts])
        return
    for draft in drafts:
        say(f"Next bill of {account}, closing on {draft.closes_on}; taxes come with the invoice:")
        _lines(draft.lines, draft.currency, draft.exponent)
        say(f"net {_money(draft.net_minor, draft)}")
    if not drafts:
        say(f"Nothing is to be billed to {account}.")


def show(
    which: Annotated[str, typer.Argument(help="Number or id.", metavar="INVOICE")],
    json: JsonFlag = False,
) -> None:
    """Show an invoice, a credit note or a draft, line by line."""
    from billing_bridge import find_invoice, find_lines, find_taxes
    from orchestrator.database import reading

    from .ids import resolve_invoice

    with desk.store() as (_settings, engine), reading(engine) as session:
        _, invoice_id = resolve_invoice(session, "i", which)
        invoice = find_invoice(session, invoice_id)
        lines = find_lines(session, [invoice_id])[invoice_id]
        taxes = find_taxes(session, invoice_id)
    if json:
        value = {**plain(invoice), "lines": plain(lines), "taxes": plain(taxes)}
        del value["document"]  # that is what `invoice export` is for
        data(value)
        return
    kind = "Credit note" if invoice.kind == "credit_note" else "Invoice"
    say(f"{kind} {invoice.number or '(draft)'} to {invoice.account_id}: {invoice.state}")
    say(f"closes on {invoice.closes_on}, knows the ledger up to seq {invoice.known_seq}")
    _lines(lines, invoice.currency, invoice.exponent)
    rows = [("net", _money(invoice.net_minor, invoice))]
    rows += [(f"{t.name} {t.rate_bp / 100:g} %", _money(t.tax_minor, invoice)) for t in taxes]
    table(("", ""), [*rows, ("total", _money(invoice.total_minor, invoice))])


def list_(
    account: Annotated[str, typer.Option(help="Of one account.", metavar="ID")] = "",
    run: Annotated[str, typer.Option(help="Of one run.", metavar="RUN")] = "",
    state: Annotated[str, typer.Option(help="draft, final or void.", metavar="STATE")] = "",
    runs: Annotated[bool, typer.Option("--runs", help="The runs instead.")] = False,
    limit: Annotated[int, typer.Option(help="How many; 0 = all.", min=0, metavar="N")] = 100,
    json: JsonFlag = False,
) -> None:
    """List invoices and credit notes, newest first, or the runs that made them."""
    from billing_bridge import list_invoices, list_runs
    from inventory import WrongUse
    from orchestrator.database import reading

    from .ids import resolve

    if state not in ("", "draft", "final", "void"):
        raise WrongUse(f"--state {state}", "is no state", "They are draft, final and void.")
    with desk.store() as (_settings, engine), reading(engine) as session:
        if runs:
            made = list_runs(session)[::-1]
            _tell_runs(made[: limit or None], json=json)
            return
        run_id = resolve(session, "r", run)[1] if run else ""
        found = list_invoices(
            session, account_id=account, run_id=run_id, state=state, newest=True, limit=limit
        )
    if json:
        data([_without_document(one) for one in found])
    elif found:
        columns = ("number", "state", "account", "closes on", "total", "id")
        table(columns, [_row(one) for one in found])
    else:
        say("There are none.")


def _tell_runs(runs: Sequence[InvoiceRun], *, json: bool) -> None:
    if json:
        data(runs)
    elif runs:
        rows = [
            (f"r-{r.run_id}", r.legal_entity, str(r.on_date), r.state, str(r.drafts), r.actor)
            for r in runs
        ]
        table(("run", "issuer", "on", "state", "drafts", "by"), rows)
    else:
        say("There are none.")


def _row(invoice: Invoice) -> tuple[str, ...]:
    return (
        invoice.number or "-",
        invoice.state if invoice.kind == "invoice" else "credit note",
        invoice.account_id,
        str(invoice.closes_on),
        _money(invoice.total_minor, invoice),
        f"i-{invoice.invoice_id}",
    )


def _lines(lines: Iterable[InvoiceLine], currency: str, exponent: int) -> None:
    from inventory import money_text

    rows = []
    for number, line in enumerate(lines, start=1):
        part = f"{line.numerator}/{line.denominator}" if line.unit in ("day", "second") else "-"
        held = " (held)" if line.finding_id else ""
        rows.append(
            (
                str(line.line_no or number),
                f"{line.kind}{held}",
                line.service_id or "-",
                line.plan_code or "-",
                str(line.from_date),
                str(line.until_date),
                part,
                money_text(line.amount_minor, currency, exponent),
            )
        )
    if rows:
        table(_COLUMNS, rows)


def _money(amount_minor: int, of: Draft | Invoice) -> str:
    from inventory import money_text

    return money_text(amount_minor, of.currency, of.exponent)


def _draft_value(draft: Draft) -> dict[str, Any]:
    return {
        "account_id": draft.account.account_id,
        "currency": draft.currency,
        "exponent": draft.exponent,
        "closes_on": draft.closes_on.isoformat(),
        "net_minor": draft.net_minor,
        "lines": plain(draft.lines),
    }


def _without_document(invoice: Invoice) -> dict[str, Any]:
    value: dict[str, Any] = plain(invoice)
    del value["document"]
    return value
