"""A lane: one store, one small ISP and one preloaded process; story after story is told there."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import length_hint
from pathlib import Path

from sqlalchemy import text

from billing_bridge import Head
from lab.servers.postgres import Postgres
from lab.small_isp import CLI_PORT, NETCONF_PORT, SmallIsp
from orchestrator.database import writing
from tests.kills.outside import (
    LOGIN,
    Devices,
    Stored,
    at_every_instant,
    at_rest,
    nothing_permanent_undecided,
    read_devices,
    read_store,
)
from tests.kills.stories import Cut, Story
from tests.orchestrator.cuts import KILLED
from tests.orchestrator.field import Ended, Field
from tests.orchestrator.field import field as set_up

OLD, NEW, NEWER = "fiber-100", "fiber-500", "fiber-1000"
OLTS = 2
# a lease that is believed for 10 s outlives the pauses of a busy machine; after a "power cut" the
# next one waits 12 s for it
LEASES = {"lease_renew_s": 3, "lease_ttl_s": 10, "takeover_s": 12}
RECOVERIES = 3  # a machine that stands still for longer than a lease costs one more
OVERSLEPT = ("this worker's lease is over", "this worker slept past its deadline")
UNDECIDED = 6
_SUBNETS = range(216, 240)  # second octets: those of the other tests are lower


class BrokenError(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class Told:
    """What came of a story."""

    story: Story
    hits: list[str] = field(default_factory=list)  # the edge that each killed process passed last
    missed: int = 0  # commands that had ended before their cut
    recoveries: int = 0
    ending: str = ""
    problem: str = ""
    seconds: float = 0


@dataclass(slots=True)
class Lane:
    """A field whose services are used up one after another, so that nothing is ever rebuilt."""

    field: Field
    services: Iterator[str]
    stored: Stored
    devices: Devices

    def look(self) -> None:
        """Read everything anew, holding the ledger to where it was."""
        self.stored = read_store(self.field.rig, self.stored.head)
        self.devices = read_devices(self.field.rig)

    def has_room(self, story: Story) -> bool:
        """Say whether enough services are left: a lane that is quicker than others runs out."""
        return length_hint(self.services) >= story.services

    def tell(self, story: Story) -> Told:
        """Live through one story; its problem says what did not hold."""
        told = Told(story=story)
        began = time.monotonic()
        try:
            self._live(story, told)
        except AssertionError as problem:
            told.problem = str(problem)
        told.seconds = time.monotonic() - began
        return told

    def _live(self, story: Story, told: Told) -> None:
        mine = tuple(next(self.services) for _ in range(story.services))
        words = begin(self.field, story.kind, mine)
        if story.kind in BEGUN:
            self.look()
        _hold(self._nobody_spoke())
        before, was = self.devices, self.stored
        for place, cut in enumerate(story.cuts):
            self._cut(words if place == 0 else ("recover",), cut, told)
            self.look()
            _hold(at_every_instant(self.stored))
            _hold(nothing_permanent_undecided(before, self.devices, was, self.stored, mine))
        if story.gone:
            self._forget_the_boot()
        told.recoveries = self._recover()
        self.look()
        _hold(at_rest(self.stored, self.devices))
        _hold(_only(mine, before, self.devices, was, self.stored))
        told.ending = _ending(mine, was, self.stored)

    def _cut(self, words: tuple[str, ...], cut: Cut, told: Told) -> None:
        ended = self.field.run(*words, cut=cut.options())
        if ended.code == KILLED:
            edge = _last_edge(ended)
            told.hits.append(f"{edge} +" if cut.later_ms else edge)
        elif ended.code == 0 or _overslept(ended):
            told.missed += 1
        else:
            raise BrokenError(f"{words} ended with {ended.code}: {ended.err[-2000:]}")

    def _recover(self) -> int:
        """Recover until nothing is left; return how often that took. No person helps."""
        for times in range(1, RECOVERIES + 1):
            ended = self.field.run("recover")
            if ended.code == 0:
                return times
            if not _overslept(ended):
                raise BrokenError(f"recover ended with {ended.code}: {ended.err[-2000:]}")
        raise BrokenError(f"{RECOVERIES} recoveries did not settle it: {ended.err[-2000:]}")

    def _nobody_spoke(self) -> Iterator[str]:
        """P10: once all is closed no byte of it reaches a device."""
        for device in self.field.rig.isp.specs():
            log = self.field.rig.fleet.control(device.name, "log", since=self.devices.heard)
            for entry in log["entries"]:
                if "#" in entry["who"] and entry["what"] != "session ended":
                    yield f"P10 {device.name} heard {entry} after everything was closed"

    def _forget_the_boot(self) -> None:
        with writing(self.field.rig.office.engine) as session:
            session.connection().execute(text("UPDATE lease SET boot_id = 'an earlier one'"))


def _hold(problems: Iterator[str]) -> None:
    found = list(problems)
    if found:
        raise BrokenError("\n".join(found[:10]))


def _overslept(ended: Ended) -> bool:
    return ended.code == UNDECIDED and any(words in ended.err for words in OVERSLEPT)


def _last_edge(ended: Ended) -> str:
    edges = [line for line in ended.err.splitlines() if line.startswith("edge ")]
    return edges[-1].partition(": ")[2] if edges else "before the first edge"


def _only(
    mine: tuple[str, ...], before: Devices, now: Devices, was: Stored, seen: Stored
) -> Iterator[str]:
    """Yield which neighbours were touched, and whose ledger moved by more than this one order."""
    for name in was.ledger:
        if name not in mine and (was.ledger[name], before.lines[name]) != (
            seen.ledger[name],
            now.lines[name],
        ):
            yield f"{name} is a neighbour and was touched"
    fresh = [change for change in seen.states if change not in was.states]
    if len(fresh) > len(mine):
        yield f"{len(fresh)} changes were written for {len(mine)} orders"


def _ending(mine: tuple[str, ...], was: Stored, seen: Stored) -> str:
    moved = sum(was.ledger[name] != seen.ledger[name] for name in mine)
    if moved:
        return "committed" if moved == len(mine) else "committed in part"
    return "aborted" if len(seen.states) > len(was.states) else "never begun"


# --- how each kind of order begins ---------------------------------------------------------------


def begin(field: Field, kind: str, mine: tuple[str, ...]) -> tuple[str, ...]:
    """Bring services to where this kind of order can begin; return the command's words."""
    if kind in BEGUN:
        BEGUN[kind](field, mine[0])
    one = mine[0]
    words = {
        "tier": ("service", "tier", one, NEW),
        "suspend": ("service", "suspend", one),
        "resume": ("service", "resume", one),
        "terminate": ("service", "terminate", one),
        "activate": ("service", "activate", one, "--plan", NEW),
        "set": ("service", "tier", "--file", "changes.csv", "--all-or-nothing"),
        "parts": ("service", "tier", "--file", "changes.csv", "--set-max", "2"),
    }
    if kind in ("set", "parts"):
        rows = [f"{name},{(NEW, NEWER)[place % 2]}" for place, name in enumerate(mine)]
        lines = "\n".join(("service,plan", *rows))
        (field.folder / "changes.csv").write_text(lines + "\n", "utf-8")
    if kind == "rollback":
        return ("change", "rollback", _newest_change(field, one), "--yes")
    return (*words[kind], "--yes")


def good(field: Field, *words: str) -> Ended:
    """Run a command that nobody kills, and what it leaves open."""
    ended = field.run(*words)
    if ended.code != 0:
        raise BrokenError(f"{words} ended with {ended.code}: {ended.err[-2000:]}")
    return ended


def _newest_change(field: Field, service_id: str) -> str:
    listed = good(field, "change", "list", "--service", service_id, "--json")
    return str(json.loads(listed.out)["changes"][0]["change_id"])


def _changed(field: Field, service_id: str) -> None:
    good(field, "service", "tier", service_id, NEW, "--yes")
    good(field, "recover")


def _suspended(field: Field, service_id: str) -> None:
    good(field, "service", "suspend", service_id, "--yes")
    good(field, "recover")


def _terminated(field: Field, service_id: str) -> None:
    good(field, "service", "terminate", service_id, "--yes")
    good(field, "recover")
    login = LOGIN.format(service_id.rpartition("-")[2])
    with writing(field.rig.office.engine) as session:
        where = "radius." if session.get_bind().dialect.name == "postgresql" else ""
        session.connection().execute(
            text(
                f"INSERT INTO {where}radcheck (username, attribute, op, value)"  # noqa: S608
                " VALUES (:login, 'Cleartext-Password', ':=', 'password-of-this-login')"
            ),
            {"login": login},
        )


BEGUN: dict[str, Callable[[Field, str], None]] = {
    "rollback": _changed,
    "resume": _suspended,
    "activate": _terminated,
}


# --- setting up ----------------------------------------------------------------------------------


@contextmanager
def lane(folder: Path, subnet: str, services: int, server: Postgres | None) -> Iterator[Lane]:
    """Set a lane up on SQLite, or on a database of its own of this server."""
    url = f"sqlite:///{folder / 'bandmaster.db'}"
    if server is not None:
        name = folder.name.replace("-", "_")
        server.create_database(name)
        url = server.url("migrate", name)
    isp = SmallIsp(subnet=subnet, services=services, olts=OLTS, save_s=0.05)
    with set_up(folder, isp, url, os.environ.__setitem__, **LEASES) as made:
        stored = read_store(made.rig, Head())
        found = Lane(
            field=made,
            services=iter(isp.ids()),
            stored=stored,
            devices=read_devices(made.rig),
        )
        _hold(at_rest(found.stored, found.devices))
        yield found


def free_subnets(count: int) -> list[str]:
    """Return the first three octets of loopback addresses that nobody uses now."""
    found: list[str] = []
    start = os.getpid() * 7919
    for number in range(start, start + 256 * len(_SUBNETS)):
        second = _SUBNETS[number // 256 % len(_SUBNETS)]
        subnet = f"127.{second}.{number % 256}"
        places = [(f"{subnet}.1", NETCONF_PORT)]
        places += [(f"{subnet}.{10 + olt}", CLI_PORT) for olt in range(1, OLTS + 1)]
        if all(_free(place) for place in places):
            found.append(subnet)
        if len(found) == count:
            return found
    raise BrokenError("no addresses are free")


def _free(place: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(place) != 0
