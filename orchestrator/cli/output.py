"""What people and programs see: tables, colours and JSON; a pipe loses nothing of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

WIDTH = 100
GAP = "  "
_STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}
_COLOUR = re.compile(r"\x1b\[[0-9]*m")
_NUMBER = re.compile(r"-|-?[0-9]+|[A-Z]{3} -?[0-9.]+")
_NARROWEST = 20  # a wrapped column stays readable


@dataclasses.dataclass(frozen=True, slots=True)
class Painted:
    """A cell with a colour that says nothing its words do not say."""

    text: str
    style: str

    def __str__(self) -> str:
        return self.text


Cell = str | Painted
_lost: list[str] = []  # why standard output could not be written; a reader who left is no reason
_acted: list[bool] = []


def show(text: str = "") -> bool:
    """Write a line of data; return False where nobody reads it any more."""
    return _write(sys.stdout, text)


def say(text: str = "") -> None:
    """Write a line for people: never among the data."""
    _write(sys.stderr, text)


def data(value: object, *, acted: bool = False) -> None:
    """Write one JSON document: the whole answer of a command.

    `acted` = the exit code says what became of a change: it stands even if nobody can be told.
    """
    _acted[:] = [acted]
    show(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: object) -> Any:
    """Return JSON values for dataclasses, instants, dates, mappings and sequences."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    return _scalar(value)


def _scalar(value: object) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else value


def utc(instant: dt.datetime | None, *, seconds: bool = True) -> str:
    """Return an instant as people read it, in UTC; "-" for none."""
    if instant is None:
        return "-"
    return f"{instant.astimezone(dt.UTC):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}}Z"


def span(length: dt.timedelta) -> str:
    """Return a span as `00:14:02`, with days before it where there are any."""
    whole_s = max(0, int(length.total_seconds()))
    days, rest_s = divmod(whole_s, 86_400)
    clock = f"{rest_s // 3600:02}:{rest_s // 60 % 60:02}:{rest_s % 60:02}"
    return f"{days} d {clock}" if days else clock


def clean(text: str) -> str:
    """Return text of devices and people with everything escaped that could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def paint(text: str, style: str) -> str:
    """Return text in a colour, which `show` and `say` leave out where nobody can see it."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style else text


def width() -> int:
    """Return the columns of standard output; 0 for a pipe, where no line is ever folded."""
    if not _is_terminal(sys.stdout):
        return 0
    return max(shutil.get_terminal_size((WIDTH, 24)).columns, 40)


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Show rows under a header; the widest column is folded where the terminal is too narrow.

    In a pipe a row is a line, whatever its length.
    """
    for line in table_lines(header, rows):
        show(line)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return the lines of a table; columns of numbers and amounts stand to the right."""
    if not rows:
        return []
    texts = [[clean(str(cell)) for cell in row] for row in rows]
    columns = list(zip(*texts, strict=True))
    widths = [max(map(len, (name, *c))) for name, c in zip(header, columns, strict=True)]
    right = [_is_number(column) for column in columns]
    widest = widths.index(max(widths))
    over = sum(widths) + len(GAP) * (len(widths) - 1) - (width() or sys.maxsize)
    if over > 0:
        widths[widest] = max(widths[widest] - over, min(widths[widest], _NARROWEST))
    lines = []
    if any(header):
        lines.append(paint(_join(header, widths, right), "dim"))
    for row, text in zip(rows, texts, strict=True):
        folded = textwrap.wrap(text[widest], widths[widest]) if over > 0 else []
        first, *more = folded or [text[widest]]
        lines.append(_join([*text[:widest], first, *text[widest + 1 :]], widths, right, row))
        before = " " * (sum(widths[:widest]) + len(GAP) * widest)
        lines += [before + rest for rest in more]
    return lines


def _is_number(cells: Sequence[str]) -> bool:
    return any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _join(
    texts: Sequence[str],
    widths: Sequence[int],
    right: Sequence[bool],
    row: Sequence[Cell] = (),
) -> str:
    padded = [
        f"{text:>{size}}" if number else f"{text:<{size}}"
        for text, size, number in zip(texts, widths, right, strict=True)
    ]
    for place, cell in enumerate(row):
        if isinstance(cell, Painted):
            padded[place] = paint(padded[place], cell.style)
    return GAP.join(padded).rstrip()


def can_move() -> bool:
    """Whether lines on standard error can be written over."""
    return _is_terminal(sys.stderr) and os.environ.get("TERM", "dumb") != "dumb"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return _is_terminal(stream)


def draw(text: str) -> None:
    """Write text for people as it is, at once."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError as problem:
        _give_up(sys.stderr, problem)


def finish(code: int) -> int:
    """Write what is still held back; return the exit code, which tells of data that is lost."""
    try:
        sys.stdout.flush()
    except OSError as problem:
        _give_up(sys.stdout, problem)
    if not _lost:
        return code
    say(f"standard output: {_lost[0]}: what was to be written there is lost")
    return code or int(_acted != [True])


def _write(stream: TextIO, text: str) -> bool:
    try:
        stream.write(fit(text, stream) + "\n")
    except OSError as problem:
        _give_up(stream, problem)
        return False
    return True


def _give_up(stream: TextIO, problem: OSError) -> None:
    """Write no more there: a full disk or a closed terminal must not stop a change halfway."""
    if stream is sys.stdout and not isinstance(problem, BrokenPipeError):
        _lost.append(problem.strerror or str(problem))
    drop(stream)


def fit(text: str, stream: TextIO) -> str:
    """Return text as the stream can show it: with its colours, or without."""
    return text if _coloured(stream) else _COLOUR.sub("", text)


def drop(stream: TextIO) -> None:
    """Let the rest go nowhere: the reader has seen enough, what we do must not depend on that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
