"""Devices of an attacker: SSH servers that take any password, write it down, and say anything."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import asyncssh

Process = asyncssh.SSHServerProcess[bytes]
Talk = Callable[[Process, "HostileHost"], Awaitable[None]]
Payload = Callable[[], Iterable[bytes]]

PART = 32 * 1024  # bytes that are written at a time


class _Login(asyncssh.SSHServer):
    """Takes every login and writes down who asked, with what."""

    def __init__(self, host: HostileHost) -> None:
        self._host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._host.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        self._host.users.append(username)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, _username: str, password: str) -> bool:
        self._host.passwords.append(password)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, _username: str, key: asyncssh.SSHKey) -> bool:
        self._host.keys.append(key.get_algorithm())
        return False

    def auth_completed(self) -> None:
        if self._host.stalls:
            self._host.poured = True
            transport: Any = self._host.connections[-1]._transport
            transport.pause_reading()  # from here on nobody is heard


async def _silent(process: Process, _host: HostileHost) -> None:
    """Say nothing until the client goes."""
    with contextlib.suppress(asyncssh.Error):
        await process.stdin.read()


class HostileHost:
    """Listens on a loopback address with a host key of its own kind and of nobody's trust."""

    def __init__(
        self,
        address: str,
        talk: Talk = _silent,
        kind: str = "ssh-ed25519",
        *,
        stalls: bool = False,
    ) -> None:
        self.stalls = stalls  # takes the login and answers no more
        self.address = address
        self.port = 0
        self.users: list[str] = []
        self.passwords: list[str] = []
        self.keys: list[str] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.heard: list[str] = []  # lines of shell()
        self.poured = False  # whether anybody came as far as the payload
        self._talk = talk
        self._key = asyncssh.generate_private_key(kind)
        self.host_key = self._key.export_public_key().decode().strip()
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

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _session(self, process: Process) -> None:
        # the client goes away in the middle: that is what it is asked to do
        with contextlib.suppress(asyncssh.Error, OSError):
            await self._talk(process, self)
        with contextlib.suppress(asyncssh.Error, OSError):
            process.exit(0)

    async def _start(self) -> None:
        self._server = await asyncssh.listen(
            self.address,
            0,
            server_factory=lambda: _Login(self),
            server_host_keys=[self._key],
            process_factory=self._session,
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
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=10)


class Endless:
    """A TCP port that sends the same bytes again and again: no SSH at all."""

    def __init__(self, address: str, payload: Payload) -> None:
        self.address = address
        self.port = 0
        self.poured = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Future[None]] = []
        self._payload = payload
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._met, self.address, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.poured = True
        self._writers.append(writer)
        self._tasks.append(asyncio.ensure_future(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for part in self._payload():
                writer.write(part)
                await writer.drain()
            await reader.read()

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()


async def _pour(process: Process, host: HostileHost, payload: Payload) -> None:
    host.poured = True
    for part in payload():
        for place in range(0, len(part), PART):
            process.stdout.write(part[place : place + PART])
            await process.stdout.drain()


async def _lines(process: Process, end: bytes) -> AsyncIterator[str]:
    """What the client sends, cut at `end`."""
    kept = b""
    while data := await process.stdin.read(65_536):
        kept += data
        while end in kept:
            line, _, kept = kept.partition(end)
            yield line.decode("utf-8", "replace")


def olt(trigger: str, payload: Payload) -> Talk:
    """An OLT's command line that behaves until a line with `trigger` comes, then pours."""

    async def talk(process: Process, host: HostileHost) -> None:
        prompt = "OLT1>"
        process.stdout.write(f"\r\n{prompt}".encode())
        async for line in _lines(process, b"\n"):
            word = line.strip()
            process.stdout.write(f"{word}\r\n".encode())
            if trigger in word:
                await _pour(process, host, payload)
                continue
            prompt = {"enable": "OLT1#", "disable": "OLT1>"}.get(word, prompt)
            process.stdout.write(prompt.encode())

    return talk


def shell(trigger: str, payload: Callable[[str], Iterable[bytes]]) -> Talk:
    """A box's shell: answers between the marks it is given; `payload(mark)` for the trigger."""

    async def talk(process: Process, host: HostileHost) -> None:
        process.stdout.write(b"box$ ")
        asked = ""
        async for line in _lines(process, b"\n"):
            asked += f"{line}\n"
            host.heard.append(line)
            if found := re.search(r"echo ([0-9a-f]{16})'>'", line):
                mark = found[1]
                if trigger in asked:
                    await _pour(process, host, lambda mark=mark: payload(mark))  # type: ignore[misc]
                else:
                    process.stdout.write(f"{mark}<\n{mark}>0\n".encode())
                asked = ""
            elif "echo " not in asked:
                process.stdout.write(f"{line}\r\nbox$ ".encode())
                asked = ""

    return talk


HELLO = """<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities>
<capability>urn:ietf:params:xml:ns:netconf:base:1.0</capability>
<capability>urn:ietf:params:netconf:base:1.{minor}</capability>
</capabilities><session-id>7</session-id></hello>]]>]]>"""


def router(payload: Callable[[str], Iterable[bytes]], *, minor: int = 0) -> Talk:
    """A NETCONF server that greets well and pours `payload(message-id)` at the first call."""

    async def talk(process: Process, host: HostileHost) -> None:
        process.stdout.write(HELLO.format(minor=minor).encode())
        end = b"\n##\n" if minor else b"]]>]]>"
        async for message in _lines(process, end):
            found = re.search(r'message-id="([^"]*)"', message)
            if found:
                await _pour(process, host, lambda number=found[1]: payload(number))  # type: ignore[misc]

    return talk


def rude_router(payload: Payload) -> Talk:
    """A NETCONF server whose greeting is the payload."""

    async def talk(process: Process, host: HostileHost) -> None:
        await _pour(process, host, payload)
        await process.stdin.read()

    return talk
