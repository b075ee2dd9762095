"""The access agent's RADIUS: login and accounting as a client, CoA and Disconnect as a server.

Rules for the server side are those of RFC 5176; every request must be signed and fresh.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrad import packet
from pyrad.client import Client, Timeout
from pyrad.dictionary import Dictionary

from lab.nas_agent_line import Octets

DICTIONARY = Path(__file__).with_name("nas_agent.dictionary")
FRESH_S = 300  # RFC 5176 section 6.3 recommends this window for Event-Timestamp
_CACHED_REPLIES = 256
_GIGAWORD = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Nas:
    """Who we are to RADIUS, and where its server is."""

    identifier: str
    address: str
    server: str
    auth_port: int
    acct_port: int
    secret_file: Path

    @property
    def secret(self) -> bytes:
        """The secret shared with the server."""
        return self.secret_file.read_bytes().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said to a login; silence and reject are not accepted."""

    accepted: bool
    reason: str
    filter_id: str = ""
    address: str = ""


class RadiusClient:
    """Sends logins and accounting for one NAS."""

    def __init__(self, nas: Nas) -> None:
        self._nas = nas
        self._client = Client(
            server=nas.server,
            authport=nas.auth_port,
            acctport=nas.acct_port,
            secret=nas.secret,
            dict=Dictionary(str(DICTIONARY)),
            retries=3,
            timeout=1,
        )

    def login(self, login: str, password: str, interface: str) -> Answer:
        """Ask whether this login may have service, PAP, signed with a Message-Authenticator."""
        request = self._client.CreateAuthPacket(**self._identity(login, interface))
        request["User-Password"] = request.PwCrypt(password)
        try:
            reply = self._client.SendPacket(request)
        except Timeout:
            return Answer(accepted=False, reason="no answer from RADIUS")
        if reply.code != packet.AccessAccept:
            return Answer(accepted=False, reason="RADIUS rejected the login")
        return Answer(
            accepted=True,
            reason="accepted",
            filter_id=_first(reply, "Filter-Id"),
            address=_first(reply, "Framed-IP-Address"),
        )

    def account(self, status: str, session: dict[str, Any], octets: Octets) -> bool:
        """Send one Accounting-Request; False if nobody acknowledged it.

        `session` has attribute names with underscores, e.g. Acct_Session_Id.
        """
        request = self._client.CreateAcctPacket(
            Acct_Status_Type=status,
            Event_Timestamp=int(time.time()),
            Acct_Input_Octets=octets.received % _GIGAWORD,
            Acct_Input_Gigawords=octets.received // _GIGAWORD,
            Acct_Output_Octets=octets.sent % _GIGAWORD,
            Acct_Output_Gigawords=octets.sent // _GIGAWORD,
            **session,
        )
        return self._sent(request)

    def announce(self) -> bool:
        """Tell the server that this NAS has begun anew, so that it closes our old sessions."""
        return self._sent(
            self._client.CreateAcctPacket(
                Acct_Status_Type="Accounting-On",
                Event_Timestamp=int(time.time()),
                NAS_IP_Address=self._nas.address,
                NAS_Identifier=self._nas.identifier,
                Acct_Session_Id="0",
            )
        )

    def _identity(self, login: str, interface: str) -> dict[str, Any]:
        return {
            "User_Name": login,
            "NAS_IP_Address": self._nas.address,
            "NAS_Identifier": self._nas.identifier,
            "NAS_Port_Id": interface,
        }

    def session_attributes(self, login: str, interface: str, session_id: str) -> dict[str, Any]:
        """What every accounting request of one session carries."""
        return {**self._identity(login, interface), "Acct_Session_Id": session_id}

    def _sent(self, request: Any) -> bool:
        try:
            self._client.SendPacket(request)
        except Timeout:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A CoA or Disconnect request that is authentic and fresh."""

    is_disconnect: bool
    attributes: tuple[tuple[str, str], ...]  # values as text, without signature and timestamp
    unknown: tuple[str, ...]  # attributes we do not understand
    packet: Any

    def value(self, name: str) -> str:
        """The attribute's value; empty if it is absent."""
        return dict(self.attributes).get(name, "")


class RequestReader:
    """Reads requests, drops what RFC 5176 says to drop, and remembers replies to duplicates."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._dictionary = Dictionary(str(DICTIONARY))
        self._replies: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def read(self, data: bytes) -> Request | str:
        """The request, or why it must be dropped without an answer."""
        try:
            received = packet.CoAPacket(secret=self._secret, packet=data, dict=self._dictionary)
        except packet.PacketError as error:
            return f"cannot be decoded: {error}"
        if received.code not in (packet.CoARequest, packet.DisconnectRequest):
            return f"code {received.code} is not a request"
        if not received.VerifyCoARequest():
            return "wrong secret or altered"
        if not received.message_authenticator or not received.verify_message_authenticator():
            return "no valid Message-Authenticator"
        stamp = received.get("Event-Timestamp")
        if not stamp or abs(int(stamp[0]) - time.time()) > FRESH_S:
            return "no Event-Timestamp of the last 300 s"
        return _request(received)

    def cached(self, sender: tuple[str, int], data: bytes) -> bytes:
        """The reply once given to this very request; empty if it is new."""
        return self._replies.get((sender, data), b"")

    def reply(
        self, sender: tuple[str, int], data: bytes, request: Request, error_cause: int
    ) -> bytes:
        """The signed ACK (error_cause 0) or NAK; it is remembered for retransmissions."""
        reply = request.packet.CreateReply(message_authenticator=True)
        if error_cause:
            nak = packet.DisconnectNAK if request.is_disconnect else packet.CoANAK
            reply.code = nak
            reply["Error-Cause"] = error_cause
        encoded = bytes(reply.ReplyPacket())
        self._replies[(sender, data)] = encoded
        if len(self._replies) > _CACHED_REPLIES:
            self._replies.popitem(last=False)
        return encoded


def _request(received: Any) -> Request:
    known, unknown = [], []
    for name in received.keys():  # noqa: SIM118 - iterating a pyrad packet gives raw codes
        if not isinstance(name, str):
            unknown.append(str(name))
        elif name not in ("Message-Authenticator", "Event-Timestamp", "Proxy-State"):
            known.append((name, str(received[name][0])))
    return Request(
        is_disconnect=received.code == packet.DisconnectRequest,
        attributes=tuple(known),
        unknown=tuple(unknown),
        packet=received,
    )


def _first(reply: Any, name: str) -> str:
    return str(reply[name][0]) if name in reply else ""
