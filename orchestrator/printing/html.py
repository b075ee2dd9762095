"""A document as one page of HTML that needs nothing beside it: for a browser, and for paper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import PackageLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .sheet import sheet


def html_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the page in UTF-8; every text of the document is escaped, whatever is in it."""
    return _template().render(sheet=sheet(document)).encode()


@cache
def _template() -> Template:
    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader("orchestrator.printing", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("invoice.html.j2")
