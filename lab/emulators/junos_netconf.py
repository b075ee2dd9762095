"""One NETCONF session of an emulated Junos device: calls in order, faults where they are armed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import deque
from typing import Protocol

import asyncssh

from lab.emulators.faults import COMMON_KINDS, Fault, Faults, report_crash
from lab.emulators.junos_config import Problem
from lab.emulators.junos_database import Holder
from lab.emulators.junos_rpc import Body, Device, execute, names_of
from lab.emulators.junos_xml import (
    BASE_1_1,
    Framer,
    FramingError,
    error_node,
    hello,
    reply,
    strip_namespaces,
)
from lab.emulators.listener import Connection
from lab.emulators.record import Record

KINDS = COMMON_KINDS | {
    "answer_late",  # executed at once, answered `arg` device seconds later
    "garbage",  # executed, answered with broken XML
    "warning",  # executed, answered with an rpc-error of severity warning, text `arg`
}


class Host(Device, Protocol):
    """What a session needs of its device."""

    faults: Faults
    record: Record
    offers_chunks: bool
    boots: int

    def opened(self, session: NetconfSession) -> int:
        """A session began; answers its id."""

    def ended(self, session: NetconfSession) -> None:
        """A session is gone, and nothing of it is left to execute."""

    def die(self) -> None:
        """Refuse every connection from now on."""


class NetconfSession(asyncssh.SSHServerSession[bytes]):
    """A NETCONF channel; calls are executed one after the other."""

    def __init__(self, host: Host, connection: Connection) -> None:
        self._host = host
        self._connection = connection
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._framer = Framer()
        self._greeted = False
        self._waiting: deque[tuple[str, ET.Element]] = deque()
        self._busy = False  # a call is executed or answered later; the next ones wait
        self._cut = False
        self._lost = False
        self._boot = 0
        self._open = False
        self.holder = Holder(user="", client="netconf", session_id=0)

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._chan = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        """NETCONF is the only thing on offer."""
        return subsystem == "netconf"

    def session_started(self) -> None:
        """Greet."""
        number = self._host.opened(self)
        self.holder = Holder(user=self._connection.user, client="netconf", session_id=number)
        self._open = True
        self._boot = self._host.boots
        self._note("session opened")
        self._write(self._framer.wrap(hello(number, chunks=self._host.offers_chunks)))

    def data_received(self, data: bytes, _datatype: asyncssh.DataType) -> None:
        """Take the bytes apart and execute what is complete."""
        try:
            for message in self._framer.feed(data):
                self._message(message)
            self._pump()
        except (FramingError, ET.ParseError, IndexError) as wrong:
            self._note("session cut", f"not NETCONF: {wrong}")
            self._connection.abort()
        except Exception as exc:  # noqa: BLE001 - or it would look like a dropped connection
            report_crash(f"{self._host.name} NETCONF", exc)
            self._connection.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell the device, unless a call that is executed late still needs the session."""
        if not self._lost:
            self._lost = True
            self._waiting.clear()
            if not self._busy:
                self._end()

    def abort(self) -> None:
        """Cut the connection; what has arrived is not executed any more."""
        self._cut = True
        self._connection.abort()

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._note("session ended")
            self._host.ended(self)

    def _note(self, what: str, text: str = "") -> None:
        self._host.record.add(f"{self.holder.user}#{self.holder.session_id}", what, text)

    def _message(self, message: bytes) -> None:
        root = ET.fromstring(message)  # noqa: S314 - the peer is the test itself
        if not self._greeted:
            self._greeted = True
            offered = {(element.text or "").strip() for element in root.iter()}
            self._framer.chunked = self._host.offers_chunks and BASE_1_1 in offered
            return
        message_id = root.get("message-id", "")
        rpc = strip_namespaces(root)[0]
        self._note(rpc.tag, ET.tostring(rpc, encoding="unicode"))
        self._waiting.append((message_id, rpc))

    def _pump(self) -> None:
        while self._waiting and not (self._busy or self._cut or self._lost):
            message_id, rpc = self._waiting.popleft()
            fault = self._host.faults.take(*names_of(rpc))
            if fault is None:
                self._answer(message_id, self._execute(rpc))
                if rpc.tag == "close-session":
                    self._leave()
            else:
                self._meet(fault, message_id, rpc)

    def _execute(self, rpc: ET.Element) -> Body:
        body = execute(self._host, self.holder, rpc)
        if rpc.tag == "close-session":
            self._end()  # before the answer: who has it may look at the device at once
        return body

    def _meet(self, fault: Fault, message_id: str, rpc: ET.Element) -> None:
        kind = fault.kind
        if kind == "refuse":
            problem = Problem(severity="error", message=fault.arg or "permission denied")
            self._answer(message_id, [error_node(problem)])
        elif kind == "drop_before":
            self.abort()
        elif kind == "die":
            self._cut = True
            self._host.die()
        elif kind in ("late", "delay"):
            self._busy = True
            self._host.clock.later(fault.number, lambda: self._execute_late(message_id, rpc))
            if kind == "late":
                self.abort()
        elif kind != "hang_before":
            self._meet_after(fault, message_id, self._execute(rpc))

    def _meet_after(self, fault: Fault, message_id: str, body: Body) -> None:
        kind = fault.kind
        if kind == "drop_after":
            self.abort()
        elif kind == "drop_bytes":
            self._write(self._framer.wrap(reply(message_id, body))[: int(fault.number)])
            self.abort()
        elif kind == "answer_late":
            self._busy = True
            self._host.clock.later(fault.number, lambda: self._answer_late(message_id, body))
        elif kind == "garbage":
            self._write(self._framer.wrap(reply(message_id, body)[:-4]))
        elif kind == "warning":
            warning = Problem(severity="warning", message=fault.arg or "something to know")
            self._answer(message_id, [error_node(warning), *body])

    def _execute_late(self, message_id: str, rpc: ET.Element) -> None:
        if self._boot == self._host.boots:  # a reload forgets what it was about to do
            self._note("executed late", rpc.tag)
            self._answer_late(message_id, self._execute(rpc))

    def _answer_late(self, message_id: str, body: Body) -> None:
        self._busy = False
        if self._lost:
            self._end()
        else:
            self._answer(message_id, body)
            self._pump()

    def _answer(self, message_id: str, body: Body) -> None:
        self._write(self._framer.wrap(reply(message_id, body)))

    def _leave(self) -> None:
        if self._chan is not None:
            self._chan.exit(0)

    def _write(self, data: bytes) -> None:
        if self._chan is not None and not self._lost:
            self._chan.write(data)
