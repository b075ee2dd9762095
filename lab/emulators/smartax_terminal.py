"""One SSH session on an emulated SmartAX: echo, pages, questions, and the faults it meets."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

import asyncssh

from lab.emulators.faults import COMMON_KINDS, Fault, Faults, report_crash
from lab.emulators.listener import Connection, Listener
from lab.emulators.smartax_commands import LOG_OUT, perform, question
from lab.emulators.smartax_device import BUSY, Device, Shell

if TYPE_CHECKING:
    from lab.emulators.smartax_clock import Timer

KINDS = COMMON_KINDS | {
    "busy",  # the text of a busy system; nothing is executed
    "silent",  # answered as if executed, but nothing is
    "alarm",  # executed; an alarm stands between the answer and the prompt
    "alarm_echo",  # executed; an alarm stands in the middle of the echo
}
REFUSAL = "Failure: The operation is not allowed"
ALARM = (
    "  ! RUNNING MINOR 2026-01-01 03:00:00+00:00\n"
    "  ALARM NAME : The optical power of an ONT is low\n"
    "  --- END"
)
BANNER = "\r\n  Integrated access software (MA5800), emulated\r\n"
YES_BANNER = "  Only for authorised users. Continue? (YES/NO):"
MORE = "---- More ( Press 'Q' to break ) ----"
CLEAR_MORE = "\x1b[37D" + " " * 37 + "\x1b[37D"
SURE = "Are you sure to log out? (y/n)[n]:"
GOODBYE = "\r\n  Configuration console exit, please retry to log on\r\n"
WRAP = " \x1b[1D"  # what the terminal driver puts into an echo at its right edge
WIDTH = 80
_LINE_END = re.compile(r"\r\n|\r|\n")


class Awaiting(Enum):
    """What the session does with the next characters."""

    LINE = auto()
    OPTION = auto()  # the rest of a command that smart interaction asked for
    PAGE = auto()  # a key at the end of a page
    SURE = auto()  # yes or no to the log-out
    YES = auto()  # yes to the banner
    NOTHING = auto()  # busy, hung or gone: what arrives is kept unread


class Terminal(asyncssh.SSHServerSession[bytes]):
    """Strictly in order: a line is echoed when its turn comes, never while another is at work."""

    def __init__(
        self, connection: Connection, device: Device, faults: Faults, listener: Listener
    ) -> None:
        self._connection = connection
        self._device = device
        self._faults = faults
        self._listener = listener
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._shell: Shell | None = None
        self._awaiting = Awaiting.NOTHING
        self._unread = ""
        self._echoed = 0  # characters of the unfinished line that are echoed already
        self._heard = ""  # for the record: what came since the last line end
        self._asked = ""
        self._pages: list[str] = []
        self._pending: Timer | None = None  # a line that will be executed later

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._chan = chan

    def pty_requested(self, *_args: object) -> bool:
        """Any terminal will do."""
        return True

    def shell_requested(self) -> bool:
        """A shell is all there is; single commands and subsystems are refused."""
        return True

    def session_started(self) -> None:
        """Greet."""
        peer = self._chan.get_extra_info("peername") if self._chan else None
        self._shell = self._device.log_in(
            self._connection.user, str(peer[0]) if peer else "", self._say, self._cut
        )
        if self._device.knobs.yes_banner:
            self._write(BANNER + YES_BANNER)
            self._awaiting = Awaiting.YES
        else:
            self._write(BANNER)
            self._ready()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Note what came and deal with as much of it as the session is ready for."""
        del datatype
        text = data.decode(errors="replace").replace("\x00", "")
        self._note(text)
        self._unread += text
        try:
            self._pump()
        except Exception as exc:  # noqa: BLE001 - asyncssh would make a lost connection of it
            report_crash(f"{self._device.hostname} session", exc)
            self._connection.abort()

    def eof_received(self) -> bool:
        """The client is done, so is the session."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Log out, unless a line is still to be executed: then the device has not noticed yet."""
        del exc
        self._awaiting = Awaiting.NOTHING
        self._chan = None
        if self._shell is not None and self._pending is None:
            self._device.log_out(self._shell)

    # What the device calls.

    def _say(self, text: str) -> None:
        """Print what nobody asked for; the prompt is printed again if one was standing there."""
        standing = self._awaiting is Awaiting.LINE and not self._unread
        self._write(f"\r\n{_wire(text)}\r\n" + (f"\r\n{self._prompt()}" if standing else ""))

    def _cut(self) -> None:
        """End the session from the device's side; what was pending never happens."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._connection.abort()

    # Reading.

    def _note(self, text: str) -> None:
        *lines, self._heard = _LINE_END.split(self._heard + text)
        for line in lines:
            self._device.record.add(self._who(), "line", line.strip())

    def _pump(self) -> None:
        while self._unread and self._awaiting is not Awaiting.NOTHING:
            if self._awaiting is Awaiting.PAGE:
                key, self._unread = self._unread[0], self._unread[1:]
                self._turn_page(key)
                continue
            end = _LINE_END.search(self._unread)
            if end is None:
                self._write(self._unread[self._echoed :])
                self._echoed = len(self._unread)
                return
            line, self._unread = self._unread[: end.start()], self._unread[end.end() :]
            echo, self._echoed = line[self._echoed :], 0
            self._take(line.strip(), echo)

    def _take(self, line: str, echo: str) -> None:
        awaiting, self._awaiting = self._awaiting, Awaiting.NOTHING
        if awaiting is Awaiting.SURE and line[:1].lower() == "y":
            self._write(f"{echo}\r\n{GOODBYE}")
            if self._chan is not None:
                self._chan.exit(0)
        elif awaiting in (Awaiting.SURE, Awaiting.YES):
            self._session().leaving = False
            self._write(f"{echo}\r\n")
            self._ready()
        elif awaiting is Awaiting.OPTION:
            full = f"{self._asked} {line}".strip()
            self._command(full, echo, f"\n  Command:\n          {full}\n")
        elif not line:
            self._write(f"{echo}\r\n")
            self._ready()
        else:
            self._asked = line
            asked = question(self._session(), line)
            if asked:
                self._write(f"{echo}\r\n{asked}")
                self._awaiting = Awaiting.OPTION
            else:
                self._command(line, echo, "")

    # Executing.

    def _command(self, line: str, echo: str, before: str) -> None:
        fault = self._faults.take(line)
        column = len(self._prompt())
        wrapped = _wrapped(echo, column)
        if fault is None:
            self._answer(wrapped, before + self._perform(line))
        elif not self._lost(fault, line):
            self._met(fault, line, echo, wrapped)

    def _perform(self, line: str) -> str:
        return perform(self._device, self._session(), line)

    def _met(self, fault: Fault, line: str, echo: str, wrapped: str) -> None:
        """Faults after which the connection still stands."""
        match fault.kind:
            case "refuse":
                self._answer(wrapped, f"  {fault.arg or REFUSAL}")
            case "busy":
                self._answer(wrapped, f"  {BUSY}")
            case "silent":
                self._answer(wrapped, "")
            case "alarm":
                self._answer(wrapped, f"{self._perform(line)}\n\n{fault.arg or ALARM}")
            case "alarm_echo":
                half = len(echo) // 2
                broken = f"{echo[:half]}\r\n{_wire(fault.arg or ALARM)}\r\n{echo[half:]}"
                self._answer(broken, self._perform(line))
            case "hang_before":
                self._write(f"{wrapped}\r\n")
            case "hang_after":
                self._write(f"{wrapped}\r\n")
                self._perform(line)
            case "delay":
                self._write(f"{wrapped}\r\n")
                self._later(fault.number, lambda: self._answer("", self._perform(line)))
            case _:
                raise AssertionError(fault.kind)

    def _lost(self, fault: Fault, line: str) -> bool:
        """Faults that end the connection; False if this is none of them."""
        match fault.kind:
            case "drop_before":
                self._connection.abort()
            case "drop_after":
                self._perform(line)
                self._connection.abort()
            case "drop_bytes":
                rest = f"{line}\r\n{_wire(self._perform(line))}\r\n{self._prompt()}"
                self._write(rest.encode()[: int(fault.number)].decode(errors="ignore"))
                self._connection.abort()
            case "late":
                self._later(fault.number, lambda: self._answer("", self._perform(line)))
                self._connection.abort()
            case "die":
                self._listener.die()
            case _:
                return False
        return True

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        def due() -> None:
            self._pending = None
            act()
            if self._chan is None:  # the client went away meanwhile
                self._device.log_out(self._session())
            else:
                self._pump()

        self._pending = self._device.clock.later(delay_s, due)

    # Writing.

    def _answer(self, echo: str, text: str) -> None:
        """Echo, then the text page by page, then the prompt or the log-out question."""
        shell = self._session()
        if shell.leaving:
            self._leave(echo)
            return
        lines = text.split("\n") if text else []
        size = shell.page_lines or len(lines) or 1
        pages = [_wire("\n".join(lines[n : n + size])) for n in range(0, len(lines), size)]
        self._write(f"{echo}\r\n")
        if len(pages) > 1:
            self._pages = pages[1:]
            self._write(f"{pages[0]}\r\n{MORE}")
            self._awaiting = Awaiting.PAGE
        else:
            self._write(f"{pages[0]}\r\n" if pages else "")
            self._ready()

    def _turn_page(self, key: str) -> None:
        if key not in " \r\nqQ":
            return
        page = self._pages.pop(0) if key in " \r\n" else ""
        self._write(CLEAR_MORE + (f"{page}\r\n" if page else "\r\n"))
        if page and self._pages:
            self._write(MORE)
        else:
            self._pages = []
            self._ready()

    def _leave(self, echo: str) -> None:
        if self._session().interactive:
            self._write(f"{echo}\r\n{LOG_OUT}\r\n{SURE}")
            self._awaiting = Awaiting.SURE
        else:
            self._write(f"{echo}\r\n{GOODBYE}")
            if self._chan is not None:
                self._chan.exit(0)

    def _ready(self) -> None:
        self._write(f"\r\n{self._prompt()}")
        self._awaiting = Awaiting.LINE

    def _write(self, text: str) -> None:
        if self._chan is not None:
            self._chan.write(text.encode())

    def _prompt(self) -> str:
        return self._session().prompt(self._device.hostname)

    def _session(self) -> Shell:
        if self._shell is None:
            raise AssertionError("no line can come before the session started")
        return self._shell

    def _who(self) -> str:
        shell = self._session()
        return f"{shell.user}#{shell.number}"


def _wire(text: str) -> str:
    return text.replace("\n", "\r\n")


def _wrapped(echo: str, column: int) -> str:
    """The echo as a terminal of 80 columns shows it: a mark wherever the cursor is at the edge."""
    cuts = [n for n in range(1, len(echo)) if (column + n) % WIDTH == 0]
    parts = [echo[a:b] for a, b in zip([0, *cuts], [*cuts, len(echo)], strict=True)]
    return WRAP.join(parts)
