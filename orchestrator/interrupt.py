"""Ctrl-C, SIGTERM, a lost terminal: the first undoes or finishes, the second stops at once (D7)."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

from inventory import BandmasterError

EXIT_UNDECIDED = 6


class InterruptedByPersonError(BandmasterError):
    """The person asked to stop before the decision: everything is put back."""

    exit_code = 1


class Interrupts:
    """Counts the requests to stop; checked between steps, never in the middle of one."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Hear SIGINT, SIGTERM and, unless it is ignored on purpose, SIGHUP from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # not an exception: nothing may run on the way out that still talks to a device
            _say("\nStopped in the middle. Settle it with: bandmaster recover\n")
            os._exit(EXIT_UNDECIDED)
        self.requested = True
        _say("\nStopping as soon as it is safe. Once more to leave it to recovery.\n")

    def check(self) -> None:
        """Raise if a person has asked to stop; called only where undoing is still right."""
        if self.requested:
            raise InterruptedByPersonError("change", "stopped by a person before the decision")


def _say(text: str) -> None:
    """Write past Python's buffer: the signal may have come in the middle of a write to it."""
    with suppress(OSError):  # nobody may be there to read it
        os.write(2, text.encode())
