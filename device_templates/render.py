"""Turns a platform's own templates and typed values into lines, and nothing else into anything."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inventory import BadField

from .gate import check_lines

# Every name that any platform writes fits this; whatever would need quoting or could end a line,
# open a comment, a help text or a shell word on any device does not.
_WORD = re.compile(r"[A-Za-z0-9._/:@-]{0,64}", re.ASCII)


def word(thing: str, value: object) -> str | int:
    """Return `value` if a template may be given it: an int, or text of the allow-list.

    Raises BadField naming `thing`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    raise BadField(thing, f"{value!r:.80} may not be written to a device: letters, digits, ._/:@-")


def render_lines(folder: str, template: str, **values: str | int) -> tuple[str, ...]:
    """Return the non-empty lines of a template of `folder` (a directory's path).

    Raises BadField for a value that is not typed, Refused for a line that is not one plain line.
    """
    typed = {name: word(f"{template}: {name}", value) for name, value in values.items()}
    text = _environment(folder).get_template(template).render(typed)
    return check_lines(template, (line for line in text.split("\n") if line.strip()))


@cache
def _environment(folder: str) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(Path(folder)),
        undefined=StrictUndefined,
        autoescape=False,  # lines for a command line, not HTML; `word` lets nothing else in
        trim_blocks=True,
        lstrip_blocks=True,
    )
