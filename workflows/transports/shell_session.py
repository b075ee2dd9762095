"""One shell session through netmiko's linux class: every command is checked by its exit status."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from workflows.participant import WireContext

from .cli_session import CliSession
from .words import InDoubt, SaysNo, printable, shown

MAX_LINE = 64 * 1024
GONE_POLL_S = 0.1


class ShellSession(CliSession):
    """A `sh` of our own in place of the login shell.

    Its second argument names us, so that older sessions of ours can be told from a person's
    shell in the process list. It neither echoes nor prompts: an answer is what stands between two
    marks that no command can know.
    """

    def __init__(self, context: WireContext, options: Mapping[str, Any]) -> None:
        super().__init__(context, options)
        device = context.device
        self._place = f"bandmaster-session={device.host}:{device.port}/"
        self._name = self._place + secrets.token_hex(8)

    def _ready(self) -> None:
        connection = self._connection
        connection.write_channel(f"exec sh -s '{self._name}'\n")
        # without -icanon a terminal cuts lines at 4,095 characters
        connection.write_channel("PS1= PS2=; stty -echo -icanon min 1 time 0\n")
        self._run("stty -echo -icanon min 1 time 0")

    def ask(self, query: str) -> str:
        """Return what a command prints; raises SaysNo when its exit status is not 0."""
        status, text = self._run(query)
        if status:
            raise SaysNo(f"exit status {status}: {shown(text, self._secret)}")
        return text

    def send(self, line: str) -> None:
        """Run one command; raises SaysNo with its words when its exit status is not 0."""
        self.ask(line)

    def save(self) -> None:
        """Run the command that keeps what runs, where the platform names one."""
        if self._options.get("save"):
            self.ask(self._options["save"])

    def older_sessions(self) -> int:
        """End the older shells of ours on this box; return how many are still there.

        Killing is sound: whoever drains holds the device's lease, so theirs has ended.
        """
        mine = self._name.rpartition("/")[2]
        # the bracket keeps the pattern from finding the process that looks for it
        place = re.escape(self._place).replace("=", "[=]")
        self._run(
            f"for f in $(grep -l '{place}' /proc/[0-9]*/cmdline 2>/dev/null); do "
            f"grep -q {mine} $f || {{ f=${{f#/proc/}}; kill -9 ${{f%/cmdline}}; }}; done"
        )
        time.sleep(GONE_POLL_S)
        _, text = self._run(
            f"for f in $(grep -l '{place}' /proc/[0-9]*/cmdline 2>/dev/null); do "
            f"grep -q {mine} $f || echo $f; done"
        )
        return len(text.split())

    def _run(self, command: str) -> tuple[int, str]:
        if len(command) > MAX_LINE or "\n" in command or "\0" in command:
            raise SaysNo(f"not one line of at most {MAX_LINE} characters: nothing was sent")
        mark = secrets.token_hex(8)
        with self._asking() as connection:
            # braces: all of it is read before any runs, and `command &` may end a line
            connection.write_channel(
                f"echo {mark}'<'; {{ {command}\n}} </dev/null 2>&1; echo {mark}'>'$?\n"
            )
            text = printable(
                connection.read_until_pattern(
                    rf"{mark}>[0-9]{{1,3}}\s", read_timeout=self._context.timeout_s
                )
            )
            _, begun, rest = text.partition(f"{mark}<\n")
            answer, _, rest = rest.partition(f"{mark}>")
            status = re.match(r"[0-9]{1,3}(?=\s)", rest)
            if not begun or status is None:
                self.doubted = True
                raise InDoubt("the answer is not between its marks")
        return int(status[0]), answer
