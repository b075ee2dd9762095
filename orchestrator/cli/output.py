"""What people and programs see: tables, colours and JSON; a pipe loses nothing of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

WIDTH = 100
GAP = "  "
_STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}
_NARROWEST = 20  # a wrapped column stays readable


@dataclasses.dataclass(frozen=True, slots=True)
class Painted:
    """A cell with a colour that says nothing its words do not say."""

    text: str
    style: str

    def __str__(self) -> str:
        return self.text


Cell = str | Painted


def show(text: str = "") -> None:
    """Write a line of data."""
    _write(sys.stdout, text)


def say(text: str = "") -> None:
    """Write a line for people: never among the data."""
    _write(sys.stderr, text)


def data(value: object) -> None:
    """Write one JSON document: the whole answer of a command."""
    show(json.dumps(plain(value), indent=2, ensure_ascii=False))


def json_line(value: object) -> None:
    """Write one JSON document on a line of its own."""
    show(json.dumps(plain(value), ensure_ascii=False))


def plain(value: object) -> Any:
    """Return JSON values for dataclasses, instants, dates, mappings and sequences."""
    if isinstance(value, Painted):
        return value.text
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    return value


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


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return text in a colour where the stream is a terminal that wants colours."""
    if not style or not _coloured(stream or sys.stderr):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def width(stream: TextIO | None = None) -> int:
    """Return the columns of a terminal; 0 for a pipe, where no line is ever folded."""
    if not _is_terminal(stream or sys.stdout):
        return 0
    return max(shutil.get_terminal_size((WIDTH, 24)).columns, 40)


def table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], *, stream: TextIO | None = None
) -> None:
    """Write rows under a header; the last column is folded where the terminal is too narrow.

    In a pipe a row is a line, whatever its length.
    """
    out = stream or sys.stdout
    for line in table_lines(header, rows, out):
        _write(out, line)


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], stream: TextIO
) -> list[str]:
    """Return the lines of a table."""
    texts = [[clean(str(cell)) for cell in row] for row in rows]
    widths = [
        max(len(part) for part in column) for column in zip(header, *texts, strict=True)
    ]
    lines = [paint(_join(header, widths), "dim", stream)] if any(header) else []
    room = width(stream) - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
    fold = max(room, _NARROWEST) if width(stream) and widths[-1] > room else 0
    for row, text in zip(rows, texts, strict=True):
        last = textwrap.wrap(text[-1], fold) if fold else [text[-1]]
        first = [*text[:-1], (last or [""])[0]]
        lines.append(_join(first, widths, row, stream))
        lines += [" " * (sum(widths[:-1]) + len(GAP) * (len(widths) - 1)) + more
                  for more in last[1:]]
    return lines


def _join(
    texts: Sequence[str],
    widths: Sequence[int],
    row: Sequence[Cell] = (),
    stream: TextIO | None = None,
) -> str:
    padded = [f"{text:<{size}}" for text, size in zip(texts, widths, strict=True)]
    padded[-1] = texts[-1]
    for place, cell in enumerate(row):
        if isinstance(cell, Painted):
            padded[place] = paint(padded[place], cell.style, stream)
    return GAP.join(padded).rstrip()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return _is_terminal(stream)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        # the reader has seen enough; what this command does must not depend on that
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
