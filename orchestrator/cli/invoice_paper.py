"""`bandmaster invoice export` and `explain`: an invoice on paper, and where a line comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import desk
from .options import JsonFlag, command
from .output import data, plain, say, show

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlmodel import Session

    from billing_bridge import Invoice

FORMATS = ("json", "csv", "html", "pdf")
_BATCH = 500  # invoices in memory at a time
_TELL = 1000  # files from one word about progress to the next

Form = Annotated[str, typer.Option("--format", help="json, csv, html or pdf.", metavar="FORMAT")]


def add(group: typer.Typer) -> None:
    """Add the commands to the group of invoices."""
    command(
        group,
        "export",
        "invoice export isp-000017 --format pdf --out papers",
        "invoice export r-0197a3f2 --format csv --out papers",
    )(export)
    command(
        group, "explain", "invoice explain isp-000017 2", "invoice explain i-0197a3f2 2 --json"
    )(explain)


def export(
    what: Annotated[
        str, typer.Argument(help="An invoice (number or id) or a run.", metavar="RUN|INVOICE")
    ],
    form: Form = "pdf",
    out: Annotated[Path, typer.Option("--out", help="The folder.", metavar="DIR")] = Path(),
    json: JsonFlag = False,
) -> None:
    """Write final invoices as files, one each: the frozen document, a table, a page or a PDF.

    The same invoice always gives the same bytes, so a file that is there and says the same is left
    alone; one that says something else is never written over. Drafts of a run are left out.
    """
    from orchestrator.printing.files import file_name, keep, open_folder

    render = _renderer(form)
    written, same, drafts = [], 0, 0
    with desk.store() as (_settings, engine):
        found = _chosen(engine, what)
        open_folder(out)
        for invoice, document in found:
            if invoice.state == "draft":
                drafts += 1
                continue
            name = file_name(invoice.number, form)
            if keep(out, name, render(document)):
                written.append(name)
                if not json:
                    show(str(out / name))
            else:
                same += 1
            if (len(written) + same) % _TELL == 0:
                say(f"{len(written) + same} so far")
    if json:
        data({"folder": str(out), "written": written, "same": same, "drafts_left_out": drafts})
    left = f", {drafts} drafts left out" if drafts else ""
    say(f"{len(written)} written to {out}, {same} there already{left}.")


def _renderer(form: str) -> Callable[[Mapping[str, Any]], bytes]:
    if form == "pdf":
        from orchestrator.printing.pdf import pdf_bytes

        return pdf_bytes
    if form == "html":
        from orchestrator.printing.html import html_bytes

        return html_bytes
    from orchestrator.printing.plain import csv_bytes, json_bytes

    if form in ("json", "csv"):
        return csv_bytes if form == "csv" else json_bytes
    from inventory import WrongUse

    raise WrongUse(f"--format {form}", "is not a format", f"Write one of {', '.join(FORMATS)}.")


def _chosen(engine: Engine, what: str) -> Iterator[tuple[Invoice, dict[str, Any]]]:
    """Return the invoice, or those of the run one after the other; Refused for a draft alone."""
    from billing_bridge import find_invoice
    from inventory import Refused
    from orchestrator.database import reading

    from .ids import resolve_invoice

    with reading(engine) as session:
        letter, found = resolve_invoice(session, "ir", what)
        if letter == "r":
            return _of_run(engine, found)
        invoice = find_invoice(session, found)
        if invoice.state == "draft":
            raise Refused(
                what,
                "is a draft: nothing of it is frozen yet",
                "Issue its run first: bandmaster invoice finalise RUN",
            )
        return iter(((invoice, _frozen(session, invoice)),))


def _of_run(engine: Engine, run_id: str) -> Iterator[tuple[Invoice, dict[str, Any]]]:
    """Yield a run's invoices; while one is printed the store is not held."""
    from billing_bridge import list_invoices
    from orchestrator.database import reading

    after = ""
    while True:
        with reading(engine) as session:
            batch = [
                (one, _frozen(session, one) if one.state != "draft" else {})
                for one in list_invoices(session, run_id=run_id, after=after, limit=_BATCH)
            ]
        if not batch:
            return
        yield from batch
        after = batch[-1][0].invoice_id


def _frozen(session: Session, invoice: Invoice) -> dict[str, Any]:
    """Return the document that was frozen; LedgerBroken where it is not what the ledger says."""
    from billing_bridge import find_event, read_document
    from inventory import LedgerBroken, digest

    document = read_document(invoice.document)
    event = find_event(session, invoice.event_id)
    said = dict(event.payload) if event else {}
    told = {
        "invoice": document["invoice_id"],
        "number": document["number"],
        "total_minor": document["total_minor"],
        "lines_digest": digest(document["lines"]),
    }
    if told != {name: said.get(name) for name in told}:
        raise LedgerBroken(
            invoice.number,
            "its document is not the one that the ledger says was issued",
            "Print nothing of it until it is known why: bandmaster ledger verify --deep",
        )
    return document


def explain(
    what: Annotated[str, typer.Argument(help="An invoice: number or id.", metavar="INVOICE")],
    line: Annotated[int, typer.Argument(help="The line's number.", min=1, metavar="LINE")],
    json: JsonFlag = False,
) -> None:
    """Show where a line comes from: events, changes, plans, device lines, read-backs, people.

    Of every change: who asked and on which ticket, what was sent to each device and what undoes it,
    and what the device showed when it was read back.
    """
    from orchestrator.database import reading
    from orchestrator.explain import explain_line

    from .explain_text import explained_lines
    from .ids import resolve_invoice

    with desk.store() as (_settings, engine), reading(engine) as session:
        _, found = resolve_invoice(session, "i", what)
        explained = explain_line(session, found, line)
    if json:
        data(_masked(plain(explained)))
        return
    for text in explained_lines(explained):
        show(desk.mask(text))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_masked(part) for part in value]
    return desk.mask(value) if isinstance(value, str) else value
