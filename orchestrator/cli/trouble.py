"""Telling a person what went wrong: what failed, why it matters, what to do."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from . import desk
from .output import clean, paint, say

if TYPE_CHECKING:
    from inventory import BandmasterError

BUG = 70  # a fault of this program itself; sysexits.h calls it EX_SOFTWARE


class _MaskingFormatter(logging.Formatter):
    """Libraries log what they like; no secret of ours gets through."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text, masked."""
        return desk.mask(super().format(record))


def quiet(*, debug: bool) -> None:
    """Keep what libraries log and warn of from the screen; with `debug` show it, masked.

    A person is told once, in our words: see `tell`.
    """
    handler: logging.Handler = logging.NullHandler()
    if debug:
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(_MaskingFormatter("%(levelname)s %(name)s: %(message)s"))
    elif not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(handler)


def is_stop(error: BaseException) -> bool:
    """Say whether a person's Ctrl-C is behind an error.

    It comes anywhere, so a driver may trip over its own half-done work on the way out.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return behind is not None


@contextmanager
def stopped_with(code: int, words: str) -> Iterator[None]:
    """Let Ctrl-C, and a service manager's SIGTERM, end the block with an exit code and words."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except BaseException as error:
        if not is_stop(error):
            raise
        say(words)
        raise typer.Exit(code) from None


def tell(error: Exception, *, debug: bool) -> int:
    """Write an error for people and return the exit code it stands for.

    With `debug` the trace comes first; secrets this process was given are masked in all of it.
    """
    from inventory import BandmasterError

    if debug:
        trace = "".join(traceback.format_exception(error))
        say(desk.mask(trace.rstrip()))
    if isinstance(error, BandmasterError):
        for line in _words(error):
            say(desk.mask(line))
        return error.exit_code
    said = desk.mask(clean(str(error).partition("\n")[0]))
    name = type(error).__name__
    say(paint(f"bug in bandmaster: {name}: {said}", "bad"))
    if not debug:
        say("Run the command again with --debug and send what it prints.")
    return BUG


def _words(error: BandmasterError) -> list[str]:
    first, *more = error.problem.splitlines() or [""]
    lines = [paint(f"{clean(error.thing)}:", "bad") + f" {clean(first)}"]
    return lines + [clean(line) for line in (*more, *error.remedy.splitlines())]
