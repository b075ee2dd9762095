"""What a platform folder tells the rest: data, one parser, templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from inventory import Rate

from .fields import Field

Objects = Mapping[str, str | int]
"""One service's attachment fields on one device, typed by the platform (`Platform.fields`)."""

Section = tuple[tuple[str, str], ...]
"""What a device holds for one service's own objects, as sorted (leaf, value) pairs.

Always has the leaves `state` (`on`/`off`), `down_kbps`, `up_kbps` (the rates that the bound
profiles really give, as decimal text), plus the platform's own binding leaves (profile names or
indexes). Platforms that can see it add `programmed` = `no` when the data plane disagrees with the
configuration (the leaf is absent otherwise). An object that does not exist is `()`.
"""

Database = Literal["running", "startup"]
Mechanism = Literal["native_confirm", "dead_man", "inverse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSeen:
    """A rate profile (policer, traffic table, ...) found on a device."""

    name: str
    kbps: int
    kind: str = ""  # where a platform has several kinds, e.g. "down"/"up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One read of a device's running or startup configuration.

    `sections` has one entry per `objects` asked for, in the same order.
    """

    sections: tuple[Section, ...]
    profiles: tuple[ProfileSeen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyAttribute:
    """A RADIUS attribute as FreeRADIUS's SQL tables and a dictionary name it."""

    name: str
    op: str  # ":=", "=", "+="
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSession:
    """A live session as the NAS itself shows it; an unknown rate is UNKNOWN_RATE."""

    acct_session_id: str
    login: str
    rate: Rate
    interface: str = ""
    address: str = ""
    started: str = ""  # the NAS's own text, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMan:
    """How a box without native confirm is armed: shell lines made from (token, inverse, seconds).

    `arm` starts a detached job that sleeps, renames the token file and only then restores;
    `disarm` is the same rename: whoever renames first has won (decisions.md D8).
    """

    arm: Callable[[str, tuple[str, ...], int], tuple[str, ...]]
    disarm: Callable[[str], tuple[str, ...]]
    pending: Callable[[str], str]  # one query; prints "pending", "none" or "foreign TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Everything that is said about one platform. Functions are pure: no socket, clock or price.

    read(database, objects...) -> the queries to send (CLI lines, or names the transport knows);
    parse(database, objects..., replies) -> Reading; raises inventory.Unreadable when a reply is
        not understood or rows are missing (a count that does not match is not understood);
    target(objects, state, rate, before, profiles) -> the Section to reach; `state` is one of
        `active`, `suspended`, `terminated`; raises inventory.ProfileMissing naming the profile;
    render(objects, before, after) -> the lines that turn `before` into `after`, absolute, so that
        replaying them is harmless; the undo is render(objects, after, before);
    owned(line, objects) -> True only for a line that touches nothing but these objects;
    profile_lines(rates, profiles) -> lines that make the missing profiles (no subscriber touched).
    """

    name: str  # the folder's name
    title: str
    mechanism: Mechanism
    transport: str  # module under workflows.transports
    transport_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    fields: Mapping[str, Field] = field(default_factory=lambda: MappingProxyType({}))
    read: Callable[[Database, tuple[Objects, ...]], tuple[str, ...]]
    parse: Callable[[Database, tuple[Objects, ...], tuple[str, ...]], Reading]
    target: Callable[[Objects, str, Rate, Section, tuple[ProfileSeen, ...]], Section]
    render: Callable[[Objects, Section, Section], tuple[str, ...]]
    owned: Callable[[str, Objects], bool]
    profile_lines: Callable[[tuple[Rate, ...], tuple[ProfileSeen, ...]], tuple[str, ...]]
    profile_owned: Callable[[str], bool]
    dead_man: DeadMan | None = None
    # RADIUS dialect of this platform as a NAS; radius_reply(rate, suspended)
    radius_reply: Callable[[Rate, bool], tuple[ReplyAttribute, ...]] | None = None
    # coa(before rate, after rate, suspended after) -> attributes of a CoA-Request
    coa: Callable[[Rate, Rate, bool], tuple[ReplyAttribute, ...]] | None = None
    session_read: Callable[[str], tuple[str, ...]] | None = None  # queries for one login
    session_parse: Callable[[str, tuple[str, ...]], tuple[AccessSession, ...]] | None = None
    session_list: tuple[str, ...] = ()  # queries for all logins: session_parse("", replies)
    snmp_interface: Callable[[Objects], str] | None = None  # ifName/ifDescr of the subscriber
    # inverse and dead_man: lines that keep a service's section for the next boot, where the
    # box has no command that saves everything (transport_options["save"])
    save_lines: Callable[[Objects, Section], tuple[str, ...]] | None = None
    dictionary: str = ""  # path of the dialect's vendor attributes, as pyrad reads them
    note: str = ""  # what a person should know, shown in the plan ("revert timer survives ...")


def section_text(section: Section) -> str:
    """Return what a section gives, for people: its rate, or why there is none."""
    if not section:
        return "no such line"
    rate = section_rate(section)
    if dict(section).get("state") == "off":
        return "switched off"
    return str(rate) if rate.down_kbps or rate.up_kbps else "no rate"


def as_section(leaves: Mapping[str, str]) -> Section:
    """Return leaves in the one order in which sections are compared and hashed."""
    return tuple(sorted(leaves.items()))


def section_rate(section: Section) -> Rate:
    """Return the rate that a section gives; 0/0 for an object that is missing, off or has none."""
    leaves = dict(section)
    if leaves.get("state") == "off":
        return Rate(down_kbps=0, up_kbps=0)  # it may keep its tables: they give nothing
    return Rate(
        down_kbps=int(leaves.get("down_kbps", "0")), up_kbps=int(leaves.get("up_kbps", "0"))
    )
