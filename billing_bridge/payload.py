"""What events carry: the service as it is after them and the proof; else ids, dates, integers."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inventory import PricePolicy, instant_text, parse_instant

_STATES = ("none", "active", "suspended", "terminated")
_ALWAYS = frozenset({"plan", "tier", "state"})
_LIFECYCLE = frozenset({"rolls_back", "billing_from", "price_policy", "evidence"})
_SHIFT = frozenset({"shifts", "from", "to"})
_EVIDENCE = frozenset({"device", "object", "down_kbps", "up_kbps", "digest", "observed_at"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+/-]{0,199}")


def _number(value: object) -> bool:
    return type(value) is int


def _id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _date(value: object) -> bool:
    try:
        return isinstance(value, str) and dt.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


# What the events without a service version carry: what must be there, then what may be.
_Fits = Mapping[str, Callable[[object], bool]]
_Shape = tuple[_Fits, _Fits]
_USAGE: _Shape = (
    {"meter": _id, "revision": _number},
    {"samples": _number, "coverage_bp": _number, "source": _id, "late": _number},
)
_PLAIN: Mapping[str, _Shape] = {
    "usage.recorded": _USAGE,
    "usage.corrected": _USAGE,
    "price.overridden": (
        {
            "credit_id": _id,
            "plan": _id,
            "price_minor": _number,
            "currency": _id,
            "exponent": _number,
            "from": _date,
        },
        {"until": _date, "asked_by": _id},
    ),
    "credit.issued": ({"credit_id": _id}, {"asked_by": _id}),
    "charge.issued": ({"charge_id": _id}, {"asked_by": _id}),
    "invoice.issued": (
        {
            "invoice": _id,
            "number": _id,
            "kind": _id,
            "closes_on": _date,
            "net_minor": _number,
            "tax_minor": _number,
            "total_minor": _number,
            "currency": _id,
            "exponent": _number,
            "lines_digest": _id,
            "known_seq": _number,
        },
        {},
    ),
    "invoice.voided": ({"invoice": _id, "number": _id, "credit_note": _id}, {}),
    "event.reversed": ({}, {"asked_by": _id}),  # of money or usage
    "ledger.anchored": ({}, {}),
}
_KNOWN = {kind: {**needed, **optional} for kind, (needed, optional) in _PLAIN.items()}

METER_UNITS: Mapping[str, str] = {"down": "byte", "up": "byte", "p95": "bit_per_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one device showed when it was read back: rates in kbit/s, digest of the section."""

    device: str
    object: str
    down_kbps: int
    up_kbps: int
    digest: str
    observed_at: dt.datetime


def service_payload(
    *,
    plan: str,
    tier: str,
    state: Literal["none", "active", "suspended", "terminated"],
    price_policy: PricePolicy | Literal[""] = "",
    rolls_back: str = "",
    billing_from: dt.date | None = None,
    evidence: Sequence[Evidence] = (),
) -> dict[str, Any]:
    """Return the payload of a lifecycle event: the service as it is AFTER the event.

    `rolls_back` is the event_id that a rollback answers (D5), `billing_from` the first local date
    we bill (service.adopted, service.activated). Empty ones are left out.
    """
    payload: dict[str, Any] = {"plan": plan, "tier": tier, "state": state}
    if price_policy:
        payload["price_policy"] = price_policy
    if rolls_back:
        payload["rolls_back"] = rolls_back
    if billing_from is not None:
        payload["billing_from"] = billing_from.isoformat()
    if evidence:
        payload["evidence"] = [
            {
                "device": seen.device,
                "object": seen.object,
                "down_kbps": seen.down_kbps,
                "up_kbps": seen.up_kbps,
                "digest": seen.digest,
                "observed_at": instant_text(seen.observed_at),
            }
            for seen in evidence
        ]
    return payload


def shift_payload(
    service: Mapping[str, Any], *, shifts: str, was: dt.datetime, to: dt.datetime
) -> dict[str, Any]:
    """Return the payload of service.effect_shifted: event `shifts` took effect at `to` instead.

    `service` is any payload that says plan, tier and state; a shift leaves them as they are.
    """
    return {name: service[name] for name in ("plan", "tier", "state")} | {
        "shifts": shifts,
        "from": instant_text(was),
        "to": instant_text(to),
    }


def usage_payload(
    *, meter: str, revision: int, source: str, samples: int, coverage_bp: int, late: bool
) -> dict[str, Any]:
    """Return the payload of usage.recorded (revision 1) or usage.corrected (2 and more).

    `samples` 0 and `coverage_bp` -1 are left out: nobody counted them.
    """
    payload: dict[str, Any] = {"meter": meter, "revision": revision, "source": source}
    if samples:
        payload["samples"] = samples
    if coverage_bp >= 0:
        payload["coverage_bp"] = coverage_bp
    if late:
        payload["late"] = 1
    return payload


def check_usage(kind: str, payload: Mapping[str, Any], unit: str) -> None:
    """Raise ValueError unless a usage event's revision fits its kind, and its unit the meter."""
    revision = payload["revision"]
    fits = revision > 1 if kind == "usage.corrected" else revision == 1
    if not fits or METER_UNITS.get(payload["meter"]) != unit:
        msg = f"payload of {kind}: {payload['meter']} in {unit or 'no unit'}, revision {revision}"
        raise ValueError(msg)


def check_payload(kind: str, payload: Mapping[str, Any], *, versioned: bool) -> None:
    """Raise ValueError unless an event's payload has its shape and nothing else.

    A closed set of names is what keeps people's data out of a book that forgets nothing (D12).
    """
    if versioned:
        _check_service(kind, payload)
    else:
        _check_plain(kind, payload)


def _check_plain(kind: str, payload: Mapping[str, Any]) -> None:
    needed, fits = _PLAIN[kind][0], _KNOWN[kind]
    odd = [name for name in needed if name not in payload]
    odd += [name for name in payload if name not in fits or not fits[name](payload[name])]
    if odd:
        msg = f"payload of {kind}: missing, unknown or malformed {', '.join(sorted(odd))}"
        raise ValueError(msg)


def _check_service(kind: str, payload: Mapping[str, Any]) -> None:
    allowed = _ALWAYS | (_SHIFT if kind == "service.effect_shifted" else _LIFECYCLE)
    needed = _ALWAYS | (_SHIFT if kind == "service.effect_shifted" else frozenset())
    if kind == "service.adopted":
        needed |= {"billing_from"}
    names = set(payload)
    if not needed <= names <= allowed:
        odd = ", ".join(sorted(needed - names) + sorted(names - allowed))
        msg = f"payload of {kind}: missing or unknown {odd}"
        raise ValueError(msg)
    if payload["state"] not in _STATES:
        msg = f"payload of {kind}: state {payload['state']!r}"
        raise ValueError(msg)
    if "billing_from" in payload:
        dt.date.fromisoformat(payload["billing_from"])
    for name in ("from", "to"):
        if name in payload:
            parse_instant(payload[name])
    for seen in payload.get("evidence", ()):
        if set(seen) != _EVIDENCE:
            msg = f"payload of {kind}: evidence holds {sorted(_EVIDENCE)}, got {sorted(seen)}"
            raise ValueError(msg)
