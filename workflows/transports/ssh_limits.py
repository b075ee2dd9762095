"""Bounds what a host may send and how long it may take until a session is open; paramiko does not.

All of this can be said by anybody on the path, before a host key has been looked at.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import paramiko
import paramiko.transport
from paramiko.packet import Packetizer

MAX_GREETING = 16 * 1024  # octets up to the end of the version line
MAX_PACKET = 256 * 1024  # octets; what OpenSSH takes, and more than anybody sends
OPEN_FACTOR = 4  # an opening has some four exchanges, each of which may take the device's timeout


class _Bounded(Packetizer):  # type: ignore[misc]  # paramiko has no types
    """Reads no greeting and no packet that is longer than one can be."""

    _greeted = 0
    _until = 0.0

    def _read_timeout(self, timeout: float) -> bytes:
        """Read a part of the greeting; `timeout` of the first one counts for all of it."""
        self._until = self._until or time.monotonic() + timeout
        data: bytes = super()._read_timeout(timeout)
        self._greeted += len(data)
        if self._greeted > MAX_GREETING or time.monotonic() > self._until:
            msg = f"no SSH version within {MAX_GREETING} octets and the time for it"
            raise paramiko.SSHException(msg)
        return data

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002
        """Read `n` octets, unless that many cannot be one packet's."""
        if n > MAX_PACKET:
            msg = f"a packet of {n} octets is no SSH packet"
            raise paramiko.SSHException(msg)
        data: bytes = super().read_all(n, check_rekey)
        return data


# every Transport that any library makes looks the class up here
paramiko.transport.Packetizer = _Bounded


@contextlib.contextmanager
def dialled(host: str, port: int, timeout_s: float) -> Iterator[socket.socket]:
    """Yield a connected socket that is cut unless the block ends in OPEN_FACTOR * `timeout_s`.

    The libraries wait for some answers for an hour, or for ever. Raises OSError.
    """
    connection = socket.create_connection((host, port), timeout=timeout_s)
    watch = threading.Timer(OPEN_FACTOR * timeout_s, _cut, (connection,))
    watch.daemon = True
    watch.start()
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    finally:
        watch.cancel()
        watch.join()  # it may be cutting; what is opened next must not be what it cuts


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
