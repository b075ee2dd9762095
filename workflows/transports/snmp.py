"""Evidence beside the read-back: uptime, speed and octets of one interface, never a gate."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inventory import BandmasterError, SnmpTarget
from workflows.participant import Resolver

from .radius import utc_now
from .words import shown

TOTAL_S = 3.0
_ROWS_AT_ONCE = 50
SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
_IF_NAME = "1.3.6.1.2.1.31.1.1.1.1"  # IF-MIB, RFC 2863
_IF_HC_IN_OCTETS = "1.3.6.1.2.1.31.1.1.1.6"
_IF_HC_OUT_OCTETS = "1.3.6.1.2.1.31.1.1.1.10"
_IF_HIGH_SPEED = "1.3.6.1.2.1.31.1.1.1.15"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnmpEvidence:
    """What SNMP said at `at`, or `read` = False and why not; numbers are then 0.

    `sys_uptime_cs` in hundredths of a second since the agent started; octets since the
    interface's counters began, as the device counts them.
    """

    read: bool
    at: dt.datetime
    why_not: str = ""
    sys_uptime_cs: int = 0
    if_high_speed_mbps: int = 0
    in_octets: int = 0
    out_octets: int = 0


class NotReadError(Exception):
    """Says why nothing could be read."""


def read_evidence(
    target: SnmpTarget,
    host: str,
    resolve: Resolver,
    interface: str,
    *,
    timeout_s: float = TOTAL_S,
    clock: Callable[[], dt.datetime] = utc_now,
) -> SnmpEvidence:
    """Read one interface by its ifName, within `timeout_s` altogether. Never raises.

    SNMPv3 authPriv with SHA-256 and AES-128; v2c only where the target allows it.
    """
    at = clock()
    if not target.port:
        return SnmpEvidence(read=False, at=at, why_not="the inventory gives no SNMP port")
    try:
        values = asyncio.run(_within(timeout_s, target, host, resolve, interface))
    except TimeoutError:
        return SnmpEvidence(read=False, at=at, why_not=f"no answer within {timeout_s:g} s")
    except (NotReadError, BandmasterError) as error:
        return SnmpEvidence(read=False, at=at, why_not=shown(str(error)))
    except Exception as error:  # noqa: BLE001 - evidence must never stop a change
        # the text of a library's error may quote its arguments, and those hold keys
        return SnmpEvidence(read=False, at=at, why_not=f"SNMP failed: {type(error).__name__}")
    uptime, speed, received, sent = values
    return SnmpEvidence(
        read=True,
        at=at,
        sys_uptime_cs=uptime,
        if_high_speed_mbps=speed,
        in_octets=received,
        out_octets=sent,
    )


async def _within(
    timeout_s: float, target: SnmpTarget, host: str, resolve: Resolver, interface: str
) -> tuple[int, ...]:
    from pysnmp.hlapi.v3arch.asyncio import SnmpEngine  # noqa: PLC0415 - 0.13 s

    engine = SnmpEngine()
    try:
        async with asyncio.timeout(timeout_s):
            return await _values(engine, target, host, resolve, interface)
    finally:
        engine.close_dispatcher()


async def _values(
    engine: Any, target: SnmpTarget, host: str, resolve: Resolver, interface: str
) -> tuple[int, ...]:
    from pysnmp.hlapi.v3arch.asyncio import (  # noqa: PLC0415
        ContextData,
        UdpTransportTarget,
        bulk_cmd,
        get_cmd,
    )

    # one request lost on the way is asked again inside the total
    peer = await UdpTransportTarget.create((host, target.port), timeout=1, retries=1)
    ask = (engine, login(target, resolve), peer, ContextData())
    place = _IF_NAME
    while True:
        rows = rows_of(await bulk_cmd(*ask, 0, _ROWS_AT_ONCE, oid(place), lookupMib=False))
        for name, value in rows:
            if not name.startswith(f"{_IF_NAME}.") or name == place:
                raise NotReadError(f"the device has no interface named {interface}")
            place = name
            if str(value) == interface:
                return await _counters(get_cmd, ask, place.rpartition(".")[2])
        if not rows:
            raise NotReadError("the device lists no interfaces")


async def _counters(get_cmd: Any, ask: tuple[Any, ...], index: str) -> tuple[int, ...]:
    names = (_IF_HIGH_SPEED, _IF_HC_IN_OCTETS, _IF_HC_OUT_OCTETS)
    wanted = (SYS_UPTIME, *(f"{name}.{index}" for name in names))
    rows = rows_of(await get_cmd(*ask, *map(oid, wanted), lookupMib=False))
    if [name for name, _ in rows] != list(wanted):
        raise NotReadError("the device answered another question")
    try:
        return tuple(int(value) for _, value in rows)
    except (TypeError, ValueError) as error:  # noSuchInstance and its kin are no numbers
        raise NotReadError("the device lacks a counter of the interface") from error


def oid(text: str) -> Any:
    """Return the library's form of a dotted number."""
    from pysnmp.hlapi.v3arch.asyncio import ObjectIdentity, ObjectType  # noqa: PLC0415

    return ObjectType(ObjectIdentity(text))


def rows_of(answer: tuple[Any, Any, Any, Any]) -> list[tuple[str, Any]]:
    """Return (name, value) of an answer; NotReadError where the device refuses or is silent."""
    problem, status, _, rows = answer
    if problem:  # the library's own words, of silence or of what SNMPv3 refuses
        raise NotReadError(str(problem))
    if status:
        raise NotReadError(f"the device answered: {status.prettyPrint()}")
    return [(str(row[0]), row[1]) for row in rows]


def login(target: SnmpTarget, resolve: Resolver) -> Any:
    """Return the library's form of a login; v2c only where the target allows it."""
    from pysnmp.hlapi.v3arch.asyncio import (  # noqa: PLC0415
        USM_AUTH_HMAC192_SHA256,
        USM_PRIV_CFB128_AES,
        CommunityData,
        UsmUserData,
    )

    if target.version == "2c":
        if not target.allow_v2c:
            raise NotReadError("SNMP v2c is not allowed for this device (allow_v2c)")
        return CommunityData(resolve(target.community), mpModel=1)  # noqa: S508 - asked for
    return UsmUserData(
        target.user,
        authKey=resolve(target.auth),
        privKey=resolve(target.priv),
        authProtocol=USM_AUTH_HMAC192_SHA256,
        privProtocol=USM_PRIV_CFB128_AES,
    )
