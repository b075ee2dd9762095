"""Rates, instants and canonical bytes: the few values every room counts in."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import BadField

MAX_KBPS = 400_000_000  # 400 Gbit/s: more than any access line; beyond it is a slip of the pen
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
# made once: json.dumps makes an encoder for each call that asks for anything of its own
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Rate:
    """What a line may do, in kbit/s (k = 1000); 0/0 means "not known"."""

    down_kbps: int
    up_kbps: int

    def __str__(self) -> str:
        """As people read it: `500/100 Mbit/s`, or kbit/s where Mbit/s would need a fraction."""
        if self == UNKNOWN_RATE:
            return "not read"
        if self.down_kbps % 1000 or self.up_kbps % 1000:
            return f"{self.down_kbps}/{self.up_kbps} kbit/s"
        return f"{self.down_kbps // 1000}/{self.up_kbps // 1000} Mbit/s"


UNKNOWN_RATE = Rate(down_kbps=0, up_kbps=0)


def check_kbps(thing: str, field: str, value: object) -> int:
    """Return `value` as a usable rate in kbit/s, or raise BadField naming `thing` and `field`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadField(thing, f"{field} must be a whole number of kbit/s, got {value!r}")
    if not 1 <= value <= MAX_KBPS:
        raise BadField(thing, f"{field} must be 1..{MAX_KBPS} kbit/s, got {value}")
    return value


def check_code(thing: str, field: str, value: object) -> str:
    """Return `value` if it is an identifier of ours (ASCII, at most 64 characters)."""
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise BadField(
            thing,
            f"{field} must be 1..64 of A-Z a-z 0-9 . _ @ : + - and begin with a letter or digit, "
            f"got {value!r}",
        )
    return value


def zone(name: str) -> ZoneInfo:
    """Return the IANA zone called `name`; BadField if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadField(
            name, "is not an IANA time zone", "Write it like Europe/Berlin or UTC."
        ) from error


@lru_cache(maxsize=4096)  # a bill asks many times on which date the same few instants fall
def local_date(instant: dt.datetime, zone_name: str) -> dt.date:
    """Return the calendar date that `instant` falls on in the zone."""
    return instant.astimezone(zone(zone_name)).date()


@lru_cache(maxsize=256)  # what is written in bulk has few instants
def instant_text(instant: dt.datetime) -> str:
    """Return the fixed-width UTC text `YYYY-MM-DDTHH:MM:SS.ffffffZ` of an aware instant."""
    if instant.tzinfo is None:
        msg = "an instant must carry its zone"
        raise ValueError(msg)
    text = instant.astimezone(dt.UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"  # faster than strftime by a third, and bulk asks


def parse_instant(text: str) -> dt.datetime:
    """Return the aware UTC instant that `instant_text` wrote; ValueError for any other text."""
    if not _INSTANT.fullmatch(text):
        msg = f"not an instant of fixed width: {text!r:.40}"
        raise ValueError(msg)
    return dt.datetime.fromisoformat(text)  # ten times as fast as strptime, and bulk asks for it


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, real UTF-8, no floats or None.

    Raises ValueError where a float or None occurs, because their text is not portable (D12).
    """
    _refuse_loose(value)
    return _encode(value)


def _refuse_loose(value: Any) -> None:
    if value is None or isinstance(value, float):
        msg = f"canonical JSON holds integers and strings only, got {value!r}"
        raise ValueError(msg)
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list, tuple)):
        for part in parts:
            if type(part) is not str and type(part) is not int:  # most are; a call each is dear
                _refuse_loose(part)


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def money_text(amount_minor: int, currency: str, exponent: int) -> str:
    """Return money as people read it, e.g. `EUR 13.34` or `EUR -0.05`."""
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**exponent)
    fraction = f".{part:0{exponent}d}" if exponent else ""
    return f"{currency} {sign}{whole}{fraction}"
