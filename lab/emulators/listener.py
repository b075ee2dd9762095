"""An SSH server for one emulated device: passwords, connection table, dying and coming back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

import asyncssh

from lab.emulators.base import DeviceSpec
from lab.emulators.faults import report_crash

logging.getLogger("asyncssh").setLevel(logging.CRITICAL)  # aborted connections are the trade here

SessionFactory = Callable[["Connection"], asyncssh.SSHServerSession[bytes]]


class Connection(asyncssh.SSHServer):
    """One SSH connection: who logged in, and a way to cut it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._conn: asyncssh.SSHServerConnection | None = None
        self.user = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection so that it can be aborted."""
        self._conn = conn
        self._listener.connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the connection."""
        self._listener.connections.discard(self)

    def password_auth_supported(self) -> bool:
        """Passwords are the only way in."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """True for the user of the spec and for those of its option `users`."""
        good = self._listener.passwords.get(username) == password
        if good:
            self.user = username
        return good

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """A session of the device's kind."""
        return self._listener.session_factory(self)

    def abort(self) -> None:
        """Cut the TCP connection without a goodbye."""
        if self._conn is not None:
            self._conn.abort()


class Listener:
    """Listens on the address of a device; sessions come from `session_factory(connection)`.

    Bytes in, bytes out, no line editor. `options["users"]`: {name: password} of further users.
    """

    def __init__(
        self, spec: DeviceSpec, host_key: asyncssh.SSHKey, session_factory: SessionFactory
    ) -> None:
        self._spec = spec
        self._host_key = host_key
        self.session_factory = session_factory
        self.passwords: dict[str, str] = {
            **spec.options.get("users", {}),
            spec.username: spec.password,
        }
        self.connections: set[Connection] = set()
        self._socket: socket.socket | None = None
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._reviving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and serve; raises OSError if the address is taken."""
        self._bind()
        await self._serve()

    async def stop(self) -> None:
        """Cut every connection and stop listening."""
        self.die()
        if self._reviving is not None:
            self._reviving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reviving

    def die(self) -> None:
        """Cut every connection; from now on the port refuses."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.cut()

    def cut(self) -> None:
        """Cut every connection but keep listening."""
        for connection in tuple(self.connections):
            connection.abort()

    def revive(self) -> None:
        """Listen again: the port is bound on return, connections are served right after."""
        if self._socket is None:
            self._bind()
            self._reviving = asyncio.get_running_loop().create_task(self._revived())

    async def _revived(self) -> None:
        try:
            await self._serve()
        except Exception as exc:  # noqa: BLE001 - nobody awaits this task
            report_crash(f"{self._spec.name} revive", exc)

    def _bind(self) -> None:
        self._socket = socket.create_server((self._spec.address, self._spec.port), backlog=128)

    async def _serve(self) -> None:
        acceptor = await asyncssh.listen(
            sock=self._socket,
            server_factory=lambda: Connection(self),
            server_host_keys=[self._host_key],
            encoding=None,
            line_editor=False,
            login_timeout=0,
            config=None,
            kex_algs=["curve25519-sha256", "curve25519-sha256@libssh.org"],
            password_auth=True,
            public_key_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            allow_pty=True,
            compression_algs=None,
            x11_forwarding=False,
            agent_forwarding=False,
        )
        if self._socket is None:  # died while the server was being made
            acceptor.close()
        else:
            self._acceptor = acceptor
