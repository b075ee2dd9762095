"""How an emulated SmartAX reads a line: words with columns, and where it puts the caret."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNKNOWN = "% Unknown command, the error locates at '^'"
PARAMETER = "% Parameter error, the error locates at '^'"
INCOMPLETE = "% Incomplete command, the error locates at '^'"
TOO_MANY = "% Too many parameters, the error locates at '^'"

_WORD = re.compile(r'"[^"]*"|\S+')
_NAME = re.compile(r"[A-Za-z0-9._+/@-]{1,32}")
_FSP = re.compile(r"\d{1,2}/\d{1,2}/\d{1,2}")


class GrammarError(Exception):
    """A line that the device does not understand at `column` (counted from 0, without prompt)."""

    def __init__(self, text: str, column: int) -> None:
        super().__init__(text)
        self.text = text
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a line and the column where it begins."""

    text: str
    column: int


def words(line: str) -> tuple[Word, ...]:
    """The words of a line; a quoted one is one word."""
    return tuple(Word(text=m.group(), column=m.start()) for m in _WORD.finditer(line))


class Args:
    """The words of a line from some place on, taken one by one; every miss is a GrammarError."""

    def __init__(self, line: str, taken: int = 0) -> None:
        self._words = words(line)
        self._place = taken
        self._end = len(line.rstrip()) + 1

    @property
    def more(self) -> bool:
        """True while words are left."""
        return self._place < len(self._words)

    def word(self, *allowed: str) -> str:
        """The next word, which must be one of `allowed` if any are given; lower case then."""
        word = self._next()
        if not allowed:
            return word.text
        if word.text.lower() not in allowed:
            raise GrammarError(PARAMETER, word.column)
        return word.text.lower()

    def maybe(self, expected: str) -> bool:
        """True, and the word is taken, if the next word is `expected`."""
        if self.more and self._words[self._place].text.lower() == expected:
            self._place += 1
            return True
        return False

    def number(self, low: int, high: int) -> int:
        """The next word as a number within `low` and `high`."""
        word = self._next()
        if not word.text.isascii() or not word.text.isdigit() or not low <= int(word.text) <= high:
            raise GrammarError(PARAMETER, word.column)
        return int(word.text)

    def name(self) -> str:
        """The next word as a name, with or without quotes."""
        word = self._next()
        text = word.text.strip('"')
        if not _NAME.fullmatch(text):
            raise GrammarError(PARAMETER, word.column)
        return text

    def fsp(self) -> str:
        """The next word as frame/slot/port."""
        word = self._next()
        if not _FSP.fullmatch(word.text):
            raise GrammarError(PARAMETER, word.column)
        return word.text

    def end(self) -> None:
        """No word may be left."""
        if self.more:
            raise GrammarError(TOO_MANY, self._words[self._place].column)

    def _next(self) -> Word:
        if not self.more:
            raise GrammarError(INCOMPLETE, self._end)
        self._place += 1
        return self._words[self._place - 1]
