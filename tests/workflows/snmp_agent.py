"""A small SNMP agent in a thread: one table of interfaces, v3 authPriv and v2c."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config, engine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto.api import v2c
from pysnmp.proto.rfc1905 import endOfMibView, noSuchInstance
from pysnmp.smi.instrum import AbstractMibInstrumController

IF = "1.3.6.1.2.1.31.1.1.1"
AUTH, PRIV, COMMUNITY = "auth-password", "priv-password", "public-1"


def table(names: dict[int, str], *, counters: bool = True) -> dict[tuple[int, ...], Any]:
    """Rows of interfaces by index: speed 1000, octets 2**40 + index and 2**41 + index."""
    rows: dict[str, Any] = {"1.3.6.1.2.1.1.3.0": v2c.TimeTicks(123_456)}
    for index, name in names.items():
        rows[f"{IF}.1.{index}"] = v2c.OctetString(name)
        if counters:
            rows[f"{IF}.6.{index}"] = v2c.Counter64(2**40 + index)
            rows[f"{IF}.10.{index}"] = v2c.Counter64(2**41 + index)
        rows[f"{IF}.15.{index}"] = v2c.Gauge32(1000)
    rows[f"{IF}.18.1"] = v2c.OctetString("what follows the table")
    return {tuple(map(int, oid.split("."))): value for oid, value in rows.items()}


class Rows(AbstractMibInstrumController):  # type: ignore[misc]
    """Answers from a dictionary."""

    def __init__(self, rows: dict[tuple[int, ...], Any]) -> None:
        self._rows = rows
        self._order = sorted(rows)

    def read_variables(self, *asked: Any, **_context: Any) -> list[Any]:
        """The rows themselves."""
        return [(oid, self._rows.get(tuple(oid), noSuchInstance)) for oid, _ in asked]

    def read_next_variables(self, *asked: Any, **_context: Any) -> list[Any]:
        """The rows after them."""
        return [self._after(oid) for oid, _ in asked]

    def _after(self, oid: Any) -> tuple[Any, Any]:
        for place in self._order:
            if place > tuple(oid):
                return v2c.ObjectIdentifier(place), self._rows[place]
        return oid, endOfMibView


class Agent:
    """Listens on a loopback address; user `noc` for v3."""

    def __init__(self, host: str, port: int, rows: dict[tuple[int, ...], Any]) -> None:
        self.host = host
        self.port = port
        self._rows = rows
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        agent = engine.SnmpEngine()
        transport = udp.UdpTransport(loop=self._loop).open_server_mode((self.host, self.port))
        config.add_transport(agent, udp.DOMAIN_NAME, transport)
        config.add_v3_user(
            agent,
            "noc",
            config.USM_AUTH_HMAC192_SHA256,
            AUTH,
            config.USM_PRIV_CFB128_AES,
            PRIV,
        )
        config.add_v1_system(agent, "area", COMMUNITY)
        for model, name, level in ((3, "noc", "authPriv"), (2, "area", "noAuthNoPriv")):
            config.add_vacm_user(agent, model, name, level, (1, 3, 6), (1, 3, 6))
        place = context.SnmpContext(agent)
        place.unregister_context_name(b"")
        place.register_context_name(b"", Rows(self._rows))
        cmdrsp.GetCommandResponder(agent, place)
        cmdrsp.BulkCommandResponder(agent, place)
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        agent.close_dispatcher()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
