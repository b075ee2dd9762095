"""Telling a person what went wrong: what failed, why it matters, what to do."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from . import desk
from .output import clean, paint

if TYPE_CHECKING:
    from inventory import BandmasterError

BUG = 70  # a fault of this program itself; sysexits.h calls it EX_SOFTWARE


def tell(error: Exception, *, debug: bool) -> int:
    """Write an error for people and return the exit code it stands for.

    With `debug` the trace comes first; secrets this process was given are masked in all of it.
    """
    from inventory import BandmasterError

    if debug:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(desk.mask(trace))
    if isinstance(error, BandmasterError):
        for line in _words(error):
            sys.stderr.write(desk.mask(line) + "\n")
        return error.exit_code
    said = desk.mask(clean(str(error).partition("\n")[0]))
    name = type(error).__name__
    sys.stderr.write(paint(f"bug in bandmaster: {name}: {said}", "bad") + "\n")
    if not debug:
        sys.stderr.write("Run the command again with --debug and send what it prints.\n")
    return BUG


def _words(error: BandmasterError) -> list[str]:
    first, *more = error.problem.splitlines() or [""]
    lines = [paint(f"{clean(error.thing)}:", "bad") + f" {clean(first)}"]
    return lines + [clean(line) for line in (*more, *error.remedy.splitlines())]
