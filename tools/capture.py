"""Runs commands in a real pseudo-terminal and keeps what the terminal showed as an SVG picture.

Usage: python tools/capture.py OUT.svg 'shell command' ['shell command' ...]
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 104, 80
COLOURS = {"brown": "yellow", "brightblack": "bright_black"}


def shown(command: str) -> str:
    """Return everything a command wrote to its terminal, colours included."""
    primary, secondary = pty.openpty()
    size = struct.pack("HHHH", HEIGHT, WIDTH, 0, 0)
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, size)
    environ = {**os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=secondary, stdout=secondary, stderr=secondary, env=environ
    )
    os.close(secondary)
    parts = []
    while True:
        try:
            part = os.read(primary, 65536)
        except OSError:  # the terminal closes with its last user
            break
        if not part:
            break
        parts.append(part)
    process.wait()
    os.close(primary)
    return b"".join(parts).decode(errors="replace")


def drawn(stream: str) -> Text:
    """Return the screen as a terminal draws the stream: lines updated in place appear once."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    pyte.Stream(screen).feed(stream)
    text = Text()
    for number in range(screen.cursor.y):
        row = screen.buffer[number]
        line = Text()
        for place in range(WIDTH):
            cell = row[place]
            colour = "" if cell.fg == "default" else COLOURS.get(cell.fg, cell.fg)
            line.append(cell.data, f"{'bold ' if cell.bold else ''}{colour}".strip())
        line.rstrip()
        text.append_text(line).append("\n")
    return text


def main() -> None:
    """Run the commands one after the other and write one picture."""
    out, *commands = sys.argv[1:]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for command in commands:
        console.print(Text(f"$ {command}", style="bold green"))
        console.print(drawn(shown(command)))
    picture = console.export_svg(title="bandmaster")
    # the picture must stand alone: no font is fetched from anywhere
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    # not every viewer keeps the spaces at the beginning of a line by itself
    picture = picture.replace("<svg ", '<svg xml:space="preserve" ', 1)
    Path(out).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
