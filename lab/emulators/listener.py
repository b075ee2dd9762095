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
        self._peer = ""
        self.user = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection so that it can be aborted."""
        self._conn = conn
        host, port = conn.get_extra_info("peername")[:2]
        self._peer = f"{host}:{port}"
        self._listener.connections.add(self)
        self._listener.note(self._peer, "connected")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if exc is not None and not isinstance(exc, asyncssh.Error | OSError):
            report_crash("an SSH callback", exc)
        self._listener.connections.discard(self)
        self._listener.note(self._peer, "disconnected")

    def password_auth_supported(self) -> bool:
        """Passwords are the only way in."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """True for the user of the spec and for those of its option `users`."""
        good = self._listener.passwords.get(username) == password
        if good:
            self.user = username
        self._listener.note(self._peer, f"login of {username}" + ("" if good else " refused"))
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

    `note(who, what)` hears of connections and logins; `who` is the peer's address.
    Bytes in, bytes out, no line editor. `options["users"]`: {name: password} of further users.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        host_key: asyncssh.SSHKey,
        session_factory: SessionFactory,
        note: Callable[[str, str], None] = lambda _who, _what: None,
    ) -> None:
        self._spec = spec
        self.session_factory = session_factory
        self.note = note
        self.passwords: dict[str, str] = {
            **spec.options.get("users", {}),
            spec.username: spec.password,
        }
        self.connections: set[Connection] = set()
        self._socket: socket.socket | None = None
        self._greeting: set[asyncio.Task[None]] = set()  # connections that are not logged in yet
        self._options = asyncssh.SSHServerConnectionOptions(
            server_factory=lambda: Connection(self),
            server_host_keys=[host_key],
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
            compression_algs=None,
            x11_forwarding=False,
            agent_forwarding=False,
        )

    async def start(self) -> None:
        """Listen; raises OSError if the address is taken."""
        self.revive()

    async def stop(self) -> None:
        """Cut every connection and stop listening."""
        self.die()
        await asyncio.gather(*self._greeting, return_exceptions=True)

    def die(self) -> None:
        """Cut every connection; from now on the port refuses."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self.cut()

    def cut(self) -> None:
        """Cut every connection but keep listening."""
        for task in self._greeting:
            task.cancel()
        for connection in tuple(self.connections):
            connection.abort()

    def revive(self) -> None:
        """Listen (again); connections are accepted from now on."""
        if self._socket is None:
            self._socket = socket.create_server((self._spec.address, self._spec.port), backlog=128)
            self._socket.settimeout(0)
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            sock, _ = listening.accept()
            sock.settimeout(0)
            task = asyncio.get_running_loop().create_task(self._greet(sock))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, sock: socket.socket) -> None:
        """Key exchange and login; what comes after is the session's."""
        try:
            await asyncssh.run_server(sock, options=self._options)
        except (asyncssh.Error, OSError):
            sock.close()  # a wrong password, or the peer is gone
        except asyncio.CancelledError:
            sock.close()
            raise
        except Exception as exc:  # noqa: BLE001 - nobody awaits this task
            sock.close()
            report_crash(f"{self._spec.name} SSH", exc)
