"""What arrived at an emulated device, in the order in which it arrived."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass

from lab.emulators.base import Json

# One counter for all devices of the process: entries of two devices can be put in order.
_sequence = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened at a device.

    `who` is `user#session` for a login, the sender's address for a datagram and `control` for
    what was done from outside the wire; `at_ns` is CLOCK_MONOTONIC in nanoseconds.
    """

    seq: int
    at_ns: int
    who: str
    what: str
    text: str


class Record:
    """The log of one device, kept in memory."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def add(self, who: str, what: str, text: str = "") -> None:
        """Note that `who` did `what` (login, an RPC name, a CLI line, ...) with `text`."""
        entry = Entry(seq=next(_sequence), at_ns=time.monotonic_ns(), who=who, what=what, text=text)
        self._entries.append(entry)

    def answer(self, args: Json) -> Json:
        """{"entries": [...], "last": seq}: all entries, or those after `since`."""
        since = int(args.get("since", 0))
        last = self._entries[-1].seq if self._entries else 0
        return {"entries": [asdict(e) for e in self._entries if e.seq > since], "last": last}
