"""What devices say, made fit to be shown; and the two ways in which a write can fail."""

from __future__ import annotations

import re

SHOWN = 400  # characters of a device's words that a person is shown
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class SaysNo(Exception):
    """The device refused; nothing beyond what the text says was done."""


class InDoubt(Exception):
    """No answer came, or one that cannot be believed: the write may be done or not."""


def printable(text: str) -> str:
    """Return the text without control sequences; line ends and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def shown(text: str, secret: str = "") -> str:
    """Return a device's words on one line, bounded, with the secret masked should it occur."""
    if secret:
        text = text.replace(secret, "***")
    line = " ".join(printable(text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
