"""The RADIUS side of an emulated NAS: answers CoA-Request and Disconnect-Request over UDP."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from pyrad import packet
from pyrad.dictionary import Dictionary

from lab.emulators.base import DeviceSpec, Json
from lab.emulators.faults import NUMERIC_KINDS, Fault, Faults, report_crash
from lab.emulators.nas_sessions import Session, Sessions, rates_of
from lab.emulators.record import Record
from lab.emulators.smartax_clock import Clock

# Attribute numbers: RFC 2865, 2866, 2869, 5176; vendor 4874 is the ERX space that Junos uses.
USER_NAME, NAS_IP_ADDRESS, FILTER_ID, NAS_IDENTIFIER = 1, 4, 11, 32
ACCT_SESSION_ID, EVENT_TIMESTAMP, MESSAGE_AUTHENTICATOR, ERROR_CAUSE = 44, 55, 80, 101
SERVICE_ACTIVATE, SERVICE_DEACTIVATE = (4874, 65), (4874, 66)

MISSING_ATTRIBUTE, NAS_MISMATCH, INVALID_VALUE = 402, 403, 407
NO_SESSION, RESOURCES_UNAVAILABLE = 503, 506

EVENT_WINDOW_S = 300
OUTCOMES_KEPT = 1024
VERBS = {packet.CoARequest: "CoA-Request", packet.DisconnectRequest: "Disconnect-Request"}
NAK = {packet.CoARequest: packet.CoANAK, packet.DisconnectRequest: packet.DisconnectNAK}

KINDS = frozenset(
    {
        "refuse",  # NAK with Error-Cause `arg`; nothing is executed
        "hang_before",  # silence, nothing is executed
        "hang_after",  # executed, silence
        "no_effect",  # ACK, nothing is executed
        "delay",  # executed and answered `arg` device seconds later
        "answer_late",  # executed, answered `arg` device seconds later
        "wrong_secret",  # executed, the answer is signed with another secret
        "no_authenticator",  # executed, the answer has no Message-Authenticator
        "replay",  # executed, the answer is a copy of the answer before it
    }
)
Address = tuple[str, int]


class Dropped(Exception):
    """A request that a NAS drops without an answer; its text says why."""


class Refused(Exception):
    """A request that is answered with a NAK; carries the Error-Cause."""

    def __init__(self, error_cause: int) -> None:
        super().__init__(f"Error-Cause {error_cause}")
        self.error_cause = error_cause


class Nas(asyncio.DatagramProtocol):
    """One NAS; its options are {port, secret[, dialect][, nas_identifier][, strict_services]}.

    `dialect` "erx" (default) takes Service-Deactivate and Service-Activate, "filter-id" takes
    Filter-Id as DOWN/UP in kbit/s. Requests need a valid Message-Authenticator and an
    Event-Timestamp within 300 s of the machine's clock, otherwise they are dropped. With
    `strict_services` the deactivation of a service that is not active is refused with 506.
    """

    def __init__(self, spec: DeviceSpec, sessions: Sessions, clock: Clock, record: Record) -> None:
        options: Json = spec.options["radius"]
        self._spec = spec
        self._port = int(options["port"])
        self._secret = str(options["secret"]).encode()
        self._dialect = str(options.get("dialect", "erx"))
        self._identifier = str(options.get("nas_identifier", spec.name))
        self._strict = bool(options.get("strict_services", False))
        if self._dialect not in ("erx", "filter-id"):
            msg = f"{spec.name}: no RADIUS dialect {self._dialect!r}"
            raise ValueError(msg)
        self._sessions = sessions
        self._clock = clock
        self._record = record
        self._transport: asyncio.DatagramTransport | None = None
        self._outcomes: OrderedDict[tuple[Address, int, bytes], int] = OrderedDict()
        self._last_answer = b""
        self.faults = Faults(KINDS, NUMERIC_KINDS | {"refuse"})
        self.alive = True

    async def start(self) -> None:
        """Listen on the device's address."""
        loop = asyncio.get_running_loop()
        address = (self._spec.address, self._port)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)

    async def stop(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Handle one request; a dead NAS hears nothing."""
        if not self.alive:
            return
        try:
            self._request(data, addr)
        except Dropped as dropped:
            self._record.add(_who(addr), "radius dropped", str(dropped))
        except Exception as exc:  # noqa: BLE001 - or it would look like silence
            report_crash(f"{self._spec.name} RADIUS", exc)

    def _request(self, data: bytes, addr: Address) -> None:
        request = self._verified(data)
        verb = VERBS[request.code]
        again = (addr, request.id, request.authenticator) in self._outcomes
        self._record.add(_who(addr), verb, _described(request) + (" again" if again else ""))
        fault = self.faults.take(verb)
        kind = fault.kind if fault else ""
        if kind == "hang_before":
            return
        if fault and kind == "delay":
            self._clock.later(fault.number, lambda: self._answer(request, addr, fault))
        elif fault and kind == "answer_late":
            cause = self._outcome(request, addr, fault)
            self._clock.later(fault.number, lambda: self._send(request, addr, cause, kind))
        elif kind == "hang_after":
            self._outcome(request, addr, fault)
        else:
            self._answer(request, addr, fault)

    def _answer(self, request: packet.CoAPacket, addr: Address, fault: Fault | None) -> None:
        cause = self._outcome(request, addr, fault)
        self._send(request, addr, cause, fault.kind if fault else "")

    def _outcome(self, request: packet.CoAPacket, addr: Address, fault: Fault | None) -> int:
        """The Error-Cause of a request, 0 for ACK; a repeated request is not executed again."""
        key = (addr, request.id, request.authenticator)
        if key not in self._outcomes:
            self._outcomes[key] = self._executed(request, fault)
            while len(self._outcomes) > OUTCOMES_KEPT:
                self._outcomes.popitem(last=False)
        return self._outcomes[key]

    def _executed(self, request: packet.CoAPacket, fault: Fault | None) -> int:
        if fault and fault.kind == "refuse":
            return int(fault.arg)
        if fault and fault.kind == "no_effect":
            return 0
        try:
            self._execute(request)
        except Refused as refused:
            return refused.error_cause
        return 0

    def _send(self, request: packet.CoAPacket, addr: Address, cause: int, kind: str) -> None:
        reply = request.CreateReply(message_authenticator=kind != "no_authenticator")
        if cause:
            reply.code = NAK[request.code]
            reply[ERROR_CAUSE] = [cause.to_bytes(4, "big")]
        if kind == "wrong_secret":
            reply.secret = self._secret + b"?"
        answer: bytes = reply.ReplyPacket()
        if kind == "replay":
            answer = self._last_answer or answer
        self._last_answer = answer
        if self._transport is not None and self.alive:
            self._transport.sendto(answer, addr)

    def _verified(self, data: bytes) -> packet.CoAPacket:
        try:
            request = packet.CoAPacket(packet=data, secret=self._secret, dict=Dictionary())
        except packet.PacketError as exc:
            msg = "malformed"
            raise Dropped(msg) from exc
        if request.code not in VERBS:
            msg = f"code {request.code}"
            raise Dropped(msg)
        if not request.VerifyCoARequest():
            msg = "wrong secret"
            raise Dropped(msg)
        if not request.message_authenticator:
            msg = "no Message-Authenticator"
            raise Dropped(msg)
        if not request.verify_message_authenticator():
            msg = "wrong Message-Authenticator"
            raise Dropped(msg)
        stamp = request.get(EVENT_TIMESTAMP, [b""])[0]
        if len(stamp) != 4:
            msg = "no Event-Timestamp"
            raise Dropped(msg)
        if abs(time.time() - int.from_bytes(stamp, "big")) > EVENT_WINDOW_S:
            msg = "Event-Timestamp outside the window"
            raise Dropped(msg)
        return request

    def _execute(self, request: packet.CoAPacket) -> None:
        session = self._session_of(request)
        if request.code == packet.DisconnectRequest:
            self._sessions.close(session.acct_session_id)
        elif self._dialect == "erx":
            self._change_services(request, session)
        else:
            self._change_filter(request, session)

    def _session_of(self, request: packet.CoAPacket) -> Session:
        named = _text(request, NAS_IDENTIFIER)
        address = request.get(NAS_IP_ADDRESS, [None])[0]
        own = bytes(int(octet) for octet in self._spec.address.split("."))
        if named not in (None, self._identifier) or address not in (None, own):
            raise Refused(NAS_MISMATCH)
        identity, user = _text(request, ACCT_SESSION_ID), _text(request, USER_NAME)
        if identity is None and user is None:
            raise Refused(MISSING_ATTRIBUTE)
        session = self._sessions.find(identity, user)
        if session is None:
            raise Refused(NO_SESSION)
        return session

    def _change_services(self, request: packet.CoAPacket, session: Session) -> None:
        gone = [_untagged(value) for value in request.get(SERVICE_DEACTIVATE, [])]
        come = [_untagged(value) for value in request.get(SERVICE_ACTIVATE, [])]
        if not gone and not come:
            raise Refused(MISSING_ATTRIBUTE)
        if self._strict and not set(gone) <= set(session.services):
            raise Refused(RESOURCES_UNAVAILABLE)
        for service in come:
            _need(rates_of, service)
        kept = tuple(s for s in session.services if s not in gone and s not in come)
        self._sessions.serve(session, (*kept, *come))

    def _change_filter(self, request: packet.CoAPacket, session: Session) -> None:
        text = _text(request, FILTER_ID)
        if text is None:
            return  # answered with an ACK although nothing changes, as accel-ppp does
        down_kbps, up_kbps = _need(_down_up, text)
        self._sessions.limit(session, down_kbps, up_kbps)


def _need(read: Callable[[str], tuple[int, int]], text: str) -> tuple[int, int]:
    try:
        return read(text)
    except ValueError as exc:
        raise Refused(INVALID_VALUE) from exc


def _down_up(text: str) -> tuple[int, int]:
    down, _, up = text.partition("/")
    return int(down), int(up)


def _text(request: packet.CoAPacket, code: int) -> str | None:
    values = request.get(code)
    return values[0].decode("utf-8", "replace") if values else None


def _untagged(value: bytes) -> str:
    """A string attribute that may begin with a tag (RFC 2868: an octet up to 0x1F)."""
    return (value[1:] if value[:1] <= b"\x1f" else value).decode("utf-8", "replace")


def _described(request: packet.CoAPacket) -> str:
    """What a request asks for, without its authenticators."""
    parts = [f"id={request.id}"]
    for name, code in (("user", USER_NAME), ("session", ACCT_SESSION_ID), ("filter", FILTER_ID)):
        if code in request:
            parts.append(f"{name}={_text(request, code)}")
    for name, key in (("deactivate", SERVICE_DEACTIVATE), ("activate", SERVICE_ACTIVATE)):
        parts.extend(f"{name}={_untagged(value)}" for value in request.get(key, []))
    return " ".join(parts)


def _who(addr: Address) -> str:
    return f"{addr[0]}:{addr[1]}"
