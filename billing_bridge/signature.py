"""The signature of a webhook: made here, and checked by whoever receives one."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

from inventory import Refused

TIMESTAMP = "Bandmaster-Timestamp"  # seconds since 1970, decimal
SIGNATURE = "Bandmaster-Signature"  # v1= and 64 hex digits
WINDOW_S = 300


def signed_headers(secret: str, body: bytes, now_s: int) -> dict[str, str]:
    """Return the headers of one delivery: v1 is HMAC-SHA256 over timestamp, full stop and body."""
    return {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        TIMESTAMP: str(now_s),
        SIGNATURE: f"v1={_digest(secret, str(now_s), body)}",
    }


def check_signature(
    secret: str, headers: Mapping[str, str], body: bytes, now_s: int, window_s: int = WINDOW_S
) -> str:
    """Return the event_id of a delivery that was signed with `secret` within the last minutes.

    For receivers; `body` is what came, byte for byte, `headers` in any spelling. Keep the event_id,
    which is signed with the rest: one that was seen before is a repeat. Raises Refused for
    anything else.
    """
    found = {name.lower(): value for name, value in headers.items()}
    stamp = found.get(TIMESTAMP.lower(), "")
    given = found.get(SIGNATURE.lower(), "").partition("v1=")[2]
    if not stamp.isascii() or not stamp.isdecimal() or abs(now_s - int(stamp[:12])) > window_s:
        raise Refused("webhook", "its timestamp is missing or not of these minutes")
    if not hmac.compare_digest(_digest(secret, stamp, body).encode(), given.encode()):
        raise Refused("webhook", "its signature is not that of its body")
    return str(json.loads(body)["id"])


def _digest(secret: str, stamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
