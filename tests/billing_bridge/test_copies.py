"""The quick comparison of copies with a body never says yes where the thorough one says no."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_bridge import Evidence, NewEvent, service_payload
from billing_bridge.copies import _is_told, _odd, odd_copies
from billing_bridge.event import body_text, event_body, payload_hash
from inventory import instant_text, new_id

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
NAMES = (
    *("event_id", "source", "idempotency_key", "type", "schema_version", "account_id"),
    *("service_id", "service_version", "change_id", "price_version_id", "quantity", "unit"),
    *("amount_minor", "currency", "exponent", "reverses_event_id", "actor", "reason_code"),
)


def make_event(**more: Any) -> NewEvent:
    evidence = Evidence(
        device="bng-1",
        object="interface=ge-0/0/1 unit=7",
        down_kbps=500_000,
        up_kbps=100_000,
        digest="0" * 64,
        observed_at=NOW,
    )
    parts: dict[str, Any] = {
        "event_id": new_id(),
        "source": "bandmaster",
        "idempotency_key": "order-1:tier.changed",
        "type": "tier.changed",
        "account_id": "A-1",
        "service_id": "svc-1",
        "actor": "anna",
        "reason_code": "requested",
        "service_version": 2,
        "change_id": new_id(),
        "payload": service_payload(plan="p", tier="t", state="active", evidence=(evidence,) * 2),
    }
    return NewEvent(**parts | more)


EVENTS = {
    "change": make_event(),
    "pinned": make_event(price_version_id="price-1"),
    "adopted": make_event(
        type="service.adopted",
        change_id="",
        payload=service_payload(plan="p", tier="t", state="active", billing_from=NOW.date()),
    ),
    "reversed": make_event(type="event.reversed", reverses_event_id=new_id()),
    "credit": make_event(
        type="credit.issued",
        service_version=0,
        change_id="",
        payload={"credit_id": "cr-1"},
        amount_minor=-5,
        currency="EUR",
        exponent=2,
    ),
    "account": make_event(
        type="invoice.voided",
        service_id="",
        service_version=0,
        change_id="",
        payload={"invoice": new_id(), "number": "1", "credit_note": new_id()},
    ),
    "until": make_event(effective_at=NOW, effective_until=NOW + dt.timedelta(days=1)),
}


def stored(event: NewEvent) -> tuple[str, str, tuple[Any, ...]]:
    """The body, the instant and the copies of an event, as its row has them."""
    text = body_text(event_body(event, NOW))
    return text, instant_text(NOW), tuple(getattr(event, name) for name in NAMES)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_copies_of_every_kind_of_event_are_the_bodys(event: NewEvent) -> None:
    text, at, copies = stored(event)
    until = instant_text(event.effective_until) if event.effective_until else None
    assert odd_copies(text, payload_hash(text), at, until, copies) == ""


@pytest.mark.parametrize("name", ["change", "pinned", "adopted"])
def test_the_usual_events_take_the_quick_way(name: str) -> None:
    assert _is_told(*stored(EVENTS[name]))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_every_altered_copy_is_named(event: NewEvent, place: int) -> None:
    text, at, copies = stored(event)
    until = instant_text(event.effective_until) if event.effective_until else None
    other = copies[place] + (1 if isinstance(copies[place], int) else "x")
    altered = (*copies[:place], other, *copies[place + 1 :])
    assert odd_copies(text, payload_hash(text), at, until, altered) == NAMES[place]


def test_altered_instants_and_payload_hash_are_named() -> None:
    text, at, copies = stored(EVENTS["change"])
    late = instant_text(NOW + dt.timedelta(seconds=1))
    assert odd_copies(text, payload_hash(text), late, None, copies) == "effective_at"
    assert odd_copies(text, payload_hash(text), at, late, copies) == "effective_until"
    assert odd_copies(text, bytes(32), at, None, copies) == "payload_hash"


def test_a_copy_that_swallows_its_neighbour_is_seen() -> None:
    """Two copies that together spell the body's text are not the body's values."""
    text, at, copies = stored(EVENTS["adopted"])
    swallowed = list(copies)
    start = text.index('"account_id":"') + len('"account_id":"')
    swallowed[NAMES.index("account_id")] = text[start : text.index('","effective_at"')]
    swallowed[NAMES.index("actor")] = ""
    assert odd_copies(text, payload_hash(text), at, None, tuple(swallowed)) != ""


@pytest.mark.parametrize("gap", ["", " "])
def test_a_member_hidden_behind_the_payload_is_seen(gap: str) -> None:
    """JSON lets the last of two equal names win: the quick way must not overlook the second."""
    text, at, copies = stored(EVENTS["change"])
    end = text.index(',"reason_code"')
    hidden = f'{text[:end]}{gap},"actor":"eve","x":{{"y":"z"}}{text[end:]}'
    assert json.loads(hidden)["actor"] == "eve"
    assert odd_copies(hidden, payload_hash(hidden), at, None, copies) == "actor"


NUMBERS = {"schema_version", "service_version", "quantity", "amount_minor", "exponent"}
TEXTS = [place for place, name in enumerate(NAMES) if name not in NUMBERS]


@given(place=st.sampled_from(TEXTS), text=st.text(max_size=8), cut=st.integers(0, 900))
def test_the_quick_way_is_never_wrong(place: int, text: str, cut: int) -> None:
    """Where it says yes the thorough way finds nothing; whatever stands in copy and body."""
    body, at, copies = stored(EVENTS["pinned"])
    altered = (*copies[:place], text, *copies[place + 1 :])
    assert not _is_told(body, at, altered) or _odd(body, at, None, altered) == ""
    other = body[:cut] + text + body[cut:]
    if _is_told(other, at, copies):
        payload = other[other.index('"payload":') + 10 : other.rindex(',"price_version_id"')]
        try:
            json.loads(payload)
        except ValueError:
            return  # a payload that is none is the replay's to find
        assert _odd(other, at, None, copies) == ""
