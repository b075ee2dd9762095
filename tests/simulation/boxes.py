"""Simulated devices: what they hold, their timers and sessions, and their people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workflows.transports.words import SaysNo

from .scheduler import Process, Scheduler

Config = dict[str, str]  # "LINE/LEAF" -> value, e.g. "1001/input" -> "UP-100M"
HUMAN = "human"

_UNIT = r"(set|delete) interfaces ge-0/0/1 unit ([0-9]+) "
_POLICER = re.compile(_UNIT + r"family inet policer (input|output)(?: (\S+))?")
_DISABLE = re.compile(_UNIT + r"disable")
_REBIND = re.compile(
    r"service-port (\d+) inbound traffic-table index (\d+) outbound traffic-table index (\d+)"
)
_STATUS = re.compile(r"service-port (\d+) adminstatus (enable|disable)")
_CLASS = re.compile(
    r"tc class change dev (ifb-)?(\S+) parent 1: classid 1:10 htb rate \d+kbit ceil (\d+)kbit .*"
)
_LINK = re.compile(r"ip link set dev (\S+) (up|down)")


def junos_line(config: Config, line: str) -> None:
    """Apply a set or delete line."""
    if found := _POLICER.fullmatch(line):
        key = f"{found[2]}/{found[3]}"
        if found[1] == "set":
            config[key] = found[4]
        else:
            config.pop(key, None)
    elif found := _DISABLE.fullmatch(line):
        config[f"{found[2]}/state"] = "off" if found[1] == "set" else "on"
    else:
        raise SaysNo("syntax error")


def smartax_line(config: Config, line: str) -> None:
    """Apply a command."""
    if found := _REBIND.fullmatch(line):
        config[f"{found[1]}/inbound"], config[f"{found[1]}/outbound"] = found[2], found[3]
    elif found := _STATUS.fullmatch(line):
        config[f"{found[1]}/state"] = "on" if found[2] == "enable" else "off"
    else:
        raise SaysNo("% Unknown command")


def linux_line(config: Config, line: str) -> None:
    """Apply a tc or ip command."""
    if found := _CLASS.fullmatch(line):
        config[f"{found[2]}/{'up' if found[1] else 'down'}"] = found[3]
    elif found := _LINK.fullmatch(line):
        config[f"{found[1]}/state"] = "on" if found[2] == "up" else "off"
    else:
        raise SaysNo("exit status 1")


LINES: Mapping[str, Callable[[Config, str], None]] = {
    "junos": junos_line,
    "token": junos_line,
    "smartax": smartax_line,
    "linux": linux_line,
}


@dataclass(slots=True, eq=False)
class Login:
    """A session of ours on a device, as the device sees it."""

    process: Process
    number: int
    candidate: Config | None = None
    lingers: bool = False  # something is on its way in it, or its host was cut off
    gone: bool = False


@dataclass(slots=True)
class Pending:
    """A running revert timer and what it would bring back."""

    token: str
    restore: Config
    fires_at_s: float
    serial: int


@dataclass(slots=True)
class Box:
    """One device."""

    name: str
    kind: str  # junos | token | smartax | linux
    scheduler: Scheduler
    running: Config
    startup: Config
    pending: Pending | None = None
    holder: Login | str | None = None  # of the exclusive lock; a text names a person
    logins: list[Login] = field(default_factory=list)
    under_way: int = 0  # requests that arrive after their senders have given up
    away_until_s: float = 0.0
    refuses_until_s: float = 0.0  # every write, with words
    log: str = "initial"  # of the newest commit
    fired: set[str] = field(default_factory=set)  # dead man's jobs that have restored
    humans: Config = field(default_factory=dict)  # what a person set last, by key
    changed: Callable[[Box, str, Config], None] = lambda *_: None
    permanent: Callable[[Box, str], None] = lambda *_: None
    serial: int = 0

    @property
    def confirms(self) -> bool:
        """Whether it has a native confirmed commit."""
        return self.kind in ("junos", "token")

    def tell(self, text: str) -> None:
        """Add to the story."""
        self.scheduler.tell(self.name, text)

    # --- what happens to its configuration

    def put(self, config: Config, who: str) -> None:
        """Make this the running configuration."""
        before, self.running = self.running, dict(config)
        if before != self.running:
            self.changed(self, who, before)

    def line(self, line: str, who: str) -> None:
        """Take one line at once."""
        config = dict(self.running)
        LINES[self.kind](config, line)
        self.put(config, who)

    def arm(self, token: str, restore: Config, seconds: float) -> None:
        """Start the revert timer, or start it anew."""
        self.serial += 1
        kept = self.pending.restore if self.pending else restore
        self.pending = Pending(token, dict(kept), self.scheduler.now_s + seconds, self.serial)
        serial = self.serial
        self.scheduler.at(self.pending.fires_at_s, lambda: self._fire(serial))

    def _fire(self, serial: int) -> None:
        pending = self.pending
        if pending is None or pending.serial != serial:
            return
        self.tell("the revert timer fires")
        self.pending = None
        if self.kind == "linux":
            self.fired.add(pending.token)
            merged = {**self.running, **pending.restore}
            self.put(merged, "timer")
        else:
            self.log = "auto-rollback"
            self.put(pending.restore, "timer")

    def disarm(self) -> None:
        """Stop the timer; what runs stays."""
        self.pending = None

    def keep(self, who: str) -> None:
        """What runs is what a reload brings."""
        self.startup = dict(self.running)
        self.permanent(self, who)

    def reload(self, down_s: float) -> None:
        """Lose what is not kept, and everybody who was logged in."""
        self.tell(f"reloads, away for {down_s:.0f} s")
        for login in self.logins:
            login.gone = True
        self.logins.clear()
        self.pending, self.holder = None, None
        self.fired.clear()
        self.away_until_s = max(self.away_until_s, self.scheduler.now_s + down_s)
        self.log = "reboot"
        self.put(self.startup, "reload")

    # --- sessions

    def log_in(self, process: Process) -> Login:
        """A session begins."""
        self.serial += 1
        login = Login(process, self.serial)
        self.logins.append(login)
        return login

    def log_out(self, login: Login) -> None:
        """A session ends, and with it its lock and what it had not committed."""
        login.gone = True
        if login in self.logins:
            self.logins.remove(login)
        if self.holder is login:
            self.holder = None

    # --- people

    def human_edit(self, key: str, value: str, *, confirmed_s: float = 0) -> bool:
        """A person sets something and keeps it; says whether the device let them.

        Where commits are: it is a commit, so it confirms what is pending (a device with tokens
        refuses it then). With `confirmed_s` it is a person's own commit confirmed.
        """
        if self.confirms and isinstance(self.holder, Login):
            return False
        if self.kind == "token" and self.pending is not None:
            return False
        if confirmed_s and self.confirms:
            if self.pending is None:
                self.arm("human confirmed", self.running, confirmed_s)
                self.log = "human confirmed"
            else:
                return False
        elif self.confirms:
            self.pending, self.log = None, "human"
        config = {**self.running, key: value} if key else dict(self.running)
        if key:
            self.humans[key] = value
        self.tell(f"a person commits {key}={value}" if key else "a person commits")
        self.put(config, HUMAN)
        if self.confirms and not confirmed_s:
            self.keep(HUMAN)
        return True


def human_value(box: Box, line: str) -> tuple[str, str]:
    """What a person sets on a line of ours: a rate that nobody ordered."""
    if box.kind == "smartax":
        return f"{line}/outbound", "12"
    if box.kind == "linux":
        return f"{line}/down", "50000"
    return f"{line}/output", "DOWN-50M"


def unlock(box: Box) -> None:
    """A person gives the lock back."""
    if box.holder == "a person":
        box.holder = None
