"""One fact that changes what is owed: its fields, its legal kinds, its bytes and its hash."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from inventory import LedgerBroken, Refused, canonical_json, instant_text, parse_instant

from .payload import check_payload, check_usage

SCHEMA_VERSION = 1
EMPTY_HASH = bytes(32)  # what the first event of the chain names as its predecessor
WHEN_RECORDED = dt.datetime.min.replace(tzinfo=dt.UTC)  # effective_at := recorded_at (D4)

# What each kind of lifecycle event asks of the service before it, and makes of it.
_ANY = frozenset({"none", "active", "suspended", "terminated"})
_KNOWN = _ANY - {"none"}
TRANSITIONS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "service.adopted": (frozenset({"none"}), frozenset({"active", "suspended"})),
    "service.activated": (frozenset({"none", "terminated"}), frozenset({"active"})),
    "tier.changed": (frozenset({"active"}), frozenset({"active"})),
    "service.effect_shifted": (_KNOWN, _KNOWN),
    "service.suspended": (frozenset({"active"}), frozenset({"suspended"})),
    "service.resumed": (frozenset({"suspended"}), frozenset({"active"})),
    "service.terminated": (frozenset({"active", "suspended"}), frozenset({"terminated"})),
    "reconciliation.adopted": (_KNOWN, _KNOWN),
    "event.reversed": (_ANY, _ANY),  # goes back to what was; which is any state
}
NEEDS_CHANGE = frozenset(
    {
        "service.activated",
        "tier.changed",
        "service.suspended",
        "service.resumed",
        "service.terminated",
    }
)
MONEY_TYPES = frozenset({"credit.issued", "charge.issued", "event.reversed"})
# What may be an account's alone, and then belongs to no service; also what takes it back.
ACCOUNT_TYPES = frozenset({"invoice.issued", "invoice.voided", *MONEY_TYPES})
USAGE_TYPES = frozenset({"usage.recorded", "usage.corrected", "event.reversed"})
EVENT_TYPES = (
    *TRANSITIONS,
    "usage.recorded",
    "usage.corrected",
    "price.overridden",
    "credit.issued",
    "charge.issued",
    "invoice.issued",
    "invoice.voided",
    "ledger.anchored",
)
REASONS = (
    "requested",  # somebody ordered it
    "import",  # it was live before us (D3)
    "scheduled",  # ordered earlier for this time
    "rollback",  # a new change back to what was (D5)
    "as_never",  # an operator takes it back as if it never was (D5)
    "undone",  # devices refused it after the decision (W15)
    "late_effect",  # the network followed later than the decision (D4)
    "backdated",  # the time was told wrongly (D4)
    "non_payment",
    "accepted",  # what a device shows was accepted as it is
    "corrected",
    "metered",
    "billing_run",
    "anchored",
)
_WORD = "[A-Za-z0-9][A-Za-z0-9._@:+/-]{0,199}"
_NAME = re.compile(_WORD)
_NAMED = ("event_id", "source", "idempotency_key", "account_id", "actor")
_MAYBE = ("service_id", "change_id", "price_version_id", "reverses_event_id", "unit")
# all of them at once, one a line, which no name can break: one by one they cost five times as much
_NAMES = re.compile(rf"(?:{_WORD}\n){{{len(_NAMED)}}}(?:(?:{_WORD})?\n){{{len(_MAYBE)}}}")
_names = attrgetter(*_NAMED, *_MAYBE)
_CURRENCY = re.compile(r"[A-Z]{3}")
_MAX_EXPONENT = 4  # ISO 4217 knows 0, 2, 3 and 4
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A fact that is to be recorded. Empty text means "does not apply".

    `event_id` is a UUIDv7 made before the network is touched and reused on every retry; `source`
    with `idempotency_key` is unique for ever (lifecycle: `order_id:type`). `service_id` is empty
    where the fact is the account's (`ACCOUNT_TYPES`). `service_version` counts
    the service's versioned events from 1, 0 = this event does not touch the service. Amount,
    currency and exponent go together, as do quantity (byte, second, bit_per_s) and unit.
    `payload` holds identifiers, integers and times of ours, never a person's data (D12).
    """

    event_id: str
    source: str
    idempotency_key: str
    type: str
    account_id: str
    service_id: str = ""
    actor: str
    reason_code: str
    service_version: int = 0
    change_id: str = ""
    effective_at: dt.datetime = WHEN_RECORDED
    effective_until: dt.datetime | None = None
    price_version_id: str = ""
    quantity: int = 0
    unit: str = ""
    amount_minor: int = 0
    currency: str = ""
    exponent: int = 0
    reverses_event_id: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict, hash=False)
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEvent(NewEvent):
    """A recorded fact: its place in the chain and the exact text that was hashed."""

    seq: int
    recorded_at: dt.datetime
    prev_hash: bytes
    hash: bytes
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A place in the chain: an event's seq and hash; 0 and 32 zero bytes before the first."""

    seq: int = 0
    hash: bytes = EMPTY_HASH


def follow(events: Iterable[LedgerEvent], after: Head) -> Iterator[LedgerEvent]:
    """Yield the events as long as each one follows the other; LedgerBroken at the first not to."""
    for event in events:
        text = instant_text(event.recorded_at)
        own = chain_hash(after.hash, after.seq + 1, text, event.body)
        if (event.seq, event.prev_hash, event.hash) != (after.seq + 1, after.hash, own):
            raise LedgerBroken(
                "ledger",
                f"seq {event.seq} does not follow seq {after.seq} as its hash says it did",
                "Find out where it broke: bandmaster ledger verify",
            )
        after = Head(seq=event.seq, hash=event.hash)
        yield event


def event_body(event: NewEvent, recorded_at: dt.datetime) -> dict[str, Any]:
    """Return the client-made columns of a checked event, without the empty ones (D12).

    Raises ValueError where the event is malformed: that is a fault of the caller's program.
    """
    effective_at = recorded_at if event.effective_at == WHEN_RECORDED else event.effective_at
    _check(event, effective_at, recorded_at)
    body: dict[str, Any] = {
        "event_id": event.event_id,
        "source": event.source,
        "idempotency_key": event.idempotency_key,
        "type": event.type,
        "schema_version": event.schema_version,
        "account_id": event.account_id,
        "service_id": event.service_id,
        "service_version": event.service_version,
        "change_id": event.change_id,
        "effective_at": instant_text(effective_at),
        "price_version_id": event.price_version_id,
        "reverses_event_id": event.reverses_event_id,
        "actor": event.actor,
        "reason_code": event.reason_code,
        "payload": dict(event.payload),
    }
    if event.effective_until is not None:
        body["effective_until"] = instant_text(event.effective_until)
    filled = {name: value for name, value in body.items() if value not in ("", 0, {})}
    if event.unit:
        filled |= {"quantity": event.quantity, "unit": event.unit}
    if event.currency:
        filled |= {
            "amount_minor": event.amount_minor,
            "currency": event.currency,
            "exponent": event.exponent,
        }
    return filled


def body_text(body: Mapping[str, Any]) -> str:
    """Return the stored text of a body; ValueError if it is not portable or too long."""
    text = canonical_json(body)
    if len(text) > _MAX_BYTES:
        msg = f"an event holds at most {_MAX_BYTES} characters, got {len(text)}"
        raise ValueError(msg)
    return text


def payload_hash(text: str) -> bytes:
    """Return the SHA-256 of a body's text without its effective_at: equal = the same request.

    The member can be cut out of the text: every name that sorts before it has a scalar value, and
    inside a string a quotation mark is escaped, so the first match is the member itself.
    """
    before, member, after = text.partition('"effective_at":"')
    _, _, after = after.partition('",') if member else ("", "", "")
    return hashlib.sha256((before + after).encode()).digest()


def chain_hash(prev_hash: bytes, seq: int, recorded_at: str, body: str) -> bytes:
    """Return SHA256(prev || be64(seq) || utf8(recorded_at + space + body)), decisions.md D12."""
    return link_hash(prev_hash, seq, f"{recorded_at} {body}".encode())


def link_hash(prev_hash: bytes, seq: int, text: bytes) -> bytes:
    """Return the hash of one link of the chain over raw bytes."""
    return hashlib.sha256(prev_hash + seq.to_bytes(8, "big") + text).digest()


def read_event(
    seq: int, recorded_at: dt.datetime, body: str, prev_hash: bytes, own_hash: bytes
) -> LedgerEvent:
    """Return the event that a stored row holds; the body speaks, not the typed copies.

    Raises LedgerBroken where the body is no event: somebody has altered it.
    """
    try:
        before = Head(seq=seq - 1, hash=bytes(prev_hash))
        return recorded_event(json.loads(body), body, recorded_at, before, bytes(own_hash))
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerBroken(
            "ledger",
            f"the text of seq {seq} is not that of an event",
            "Find out where it broke: bandmaster ledger verify",
        ) from error


def recorded_event(
    body: Mapping[str, Any], text: str, recorded_at: dt.datetime, head: Head, own_hash: bytes
) -> LedgerEvent:
    """Return the event that a body makes behind the head; `text` is the body as it is stored."""
    instants = {
        name: parse_instant(body[name])
        for name in ("effective_at", "effective_until")
        if name in body
    }
    return LedgerEvent(
        **{**body, **instants},
        seq=head.seq + 1,
        recorded_at=recorded_at,
        body=text,
        prev_hash=head.hash,
        hash=own_hash,
    )


def check_transition(service_id: str, kind: str, before: str, after: str) -> None:
    """Raise Refused if an event of this kind may not lead a service from one state to the other."""
    allowed_before, allowed_after = TRANSITIONS[kind]
    if before not in allowed_before:
        raise Refused(service_id, f"is {before}: {kind} is not possible")
    stays = kind == "service.effect_shifted" and before != after
    if after not in allowed_after or stays:
        raise Refused(service_id, f"{kind} cannot make it {after}")


def _check(event: NewEvent, effective_at: dt.datetime, recorded_at: dt.datetime) -> None:
    faults = [] if _NAMES.fullmatch("\n".join((*_names(event), ""))) else _bad_names(event)
    checks = (
        ("type", event.type in EVENT_TYPES),
        ("service_id missing", event.service_id != "" or _is_accounts(event)),
        ("reason_code", event.reason_code in REASONS),
        ("effective_at in the future", effective_at <= recorded_at),
        ("effective_until", event.effective_until is None or event.effective_until > effective_at),
        ("service_version", _version_fits(event)),
        ("change_id missing", event.type not in NEEDS_CHANGE or event.change_id != ""),
        ("reverses_event_id", (event.type == "event.reversed") == (event.reverses_event_id != "")),
        ("money", _money_fits(event)),
        ("quantity", _quantity_fits(event)),
    )
    faults += [name for name, good in checks if not good]
    if faults:
        msg = f"malformed event {event.event_id!r} of type {event.type!r}: {', '.join(faults)}"
        raise ValueError(msg)
    check_payload(event.type, event.payload, versioned=event.service_version > 0)
    if event.type in ("usage.recorded", "usage.corrected"):
        check_usage(event.type, event.payload, event.unit)


def _bad_names(event: NewEvent) -> list[str]:
    bad = [name for name in _NAMED if not _NAME.fullmatch(getattr(event, name))]
    return bad + [n for n in _MAYBE if (text := getattr(event, n)) and not _NAME.fullmatch(text)]


def _is_accounts(event: NewEvent) -> bool:
    return event.type in ACCOUNT_TYPES and event.service_version == 0


def _version_fits(event: NewEvent) -> bool:
    if event.type == "event.reversed":  # of a service's event, or of money or usage
        return event.service_version >= 0
    return (event.service_version > 0) == (event.type in TRANSITIONS) and event.service_version >= 0


def _money_fits(event: NewEvent) -> bool:
    if not event.currency:
        return event.amount_minor == 0 and event.exponent == 0
    return (
        event.type in MONEY_TYPES
        and _CURRENCY.fullmatch(event.currency) is not None
        and 0 <= event.exponent <= _MAX_EXPONENT
    )


def _quantity_fits(event: NewEvent) -> bool:
    if not event.unit:
        return event.quantity == 0
    return event.type in USAGE_TYPES
