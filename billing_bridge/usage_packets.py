"""Accounting packets by their fields: what a RADIUS server hands over of what it has received.

RFC 2866 and 2869; fields by their dictionary names, values as text or integers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from inventory import digest

from .accounting import AccountingRecord, RecordKind
from .counters import joined_octets
from .usage_exceptions import UsageProblem, keep_problems
from .usage_radius import AHEAD, RADIUS, Heard, Taken, close_nas, keep_heard

Fields = Mapping[str, str | int]

_KINDS: Mapping[str, RecordKind] = {
    "start": "start", "1": "start",
    "stop": "stop", "2": "stop",
    "interim-update": "interim", "alive": "interim", "3": "interim",
}  # fmt: skip
_RESTARTS = frozenset({"accounting-on", "7", "accounting-off", "8"})
_WORD = 1 << 32
_LONGEST_S = 10 * 366 * 86_400
_SHOWN = 253  # as long as an attribute can be


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """A NAS has begun or ends to account (Accounting-On, Accounting-Off)."""

    nas: str
    at: dt.datetime


def keep_packets(session: Session, packets: Sequence[Fields], received_at: dt.datetime) -> Taken:
    """Keep what accounting packets say, in whatever order and how often they came.

    Event-Timestamp counts, else the time of receipt less Acct-Delay-Time; missing gigawords are 0.
    Accounting-On and -Off close what the NAS had open. A packet that says what cannot be is an
    exception and changes nothing.
    """
    kept = Taken()
    odd: list[UsageProblem] = []
    heard: list[Heard] = []
    for one in (_read(packet, received_at) for packet in packets):
        if isinstance(one, UsageProblem):
            odd.append(one)
        elif isinstance(one, Heard):
            heard.append(one)
        else:  # in the order told: what begins after a restart is not closed by it
            kept += keep_heard(session, heard, received_at)
            heard = []
            close_nas(session, one.nas, one.at)
    kept += keep_heard(session, heard, received_at)
    return kept + Taken(exceptions=keep_problems(session, odd, received_at))


def _read(fields: Fields, received_at: dt.datetime) -> Heard | Restarted | UsageProblem:
    try:
        return _told(fields, received_at)
    except (ValueError, OverflowError) as error:
        plain = {_plain(name): _plain(value) for name, value in sorted(fields.items())}
        return UsageProblem(
            kind="impossible",
            source=RADIUS,
            record_key=digest(plain),
            identifier=plain.get("User-Name", ""),
            since=received_at,
            quantity=_octets_or_zero(fields),
            unit="byte",
            evidence={"why": str(error), "packet": plain},
        )


def _told(fields: Fields, received_at: dt.datetime) -> Heard | Restarted:
    status = _text(fields, "Acct-Status-Type").lower()
    nas = next(
        (
            found
            for name in ("NAS-IP-Address", "NAS-IPv6-Address", "NAS-Identifier")
            if (found := _text(fields, name))
        ),
        "",
    )
    at = _event_time(fields, received_at)
    if not nas:
        raise ValueError("no NAS is named")
    if status in _RESTARTS:
        if at > received_at + AHEAD:
            raise ValueError("a restart in the future")
        return Restarted(nas=nas, at=min(at, received_at))
    if status not in _KINDS:
        raise ValueError(f"Acct-Status-Type {_plain(status)!r} is none of a session")
    session_id = _text(fields, "Acct-Session-Id")
    if not session_id:
        raise ValueError("no Acct-Session-Id")
    return Heard(
        nas=nas,
        acct_session_id=session_id,
        login=_text(fields, "User-Name"),
        port=_text(fields, "NAS-Port-Id") or _text(fields, "NAS-Port"),
        class_=_text(fields, "Class"),
        record=AccountingRecord(
            at=at,
            kind=_KINDS[status],
            down_bytes=_octets(fields, "Output"),
            up_bytes=_octets(fields, "Input"),
            session_s=_number(fields, "Acct-Session-Time", _LONGEST_S, missing=-1),
        ),
    )


def _event_time(fields: Fields, received_at: dt.datetime) -> dt.datetime:
    stamp = _number(fields, "Event-Timestamp", _WORD, missing=-1)
    if stamp >= 0:
        return dt.datetime.fromtimestamp(stamp, dt.UTC)
    return received_at - dt.timedelta(seconds=_number(fields, "Acct-Delay-Time", _LONGEST_S))


def _octets(fields: Fields, way: str) -> int:
    words = _number(fields, f"Acct-{way}-Gigawords", _WORD)
    return joined_octets(words, _number(fields, f"Acct-{way}-Octets", _WORD))


def _octets_or_zero(fields: Fields) -> int:
    try:
        return _octets(fields, "Input") + _octets(fields, "Output")
    except ValueError:
        return 0


def _number(fields: Fields, name: str, below: int, missing: int = 0) -> int:
    given = fields.get(name, "")
    if given == "":
        return missing
    text = str(given)
    if not (text.isascii() and text.isdigit()) or int(text) >= below:
        raise ValueError(f"{name} {_plain(text)!r} is not a number below {below}")
    return int(text)


def _text(fields: Fields, name: str) -> str:
    """Return a field's text; what no store can hold is shown escaped, and is then nobody's."""
    return _plain(fields.get(name, ""))


def _plain(value: str | int) -> str:
    text = str(value)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text[:_SHOWN]
