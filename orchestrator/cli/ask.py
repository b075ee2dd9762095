"""Asking a person, who may not be there."""

from __future__ import annotations

import sys

from .output import say


def refuse_without_person(*, yes: bool, look: str = "Look first") -> None:
    """Raise Refused where nobody can be asked and nobody has agreed beforehand.

    `look` says how to see beforehand what would be agreed to.
    """
    if yes or _is_person():
        return
    from inventory import Refused

    raise Refused(
        "standard input",
        "is not a terminal, so nobody can be asked, and --yes was not given",
        f"{look}, then add --yes; or run it in a terminal.",
    )


def agreed(question: str, *, yes: bool) -> bool:
    """Ask a question that only `y` or `yes` answers; anything else means no."""
    if yes:
        return True
    return _answer(f"{question} [y/N] ").lower() in ("y", "yes")


def typed(question: str, wanted: str, *, yes: bool) -> bool:
    """Ask for a text that must be typed exactly."""
    return yes or _answer(f"{question} ") == wanted


def _answer(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        return input().strip()
    except (EOFError, KeyboardInterrupt):
        say()
        return ""


def _is_person() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
