"""A TCP relay before a PostgreSQL server that can lose a COMMIT, or the answer to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from orchestrator.database import IDLE_TIMEOUT_MS

IDLE = f"'idle_in_transaction_session_timeout', '{IDLE_TIMEOUT_MS}'".encode()
PATIENT = IDLE.replace(b"10000", b"99999")  # a busy machine starts no process in ten seconds


class Relay:
    """A TCP relay before the server, which can lose one COMMIT or the answer to it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # "request" or "answer" of the next COMMIT; "both" or, with a client that goes on to wait,
        # "late": the COMMIT is passed on when `wait` is over, and nobody hears the answer
        self.lose = ""
        self.wait: Callable[[], None] = lambda: None
        self.patient = False  # the server is told to bear a session that sleeps for longer
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End everything."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._address)
            self._sockets += [client, server]
            for act in (self._up, self._down):
                thread = threading.Thread(target=act, args=(client, server), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.patient:
                    data = data.replace(IDLE, PATIENT)
                lose = self.lose if data[:1] == b"Q" and data.endswith(b"COMMIT\0") else ""
                if lose:
                    self.lose = ""
                if lose in ("answer", "both"):
                    client.shutdown(socket.SHUT_RDWR)
                if lose in ("both", "late"):
                    self.wait()
                if lose != "request":
                    server.sendall(data)
                if lose:
                    break
        for each in (server, client):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_WR if each is server else socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
