"""The NETCONF wire of an emulated Junos device: framing, requests taken apart, replies built."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator

from lab.emulators.junos_config import Problem

BASE = "urn:ietf:params:xml:ns:netconf:base:1.0"
BASE_1_1 = "urn:ietf:params:netconf:base:1.1"
JUNOS = "http://xml.juniper.net/junos/23.4R1/junos"
END = b"]]>]]>"
CHUNK = re.compile(rb"\n#([1-9][0-9]*)\n")
CHUNKS_END = b"\n##\n"


class FramingError(Exception):
    """The peer sent bytes that are not the framing that was agreed."""


class Framer:
    """Cuts a stream into messages; `chunked` is switched on after both hellos offered base:1.1."""

    def __init__(self) -> None:
        self.chunked = False
        self._buffer = b""
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Messages that are complete with `data`; raises FramingError."""
        self._buffer += data
        while True:
            message = self._chunked_message() if self.chunked else self._plain_message()
            if message is None:
                return
            yield message

    def wrap(self, message: bytes) -> bytes:
        """A message ready to be sent."""
        if self.chunked:
            return b"\n#%d\n%s%s" % (len(message), message, CHUNKS_END)
        return message + END

    def _plain_message(self) -> bytes | None:
        message, end, rest = self._buffer.partition(END)
        if not end:
            return None
        self._buffer = rest
        return message

    def _chunked_message(self) -> bytes | None:
        while self._buffer:
            if self._buffer.startswith(CHUNKS_END):
                self._buffer = self._buffer[len(CHUNKS_END) :]
                message = b"".join(self._chunks)
                self._chunks = []
                return message
            head = CHUNK.match(self._buffer)
            if head is None:
                if len(self._buffer) > 16 or not b"\n##\n\n#0123456789".startswith(
                    self._buffer[:2]
                ):
                    msg = "not a chunk"
                    raise FramingError(msg)
                return None
            end = head.end() + int(head.group(1))
            if len(self._buffer) < end:
                return None
            self._chunks.append(self._buffer[head.end() : end])
            self._buffer = self._buffer[end:]
        return None


def local(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def strip_namespaces(element: ET.Element) -> ET.Element:
    """The same tree with local names only; changes the element itself."""
    for each in element.iter():
        each.tag = local(each.tag)
    return element


def node(tag: str, *content: ET.Element | str, **attributes: str) -> ET.Element:
    """An element; `seconds` becomes the junos:seconds attribute."""
    element = ET.Element(tag)
    for name, value in attributes.items():
        element.set("junos:seconds" if name == "seconds" else name, value)
    for part in content:
        if isinstance(part, str):
            element.text = (element.text or "") + part
        else:
            element.append(part)
    return element


def error_node(problem: Problem, tag: str = "operation-failed") -> ET.Element:
    """An rpc-error as Junos writes it."""
    error = node("rpc-error", node("error-type", "protocol"), node("error-tag", tag))
    error.append(node("error-severity", problem.severity))
    if problem.path:
        error.append(node("error-path", problem.path))
    error.append(node("error-message", problem.message))
    if problem.bad_element:
        error.append(node("error-info", node("bad-element", problem.bad_element)))
    return error


def reply(message_id: str, body: Iterable[ET.Element]) -> bytes:
    """An rpc-reply; without the base namespace clients would not see an rpc-error in it."""
    root = ET.Element("rpc-reply")
    root.set("xmlns", BASE)
    root.set("xmlns:junos", JUNOS)
    root.set("message-id", message_id)
    root.extend(body)
    message: bytes = ET.tostring(root, encoding="utf-8")
    return message


def hello(session_id: int, *, chunks: bool) -> bytes:
    """The server's hello; base:1.1 is offered only if `chunks`."""
    offered = [BASE.replace(":xml:ns:", ":"), "urn:ietf:params:netconf:capability:candidate:1.0"]
    offered.append("urn:ietf:params:netconf:capability:confirmed-commit:1.0")
    offered.append("http://xml.juniper.net/netconf/junos/1.0")
    if chunks:
        offered.insert(1, BASE_1_1)
    root = node("hello", node("capabilities", *(node("capability", uri) for uri in offered)))
    root.set("xmlns", BASE)
    root.append(node("session-id", str(session_id)))
    message: bytes = ET.tostring(root, encoding="utf-8")
    return message
