"""Progress for people: one line per participant, in place on a terminal, line by line in a pipe."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable

from .output import WIDTH, can_move, clean, draw, fit, paint, say

_NAME_WIDTH = 12
_SET = "s-"  # how the short name of a change set begins: recovery tells of one after another
_BAD = ("refused", "unknown", "unreachable", "foreign", "aborted", "reversed", "NAK", "no answer")


def never() -> bool:
    """Nobody interrupts."""
    return False


class Progress:
    """Hears what becomes of each participant (the office's teller); any thread may call it."""

    def __init__(self) -> None:
        self._interrupted: Callable[[], bool] = never
        self._was_interrupted = False
        self._lines: dict[str, list[str]] = {}
        self._drawn = 0
        self._lock = threading.Lock()
        self._in_place = can_move()

    def watch(self, interrupted: Callable[[], bool]) -> None:
        """Hear from `interrupted` that somebody else has written below our lines."""
        self._interrupted = interrupted

    def __call__(self, participant: str, text: str) -> None:
        """Show the news."""
        with self._lock:
            if not self._in_place:
                say(f"{_label(participant)}{_coloured(clean(text))}")
                return
            self._leave_old_block(participant)
            self._lines.setdefault(participant, []).append(clean(text))
            self._draw()

    def _leave_old_block(self, participant: str) -> None:
        rows = shutil.get_terminal_size((WIDTH, 24)).lines
        interrupted = self._interrupted() and not self._was_interrupted
        another_set = participant.startswith(_SET) and participant not in self._lines
        if interrupted or another_set or len(self._lines) >= rows - 2:
            self._was_interrupted = self._was_interrupted or interrupted
            self._lines, self._drawn = {}, 0

    def _draw(self) -> None:
        columns = shutil.get_terminal_size((WIDTH, 24)).columns
        # clear below: a line that has grown by a row would leave parts of its neighbours
        up = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        body = ""
        self._drawn = 0
        for name, texts in self._lines.items():
            label = _label(name)
            text = " · ".join(texts)
            # a folded line takes several rows: count them, or the next drawing starts too low
            self._drawn += max(1, -(-(len(label) + len(text)) // columns))
            body += f"{label}{fit(_coloured(text), sys.stderr)}\n"
        draw(f"{up}{body}")


def _label(participant: str) -> str:
    return f"  {clean(participant):<{_NAME_WIDTH - 2}}  "


def _coloured(text: str) -> str:
    return paint(text, "bad") if any(word in text for word in _BAD) else text
