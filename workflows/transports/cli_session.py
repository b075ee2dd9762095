"""One command line session through a netmiko class: strict host keys, bounded answers."""

from __future__ import annotations

import contextlib
import logging
import re
import select
import time
from collections.abc import Iterator, Mapping
from typing import Any

import paramiko
from netmiko.exceptions import (
    NetmikoAuthenticationException,
    NetmikoBaseException,
    NetmikoTimeoutException,
    ReadException,
    ReadTimeout,
)
from netmiko.ssh_dispatcher import CLASS_MAPPER

from inventory import DeviceProblem, LoginRefused, Unreachable
from workflows.participant import WireContext

from . import hostkeys
from .ssh_limits import dialled
from .words import InDoubt, SaysNo, printable, shown

MAX_ANSWER = 16 * 1024 * 1024  # characters of one answer
LINE_S = 5  # a line without an answer for so long is in doubt: reading tells sooner than waiting
# Unless the platform says otherwise. A save takes minutes: who reads sooner finds nothing saved,
# and after some tries takes a change back because its OLT is slow.
SAVE_S = 300
ASK_S = 60  # a page of a long list on a slow device
WHOLE_S = 600  # all pages of it
KEEPALIVE_S = 30
BUSY_S = 5  # between two tries to save while the device saves already
LOOK_S = 0.01
# what netmiko and paramiko raise when the other side does not behave
BROKEN = (NetmikoBaseException, paramiko.SSHException, OSError, EOFError, ValueError)
MORE = r"---- More[^\n]{0,80}----"  # bounded: without, a line of these takes hours


# Without a handler Python prints the libraries' tracebacks between our own lines.
for _name in ("netmiko", "paramiko"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Watched:
    """Put before a netmiko class: notices a closed channel, counts characters, leaves quickly."""

    heard = 0
    remote_conn: Any
    _read_buffer: str

    def read_channel(self) -> str:
        """Read what is there; raises ReadException at the end of the stream or of our patience."""
        if not self._read_buffer:
            # netmiko looks, then sleeps 10 ms; waiting here ends as soon as something comes
            select.select((self.remote_conn,), (), (), LOOK_S)
        text: str = super().read_channel()  # type: ignore[misc]  # netmiko has no types
        if not text and (self.remote_conn.closed or self.remote_conn.eof_received):
            # netmiko would poll a dead channel until its timeout
            raise ReadException("the device closed the session")
        self.heard += len(text)
        if self.heard > MAX_ANSWER:
            raise ReadException(f"the answer is longer than {MAX_ANSWER} characters")
        return text

    def cleanup(self, command: str = "") -> None:
        """Say no goodbye: netmiko's waits up to 30 s for a device that does not answer."""


class CliSession:
    """A session of a device's own command line.

    `options` are a platform's transport_options: `base` (netmiko's device_type); and, optional,
    `prompt_pattern` (ends the login), `error_pattern` (in an answer: refused), `busy` (the same),
    `save` (the command), `save_done` (what a finished save prints; without it the prompt is
    believed), `save_timeout_s`, `more` (the page prompt), `config_mode` (lines are sent there),
    `drain_query` (lists sessions), `drain_row` (one of them, with the group `user`) and
    `drain_total` (their number, with the group `total`).
    """

    def __init__(self, context: WireContext, options: Mapping[str, Any]) -> None:
        self._context = context
        self._options = options
        self._connection: Any = None
        self._secret = ""
        self._configuring = False
        self.doubted = False

    def open(self) -> None:
        """Connect, log in and make ready for lines; raises as Wire.open does."""
        device = self._context.device
        with hostkeys.file_for(self._context) as known_hosts:
            self._secret = self._context.resolve(device.password) if device.password.ref else ""
            try:
                with dialled(device.host, device.port, self._context.timeout_s) as socket:
                    self._connect(known_hosts, socket)
            except (*BROKEN, InDoubt) as error:
                raise self._open_problem(error) from error

    def _connect(self, known_hosts: str, socket: Any) -> None:
        device = self._context.device
        connection = self._class()(
            host=device.host,
            port=device.port,
            sock=socket,
            username=device.username,
            password=self._secret or None,
            key_file=device.key_file or None,
            device_type=self._options["base"],
            ssh_strict=True,
            system_host_keys=False,
            alt_host_keys=True,
            alt_key_file=known_hosts,
            conn_timeout=self._context.timeout_s,
            auth_timeout=self._context.timeout_s,
            banner_timeout=self._context.timeout_s,
            keepalive=KEEPALIVE_S,
            auto_connect=False,
        )
        try:
            connection._open()  # noqa: SLF001 - what auto_connect does, but we may clean up
            self._connection = connection
            self._ready()
        except BaseException:
            self._connection = None
            with contextlib.suppress(Exception):
                connection.disconnect()
            raise

    def _class(self) -> Any:
        base = CLASS_MAPPER[self._options["base"]]
        pattern = self._options.get("prompt_pattern")
        return type("Session", (Watched, base), {"prompt_pattern": pattern} if pattern else {})

    def _ready(self) -> None:
        self._connection.enable()

    def _open_problem(self, error: Exception) -> DeviceProblem:
        device = self._context.device
        if isinstance(error, NetmikoAuthenticationException):
            return LoginRefused(
                device.name,
                f"{device.host} refused the login of {device.username}",
                "Correct the user name or the secret that the inventory refers to.",
            )
        cause = error.__context__
        if isinstance(cause, paramiko.BadHostKeyException) or "host key" in str(cause):
            return hostkeys.changed(device)
        told = cause if isinstance(error, NetmikoTimeoutException) and cause else error
        words = shown(str(told) or type(told).__name__, self._secret)
        return Unreachable(
            device.name,
            f"no command line on {device.host} port {device.port}: {words}",
            "Check the path to the device and that it offers SSH.",
        )

    def close(self) -> None:
        """Let go; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.disconnect()

    def ask(self, query: str) -> str:
        """Return what the device prints, without echo, pages and prompt."""
        with self._asking() as connection:
            return self._answer(connection, query, ASK_S)

    def send(self, line: str) -> None:
        """Send one configuration line; raises SaysNo with the device's words.

        The lease is asked for each: who was stopped inside a batch sends no line more of it.
        """
        self._context.may_send()
        with self._asking() as connection:
            if self._options.get("config_mode") and not self._configuring:
                connection.config_mode()
                self._configuring = True
            text = connection.send_config_set(
                [line],
                enter_config_mode=False,
                exit_config_mode=False,
                read_timeout=LINE_S,
            )
        self._refusal(printable(text).partition(line)[2])

    def send_all(self, lines: tuple[str, ...]) -> None:
        """Send lines one by one; raises SaysNo or InDoubt naming the line it stopped at."""
        for number, line in enumerate(lines, start=1):
            before = f"; {number - 1} before it applied" if number > 1 else ""
            try:
                self.send(line)
            except SaysNo as no:
                msg = f"line {number} of {len(lines)} refused: {no}{before}"
                raise SaysNo(msg) from no
            except InDoubt as doubt:
                msg = f"line {number} of {len(lines)} in doubt: {doubt}{before}"
                raise InDoubt(msg) from doubt

    def save(self) -> None:
        """Save running to startup and wait for the real end; raises SaysNo with the device's words.

        A save that runs already (an autosave, a person's) refuses ours for minutes: it is waited
        for as long as ours would be. Other refusals of a decided change would take it back.
        """
        done = self._options.get("save_done")
        busy = self._options.get("busy")
        wait_s = self._options.get("save_timeout_s", SAVE_S)
        deadline = time.monotonic() + wait_s
        self._context.may_send()
        with self._asking() as connection:
            text = self._answer(connection, self._options["save"], LINE_S)
            while busy and re.search(busy, text) and time.monotonic() < deadline:
                time.sleep(BUSY_S)
                self._context.may_send()
                text = self._answer(connection, self._options["save"], LINE_S)
            self._refusal(text)
            if done and not re.search(done, text):
                connection.read_until_pattern(f"(?:{done})", read_timeout=wait_s)

    def older_sessions(self) -> int:
        """Count the other sessions of our user."""
        text = self.ask(self._options["drain_query"])
        rows = list(re.finditer(self._options["drain_row"], text, flags=re.MULTILINE))
        total = re.search(self._options["drain_total"], text)
        mine = sum(row["user"] == self._context.device.username for row in rows)
        if not mine or total is None or int(total["total"]) != len(rows):
            raise SaysNo(f"the list of sessions is not understood: {shown(text, self._secret)}")
        return int(mine) - 1

    def _answer(self, connection: Any, command: str, wait_s: float) -> str:
        more = self._options.get("more", MORE)
        prompt = rf"(?m:^{re.escape(connection.base_prompt)}[^\n]*[>#$]\s*\Z)"
        connection.write_channel(connection.normalize_cmd(command))
        connection.read_until_pattern(re.escape(command), read_timeout=LINE_S)
        pages: list[str] = []
        deadline = time.monotonic() + max(wait_s, WHOLE_S)
        page = ""
        while time.monotonic() < deadline:
            page += connection.read_until_pattern(f"(?:{more}|{prompt})", read_timeout=wait_s)
            asks = re.search(rf"{more}\Z", page)
            if not asks:
                return re.sub(prompt, "", printable("".join((*pages, page))))
            pages.append(page[: asks.start()])
            # the next page overwrites the page prompt with blanks, which are no text either
            connection.write_channel(" ")
            page = re.sub(r"^ {20,}", "", connection.read_until_pattern(r"(?s:.)"))
        raise ReadTimeout(f"{len(pages)} pages came and no end")

    def _refusal(self, text: str) -> None:
        for key in ("busy", "error_pattern"):
            pattern = self._options.get(key)
            found = re.search(pattern, text, flags=re.MULTILINE) if pattern else None
            if found:
                line = text[text.rfind("\n", 0, found.start()) + 1 :].strip().partition("\n")[0]
                raise SaysNo(shown(line, self._secret))

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        """Give the connection; a missing answer is doubt, and ends the use of the session."""
        if self._connection is None or self.doubted:
            raise InDoubt("the session is closed or in doubt: a new one is needed")
        self._connection.heard = 0
        try:
            yield self._connection
        except ReadTimeout as error:
            self.doubted = True
            raise InDoubt("no answer in time") from error
        except BROKEN as error:
            self.doubted = True
            words = shown(str(error) or type(error).__name__, self._secret)
            raise InDoubt(f"the session broke: {words}") from error
