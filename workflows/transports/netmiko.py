"""The wire of devices whose command line netmiko drives: inverse lines, or a dead man's switch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from netmiko.linux.linux_ssh import LinuxSSH
from netmiko.ssh_dispatcher import CLASS_MAPPER

from device_templates import Platform, gate_profiles
from inventory import BandmasterError, Unreachable, Unreadable
from workflows.observe import read_sections
from workflows.participant import SENT, Handle, PendingSeen, Reply, WireContext

from . import guard
from .cli_session import CliSession
from .shell_session import ShellSession
from .words import InDoubt, SaysNo, shown

DRAIN_WAIT_S = 60  # how long older sessions of ours may take to end
DRAIN_POLL_S = 1.0
T = TypeVar("T")


def connect(context: WireContext, platform: Platform) -> NetmikoWire:
    """Return the wire, not yet open; the options are described at CliSession."""
    return NetmikoWire(context, platform)


class NetmikoWire:
    """One device, one owner (see participant.Wire).

    Lines go one by one. A refused line leaves those before it applied and those after it unsent;
    the reply says so, the caller reads and aborts. Where the platform has a dead man's switch it
    is armed before the first line, and disarming it is the confirmation.
    """

    def __init__(self, context: WireContext, platform: Platform) -> None:
        self._context = context
        self._platform = platform
        options = platform.transport_options
        shell = issubclass(CLASS_MAPPER[options["base"]], LinuxSSH)
        self._session = (ShellSession if shell else CliSession)(context, options)

    def open(self) -> None:
        """Connect and log in; raises Unreachable, LoginRefused, HostKeyUnknown/Changed."""
        self._session.open()

    def close(self) -> None:
        """End the session; what is armed stays armed."""
        self._session.close()

    def ask(self, queries: tuple[str, ...]) -> tuple[str, ...]:
        """Return what each command prints; raises Unreachable, Unreadable."""
        return self._reading(lambda: tuple(self._session.ask(query) for query in queries))

    def pending(self, handle: Handle) -> tuple[PendingSeen, str]:
        """Say whose timer is armed (never one without a dead man's switch); no revision."""
        return self._reading(lambda: (self._armed(handle)[0], ""))

    def prepare(self, handle: Handle) -> Reply:
        """Arm where possible, then send the forward lines, over a section as expected."""

        def act() -> Reply:
            lines = guard.forward_lines(self._platform, handle)
            armed, job = self._armed(handle)
            if armed == "FOREIGN":
                raise SaysNo(f"another change's timer is armed: {job}")
            guard.expect(self, self._platform, handle, guard.AS_PLANNED)
            self._arm(handle)
            self._session.send_all(lines)
            return SENT

        return self._attempt(act)

    def extend(self, handle: Handle) -> Reply:
        """Start the timer anew; refused when ours is not armed."""

        def act() -> Reply:
            if self._platform.dead_man is not None:
                self._need_ours(handle)
                self._arm(handle)  # the new job calls the older one off, or is refused
            return SENT

        return self._attempt(act)

    def confirm(self, handle: Handle) -> Reply:
        """Disarm; refused when the timer has ended or was never armed."""

        def act() -> Reply:
            if self._platform.dead_man is not None:
                self._need_ours(handle)
                self._session.send_all(self._platform.dead_man.disarm(handle.token))
            return SENT

        return self._attempt(act)

    def abort(self, handle: Handle) -> Reply:
        """Send the inverse lines, then disarm; refused over values of somebody else's.

        In this order a crash between the two is harmless: the job restores what is restored.
        """

        def act() -> Reply:
            lines = guard.inverse_lines(self._platform, handle)
            if guard.expect(self, self._platform, handle, guard.ALL_OURS) != "OLD":
                self._session.send_all(lines)
            switch = self._platform.dead_man
            if switch is not None and self._armed(handle)[0] == "OURS":
                # refused = it went off meanwhile, to the same end
                with contextlib.suppress(SaysNo):
                    self._session.send_all(switch.disarm(handle.token))
            return SENT

        return self._attempt(act)

    def save(self, handle: Handle) -> Reply:
        """Keep what runs over a reload; returns when the device has really finished."""

        def act() -> Reply:
            keep = self._platform.save_lines
            if keep is None:
                self._session.save()
                return SENT
            found = read_sections(self, self._platform, handle.objects()).sections
            for objects, section in zip(handle.objects(), found, strict=True):
                self._session.send_all(keep(objects, section))
            return SENT

        return self._attempt(act)

    def drain(self, handle: Handle) -> Reply:
        """Wait until this is our user's only session; UNKNOWN if another one stays."""
        _ = handle

        def act() -> Reply:
            deadline = time.monotonic() + DRAIN_WAIT_S
            while (others := self._session.older_sessions()) > 0:
                if time.monotonic() >= deadline:
                    raise InDoubt(f"{others} older sessions of ours are still logged in")
                time.sleep(DRAIN_POLL_S)
            return SENT

        return self._attempt(act)

    def send_profiles(self, lines: tuple[str, ...]) -> Reply:
        """Send profile lines and save."""

        def act() -> Reply:
            self._session.send_all(gate_profiles(self._platform, lines))
            if lines:
                self._session.save()
            return SENT

        return self._attempt(act)

    def _attempt(self, act: Callable[[], Reply]) -> Reply:
        """Run a write; what the device does becomes a verdict, our own mistakes are raised."""
        try:
            return act()
        except SaysNo as no:
            return Reply(verdict="REFUSED", reason=str(no))
        except InDoubt as doubt:
            return Reply(verdict="UNKNOWN", reason=str(doubt))
        except Unreachable as problem:
            return Reply(verdict="UNKNOWN", reason=problem.problem)
        except BandmasterError as problem:
            return Reply(verdict="REFUSED", reason=str(problem))

    def _reading(self, read: Callable[[], T]) -> T:
        device = self._context.device.name
        try:
            return read()
        except InDoubt as doubt:
            raise Unreachable(device, str(doubt), "Try again.") from doubt
        except SaysNo as no:
            raise Unreadable(device, f"the device refused to answer: {no}") from no

    def _armed(self, handle: Handle) -> tuple[PendingSeen, str]:
        """Say whose job is armed or restoring, and a foreign one's token."""
        if self._platform.dead_man is None:
            return "NONE", ""
        answer = self._session.ask(self._platform.dead_man.pending(handle.token)).strip()
        word, _, job = answer.partition(" ")
        if word not in ("pending", "none", "foreign"):
            raise Unreadable(
                self._context.device.name, f"the timer's state is not understood: {shown(answer)}"
            )
        told: dict[str, PendingSeen] = {"pending": "OURS", "none": "NONE", "foreign": "FOREIGN"}
        return told[word], job

    def _arm(self, handle: Handle) -> None:
        switch = self._platform.dead_man
        if switch is not None:
            lines = guard.inverse_lines(self._platform, handle)
            self._session.send_all(switch.arm(handle.token, lines, handle.revert_after_s))

    def _need_ours(self, handle: Handle) -> None:
        armed, job = self._armed(handle)
        if armed == "FOREIGN":
            raise SaysNo(f"another change's timer is armed: {job}")
        if armed != "OURS":
            raise SaysNo("nothing armed: the timer ended and restored the old state, or never ran")
