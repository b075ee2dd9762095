"""An emulated Junos router: NETCONF over SSH, and the NAS beside it if it has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncssh

from lab.emulators.base import DeviceSpec, Json
from lab.emulators.faults import Faults
from lab.emulators.junos_config import Config, Policers, parse
from lab.emulators.junos_database import Database, Holder, Refusal, refusal
from lab.emulators.junos_netconf import KINDS, NetconfSession
from lab.emulators.listener import Connection, Listener
from lab.emulators.nas import VERBS, Nas
from lab.emulators.nas_sessions import Sessions
from lab.emulators.record import Record
from lab.emulators.smartax_clock import Clock

OPTIONS = {
    "config",  # set lines, text
    "speed",  # device seconds per second, default 1; 0 stands still until "advance"
    "framing",  # "1.0" (default) or "1.1"
    "second_confirm",  # "keep" (default) or "confirm", see junos_database
    "revert_on_loss",  # true: an unconfirmed commit goes with the session that made it
    "not_programmed",  # true or a list of units: forwarding keeps its old policers
    "sessions",  # [{user, acct_session_id, ip, interface, service}]
    "radius",  # {port, secret, ...}, see nas
    "users",  # {name: password} beside the spec's own
}
HUMAN = Holder(user="noc", client="cli", session_id=4711)


def build(spec: DeviceSpec, host_key: asyncssh.SSHKey) -> Junos:
    """The device of a spec; raises ValueError for an option that it does not know."""
    unknown = set(spec.options) - OPTIONS
    if unknown:
        msg = f"{spec.name}: unknown options {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    return Junos(spec, host_key)


class Junos:
    """See lab/emulators/README.md for what `control` understands."""

    def __init__(self, spec: DeviceSpec, host_key: asyncssh.SSHKey) -> None:
        options = spec.options
        self.spec = spec
        self.name = spec.name
        self.record = Record()
        self.faults = Faults(KINDS)
        self.clock = Clock(float(options.get("speed", 1)))
        self.booted_s = 0.0
        self.boots = 1
        self.offers_chunks = str(options.get("framing", "1.0")) == "1.1"
        self._knobs: dict[str, Any] = {
            "revert_on_loss": options.get("revert_on_loss", False),
            "not_programmed": options.get("not_programmed", False),
        }
        config = parse(str(options.get("config", "")))
        self.programmed: Policers = config.policers()
        second = options.get("second_confirm", "keep")
        self.db = Database(config, self.clock, self._program, second)
        self._listener = Listener(spec, host_key, self._session, self.record.add)
        self._open: dict[int, NetconfSession] = {}
        self._last_session_id = 0
        self.sessions = Sessions()
        for row in options.get("sessions", []):
            self.sessions.open(row, 0.0)
        self._nas: Nas | None = None
        if "radius" in options:
            self._nas = Nas(spec, self.sessions, self.clock, self.record)

    async def start(self) -> None:
        """Listen on the address and port of the spec, and on the RADIUS port."""
        self.clock.start()
        await self._listener.start()
        if self._nas is not None:
            await self._nas.start()

    async def stop(self) -> None:
        """Drop every connection and stop listening; configuration and sessions are kept."""
        self.clock.stop()
        if self._nas is not None:
            await self._nas.stop()
        await self._listener.stop()

    def control(self, do: str, args: Json) -> Json:
        """Do one thing from outside the wire; ValueError for what is unknown or refused."""
        verb = VERBS_OF_CONTROL.get(do)
        if verb is None:
            msg = f"junos does not know {do!r}: {', '.join(sorted(VERBS_OF_CONTROL))}"
            raise ValueError(msg)
        if do not in ("log", "dump", "sessions"):
            self.record.add("control", do, str(args))
        try:
            return verb(self, args)
        except Refusal as no:
            raise ValueError(str(no)) from no

    # What NETCONF sessions and their calls need.

    def opened(self, session: NetconfSession) -> int:
        """Count a session in."""
        self._last_session_id += 1
        self._open[self._last_session_id] = session
        return self._last_session_id

    def ended(self, session: NetconfSession) -> None:
        """Count a session out; its lock and uncommitted edits go with it."""
        self._open.pop(session.holder.session_id, None)
        self.db.ended(session.holder)
        pending = self.db.pending
        if self._knobs["revert_on_loss"] and pending and pending.holder is session.holder:
            self.db.revert()

    def kill(self, session_id: int) -> None:
        """End another session; an unconfirmed commit of it is taken back at once [D]."""
        session = self._open.get(session_id)
        if session is None:
            msg = f"no session {session_id}"
            raise refusal(msg)
        if self.db.pending is not None and self.db.pending.holder is session.holder:
            self.db.revert()
        session.abort()

    def die(self) -> None:
        """Refuse every connection, hear no datagram."""
        self._listener.die()
        if self._nas is not None:
            self._nas.alive = False

    def revive(self) -> None:
        """Listen again."""
        self._listener.revive()
        if self._nas is not None:
            self._nas.alive = True

    # What `control` does.

    def dump(self, _args: Json) -> Json:
        """The whole state."""
        pending = self.db.pending
        last = self.db.history[0]
        return {
            "running": self.db.running.set_lines(),
            "startup": self.db.startup.set_lines(),
            "candidate": None if self.db.candidate is None else self.db.candidate.set_lines(),
            "lock": None if self.db.lock is None else self.db.lock.user,
            "pending": pending is not None,
            "pending_s": pending.timer.due_s - self.clock.now_s() if pending else None,
            "commits": last.number,
            "history": [
                {"user": c.user, "client": c.client, "log": c.log, "comment": c.comment}
                for c in self.db.history
            ],
            "programmed": self.programmed,
            "sessions": self.sessions.listing(),
            "netconf_sessions": sorted(self._open),
            "faults": self.faults.listing() + (self._nas.faults.listing() if self._nas else []),
            "now_s": self.clock.now_s(),
        }

    def log(self, args: Json) -> Json:
        """What arrived, in order; `since` leaves out what was known."""
        return self.record.answer(args)

    def arm(self, args: Json) -> Json:
        """Arm one fault: on a RADIUS request by its name, otherwise on a NETCONF call."""
        if args.get("verb") not in VERBS.values():
            return self.faults.arm(args)
        if self._nas is None:
            msg = "this device has no RADIUS"
            raise ValueError(msg)
        return self._nas.faults.arm(args)

    def clear(self, _args: Json) -> Json:
        """Disarm everything."""
        self.faults.clear()
        if self._nas is not None:
            self._nas.faults.clear()
        return {}

    def reload(self, args: Json) -> Json:
        """Reboot, `down_s` device seconds long: startup is running, sessions are gone."""
        self.die()
        self.db.reload()
        self.sessions.clear()
        self.booted_s = self.clock.now_s()
        self.boots += 1
        self._program(self.db.running)
        down_s = float(args.get("down_s", 0))
        if down_s > 0:
            self.clock.later(down_s, self.revive)
        else:
            self.revive()
        return {}

    def edit(self, args: Json) -> Json:
        """A person loads `lines` and commits them, with `log` and `confirm_min` if given."""
        self.edit_uncommitted(args)
        return self.commit(args)

    def edit_uncommitted(self, args: Json) -> Json:
        """A person loads `lines` into the shared candidate and leaves it there."""
        lines = args.get("lines", [])
        if isinstance(lines, str):
            lines = lines.splitlines()
        problems = self.db.load(HUMAN, [str(line) for line in lines])
        return {"problems": [problem.message for problem in problems]}

    def commit(self, args: Json) -> Json:
        """A person commits what is in the candidate."""
        confirm_min = int(args.get("confirm_min", 0))
        self.db.commit(HUMAN, log=str(args.get("log", "")), confirm_min=confirm_min)
        return {}

    def commit_check(self, _args: Json) -> Json:
        """A person runs `commit check`."""
        self.db.check(HUMAN)
        return {}

    def rollback(self, args: Json) -> Json:
        """A person loads and commits rollback `number`."""
        self.db.load_rollback(HUMAN, int(args.get("number", 1)))
        self.db.commit(HUMAN)
        return {}

    def lock(self, _args: Json) -> Json:
        """A person enters `configure exclusive`."""
        self.db.take_lock(HUMAN)
        return {}

    def unlock(self, _args: Json) -> Json:
        """The person leaves it; uncommitted edits are gone."""
        self.db.release_lock(HUMAN)
        return {}

    def knob(self, args: Json) -> Json:
        """Turn `name` (revert_on_loss, not_programmed) to `value`."""
        name = str(args.get("name"))
        if name not in self._knobs or "value" not in args:
            msg = f"a knob is a name of {', '.join(sorted(self._knobs))} and a value"
            raise ValueError(msg)
        self._knobs[name] = args["value"]
        return {}

    def program(self, _args: Json) -> Json:
        """Forwarding takes over the running configuration now, whatever not_programmed says."""
        self.programmed = self.db.running.policers()
        return {}

    def advance(self, args: Json) -> Json:
        """Let `seconds` of device time pass at once."""
        self.clock.advance(float(args["seconds"]))
        return {"now_s": self.clock.now_s()}

    def expire(self, _args: Json) -> Json:
        """Let exactly the time pass that the confirm timer still has."""
        if self.db.pending is None:
            msg = "nothing is waiting for confirmation"
            raise ValueError(msg)
        return self.advance({"seconds": self.db.pending.timer.due_s - self.clock.now_s()})

    def cut(self, _args: Json) -> Json:
        """Abort every SSH connection but keep listening."""
        self._listener.cut()
        return {}

    def dies(self, _args: Json) -> Json:
        """Refuse connections until "revive"."""
        self.die()
        return {}

    def revives(self, _args: Json) -> Json:
        """Undo "die"."""
        self.revive()
        return {}

    def session_open(self, args: Json) -> Json:
        """A subscriber logs in."""
        self.sessions.open(args, self.clock.now_s())
        return {}

    def session_close(self, args: Json) -> Json:
        """A subscriber's session `acct_session_id` ends."""
        self.sessions.close(str(args.get("acct_session_id")))
        return {}

    def list_sessions(self, _args: Json) -> Json:
        """All live sessions."""
        return {"sessions": self.sessions.listing()}

    def _session(self, connection: Connection) -> NetconfSession:
        return NetconfSession(self, connection)

    def _program(self, config: Config) -> None:
        frozen = self._knobs["not_programmed"]
        if frozen is True:
            return
        programmed = config.policers()
        if frozen:
            kept = {unit: self.programmed[unit] for unit in frozen if unit in self.programmed}
            others = {unit: sides for unit, sides in programmed.items() if unit not in frozen}
            programmed = {**others, **kept}
        self.programmed = programmed


VERBS_OF_CONTROL: dict[str, Callable[[Junos, Json], Json]] = {
    "advance": Junos.advance,
    "clear": Junos.clear,
    "commit": Junos.commit,
    "commit_check": Junos.commit_check,
    "cut": Junos.cut,
    "die": Junos.dies,
    "dump": Junos.dump,
    "edit": Junos.edit,
    "edit_uncommitted": Junos.edit_uncommitted,
    "expire": Junos.expire,
    "fault": Junos.arm,
    "knob": Junos.knob,
    "lock": Junos.lock,
    "log": Junos.log,
    "program": Junos.program,
    "reload": Junos.reload,
    "revive": Junos.revives,
    "rollback": Junos.rollback,
    "session_close": Junos.session_close,
    "session_open": Junos.session_open,
    "sessions": Junos.list_sessions,
    "unlock": Junos.unlock,
}
