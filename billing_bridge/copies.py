"""Comparing an event's typed copies with its body: what `ledger verify --deep` adds."""

from __future__ import annotations

import json
import re
from typing import Any

from .event import payload_hash

_COPIES: tuple[tuple[str, str | int], ...] = (
    ("event_id", ""), ("source", ""), ("idempotency_key", ""), ("type", ""),
    ("schema_version", 0), ("account_id", ""), ("service_id", ""), ("service_version", 0),
    ("change_id", ""), ("price_version_id", ""), ("quantity", 0), ("unit", ""),
    ("amount_minor", 0), ("currency", ""), ("exponent", 0), ("reverses_event_id", ""),
    ("actor", ""), ("reason_code", ""),
)  # fmt: skip
_NAMES = tuple(name for name, _ in _COPIES)
_EMPTIES = tuple(empty for _, empty in _COPIES)
_parse = json.JSONDecoder().raw_decode  # json.loads looks for blanks around: a fifth of its time
_PLAIN = re.compile(r"[ !#-\[\]-~]*")  # what JSON writes as it is


def odd_copies(text: str, asked: bytes, at: str, until: str | None, copies: tuple[Any, ...]) -> str:
    """Return the names of the typed copies that are not what the body says; "" = none.

    `text` is the stored body, `asked` the payload_hash, `at` and `until` the copies of the
    instants as text, `copies` the others from event_id to reason_code as verify selects them.
    """
    odd = "" if until is None and _is_told(text, at, copies) else _odd(text, at, until, copies)
    if asked != payload_hash(text):
        odd = f"{odd}, payload_hash" if odd else "payload_hash"
    return odd


def _is_told(text: str, at: str, copies: tuple[Any, ...]) -> bool:
    """Say the quick way that the copies are the body's: True is sure, False is not.

    Around its payload a body is nothing but its copies in the order of their names. Most of the
    time would go into parsing payloads, of which there are no copies: `replay` reads those.
    """
    (event_id, source, key, kind, schema, account, service, version, change, price,
     quantity, unit, amount, currency, exponent, reverses, actor, reason) = copies  # fmt: skip
    if quantity or unit or amount or currency or exponent or reverses:
        return False  # rare: no quick way is needed
    priced = f'"price_version_id":"{price}",' if price else ""
    changed = f'"change_id":"{change}",' if change else ""
    head = (
        f'{{"account_id":"{account}","actor":"{actor}",{changed}"effective_at":"{at}",'
        f'"event_id":"{event_id}","idempotency_key":"{key}","payload":{{"'
    )
    tail = (
        f'"}},{priced}"reason_code":"{reason}","schema_version":{schema},"service_id":"{service}",'
        f'"service_version":{version},"source":"{source}","type":"{kind}"}}'
    )
    if not (text.startswith(head) and text.endswith(tail)):
        return False
    payload = text[len(head) : -len(tail)]
    # any other closing brace could end the payload early and bring a member a second time
    closed = payload.count("}") == payload.count("},{") + payload.count("}]")
    names = f"{account}{actor}{change}{event_id}{key}{price}{reason}{service}{source}{kind}"
    return closed and _PLAIN.fullmatch(names) is not None


def _odd(text: str, at: str, until: str | None, copies: tuple[Any, ...]) -> str:
    try:
        body, end = _parse(text)
    except ValueError:
        end = -1
    if end != len(text) or not isinstance(body, dict):
        return "all, it is not a JSON object"
    said = tuple(map(body.get, _NAMES, _EMPTIES))
    odd = [name for name, one, copy in zip(_NAMES, said, copies, strict=True) if one != copy]
    if at != body.get("effective_at"):
        odd.append("effective_at")
    if until != body.get("effective_until"):
        odd.append("effective_until")
    return ", ".join(odd)
