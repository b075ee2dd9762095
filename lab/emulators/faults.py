"""Faults that a test or a person arms by name and that a device meets once or n times."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase

from lab.emulators.base import Json

# Kinds that every emulated device understands; a kind of device may add its own.
COMMON_KINDS = frozenset(
    {
        "refuse",  # arg: text of the refusal; nothing is executed
        "hang_before",  # never executed, never answered
        "hang_after",  # executed, never answered
        "drop_before",  # the TCP connection is aborted, nothing is executed
        "drop_after",  # executed, then the TCP connection is aborted without an answer
        "drop_bytes",  # executed, the first `arg` bytes of the answer are sent, then abort
        "die",  # nothing is executed, every connection is refused until "revive"
        "late",  # dropped at once, executed `arg` device seconds later
        "delay",  # executed and answered `arg` device seconds later
    }
)
# Kinds whose `arg` is a number of bytes or device seconds.
NUMERIC_KINDS = frozenset({"drop_bytes", "late", "delay", "answer_late"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One armed fault.

    `verb` is what it waits for: an RPC name, a CLI line or a RADIUS request, with shell wildcards
    (`commit-configuration`, `service-port * inbound *`, `*`). The first `skip` matches pass
    unharmed, the next `count` meet the fault.
    """

    verb: str
    kind: str
    arg: str = ""
    count: int = 1
    skip: int = 0

    @property
    def number(self) -> float:
        """`arg` as a number: bytes or device seconds, as the kind says."""
        return float(self.arg)


class Faults:
    """The faults armed on one device, met in the order in which they were armed."""

    def __init__(
        self, kinds: Iterable[str] = COMMON_KINDS, numeric: Iterable[str] = NUMERIC_KINDS
    ) -> None:
        self._kinds = frozenset(kinds)
        self._numeric = frozenset(numeric)
        self._armed: list[Fault] = []

    def arm(self, args: Json) -> Json:
        """Arm the fault described by {verb, kind[, arg][, count][, skip]}; answers what is armed.

        Raises ValueError for an unknown kind or field and for a number that is none.
        """
        unknown = set(args) - {"verb", "kind", "arg", "count", "skip"}
        if unknown:
            msg = f"a fault has no field {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        fault = Fault(
            verb=str(args.get("verb", "*")),
            kind=str(args.get("kind", "")),
            arg=str(args.get("arg", "")),
            count=int(args.get("count", 1)),
            skip=int(args.get("skip", 0)),
        )
        if fault.kind not in self._kinds:
            msg = f"no fault kind {fault.kind!r}; known: {', '.join(sorted(self._kinds))}"
            raise ValueError(msg)
        if fault.count < 1 or fault.skip < 0:
            msg = "count must be 1 or more and skip 0 or more"
            raise ValueError(msg)
        if fault.kind in self._numeric and not _is_number(fault.arg):
            msg = f"{fault.kind} needs a number of 0 or more"
            raise ValueError(msg)
        self._armed.append(fault)
        return {"armed": self.listing()}

    def take(self, *names: str) -> Fault | None:
        """The fault that what goes by `names` meets now, counted down; None if unharmed."""
        for place, fault in enumerate(self._armed):
            if not any(fnmatchcase(name, fault.verb) for name in names):
                continue
            if fault.skip:
                self._armed[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.count > 1:
                self._armed[place] = replace(fault, count=fault.count - 1)
            else:
                del self._armed[place]
            return fault
        return None

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()

    def listing(self) -> list[Json]:
        """What is still armed, as JSON."""
        return [asdict(fault) for fault in self._armed]


def _is_number(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


def report_crash(where: str, exc: BaseException) -> None:
    """Hand an emulator's own mistake to the fleet, so that it never looks like a device fault.

    To be called from the fleet's loop; the fleet keeps the text in `Fleet.crashes`.
    """
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": f"emulator failed in {where}", "exception": exc})
