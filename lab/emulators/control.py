"""The control socket of a running fleet: one JSON object per line in, one per line out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.emulators.base import Json
from lab.emulators.faults import report_crash
from lab.emulators.fleet import Fleet

SOCKET_NAME = "control.sock"
REQUEST_LIMIT = 64 * 1024 * 1024  # a whole configuration may come in one line


class ControlRefusedError(Exception):
    """The fleet did not do what was asked; the text says why."""


class ControlClient:
    """Talks to the fleet whose state directory is `state_dir`; one connection per call."""

    def __init__(self, state_dir: Path, *, timeout_s: float = 30.0) -> None:
        self._state_dir = state_dir
        self._timeout_s = timeout_s

    def call(self, device: str, do: str, /, **args: Any) -> Json:
        """Do one thing on one device; answers its result.

        Raises ControlRefusedError with the fleet's reason, OSError if no fleet is there.
        """
        request = json.dumps({"device": device, "do": do, "args": args}).encode() + b"\n"
        with (
            _short_path(self._state_dir) as path,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock,
        ):
            sock.settimeout(self._timeout_s)
            sock.connect(path)
            sock.sendall(request)
            with sock.makefile("rb") as answers:
                line = answers.readline()
        if not line:
            message = "the fleet ended before it answered"
            raise ControlRefusedError(message)
        answer: Json = json.loads(line)
        if not answer["ok"]:
            raise ControlRefusedError(answer["error"])
        result: Json = answer["result"]
        return result


async def serve(fleet: Fleet, state_dir: Path) -> asyncio.Server:
    """Serve the control socket from inside the fleet's loop; the file is mode 0600."""
    (state_dir / SOCKET_NAME).unlink(missing_ok=True)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(_answer(fleet, line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the caller or the fleet is gone, so nobody waits for an answer
        finally:
            writer.close()

    with _short_path(state_dir) as path:
        server = await asyncio.start_unix_server(connected, path, limit=REQUEST_LIMIT)
    (state_dir / SOCKET_NAME).chmod(0o600)
    return server


async def close(server: asyncio.Server, state_dir: Path) -> None:
    """Stop serving and remove the socket."""
    server.close()
    (state_dir / SOCKET_NAME).unlink(missing_ok=True)


def _answer(fleet: Fleet, line: bytes) -> Json:
    try:
        device, do, args = _request(line)
        return {"ok": True, "result": fleet.control_now(device, do, args)}
    except ValueError as exc:
        return {"ok": False, "error": str(exc)}
    except Exception as exc:  # noqa: BLE001 - the caller must hear of it, and so must the fleet
        report_crash(f"control {line[:200]!r}", exc)
        return {"ok": False, "error": f"the emulator failed: {exc!r}"}


def _request(line: bytes) -> tuple[str, str, Json]:
    request = json.loads(line)
    match request:
        case {"device": str(device), "do": str(do), "args": dict(args)}:
            return device, do, args
    message = 'a request is {"device": "..", "do": "..", "args": {..}}'
    raise ValueError(message)


@contextmanager
def _short_path(state_dir: Path) -> Iterator[str]:
    """A path to the socket that fits into 107 bytes however deep the directory lies."""
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)
