"""Sessions of the real wires on simulated devices: what the network and the box do to a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lxml import etree

from device_templates import Platform
from inventory import Unreachable
from workflows.participant import SENT, Handle, Reply, WireContext
from workflows.transports import guard
from workflows.transports.napalm import LOCK_WAIT_S, NapalmWire
from workflows.transports.words import InDoubt, SaysNo

from .boxes import LINES, Box, Config, Login

if TYPE_CHECKING:
    from .world import World

T = TypeVar("T")
WRITES = ("line", "load", "commit", "confirm", "cancel", "save")
ASK_S, LINE_S, COMMIT_S, OPEN_S, SAVE_S = 0.05, 0.05, 0.6, 0.4, 2.0
LOCK_POLL_S = 0.5
KBPS = (1_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
TABLES = {str(index): kbps for index, kbps in enumerate(KBPS, start=10)}
SERVICE = re.compile(r"bandmaster\((\d+)k,(\d+)k\)")


class Session:
    """One session: every request passes two edges and may meet a fault between them."""

    def __init__(self, world: World, context: WireContext) -> None:
        self._world = world
        self._device = context.device
        self._may_send = context.may_send
        self._box: Box = world.boxes[context.device.name]
        self._login: Login | None = None
        self.doubted = False

    def open(self) -> None:
        """Log in."""
        world, box = self._world, self._box
        world.scheduler.edge("device", f"before login to {box.name}")
        fault = world.take_fault()
        if fault or self._away():
            world.scheduler.sleep(self._device.timeout_s)
            raise Unreachable(box.name, "does not answer", "")
        self._login = box.log_in(world.scheduler.me().process)
        world.scheduler.edge("device", f"after login to {box.name}", OPEN_S)

    def close(self) -> None:
        """Log out, unless the far end cannot hear it."""
        self._world.scheduler.alive()
        login, self._login = self._login, None
        if login is not None and not login.lingers:
            self._box.log_out(login)

    def _away(self) -> bool:
        return self._world.scheduler.now_s < self._box.away_until_s

    def request(self, what: str, act: Callable[[], T], cost_s: float) -> T:
        """Send a request and bring the answer; raises SaysNo, or InDoubt when none came."""
        world, box, login = self._world, self._box, self._login
        if login is None or self.doubted:
            raise InDoubt("the session is closed or in doubt: a new one is needed")
        scheduler = world.scheduler
        scheduler.edge("device", f"before {what} on {box.name}")
        fault = world.take_fault()
        if login.gone or self._away():
            fault = "gone"
        no = scheduler.now_s < box.refuses_until_s and what.startswith(WRITES)
        if fault.startswith("refused") or (no and not fault):
            scheduler.tell(box.name, f"refuses {what}")
            raise SaysNo("refused by the device")
        if fault.startswith("late"):
            world.later(box, login, what, act)
        elif fault in ("", "unanswered", "sent+kill"):
            world.sender = scheduler.me().process.name
            world.heard(box, login, what)
            answer = act()
        if fault.endswith("+kill"):
            world.kill_here(f"with {what} on its way to {box.name}")
        if fault:
            scheduler.tell(box.name, f"{what}: {fault}")
            self.doubted = True
            if fault != "gone":
                scheduler.sleep(self._device.timeout_s)
            raise InDoubt("no answer")
        scheduler.edge("device", f"after {what} on {box.name}", cost_s)
        return answer

    @property
    def who(self) -> str:
        """Who sends."""
        return self._world.scheduler.me().process.name


class NetconfSim(Session):
    """In place of NetconfSession."""

    def lock(self, wait_s: float) -> None:
        """Take the exclusive lock and keep it."""
        if self._login is not None and self._box.holder is self._login and not self._login.gone:
            return
        deadline = self._world.scheduler.now_s + wait_s
        while True:
            self._may_send()
            try:
                self.request("lock", self._lock, ASK_S)
            except SaysNo:
                if self._world.scheduler.now_s >= deadline:
                    raise
                self._world.scheduler.sleep(LOCK_POLL_S)
            else:
                return

    def _lock(self) -> None:
        box = self._box
        if box.holder not in (None, self._login):
            held = box.holder
            who = f"bandmaster (pid {held.number})" if isinstance(held, Login) else "joe p0 (pid 1)"
            raise SaysNo(f"configuration database locked by: {who}")
        box.holder = self._login

    def call(self, name: str, **arguments: str) -> Any:
        """Answer the reading calls."""
        if name == "get-commit-information":
            return self.request("history", self._history, ASK_S)
        if name == "kill-session":
            return self.request("kill-session", partial(self._kill, arguments["session_id"]), ASK_S)
        if name == "get-interface-policer-information":
            return self.request("policers", self._policers, ASK_S)
        if name == "get-subscribers":
            login = arguments.get("user-name", "")
            return self.request("sessions", lambda: self._subscribers(login), ASK_S)
        raise AssertionError(name)

    def _kill(self, number: str) -> None:
        for login in self._box.logins:
            if str(login.number) == number:
                self._box.log_out(login)
                return
        raise SaysNo("no such session")

    def _history(self) -> Any:
        box = self._box
        armed = "<commit-confirmed/>" if box.pending else ""
        log = box.pending.token if box.pending else box.log
        return etree.fromstring(
            "<i><commit-history><sequence-number>0</sequence-number><user>u</user>"
            f"<client>netconf</client><date-time>t</date-time><log>{log}</log>{armed}"
            "</commit-history></i>"
        )

    def _policers(self) -> Any:
        rows = []
        for unit, sides in _units(self._box.running).items():
            if sides.get("state") != "off":
                names = "".join(
                    f"<policer-{side}>{name}-ge-0/0/1.{unit}-inet-{side[0]}</policer-{side}>"
                    for side, name in sides.items()
                    if side != "state"
                )
                rows.append(
                    f"<logical-interface><name>ge-0/0/1.{unit}</name><policer-family>"
                    f"<policer-family-name>inet</policer-family-name>{names}"
                    "</policer-family></logical-interface>"
                )
        name = "interface-policer-information"
        return etree.fromstring(f"<{name}>{''.join(rows)}</{name}>")

    def _subscribers(self, login: str) -> Any:
        rows = "".join(
            f"<subscriber><user-name>{user}</user-name>"
            f"<radius-accounting-id>{live.identity}</radius-accounting-id>"
            f"<service-session-name>bandmaster({live.down}k,{live.up}k)</service-session-name>"
            "</subscriber>"
            for user, live in sorted(self._world.online.items())
            if login in ("", user)
        )
        name = "subscribers-information"
        return etree.fromstring(f"<{name}>{rows}</{name}>")

    def running(self) -> str:
        """Return the committed configuration."""
        return self.request("configuration", self._set_lines, ASK_S)

    def _set_lines(self) -> str:
        lines = [PROFILES]
        for unit, sides in _units(self._box.running).items():
            path = f"set interfaces ge-0/0/1 unit {unit}"
            lines.append(f"{path} vlan-id {unit}")
            for side, value in sides.items():
                if side != "state":
                    lines.append(f"{path} family inet policer {side} {value}")
                elif value == "off":
                    lines.append(f"{path} disable")
        return "\n".join(lines)

    def load(self, lines: tuple[str, ...]) -> None:
        """Load into the candidate."""

        def act() -> None:
            config = dict(self._box.running)
            for line in lines:
                LINES[self._box.kind](config, line)
            if login is not None:
                login.candidate = config

        login = self._login
        self.request("load", act, ASK_S)

    def commit(self, *, revert_in_s: int = 0, token: str = "") -> None:
        """Commit for good, or until the timer ends."""
        login, who = self._login, self.who
        what = "commit confirmed" if revert_in_s else "commit"
        self.request(what, lambda: self._commit(login, who, revert_in_s, token), COMMIT_S)

    def _commit(self, login: Login | None, who: str, revert_in_s: int, token: str) -> None:
        box = self._box
        if box.holder is not login:
            raise SaysNo("the lock is not ours")
        before = dict(box.running)
        wanted = (login.candidate if login else None) or before
        if login is not None:
            login.candidate = None
        if box.kind == "token" and box.pending and not revert_in_s:
            raise SaysNo("a commit waits for its token")
        if revert_in_s:
            box.arm(token, before, revert_in_s)
            box.put(wanted, who)
            return
        box.pending, box.log = None, "ours"
        box.put(wanted, who)
        box.keep(who)

    def confirm(self, token: str) -> None:
        """Confirm by token."""
        who = self.who
        self.request("confirm", lambda: self._confirm(token, who), COMMIT_S)

    def _confirm(self, token: str, who: str) -> None:
        box = self._box
        if box.pending is None or box.pending.token != token:
            raise SaysNo("no commit waits under this token")
        box.pending, box.log = None, "ours"
        box.keep(who)

    def cancel(self, token: str) -> None:
        """Take back by token."""
        who = self.who
        self.request("cancel", lambda: self._cancel(token, who), COMMIT_S)

    def _cancel(self, token: str, who: str) -> None:
        box = self._box
        if box.pending is None or box.pending.token != token:
            raise SaysNo("no commit waits under this token")
        restore = box.pending.restore
        box.pending, box.log = None, "cancelled"
        box.put(restore, who)


class TokenWire(NapalmWire):
    """A device whose confirmation and cancellation carry a token (RFC 6241 persist-id)."""

    def confirm(self, handle: Handle) -> Reply:
        """Confirm under our token: nobody else's commit can be hit."""

        def act() -> Reply:
            self._lock(LOCK_WAIT_S)
            self._session.confirm(handle.token)  # type: ignore[attr-defined]
            return SENT

        return self._attempt(act)

    def abort(self, handle: Handle) -> Reply:
        """Cancel under our token where it is pending, else commit the inverse lines."""

        def act() -> Reply:
            lines = guard.inverse_lines(self._platform, handle)
            self._lock(LOCK_WAIT_S)
            if self._refuse_foreign(handle.token) == "OURS":
                self._session.cancel(handle.token)  # type: ignore[attr-defined]
                return SENT
            if guard.expect(self, self._platform, handle, guard.ALL_OURS) != "OLD":
                self._session.load(lines)
                self._session.commit()
            return SENT

        return self._attempt(act)


class CliSim(Session):
    """In place of CliSession: an OLT's command line."""

    def ask(self, query: str) -> str:
        """Return what the device prints."""
        return self.request(f"`{query[:28]}`", lambda: self._shown(query), ASK_S)

    def _shown(self, query: str) -> str:
        box = self._box
        if query == "display traffic table ip from-index 0":
            return _TABLE_LIST
        if query.startswith("display service-port "):
            return _port(box.running, query.rpartition(" ")[2])
        if query == "display saved-configuration section global-config":
            return _SAVED_TABLES
        if query == "display saved-configuration section bbs-config":
            return _saved_ports(box.startup)
        raise AssertionError(query)

    def send_all(self, lines: tuple[str, ...]) -> None:
        """Send lines one by one; a refused one ends it."""
        who = self.who
        for number, line in enumerate(lines, start=1):
            place = f"line {number} of {len(lines)}"
            try:
                self.request(place, self._line(line, who), LINE_S)
            except SaysNo as no:
                raise SaysNo(f"{place} refused: {no}") from no
            except InDoubt as doubt:
                raise InDoubt(f"{place} in doubt: {doubt}") from doubt

    def _line(self, line: str, who: str) -> Callable[[], None]:
        return lambda: self._box.line(line, who)

    def save(self) -> None:
        """Save; the box goes on even if nobody waits."""
        who = self.who
        self.request("save", lambda: self._box.keep(who), SAVE_S)

    def older_sessions(self) -> int:
        """Count our other sessions."""
        return self.request("session list", lambda: len(self._box.logins) - 1, ASK_S)


class ShellSim(CliSim):
    """In place of ShellSession: a Linux box with a dead man's switch."""

    def _shown(self, query: str) -> str:
        box = self._box
        if query.startswith("pending "):
            if box.pending is None:
                return "none"
            mine = box.pending.token == query.partition(" ")[2]
            return "pending" if mine else f"foreign {box.pending.token}"
        names = query.partition("for d in ")[2].partition(";")[0].split()
        saved = "cat /etc/bandmaster" in query
        show = _saved_link if saved else _shown_link
        config = box.startup if saved else box.running
        return "".join(f"dev {name}\n{show(config, name)}" for name in names) + "end\n"

    def _line(self, line: str, who: str) -> Callable[[], None]:
        return lambda: self._shell(line, who)

    def _shell(self, line: str, who: str) -> None:
        box = self._box
        word, _, rest = line.partition(" ")
        if word == "arm":
            token, seconds, inverse = rest.split(" ", 2)
            restore: Config = {}  # only what the job's lines touch
            for undo in inverse.split(";"):
                LINES["linux"](restore, undo)
            box.fired.discard(token)
            box.disarm()
            box.arm(token, restore, int(seconds))
        elif word == "disarm":
            if box.pending is not None and box.pending.token == rest:
                box.disarm()
            elif rest in box.fired:
                raise SaysNo("exit status 1")
        elif line.startswith("mkdir -p "):
            config = dict(box.startup)
            for kept in re.findall(r" '([^']*)'", line.partition("'%s\\n'")[2]):
                LINES["linux"](config, kept)
            box.startup = config
            box.permanent(box, who)
        else:
            box.line(line, who)

    def older_sessions(self) -> int:
        """End our other sessions; none is left."""

        def act() -> int:
            for login in [each for each in self._box.logins if each is not self._login]:
                self._box.log_out(login)
            return 0

        return self.request("session list", act, ASK_S)


def _units(config: Mapping[str, str]) -> dict[str, dict[str, str]]:
    units: dict[str, dict[str, str]] = {}
    for key, value in sorted(config.items()):
        unit, _, leaf = key.partition("/")
        if leaf in ("input", "output", "state"):
            units.setdefault(unit, {})[leaf] = value
    return units


def _port(config: Mapping[str, str], number: str) -> str:
    if f"{number}/state" not in config:
        return "  Failure: The service virtual port does not exist"
    status = "enable" if config[f"{number}/state"] == "on" else "disable"
    rows = {
        "Index": number,
        "F/S/P": "0/1 /0",
        "ONT ID": str(int(number) % 128),
        "RX": config[f"{number}/inbound"],
        "TX": config[f"{number}/outbound"],
        "Admin status": status,
    }
    return "\n".join(f"  {label:<20} : {value}" for label, value in rows.items())


def _saved_ports(config: Mapping[str, str]) -> str:
    lines = ["[bbs-config]"]
    for key, value in sorted(config.items()):
        number, _, leaf = key.partition("/")
        if leaf != "state":
            continue
        lines.append(
            f"service-port {number} vlan 100 gpon 0/1/0 ont {int(number) % 128} gemport 1"
            f" inbound traffic-table index {config[f'{number}/inbound']}"
            f" outbound traffic-table index {config[f'{number}/outbound']}"
        )
        if value == "off":
            lines.append(f"service-port {number} adminstatus disable")
    return "\n".join([*lines, "return"])


def _shown_link(config: Mapping[str, str], name: str) -> str:
    own = name.removeprefix("ifb-")
    flags = "UP" if config[f"{own}/state"] == "on" else "BROADCAST"
    kbps = config[f"{own}/{'up' if name != own else 'down'}"]
    return (
        f"7: {name}@if2: <{flags}> mtu 1500 qdisc htb\n"
        f"class htb 1:10 root prio 0 rate {kbps}Kbit ceil {kbps}Kbit burst 1600b \nrc 0\n"
    )


def _saved_link(config: Mapping[str, str], name: str) -> str:
    rows = [
        f"tc class change dev {dev} parent 1: classid 1:10 htb rate {kbps}kbit ceil {kbps}kbit"
        " quantum 1514"
        for dev, kbps in ((name, config[f"{name}/down"]), (f"ifb-{name}", config[f"{name}/up"]))
    ]
    state = "up" if config[f"{name}/state"] == "on" else "down"
    return "\n".join([*rows, f"ip link set dev {name} {state}", "rc 0", ""])


PROFILES = "\n".join(
    f"set firewall policer {side}-{kbps // 1000}M {rest}"
    for kbps in KBPS
    for side in ("UP", "DOWN")
    for rest in (f"if-exceeding bandwidth-limit {kbps // 1000}m", "then discard")
)
_TABLE_LIST = "\n".join(
    [f"  {index} {kbps} 0 {kbps} 0 0 - local-pri" for index, kbps in TABLES.items()]
    + [f"  Total Num : {len(TABLES)}"]
)
_SAVED_TABLES = "\n".join(
    [
        "[global-config]",
        *(
            f'traffic table ip index {index} name "bm-{kbps}" cir {kbps} cbs 1 pir {kbps} pbs 1'
            " priority 0 priority-policy local-setting"
            for index, kbps in TABLES.items()
        ),
        "return",
    ]
)


def make_platforms(real: Mapping[str, Platform]) -> dict[str, Platform]:
    """Return the shipped platforms, with a simple dead man's switch, and one with tokens."""
    from dataclasses import replace  # noqa: PLC0415

    from device_templates import DeadMan  # noqa: PLC0415

    switch = DeadMan(
        arm=lambda token, inverse, seconds: (f"arm {token} {seconds} {';'.join(inverse)}",),
        disarm=lambda token: (f"disarm {token}",),
        pending=lambda token: f"pending {token}",
    )
    return {
        **real,
        "linux_tc": replace(real["linux_tc"], dead_man=switch),
        "sim_token": replace(real["juniper_junos"], name="sim_token", transport="sim_token"),
    }
