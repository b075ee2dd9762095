"""An emulated SmartAX without its wires: running and saved configuration, clock, sessions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from lab.emulators.base import DeviceSpec, Json
from lab.emulators.record import Record
from lab.emulators.smartax_clock import Clock, Timer
from lab.emulators.smartax_state import Config, as_json, seeded

BUSY = "Failure: System is busy, please retry after a while"
SAVING = "  It will take several minutes to save configuration file, please wait..."
SAVED = (
    "  Configuration file had been saved successfully\n"
    "  Note: The configuration file will take effect after being activated"
)

USER, ENABLE, CONFIG = "user", "enable", "config"
_OTHER_OPTIONS = {"hostname", "speed", "users", "traffic_tables", "service_ports"}
_PROMPT_ENDS = {USER: ">", ENABLE: "#", CONFIG: "(config)#"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """How this device behaves; options of the fleet file, changed later by the verb `set`.

    save_s and autosave_s are device seconds (autosave_s 0: never). granularity_kbps rounds rates
    down to its multiples (0: not at all). rx_is_inbound: the RX column shows the inbound table,
    which limits what the subscriber sends; captures do not settle it, so both exist. scroll_max
    0: a bare `scroll` ends paging; otherwise it only sets that many lines. labels: `TD` or
    `Traffic Table`.
    """

    save_s: float = 0.2
    autosave_s: float = 0.0
    granularity_kbps: int = 0
    rx_is_inbound: bool = True
    scroll_max: int = 0
    page_lines: int = 24
    keep_smart: bool = False  # ignore `undo smart`
    yes_banner: bool = False  # the banner asks for YES
    labels: str = "TD"

    def changed(self, new: Json) -> Knobs:
        """These knobs with `new` ones; raises ValueError for an unknown name or another type."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in sorted(set(new) - set(known)):
            raise ValueError(f"a SmartAX has no option {name}")
        for name in (name for name in new if not _same_kind(known[name], new[name])):
            raise ValueError(f"{name}: {new[name]!r} is of the wrong type")
        return replace(self, **new)


def _same_kind(known: Any, new: Any) -> bool:
    return isinstance(new, (int, float) if isinstance(known, float) else type(known))


@dataclass(slots=True, kw_only=True)
class Shell:
    """One logged-in session as the device sees it, with or without a wire behind it."""

    number: int
    user: str
    address: str
    login: str
    say: Callable[[str], None]  # prints a text that nobody asked for
    cut: Callable[[], None]  # ends the session
    mode: str = USER
    smart: bool = True
    interactive: bool = True
    page_lines: int = 24  # 0: no paging
    leaving: bool = False  # the log-out was asked for

    def prompt(self, hostname: str) -> str:
        """The prompt of the mode this session is in."""
        return hostname + _PROMPT_ENDS[self.mode]


class Device:
    """State that outlives connections; every method is called from the fleet's loop."""

    def __init__(self, spec: DeviceSpec) -> None:
        self.hostname = str(spec.options.get("hostname", spec.name))
        knobs = {name: spec.options[name] for name in spec.options if name not in _OTHER_OPTIONS}
        self.knobs = Knobs().changed(knobs)
        self.clock = Clock(float(spec.options.get("speed", 1)))
        self.record = Record()
        self.shells: dict[int, Shell] = {}
        self.running = seeded(spec.options)
        self.saved = self.running
        self.booted_s = 0.0
        self._numbers = itertools.count(1)
        self._saving: tuple[Timer, ...] = ()
        self._autosave: Timer | None = None

    @property
    def saving(self) -> bool:
        """True while a save runs."""
        return bool(self._saving)

    def log_in(
        self, user: str, address: str, say: Callable[[str], None], cut: Callable[[], None]
    ) -> Shell:
        """Open a session and list it among the clients."""
        number = next(self._numbers)
        shell = Shell(
            number=number,
            user=user,
            address=address,
            login=self.clock.date().isoformat(" ", "seconds"),
            say=say,
            cut=cut,
            page_lines=self.knobs.page_lines,
        )
        self.shells[number] = shell
        self.record.add(f"{user}#{number}", "login", address)
        return shell

    def log_out(self, shell: Shell) -> None:
        """Forget a session; harmless when it is forgotten already."""
        if self.shells.pop(shell.number, None) is not None:
            self.record.add(f"{shell.user}#{shell.number}", "logout")

    def change(self, config: Config) -> None:
        """Put a changed configuration into force."""
        self.running = config
        if self.knobs.autosave_s > 0 and self._autosave is None:
            self._autosave = self.clock.later(self.knobs.autosave_s, self.save_now)

    def start_save(self, say: Callable[[str], None]) -> str:
        """Begin to save; the answer comes at once, the end is said later."""
        duration_s = self.knobs.save_s

        def half() -> None:
            date = self.clock.date().isoformat(" ", "seconds")
            say(f"  [{date}]:The percentage of saved data on 0 slot's control board is: 50%")

        def end() -> None:
            self.save_now()
            say(SAVED)

        self._saving = (
            self.clock.later(duration_s / 2, half),
            self.clock.later(duration_s, end),
        )
        return SAVING

    def save_now(self) -> None:
        """What is running is what a reboot loads; ends a save that is under way."""
        self._cancel_timers()
        self.saved = self.running

    def reload(self) -> None:
        """Power cut: unfinished saves are lost, sessions end, the saved configuration runs."""
        self._cancel_timers()
        self.running = self.saved
        self.booted_s = self.clock.now_s()
        for shell in tuple(self.shells.values()):
            shell.cut()
            self.log_out(shell)

    def uptime_s(self) -> int:
        """Whole device seconds since the last boot."""
        return int(self.clock.now_s() - self.booted_s)

    def dump(self) -> Json:
        """The whole state as JSON."""
        return {
            "running": as_json(self.running),
            "saved": as_json(self.saved),
            "unsaved": self.running != self.saved,
            "saving": self.saving,
            "uptime_s": self.uptime_s(),
            "sessions": [
                {"id": s.number, "user": s.user, "address": s.address, "mode": s.mode}
                for s in self.shells.values()
            ],
        }

    def _cancel_timers(self) -> None:
        for timer in self._saving:
            timer.cancel()
        self._saving = ()
        if self._autosave is not None:
            self._autosave.cancel()
            self._autosave = None
