"""What became of an act, for people and for exit codes (decisions.md D6, D7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["done", "refused", "aborted", "reversed", "in doubt"]

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_PENDING = 3
EXIT_DECIDED_WITH_REST = 4
EXIT_REFUSED = 5
EXIT_UNDECIDED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOutcome:
    """What became of one service; `exceptions` are the ids a person must answer."""

    service_id: str
    change_id: str
    ending: Ending
    reason: str = ""
    exceptions: tuple[str, ...] = ()
    earlier: bool = False  # it had ended so before this apply, which sent nothing for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a plan or of a recovery run; `stale` = it was refused before anything."""

    items: tuple[ItemOutcome, ...]
    last_seq: int = 0  # of the ledger, when something was posted
    elapsed_s: float = 0.0

    def count(self, ending: Ending) -> int:
        """How many services ended so."""
        return sum(item.ending == ending for item in self.items)

    def exit_code(self) -> int:
        """The process's answer."""
        if self.count("in doubt") and not any(item.exceptions for item in self.items):
            return EXIT_UNDECIDED
        if any(item.exceptions for item in self.items):
            return EXIT_DECIDED_WITH_REST
        bad = self.count("refused") + self.count("aborted") + self.count("reversed")
        if not bad:
            return EXIT_DONE
        return EXIT_DECIDED_WITH_REST if self.count("done") else EXIT_FAILED
