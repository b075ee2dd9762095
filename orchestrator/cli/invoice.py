"""`bandmaster invoice`: what is billed, what was billed, and what comes next."""

from __future__ import annotations

import typer

from . import invoice_look, invoice_paper, invoice_run
from .options import new_group


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Invoices and credit notes: drafted, looked at, issued, taken back.")
    invoice_look.add(group)
    invoice_run.add(group)
    invoice_paper.add(group)
    app.add_typer(group, name="invoice")
