"""Counters of many interfaces of many devices by GETBULK, so many devices at once and no more.

IF-MIB, RFC 2863. One loop asks; a device has one request on its way at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from inventory import BandmasterError, SnmpTarget
from workflows.participant import Resolver

from .snmp import SYS_UPTIME, NotReadError, login, oid, rows_of
from .words import shown

_IF_X = "1.3.6.1.2.1.31.1.1.1"
_NAME, _IN, _OUT, _SPEED, _RESTART = (f"{_IF_X}.{column}." for column in (1, 6, 10, 15, 19))
_COLUMNS = (_NAME, _IN, _OUT, _SPEED, _RESTART)
ROWS_AT_ONCE = 10  # of five columns: an answer of some 1.2 kB, which no path has to cut up
# Taking an answer apart keeps this process busy for tens of milliseconds: with many devices in
# flight an answer that lies here already must not be asked for again.
_REQUEST_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTarget:
    """A device and the interfaces (ifName) that are wanted of it."""

    device: str
    host: str
    snmp: SnmpTarget
    interfaces: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceCounters:
    """An interface at one moment, `after_s` seconds into the round; octets as the device counts.

    `uptime_cs` and `restart_cs` are sysUpTime and ifCounterDiscontinuityTime; `speed_mbps` 0 = the
    device does not say.
    """

    interface: str
    after_s: float
    in_octets: int
    out_octets: int
    uptime_cs: int
    restart_cs: int
    speed_mbps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What a device said; `why_not` "" = all that was wanted was read.

    `missing` are the interfaces that it has not, has twice, or gives no 64-bit counters of.
    """

    device: str
    counters: tuple[InterfaceCounters, ...] = ()
    missing: tuple[str, ...] = ()
    why_not: str = ""


def poll_devices(
    targets: Sequence[PollTarget],
    resolve: Resolver,
    *,
    in_flight: int = 20,
    timeout_s: float = 30,
) -> tuple[Polled, ...]:
    """Ask all devices, at most `in_flight` at once and each for `timeout_s`; in the order given.

    Never raises for a device: one that is silent or refuses says why.
    """
    return asyncio.run(_poll(targets, resolve, in_flight, timeout_s)) if targets else ()


async def _poll(
    targets: Sequence[PollTarget], resolve: Resolver, in_flight: int, timeout_s: float
) -> tuple[Polled, ...]:
    from pysnmp.hlapi.v3arch.asyncio import SnmpEngine  # noqa: PLC0415 - 0.13 s

    begun = time.monotonic()
    # an answer that comes when nobody waits any more has nowhere to go, and is no error of ours
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    turn = asyncio.Semaphore(in_flight)
    # an engine keeps one key to a user's name: devices that differ in their keys need their own
    engines: defaultdict[SnmpTarget, Any] = defaultdict(SnmpEngine)

    async def one(target: PollTarget) -> Polled:
        async with turn:
            return await _device(engines, target, resolve, begun, timeout_s)

    try:
        return tuple(await asyncio.gather(*map(one, targets)))
    finally:
        for engine in engines.values():
            engine.close_dispatcher()


async def _device(
    engines: defaultdict[SnmpTarget, Any],
    target: PollTarget,
    resolve: Resolver,
    begun: float,
    timeout_s: float,
) -> Polled:
    try:
        async with asyncio.timeout(timeout_s):
            engine = engines[_credentials(target.snmp)]
            return await _walk(engine, target, resolve, begun)
    except TimeoutError:
        why = f"no answer within {timeout_s:g} s"
    except (NotReadError, BandmasterError) as error:
        why = shown(str(error))
    except Exception as error:  # noqa: BLE001 - one device must not stop the others
        # the text of a library's error may quote its arguments, and those hold keys
        why = f"SNMP failed: {type(error).__name__}"
    return Polled(device=target.device, why_not=why)


def _credentials(snmp: SnmpTarget) -> SnmpTarget:
    """Return what tells engines apart: everything but the port."""
    return SnmpTarget(
        version=snmp.version,
        user=snmp.user,
        auth=snmp.auth,
        priv=snmp.priv,
        community=snmp.community,
        allow_v2c=snmp.allow_v2c,
    )


async def _walk(engine: Any, target: PollTarget, resolve: Resolver, begun: float) -> Polled:
    from pysnmp.hlapi.v3arch.asyncio import (  # noqa: PLC0415
        ContextData,
        UdpTransportTarget,
        bulk_cmd,
    )

    address = (target.host, target.snmp.port)
    peer = await UdpTransportTarget.create(address, timeout=_REQUEST_S, retries=1)
    ask = (engine, login(target.snmp, resolve), peer, ContextData())
    table = _Table(target.interfaces)
    places = dict.fromkeys(_COLUMNS, "")
    while places:
        wanted = [oid(SYS_UPTIME[:-2]), *(oid((column + at)[: None if at else -1])
                                          for column, at in places.items())]  # fmt: skip
        answer = await bulk_cmd(*ask, 1, ROWS_AT_ONCE, *wanted, lookupMib=False)
        places = table.take(rows_of(answer), places, time.monotonic() - begun)
    return table.polled(target.device)


class _Table:
    """The rows of a device's interfaces, column by column as they come in."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._cells: dict[str, dict[str, int]] = {column: {} for column in _COLUMNS}
        self._index: dict[str, list[str]] = {name: [] for name in wanted}
        self._asked: dict[str, tuple[float, int]] = {}

    def take(
        self, rows: Sequence[tuple[str, Any]], places: dict[str, str], after_s: float
    ) -> dict[str, str]:
        """Take an answer in; return the columns to go on with, and where each stands."""
        if not rows or rows[0][0] != SYS_UPTIME:
            raise NotReadError("the device does not tell its sysUpTime")
        uptime_cs = int(rows[0][1])
        last: dict[str, str] = {}
        columns = tuple(places)
        for number, (name, value) in enumerate(rows[1:]):
            column = columns[number % len(columns)]  # the answer goes through them in turn
            if name.startswith(column) and column + places[column] != name:
                last[column] = name[len(column) :]
                self._put(column, last[column], value, (after_s, uptime_cs))
        return last

    def _put(self, column: str, at: str, value: Any, when: tuple[float, int]) -> None:
        if column == _NAME:
            if str(value) in self._index:
                self._index[str(value)].append(at)
            return
        try:
            self._cells[column][at] = int(value)
        except (TypeError, ValueError):  # noSuchInstance and its kin are no numbers
            return
        if column == _IN:
            self._asked[at] = when

    def polled(self, device: str) -> Polled:
        """Return what is complete of what was wanted."""
        found = []
        for name, places in sorted(self._index.items()):
            counted = len(places) == 1 and all(
                places[0] in self._cells[column] for column in (_IN, _OUT)
            )
            if counted:
                found.append(self._counters(name, places[0]))
        read = {one.interface for one in found}
        return Polled(
            device=device,
            counters=tuple(found),
            missing=tuple(sorted(set(self._wanted) - read)),
        )

    def _counters(self, name: str, at: str) -> InterfaceCounters:
        after_s, uptime_cs = self._asked[at]
        return InterfaceCounters(
            interface=name,
            after_s=after_s,
            in_octets=self._cells[_IN][at],
            out_octets=self._cells[_OUT][at],
            uptime_cs=uptime_cs,
            restart_cs=self._cells[_RESTART].get(at, 0),
            speed_mbps=self._cells[_SPEED].get(at, 0),
        )
