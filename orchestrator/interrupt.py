"""Ctrl-C and SIGTERM: the first undoes or finishes, the second leaves it to recovery (D7)."""

from __future__ import annotations

import os
import signal
import sys
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
        """Hear SIGINT and SIGTERM from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # not an exception: nothing may run on the way out that still talks to a device
            sys.stderr.write("\nStopped in the middle. Settle it with: bandmaster recover\n")
            sys.stderr.flush()
            os._exit(EXIT_UNDECIDED)
        self.requested = True
        sys.stderr.write("\nStopping as soon as it is safe. Once more to leave it to recovery.\n")
        sys.stderr.flush()

    def check(self) -> None:
        """Raise if a person has asked to stop; called only where undoing is still right."""
        if self.requested:
            raise InterruptedByPersonError("change", "stopped by a person before the decision")
