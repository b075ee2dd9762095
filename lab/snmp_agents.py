"""Many small SNMP agents in one thread: one UDP socket that answers for every loopback address.

SNMPv2c (RFC 3416) GET, GETNEXT and GETBULK over rows that are encoded beforehand: whoever asks
is measured, and not whoever answers. Any community but its own gets no answer.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

GET, NEXT, RESPONSE, BULK = 0xA0, 0xA1, 0xA2, 0xA5
INTEGER, TEXT, NULL, NAME, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
GAUGE32, TIME_TICKS, COUNTER64 = 0x42, 0x43, 0x46
_NO_SUCH, _END = b"\x81\x00", b"\x82\x00"
_PKTINFO = 8  # IP_PKTINFO of Linux, which Python does not name
_INFO = struct.Struct("=i4s4s")
_IF_X = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
SYS_UPTIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)

Oid = tuple[int, ...]
Value = tuple[int, int | bytes]  # tag, and what it holds


def interface_rows(names: Mapping[int, str], *, octets: int = 0) -> dict[Oid, Value]:
    """Return the rows of interfaces by index: `octets` + index received, twice that sent."""
    rows: dict[Oid, Value] = {SYS_UPTIME: (TIME_TICKS, 100)}
    for index, name in names.items():
        rows[(*_IF_X, 1, index)] = (TEXT, name.encode())
        rows[(*_IF_X, 6, index)] = (COUNTER64, octets + index)
        rows[(*_IF_X, 10, index)] = (COUNTER64, 2 * (octets + index))
        rows[(*_IF_X, 15, index)] = (GAUGE32, 1_000)
        rows[(*_IF_X, 19, index)] = (TIME_TICKS, 0)
    return rows


class SnmpAgents:
    """Answers on all loopback addresses while it is entered; `rows` are those of every agent.

    `by_address` has the rows of the agents that differ; "mute" addresses never answer.
    """

    def __init__(self, port: int, rows: Mapping[Oid, Value], community: str = "public") -> None:
        self.port = port
        self._community = community.encode()
        self._table = _Table(rows)
        self._by_address: dict[str, _Table] = {}
        self._mute: set[str] = set()
        self._stop, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.answered = 0

    def set_rows(self, address: str, rows: Mapping[Oid, Value]) -> None:
        """Let one agent have rows of its own from now on."""
        self._by_address[address] = _Table(rows)

    def mute(self, address: str) -> None:
        """Let one agent be silent from now on."""
        self._mute.add(address)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
        self._socket.bind(("0.0.0.0", self.port))  # noqa: S104 - all of 127/8; others find no agent
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for end in (self._socket, self._stop, self._wake):
            end.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._socket, selectors.EVENT_READ)
            ready.register(self._stop, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self._stop:
                        return
                    self._answer()

    def _answer(self) -> None:
        data, more, _, peer = self._socket.recvmsg(65_535, 64)
        _, _, to = _INFO.unpack(more[0][2][: _INFO.size])
        address = socket.inet_ntoa(to)
        if not address.startswith("127.") or address in self._mute:
            return
        try:
            answer = self._reply(data, self._by_address.get(address, self._table))
        except (IndexError, ValueError):  # not a message of SNMPv2c
            return
        if answer:
            ours = [(socket.IPPROTO_IP, _PKTINFO, _INFO.pack(0, to, to))]
            self._socket.sendmsg([answer], ours, 0, peer)
            self.answered += 1

    def _reply(self, data: bytes, table: _Table) -> bytes:
        (_, message, _), *_ = _parts(data)
        (_, version, _), (_, community, _), (kind, pdu, _) = _parts(message)
        if _number(version) != 1 or community != self._community:
            return b""
        (_, request, _), (_, first, _), (_, second, _), (_, asked, _) = _parts(pdu)
        names = [_oid(next(_parts(bind))[1]) for _, bind, _ in _parts(asked)]
        if kind == BULK:
            found = table.bulk(names, _number(first), _number(second))
        else:
            found = [table.get(name) if kind == GET else table.after(name) for name in names]
        body = tlv(INTEGER, request) + tlv(INTEGER, b"\0") * 2 + tlv(SEQUENCE, b"".join(found))
        head = tlv(INTEGER, version) + tlv(TEXT, community)
        return tlv(SEQUENCE, head + tlv(RESPONSE, body))


class _Table:
    """Rows in order, each encoded once."""

    def __init__(self, rows: Mapping[Oid, Value]) -> None:
        self._names = sorted(rows)
        self._binds = [bind(name, *rows[name]) for name in self._names]

    def get(self, name: Oid) -> bytes:
        place = bisect_left(self._names, name)
        if place < len(self._names) and self._names[place] == name:
            return self._binds[place]
        return tlv(SEQUENCE, tlv(NAME, encoded(name)) + _NO_SUCH)

    def after(self, name: Oid) -> bytes:
        return self._at(bisect_right(self._names, name), name)

    def bulk(self, names: list[Oid], once: int, times: int) -> list[bytes]:
        found = [self.after(name) for name in names[:once]]
        places = [(bisect_right(self._names, name), name) for name in names[once:]]
        for row in range(times):
            found += [self._at(place + row, name) for place, name in places]
        return found

    def _at(self, place: int, name: Oid) -> bytes:
        if place < len(self._binds):
            return self._binds[place]
        return tlv(SEQUENCE, tlv(NAME, encoded(name)) + _END)


def bind(name: Oid, tag: int, value: int | bytes) -> bytes:
    """Return a name with its value, encoded (RFC 3416, X.690)."""
    if isinstance(value, int):  # a leading zero octet keeps an unsigned number positive
        value = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return tlv(SEQUENCE, tlv(NAME, encoded(name)) + tlv(tag, value))


def tlv(tag: int, content: bytes) -> bytes:
    """Return a tag, a length and the content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def encoded(name: Oid) -> bytes:
    """Return an object's name as BER has it."""
    out = bytearray((name[0] * 40 + name[1],))
    for number in name[2:]:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        out += bytes(reversed(digits))
    return bytes(out)


def _oid(content: bytes) -> Oid:
    first = min(content[0] // 40, 2)
    name, number = [first, content[0] - first * 40], 0
    for octet in content[1:]:
        number = number << 7 | octet & 0x7F
        if octet < 0x80:
            name.append(number)
            number = 0
    return tuple(name)


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big", signed=True)


def _parts(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (tag, content, end) of what stands one after the other."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + size > len(data):
            raise ValueError
        yield tag, data[at : at + size], at + size
        at += size
