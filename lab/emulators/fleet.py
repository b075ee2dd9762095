"""Runs hundreds of emulated devices in one event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncssh
import yaml

from lab.emulators.base import DeviceSpec, Emulator, Json

T = TypeVar("T")
log = logging.getLogger(__name__)

CONTROL_TIMEOUT_S = 30.0
_FIELDS = {"name", "kind", "address", "port", "username", "password", "options"}


class FleetFileError(ValueError):
    """A fleet file says something that cannot be run."""


def load_fleet_file(path: Path) -> tuple[DeviceSpec, ...]:
    """Read {devices: [{name, kind, address, port, username, password[, options]}]} from YAML.

    Raises FleetFileError naming the device and field at fault.
    """
    content = yaml.safe_load(path.read_text("utf-8"))
    rows = content.get("devices") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        msg = f"{path}: a list named 'devices' is expected"
        raise FleetFileError(msg)
    specs = tuple(_spec(path, place, row) for place, row in enumerate(rows, start=1))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            msg = f"{path}: device {name} is there twice"
            raise FleetFileError(msg)
    return specs


def _spec(path: Path, place: int, row: Any) -> DeviceSpec:
    if not isinstance(row, dict):
        msg = f"{path}: device {place} is not a mapping"
        raise FleetFileError(msg)
    for field in sorted(_FIELDS - {"options"} - set(row)):
        msg = f"{path}: device {place} has no {field}"
        raise FleetFileError(msg)
    for field in sorted(set(row) - _FIELDS):
        msg = f"{path}: device {place} has an unknown field {field}"
        raise FleetFileError(msg)
    return DeviceSpec(
        name=str(row["name"]),
        kind=str(row["kind"]),
        address=str(row["address"]),
        port=int(row["port"]),
        username=str(row["username"]),
        password=str(row["password"]),
        options=row.get("options") or {},
    )


def host_key_in(state_dir: Path | None) -> asyncssh.SSHKey:
    """The fleet's ed25519 host key: kept in `state_dir` (file mode 0600), or a passing one."""
    if state_dir is None:
        return asyncssh.generate_private_key("ssh-ed25519")
    path = state_dir / "host_key"
    if not path.exists():
        key = asyncssh.generate_private_key("ssh-ed25519")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key())
    return asyncssh.read_private_key(path)


class Fleet:
    """A running fleet; use as a context manager.

    `crashes` lists mistakes of the emulators themselves (never modelled faults): a test that used
    a fleet should find it empty. `host_key` is the public key line shared by all devices.
    """

    def __init__(self, specs: Sequence[DeviceSpec], *, state_dir: Path | None = None) -> None:
        key = host_key_in(state_dir)
        self.host_key = key.export_public_key().decode().strip()
        self.crashes: list[str] = []
        self._emulators: dict[str, Emulator] = {}
        for spec in specs:
            module = importlib.import_module(f"lab.emulators.{spec.kind}")
            self._emulators[spec.name] = module.build(spec, key)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._note_crash)
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        """Start every device; raises what the first failing one raised, with none left running."""
        self._thread.start()
        try:
            self.call(self._start())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every device."""
        self._close()

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of all devices."""
        return tuple(self._emulators)

    def control(self, device: str, do: str, /, **args: Any) -> Json:
        """Do one thing from outside the wire; may be called from any thread but the fleet's.

        Raises ValueError for an unknown device or verb and for bad arguments.
        """
        return self.call(self._control(device, do, args))

    def control_now(self, device: str, do: str, args: Json) -> Json:
        """The same as `control`, for callers inside the fleet's loop."""
        emulator = self._emulators.get(device)
        if emulator is None:
            msg = f"no device {device!r} in this fleet"
            raise ValueError(msg)
        return emulator.control(do, args)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the fleet's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_TIMEOUT_S)

    async def _control(self, device: str, do: str, args: Json) -> Json:
        return self.control_now(device, do, args)

    async def _start(self) -> None:
        starts = (emulator.start() for emulator in self._emulators.values())
        # All have ended before the first failure is told: nothing starts during the clean-up.
        for result in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _stop(self) -> None:
        await asyncio.gather(*(emulator.stop() for emulator in self._emulators.values()))
        # Connections that were just cut need a few turns of the loop to finish their clean-up.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=2.0)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _close(self) -> None:
        try:
            self.call(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _note_crash(self, _loop: asyncio.AbstractEventLoop, context: Json) -> None:
        exc = context.get("exception")
        text = f"{context.get('message', '')}: {exc!r}"
        log.error(text, exc_info=exc)
        self.crashes.append(text)
