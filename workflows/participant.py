"""The participant: what is asked of a device in a change, and the one truth read back from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

from device_templates import Objects, Section
from inventory import Device, SecretRef, digest

Seen = Literal["OLD", "NEW", "MIXED", "OTHER", "UNREADABLE"]
PendingSeen = Literal["NONE", "OURS", "FOREIGN", "UNKNOWN"]
Verdict = Literal["SENT", "REFUSED", "UNKNOWN"]
Goal = Literal["OLD", "NEW"]

HANDLE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleItem:
    """One service's part in a device's change: its objects, from what to what, and the lines."""

    service_id: str
    objects: tuple[tuple[str, str | int], ...]
    before: Section
    after: Section
    forward: tuple[str, ...]
    inverse: tuple[str, ...]

    @property
    def pre_hash(self) -> str:
        """Digest of the owned section before the change."""
        return digest(self.before)

    @property
    def new_hash(self) -> str:
        """Digest of the owned section after the change."""
        return digest(self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """All that is needed to drive one device of one set, from any process, at any later time.

    Journalled with the intent as JSON (decisions.md D8). `token` = `set_id.attempt`; it never
    occurs inside forward or inverse lines.
    """

    device: str
    platform: str
    token: str
    items: tuple[HandleItem, ...]
    revert_after_s: int

    @property
    def forward(self) -> tuple[str, ...]:
        """The lines that do the change, in item order."""
        return tuple(line for item in self.items for line in item.forward)

    @property
    def inverse(self) -> tuple[str, ...]:
        """The lines that undo it, last item first."""
        return tuple(line for item in reversed(self.items) for line in item.inverse)

    def objects(self) -> tuple[Objects, ...]:
        """The typed objects of each item, in item order."""
        return tuple(dict(item.objects) for item in self.items)

    def subset(self, service_ids: AbstractSet[str]) -> Handle:
        """The same handle for some of its services only."""
        return replace(self, items=tuple(i for i in self.items if i.service_id in service_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a verb brought: a hint, never a proof. `reason` is the device's own words, masked."""

    verdict: Verdict
    reason: str = ""


SENT = Reply(verdict="SENT")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSeen:
    """One service's section in running and startup, classified against its handle item."""

    running: Seen
    startup: Seen
    section: Section = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The one truth about a device in a change; `items` is keyed by service_id."""

    pending: PendingSeen
    items: Mapping[str, ItemSeen]
    revision: str = ""
    evidence: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def running(self) -> Seen:
        """All items taken together."""
        return _together([item.running for item in self.items.values()])

    def startup(self) -> Seen:
        """All items taken together."""
        return _together([item.startup for item in self.items.values()])


def _together(seen: list[Seen]) -> Seen:
    for worst in ("UNREADABLE", "OTHER"):
        if worst in seen:
            return worst
    return seen[0] if seen and len(set(seen)) == 1 else "MIXED"


def classify(before: Section, after: Section, seen: Section) -> Seen:
    """Say where `seen` stands between `before` and `after`.

    MIXED means that every leaf has the old or the new value (so all of it can be ours: a partial
    batch, or a configuration that the data plane did not take); anything else is OTHER.
    """
    if seen == after:
        return "NEW"
    if seen == before:
        return "OLD"
    old, new, got = dict(before), dict(after), dict(seen)
    got.pop("programmed", None)
    if not got or got.keys() - (old.keys() | new.keys()):
        return "OTHER"
    leaves = old.keys() | new.keys()
    ours = all(got.get(leaf) in (old.get(leaf), new.get(leaf)) for leaf in leaves)
    return "MIXED" if ours else "OTHER"


class Resolver(Protocol):
    """Turns a reference into the secret, at connect and never earlier (decisions.md D14)."""

    def __call__(self, ref: SecretRef) -> str:
        """Return the secret; raises BadSettings when it is missing or its file is unsafe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireContext:
    """What every transport is given to open a wire."""

    device: Device
    resolve: Resolver
    known_hosts: str  # path of our own known_hosts file; only keys in it are believed
    timeout_s: int
    # raises once this worker may send no more; asked again where whoever takes over will see us
    may_send: Callable[[], None] = field(default=lambda: None)


class Wire(Protocol):
    """One live way to one device, with one owner.

    A module under `transports` offers `connect(context: WireContext, platform: Platform) -> Wire`
    (not yet open).
    open() raises Unreachable, LoginRefused, HostKeyUnknown, HostKeyChanged (no password is sent to
    a host whose key is not enrolled). The verbs never raise for what a device does: they return
    SENT, REFUSED(reason) or UNKNOWN(reason) and may all be repeated. After UNKNOWN the caller
    closes the wire, opens a new one, drains and reads. ask() and pending() raise Unreachable or
    Unreadable. close() never raises, and never reverts or confirms anything.
    """

    def open(self) -> None:
        """Connect and log in; lock where the mechanism keeps a lock (native confirm)."""

    def close(self) -> None:
        """Let go of everything held on the device by this wire."""

    def ask(self, queries: tuple[str, ...]) -> tuple[str, ...]:
        """Return one reply text per query, in order."""

    def pending(self, handle: Handle) -> tuple[PendingSeen, str]:
        """Whether a revert timer runs, and whose; and the device's revision text if it has one."""

    def prepare(self, handle: Handle) -> Reply:
        """Make running NEW: armed where the mechanism can, else by the forward lines."""

    def extend(self, handle: Handle) -> Reply:
        """Start the revert timer anew (SENT where there is none)."""

    def confirm(self, handle: Handle) -> Reply:
        """Stop the revert timer and keep what runs (SENT where there is none)."""

    def abort(self, handle: Handle) -> Reply:
        """Make running OLD again: the inverse lines, absolute, ending any pending confirm."""

    def save(self, handle: Handle) -> Reply:
        """Make startup equal running for what is ours (SENT where confirming does that)."""

    def drain(self, handle: Handle) -> Reply:
        """Wait until no older session of ours can still act; REFUSED/UNKNOWN if one may."""

    def send_profiles(self, lines: tuple[str, ...]) -> Reply:
        """Make profiles (no subscriber touched) and keep them over a reload."""


def handle_json(handle: Handle) -> dict[str, Any]:
    """Return the handle as JSON values, readable by every later version (decisions.md D8)."""
    return {
        "v": HANDLE_VERSION,
        "device": handle.device,
        "platform": handle.platform,
        "token": handle.token,
        "revert_after_s": handle.revert_after_s,
        "pre_hash": digest([item.pre_hash for item in handle.items]),
        "new_hash": digest([item.new_hash for item in handle.items]),
        "items": [
            {
                "service_id": item.service_id,
                "objects": [list(pair) for pair in item.objects],
                "before": [list(pair) for pair in item.before],
                "after": [list(pair) for pair in item.after],
                "forward": list(item.forward),
                "inverse": list(item.inverse),
            }
            for item in handle.items
        ],
    }


def handle_from_json(value: Mapping[str, Any]) -> Handle:
    """Return the handle that `handle_json` wrote; ValueError for a version not known here."""
    if value["v"] != HANDLE_VERSION:
        msg = f"participant handle version {value['v']} is newer than this program"
        raise ValueError(msg)
    return Handle(
        device=value["device"],
        platform=value["platform"],
        token=value["token"],
        revert_after_s=value["revert_after_s"],
        items=tuple(
            HandleItem(
                service_id=item["service_id"],
                objects=tuple((name, part) for name, part in item["objects"]),
                before=tuple((leaf, part) for leaf, part in item["before"]),
                after=tuple((leaf, part) for leaf, part in item["after"]),
                forward=tuple(item["forward"]),
                inverse=tuple(item["inverse"]),
            )
            for item in value["items"]
        ),
    )
