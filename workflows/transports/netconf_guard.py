"""Stands before ncclient's parser: no answer without end, no document type, no expensive search."""

from __future__ import annotations

import codecs
import logging
from typing import Any

import ncclient.devices.junos
import ncclient.transport.session
import ncclient.transport.ssh
from ncclient.devices.junos import JunosDeviceHandler
from ncclient.transport.parser import DefaultXMLParser
from ncclient.transport.session import NetconfBase

from .words import InDoubt

MAX_REPLY = 64 * 1024 * 1024  # bytes of one answer; the largest configurations stay far below
MAX_TAGS = 2_000_000  # each becomes an object many times its size
MAX_BROKEN = 4 * 1024  # characters of an answer that is no XML and may still be looked into

# ncclient looks at its send queue once per TICK: with its own 0.1 s every call takes 0.1 s.
ncclient.transport.session.TICK = 0.01


class Guard(DefaultXMLParser):  # type: ignore[misc]  # ncclient has no types
    """What every session parses with, from the greeting on.

    `heard` and `tags` count since they were last set to 0. parse() raises InDoubt, which ncclient
    hands to whoever waits, and ends the session.
    """

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self.heard = self.tags = 0
        self._last = b""
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._inside = False
        self._stopped = False

    def stop(self) -> None:
        """Read no more: ncclient's close() waits until all that has come is parsed."""
        self._stopped = True

    def parse(self, data: bytes) -> None:
        """Pass the bytes on."""
        if self._inside:  # ncclient comes back with the rest of what it was given
            super().parse(data)
            return
        if self._stopped:
            raise InDoubt("the session is over")
        self.heard += len(data)
        self.tags += data.count(b"<")
        if self.heard > MAX_REPLY or self.tags > MAX_TAGS:
            raise InDoubt(f"the answer is longer than {MAX_REPLY} bytes or {MAX_TAGS} tags")
        seen = self._last + data
        if b"<!DOCTYPE" in seen or b"<!ENTITY" in seen:
            raise InDoubt("the answer brings a document type of its own")
        self._last = data[-16:]
        if self._session._base == NetconfBase.BASE_10:  # noqa: SLF001 - chunks have lengths
            # ncclient cuts between any two bytes, and then takes half a character for an error
            data = self._text.decode(data).encode("ascii", "xmlcharrefreplace")
        self._inside = True
        try:
            super().parse(data)
        finally:
            self._inside = False


_look_into = JunosDeviceHandler.handle_raw_dispatch


def _look_into_little(handler: JunosDeviceHandler, raw: str) -> Any:
    """Do what ncclient does with an answer that is no XML, where that cannot take hours.

    Its search is cubic, and while it lasts no other thread of the process runs: no lease is kept.
    """
    if len(raw) > MAX_BROKEN and "routing-engine" not in raw:
        return False
    return _look_into(handler, raw)


# the two places where ncclient makes a parser, and the one where it repairs an answer
ncclient.transport.ssh.DefaultXMLParser = Guard
ncclient.devices.junos.DefaultXMLParser = Guard
JunosDeviceHandler.handle_raw_dispatch = _look_into_little

# Without a handler Python prints the libraries' tracebacks between our own lines.
for _name in ("ncclient", "paramiko", "jnpr", "napalm"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
