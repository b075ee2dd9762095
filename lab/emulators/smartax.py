"""An emulated Huawei SmartAX OLT: a command line over SSH, and what can be done from outside."""

from __future__ import annotations

from collections.abc import Callable

import asyncssh

from lab.emulators.base import DeviceSpec, Json
from lab.emulators.faults import Faults
from lab.emulators.listener import Connection, Listener
from lab.emulators.smartax_commands import perform
from lab.emulators.smartax_device import CONFIG, Device, Shell
from lab.emulators.smartax_terminal import KINDS, Terminal


class SmartAx:
    """One OLT of a fleet; options are those of `Knobs` and `seeded`, `hostname` and `speed`."""

    def __init__(self, spec: DeviceSpec, host_key: asyncssh.SSHKey) -> None:
        self.spec = spec
        self.device = Device(spec)
        self.faults = Faults(KINDS)
        self._listener = Listener(spec, host_key, self._session)
        self._verbs: dict[str, Callable[[Json], Json]] = {
            "dump": self._dump,
            "log": self.device.record.answer,
            "fault": self.faults.arm,
            "clear": self._clear,
            "reload": self._reload,
            "die": self._die,
            "revive": self._revive,
            "edit": self._edit,
            "save": self._save,
            "login": self._login,
            "logout": self._logout,
            "set": self._set,
            "advance": self._advance,
            "rename": self._rename,
        }

    async def start(self) -> None:
        """Listen and let the device's clock run."""
        self.device.clock.start()
        await self._listener.start()

    async def stop(self) -> None:
        """Drop every connection and stop listening; state in memory is kept."""
        self.device.clock.stop()
        await self._listener.stop()

    def control(self, do: str, args: Json) -> Json:
        """Do one thing from outside the wire; raises ValueError for what it does not know.

        dump; log [since]; fault verb kind [arg count skip]; clear; reload (boots the saved
        configuration); die, revive; edit lines [user]: a human's configuration lines, answered
        with what was printed; save (at once); login user [address]: a human's session, answered
        with its id; logout id; set KNOB=VALUE...; advance seconds: move the device's clock;
        rename name: a human gives the device another name, which every prompt shows from then on.
        """
        if do not in self._verbs:
            raise ValueError(f"a SmartAX does not know {do!r}; known: {', '.join(self._verbs)}")
        return self._verbs[do](args)

    def _session(self, connection: Connection) -> asyncssh.SSHServerSession[bytes]:
        return Terminal(connection, self.device, self.faults, self._listener)

    def _dump(self, _args: Json) -> Json:
        return {**self.device.dump(), "faults": self.faults.listing()}

    def _clear(self, _args: Json) -> Json:
        self.faults.clear()
        return {}

    def _reload(self, _args: Json) -> Json:
        self.device.record.add("control", "reload")
        self.device.reload()
        self._listener.cut()
        return {}

    def _die(self, _args: Json) -> Json:
        self._listener.die()
        return {}

    def _revive(self, _args: Json) -> Json:
        self._listener.revive()
        return {}

    def _edit(self, args: Json) -> Json:
        lines = args.get("lines")
        if isinstance(lines, str):
            lines = lines.splitlines()
        if not lines:
            raise ValueError("edit needs lines")
        shell = self._human(args)
        shell.mode = CONFIG
        answers = []
        for line in lines:
            self.device.record.add(f"{shell.user}#{shell.number}", "line", line)
            answers.append({"line": line, "text": perform(self.device, shell, line)})
        self.device.log_out(shell)
        return {"answers": answers}

    def _save(self, _args: Json) -> Json:
        self.device.record.add("control", "save")
        self.device.save_now()
        return {}

    def _login(self, args: Json) -> Json:
        return {"id": self._human(args).number}

    def _logout(self, args: Json) -> Json:
        number = int(args.get("id", 0))
        if number not in self.device.shells:
            raise ValueError(f"no session {number}")
        shell = self.device.shells[number]
        shell.cut()
        self.device.log_out(shell)
        return {}

    def _set(self, args: Json) -> Json:
        self.device.knobs = self.device.knobs.changed(args)
        return {}

    def _advance(self, args: Json) -> Json:
        self.device.clock.advance(float(args.get("seconds", 0)))
        return {"now_s": self.device.clock.now_s()}

    def _rename(self, args: Json) -> Json:
        self.device.hostname = str(args["name"])
        return {}

    def _human(self, args: Json) -> Shell:
        """A session without a wire: nothing can be shown to it, and nothing has to be cut."""
        user = str(args.get("user", "noc"))
        address = str(args.get("address", "192.0.2.10"))
        shell = self.device.log_in(user, address, say=lambda _text: None, cut=lambda: None)
        shell.smart = False
        return shell


def build(spec: DeviceSpec, host_key: asyncssh.SSHKey) -> SmartAx:
    """The device of that spec, not yet listening; raises ValueError for options it refuses."""
    return SmartAx(spec, host_key)
