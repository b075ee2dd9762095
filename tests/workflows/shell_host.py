"""An SSH server whose sessions are real shells on real terminals, and a platform of plain files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh

from device_templates import Field, Objects, Platform, Reading, Section
from device_templates.linux_tc.dead_man import dead_man
from inventory import Unreadable


class _Shell(asyncssh.SSHServerSession[bytes]):
    """One `sh` on a terminal of its own; the terminal hangs up with the connection."""

    def __init__(self, host: ShellHost) -> None:
        self._host = host
        self._chan: Any = None
        self._terminal = -1

    def connection_made(self, chan: Any) -> None:
        self._chan = chan

    def pty_requested(self, *_: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def session_started(self) -> None:
        self._terminal, end = os.openpty()
        self._host.processes.append(
            subprocess.Popen(
                ["setsid", "--ctty", "sh"],
                stdin=end,
                stdout=end,
                stderr=end,
                env={"PATH": os.environ["PATH"], "HOME": str(self._host.folder), "TERM": "dumb"},
            )
        )
        os.close(end)
        asyncio.get_running_loop().add_reader(self._terminal, self._told)

    def _told(self) -> None:
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # the shell has ended
            data = b""
        if data and not self._chan.is_closing():
            self._chan.write(data)
        elif not data:
            self._hang_up()
            self._chan.close()

    def data_received(self, data: bytes, _datatype: Any) -> None:
        self._host.heard += data
        if self._terminal >= 0:
            os.write(self._terminal, data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        if self._terminal >= 0:
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.close(self._terminal)
            self._terminal = -1


class _Login(asyncssh.SSHServer):
    def __init__(self, host: ShellHost) -> None:
        self._host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._host.connections.append(conn)

    def validate_password(self, _username: str, password: str) -> bool:
        return password == self._host.password

    def password_auth_supported(self) -> bool:
        return True

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Shell(self._host)


class ShellHost:
    """Listens on a loopback address; `heard` is all that clients typed."""

    def __init__(self, address: str, password: str, folder: Path) -> None:
        self.address = address
        self.port = 0
        self.password = password
        self.folder = folder
        self.heard = b""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = self._key.export_public_key().decode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        for process in self.processes:
            process.kill()
            process.wait()

    def cut(self) -> None:
        """Cut the TCP connections."""

        async def abort() -> None:
            for connection in self.connections:
                connection.abort()

        self._call(abort())

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._server = await asyncssh.listen(
            self.address,
            0,
            server_factory=lambda: _Login(self),
            server_host_keys=[self._key],
            encoding=None,
            line_editor=False,
        )
        self.port = self._server.get_port()

    async def _stop(self) -> None:
        self._server.close()
        for connection in self.connections:
            connection.abort()
            with contextlib.suppress(asyncssh.Error, OSError):
                await connection.wait_closed()
        await self._server.wait_closed()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBox:
    """A box whose lines are files NAME.rate holding `DOWN UP`; the switch is linux_tc's own."""

    folder: Path

    def platform(self) -> Platform:
        """The platform; its lines are real shell commands."""
        return Platform(
            name="linux_tc",
            title="files",
            mechanism="dead_man",
            transport="netmiko",
            transport_options={"base": "linux"},
            fields={"name": Field(kind="text", pattern=r"[a-z0-9-]+", help="a file's name")},
            read=self._read,
            parse=self._parse,
            target=lambda _objects, _state, rate, _before, _profiles: (
                ("down_kbps", str(rate.down_kbps)),
                ("state", "on"),
                ("up_kbps", str(rate.up_kbps)),
            ),
            render=self._render,
            owned=lambda line, objects: (
                re.fullmatch(rf"echo \d+ \d+ > \S+/{objects['name']}\.rate", line) is not None
            ),
            profile_lines=lambda _rates, _profiles: (),
            profile_owned=lambda _line: False,
            save_lines=lambda objects, _section: (
                f"cp {self.folder}/{objects['name']}.rate {self.folder}/{objects['name']}.saved",
            ),
            dead_man=dead_man(str(self.folder / "run")),
        )

    def _read(self, database: str, objects: tuple[Objects, ...]) -> tuple[str, ...]:
        end = "rate" if database == "running" else "saved"
        return tuple(f"cat {self.folder}/{one['name']}.{end}" for one in objects)

    def _parse(
        self, _database: str, objects: tuple[Objects, ...], replies: tuple[str, ...]
    ) -> Reading:
        sections = []
        for _, reply in zip(objects, replies, strict=True):
            found = re.fullmatch(r"(\d+) (\d+)\n", reply)
            if found is None:
                raise Unreadable("box", f"not a rate: {reply!r}")
            down, up = found.groups()
            sections.append((("down_kbps", down), ("state", "on"), ("up_kbps", up)))
        return Reading(sections=tuple(sections))

    def _render(self, objects: Objects, _before: Section, after: Section) -> tuple[str, ...]:
        leaves = dict(after)
        rate = f"{leaves['down_kbps']} {leaves['up_kbps']}"
        return (f"echo {rate} > {self.folder}/{objects['name']}.rate",)
