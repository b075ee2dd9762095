"""Identifiers that sort by birth: UUIDv7 as lower-case text."""

from __future__ import annotations

import secrets
import threading
import time

_COUNTER_BITS = 12
_TAIL_BITS = 62
_lock = threading.Lock()
_last = 0  # 60 bits: milliseconds since 1970, then the counter


def new_id() -> str:
    """Return a fresh UUIDv7 (RFC 9562, 5.7), greater than every earlier one of this process.

    The 12 bits after the milliseconds count within one millisecond and carry over into the next;
    a clock that steps back therefore never makes a smaller id.
    """
    global _last  # noqa: PLW0603  # the process's own place in time, guarded by the lock
    with _lock:
        _last = max(_last + 1, (time.time_ns() // 1_000_000) << _COUNTER_BITS)
        stamp = _last
    milliseconds, counter = stamp >> _COUNTER_BITS, stamp & 0xFFF
    value = milliseconds << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62
    text = f"{value | secrets.randbits(_TAIL_BITS):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
