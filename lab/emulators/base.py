"""What every emulated device offers to the fleet that runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One emulated device as written in a fleet file.

    `options` holds what only its kind understands (seeded configuration, speed of its clock, ...).
    """

    name: str
    kind: str  # module name below lab.emulators: "junos", "smartax"
    address: str  # loopback address to listen on, e.g. 127.50.0.1
    port: int  # TCP port of its SSH server
    username: str
    password: str = field(repr=False)
    options: Json = field(default_factory=dict, repr=False)


class Emulator(Protocol):
    """A device that lives in the fleet's event loop; all methods are called from that loop.

    A kind's module offers `build(spec: DeviceSpec, host_key: asyncssh.SSHKey) -> Emulator`.
    """

    spec: DeviceSpec

    async def start(self) -> None:
        """Listen on the address and port of the spec; port 0 is not supported."""

    async def stop(self) -> None:
        """Drop every connection and stop listening; state in memory is kept."""

    def control(self, do: str, args: Json) -> Json:
        """Do one thing from outside the wire (fault, human edit, reload, dump); answer with JSON.

        Raises ValueError with a clear text for an unknown verb or bad arguments.
        Every kind understands: "dump" (whole state), "log" (what arrived, in order), "fault"
        (arm one fault), "clear" (disarm all faults), "reload" (reboot: running becomes startup).
        """
