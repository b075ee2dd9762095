"""The wire of devices with a native confirmed commit that NAPALM drives over NETCONF (Junos)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import TypeVar

from lxml import etree

from device_templates import Platform, gate_profiles
from inventory import BandmasterError, Unreachable, Unreadable
from workflows.participant import SENT, Handle, PendingSeen, Reply, WireContext

from . import guard
from .netconf_session import NetconfSession
from .words import InDoubt, SaysNo

LOCK_WAIT_S = 30  # how long a person's lock is waited for
DRAIN_WAIT_S = 60  # how long an older session of ours may take to end
YIELD_S = 5  # how long it may take before it is ended
T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9-]*")
# what a refused lock says of its holder: a NETCONF session has no terminal's name, and its
# session-id is its pid [K]
_HOLDER = re.compile(r"locked by:\s*(\S+)\s+([^()]*)\(pid (\d+)\)")


def connect(context: WireContext, platform: Platform) -> NapalmWire:
    """Return the wire, not yet open; the options are described at NetconfSession."""
    return NapalmWire(context, platform)


class NapalmWire:
    """One device, one owner (see participant.Wire).

    Reads need no lock. The first write takes the exclusive lock and close() gives it back, so
    that nobody can commit between prepare and confirm. Every write first asks the commit history
    whose revert timer runs: a plain commit would confirm anybody's. What the libraries report is
    believed only as "refused"; everything else is UNKNOWN and ends the session.
    """

    def __init__(self, context: WireContext, platform: Platform) -> None:
        self._context = context
        self._platform = platform
        self._session = NetconfSession(context, platform.transport_options)

    def open(self) -> None:
        """Connect and log in; raises Unreachable, LoginRefused, HostKeyUnknown/Changed."""
        self._session.open()

    def close(self) -> None:
        """Let go of the lock and the session; what is pending stays pending."""
        self._session.close()

    def ask(self, queries: tuple[str, ...]) -> tuple[str, ...]:
        """Answer `config:committed` (set lines) and `rpc:ELEMENT key=value ...` (XML text).

        Raises Unreachable when the session breaks, Unreadable when the device refuses.
        """
        return self._reading(lambda: tuple(self._answer(query) for query in queries))

    def pending(self, handle: Handle) -> tuple[PendingSeen, str]:
        """Say whose revert timer runs, and the newest commit: its time, user, client and log."""
        return self._reading(lambda: self._history(handle.token))

    def prepare(self, handle: Handle) -> Reply:
        """Commit the forward lines until the revert timer ends, over a section as expected."""
        _whole_minutes(handle)

        def act() -> Reply:
            lines = guard.forward_lines(self._platform, handle)
            self._lock(LOCK_WAIT_S)
            self._refuse_foreign(handle.token)
            guard.expect(self, self._platform, handle, guard.AS_PLANNED)
            self._session.load(lines)
            self._session.commit(revert_in_s=handle.revert_after_s, token=handle.token)
            return SENT

        return self._attempt(act)

    def extend(self, handle: Handle) -> Reply:
        """Start our running timer anew; refused when ours does not run."""
        _whole_minutes(handle)

        def act() -> Reply:
            self._need_ours(handle.token)
            self._session.commit(revert_in_s=handle.revert_after_s, token=handle.token)
            return SENT

        return self._attempt(act)

    def confirm(self, handle: Handle) -> Reply:
        """Confirm our pending commit; refused when ours is not what would be confirmed."""

        def act() -> Reply:
            self._need_ours(handle.token)
            self._session.commit()
            return SENT

        return self._attempt(act)

    def abort(self, handle: Handle) -> Reply:
        """Commit the inverse lines for good, which also ends our timer.

        Refused over a foreign timer, which it would confirm, and over values of somebody else's.
        """

        def act() -> Reply:
            lines = guard.inverse_lines(self._platform, handle)
            self._lock(LOCK_WAIT_S)
            ours = self._refuse_foreign(handle.token) == "OURS"
            seen = guard.expect(self, self._platform, handle, guard.ALL_OURS)
            if seen == "OLD" and not ours:
                return SENT  # nothing of ours is there: no commit, no entry in the history
            self._session.load(lines)
            self._session.commit()
            return SENT

        return self._attempt(act)

    def save(self, handle: Handle) -> Reply:
        """Nothing to do: what was confirmed is what a reload brings."""
        _ = handle
        return SENT

    def drain(self, handle: Handle) -> Reply:
        """Obtain the exclusive lock: an older session that could still act would hold it.

        Whoever drains holds the device's lease, so a NETCONF session of our user that keeps the
        lock belongs to a worker that may send no more: it is ended. What it has left pending may
        go back at once, and is read afterwards. Nobody else's session is touched (W4).
        """
        _ = handle

        def act() -> Reply:
            try:
                self._lock(YIELD_S)
            except SaysNo as no:
                older = self._older(str(no))
                if older:
                    with contextlib.suppress(SaysNo):  # it may have ended by itself
                        self._session.call("kill-session", session_id=older)
            else:
                return SENT
            try:
                self._lock(DRAIN_WAIT_S)
            except SaysNo as no:
                return Reply(verdict="UNKNOWN", reason=f"an older session may act: {no}")
            return SENT

        return self._attempt(act)

    def _older(self, said: str) -> str:
        """Return the id of our user's session that holds the lock, "" where it is no such one."""
        found = _HOLDER.search(said)
        if found is None or found[1] != self._context.device.username:
            return ""
        return "" if set(found[2].split()) - {"terminal", "netconf"} else found[3]

    def send_profiles(self, lines: tuple[str, ...]) -> Reply:
        """Commit profile lines for good; refused while anybody's timer runs."""

        def act() -> Reply:
            checked = gate_profiles(self._platform, lines)
            self._lock(LOCK_WAIT_S)
            if self._history("")[0] != "NONE":
                return _refused("a commit waits for its confirmation: it would be confirmed too")
            self._session.load(checked)
            self._session.commit()
            return SENT

        return self._attempt(act)

    def _attempt(self, act: Callable[[], Reply]) -> Reply:
        """Run a write; what the device does becomes a verdict, our own mistakes are raised."""
        try:
            return act()
        except SaysNo as no:
            return _refused(str(no))
        except InDoubt as doubt:
            return Reply(verdict="UNKNOWN", reason=str(doubt))
        except Unreachable as problem:
            return Reply(verdict="UNKNOWN", reason=problem.problem)
        except BandmasterError as problem:
            return _refused(str(problem))

    def _reading(self, read: Callable[[], T]) -> T:
        device = self._context.device.name
        try:
            return read()
        except InDoubt as doubt:
            raise Unreachable(device, str(doubt), "Try again.") from doubt
        except SaysNo as no:
            raise Unreadable(device, f"the device refused to answer: {no}") from no

    def _answer(self, query: str) -> str:
        kind, _, rest = query.partition(":")
        if query == "config:committed":
            return self._session.running()
        name, *pairs = rest.split(" ")
        arguments = dict(pair.split("=", 1) for pair in pairs)
        if kind != "rpc" or not all(_NAME.fullmatch(each) for each in (name, *arguments)):
            msg = f"not a query of this transport: {query!r}"
            raise ValueError(msg)
        body = self._session.call(name, **arguments)
        text: str = etree.tostring(body, encoding="unicode", with_tail=False)
        return text

    def _history(self, token: str) -> tuple[PendingSeen, str]:
        """Read the newest commit; ours = our token in its log and the marker of a running timer."""
        newest = self._session.call("get-commit-information").find("./commit-history")
        if newest is None or newest.findtext("./sequence-number", "").strip() != "0":
            raise Unreadable(self._context.device.name, "the commit history is not understood")
        log = newest.findtext("./log", "").strip()
        parts = (newest.findtext(f"./{name}", "") for name in ("date-time", "user", "client"))
        revision = " ".join(" ".join((*parts, log)).split())
        if newest.find("./commit-confirmed") is None:
            return "NONE", revision
        return ("OURS" if token and log == token else "FOREIGN"), revision

    def _lock(self, wait_s: float) -> None:
        """Take the lock, and ask once more: only who holds it is seen by who takes over."""
        self._session.lock(wait_s)
        self._context.may_send()

    def _refuse_foreign(self, token: str) -> PendingSeen:
        pending, revision = self._history(token)
        if pending == "FOREIGN":
            raise SaysNo(f"somebody else's commit waits for its confirmation: {revision}")
        return pending

    def _need_ours(self, token: str) -> None:
        self._lock(LOCK_WAIT_S)
        if self._refuse_foreign(token) != "OURS":
            raise SaysNo("nothing pending: the timer ended, or somebody else's commit confirmed it")


def _whole_minutes(handle: Handle) -> None:
    # 0 would be a commit for good, and NAPALM does not say so
    if handle.revert_after_s <= 0 or handle.revert_after_s % 60:
        msg = f"revert_after_s must be a positive multiple of 60, not {handle.revert_after_s}"
        raise ValueError(msg)


def _refused(reason: str) -> Reply:
    return Reply(verdict="REFUSED", reason=reason)
