"""Tells a NAS to change or end a live session (RFC 5176), and believes signed answers only."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
import itertools
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from device_templates import AccessSession, ReplyAttribute, platform
from inventory import BadSettings, Device

from .words import shown

Clock = Callable[[], dt.datetime]

# action -> codes of request, ACK and NAK
_CODES = {"coa": (43, 44, 45), "disconnect": (40, 41, 42)}
_REPLY_MESSAGE, _MESSAGE_AUTHENTICATOR, _ERROR_CAUSE = 18, 80, 101
_HEADER = 20  # code, identifier, length, authenticator
_ATTRIBUTE = 2  # code, length
_SIGNATURE = 16
_MAX_VALUE = 253  # octets of an attribute (RFC 2865 section 5)
TRIES = 3
TIMEOUT_S = 2.0
# Event-Timestamp tells seconds: in one of them a name drawn by chance made two equal requests,
# and the answer to the first was right for the second.
_IDENTIFIERS = itertools.count(secrets.randbelow(256))

CAUSES = {  # RFC 5176 section 3.5
    401: "unsupported attribute",
    402: "missing attribute",
    403: "NAS identification mismatch",
    404: "invalid request",
    405: "unsupported service",
    406: "unsupported extension",
    407: "invalid attribute value",
    501: "administratively prohibited",
    502: "request not routable",
    503: "session context not found",
    504: "session context not removable",
    505: "other proxy processing error",
    506: "resources unavailable",
    507: "request initiated",
    508: "multiple session selection unsupported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaReply:
    """What came back: a hint, never a proof that the session's rate changed.

    `error_cause` is 0 where there is none. `dropped` counts answers that were not believed:
    unsigned, wrongly signed, or answers to another request. `copies` counts how often the request
    was sent: of an answered one a copy may still be on its way.
    """

    kind: Literal["ACK", "NAK", "SILENCE"]
    error_cause: int = 0
    text: str = ""
    dropped: int = 0
    copies: int = 1


def utc_now() -> dt.datetime:
    """Return the host's wall clock: the NAS compares Event-Timestamp with its own."""
    return dt.datetime.now(dt.UTC)


def send_coa(
    device: Device,
    secret: str,
    session: AccessSession,
    attributes: tuple[ReplyAttribute, ...],
    action: str = "coa",
    *,
    tries: int = TRIES,
    timeout_s: float = TIMEOUT_S,
    clock: Clock = utc_now,
) -> CoaReply:
    """Send one CoA-Request (`action` "coa") or Disconnect-Request ("disconnect") to the NAS.

    The same bytes are sent up to `tries` times, `timeout_s` apart, so that the NAS can tell a
    repetition (RFC 5080 section 2.2.2). An unreachable NAS is SILENCE, and so is a
    session whose name (the NAS gave it) fits into no request. Raises BadSettings for an attribute
    that no dictionary of the platform has, and for a missing secret or port.
    """
    if not secret or not device.coa.port:
        raise BadSettings(
            device.name,
            "has no CoA port or no shared secret",
            "Give both in the inventory file and import it again.",
        )
    if max(len(name.encode()) for name in (session.acct_session_id, session.login)) > _MAX_VALUE:
        return CoaReply(kind="SILENCE", text="the session's name is too long: nothing was sent")
    request = _request(device, secret, session, attributes, action, clock())
    try:
        return _exchange(device, secret, request, _CODES[action], tries, timeout_s)
    except OSError as error:  # no such host, no route
        return CoaReply(kind="SILENCE", text=f"{_where(device)[0]} cannot be reached: {error}")


def _request(
    device: Device,
    secret: str,
    session: AccessSession,
    attributes: tuple[ReplyAttribute, ...],
    action: str,
    now: dt.datetime,
) -> bytes:
    from pyrad.packet import CoAPacket  # noqa: PLC0415 - most commands send no CoA

    packet = CoAPacket(
        code=_CODES[action][0],
        id=next(_IDENTIFIERS) % 256,
        secret=secret.encode(),
        dict=_dictionary(platform(device.platform).dictionary),
    )
    packet.add_message_authenticator()
    packet.AddAttribute("Event-Timestamp", int(now.timestamp()))
    packet.AddAttribute("Acct-Session-Id", session.acct_session_id)
    packet.AddAttribute("User-Name", session.login)
    with contextlib.suppress(ValueError):  # not known, or IPv6
        packet.AddAttribute("Framed-IP-Address", str(ipaddress.IPv4Address(session.address)))
    for attribute in attributes:
        try:
            packet.AddAttribute(attribute.name, attribute.value)
        except KeyError as error:
            raise BadSettings(
                attribute.name,
                f"is in no RADIUS dictionary of platform {device.platform}",
                "Add it to the dictionary file of the platform.",
            ) from error
    packed: bytes = packet.RequestPacket()
    return packed


@cache
def _dictionary(vendors: str) -> Any:
    from pyrad.dictionary import Dictionary  # noqa: PLC0415

    base = str(Path(__file__).with_name("dictionary"))
    return Dictionary(base, *((vendors,) if vendors else ()))


def _where(device: Device) -> tuple[str, int]:
    return device.coa.host or device.host, device.coa.port


def _exchange(
    device: Device,
    secret: str,
    request: bytes,
    codes: tuple[int, int, int],
    tries: int,
    timeout_s: float,
) -> CoaReply:
    host, port = _where(device)
    dropped, refused = 0, False
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as channel:
        channel.connect(address)  # from here on only datagrams of this address come in
        for copies in range(1, tries + 1):
            with contextlib.suppress(ConnectionRefusedError):
                channel.send(request)
            deadline = time.monotonic() + timeout_s
            while (left := deadline - time.monotonic()) > 0:
                channel.settimeout(left)
                try:
                    answer = channel.recv(4096)
                except TimeoutError:
                    break
                except ConnectionRefusedError:  # the host says that nobody listens there
                    refused = True
                    continue
                if _believed(answer, request, secret.encode(), codes):
                    return _read(answer, codes, dropped, copies)
                dropped += 1
    text = f"no answer from {host} port {port} to {tries} requests"
    text += "; nobody listens there" if refused else ""
    text += f"; {dropped} answers were not signed as they must be" if dropped else ""
    return CoaReply(kind="SILENCE", text=text, dropped=dropped, copies=tries)


def _believed(answer: bytes, request: bytes, secret: bytes, codes: tuple[int, int, int]) -> bool:
    """True for an answer to this very request, signed twice with the shared secret.

    Both signatures cover the request's authenticator, so an answer to another request fails.
    The Message-Authenticator must be there: without it MD5 alone stands against a forger
    (CVE-2024-3596).
    """
    size = int.from_bytes(answer[2:4], "big")
    if not _HEADER <= size <= len(answer) or answer[0] not in codes[1:] or answer[1] != request[1]:
        return False
    head, asked, attributes = answer[:4], request[4:_HEADER], answer[_HEADER:size]
    expected = hashlib.md5(head + asked + attributes + secret).digest()  # noqa: S324 - RFC 2865
    if not hmac.compare_digest(expected, answer[4:_HEADER]):
        return False
    places = [place for place, code in _attributes(attributes) if code == _MESSAGE_AUTHENTICATOR]
    if len(places) != 1:
        return False
    start = places[0] + _ATTRIBUTE
    end = start + _SIGNATURE
    blank = attributes[:start] + bytes(_SIGNATURE) + attributes[end:]
    signature = hmac.new(secret, head + asked + blank, hashlib.md5).digest()
    return hmac.compare_digest(signature, attributes[start:end])


def _attributes(data: bytes) -> tuple[tuple[int, int], ...]:
    """Return (place, code) of each attribute; none at all if one is cut off or malformed."""
    found = []
    place = 0
    while place < len(data):
        length = data[place + 1] if place + 1 < len(data) else 0
        if length < _ATTRIBUTE or place + length > len(data):
            return ()
        if data[place] == _MESSAGE_AUTHENTICATOR and length != _ATTRIBUTE + _SIGNATURE:
            return ()
        found.append((place, data[place]))
        place += length
    return tuple(found)


def _read(answer: bytes, codes: tuple[int, int, int], dropped: int, copies: int) -> CoaReply:
    attributes = answer[_HEADER : int.from_bytes(answer[2:4], "big")]
    values = {
        code: attributes[place + _ATTRIBUTE : place + attributes[place + 1]]
        for place, code in _attributes(attributes)
    }
    cause = int.from_bytes(values.get(_ERROR_CAUSE, b""), "big")
    words = [CAUSES.get(cause, f"Error-Cause {cause}")] if cause else []
    words.append(shown(values.get(_REPLY_MESSAGE, b"").decode("utf-8", "replace")))
    return CoaReply(
        kind="ACK" if answer[0] == codes[1] else "NAK",
        error_cause=cause,
        text=", ".join(filter(None, words)),
        dropped=dropped,
        copies=copies,
    )
