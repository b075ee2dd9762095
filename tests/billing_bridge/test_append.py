"""Appending: one gapless sequence, once per key, checked against the service's own story."""

from __future__ import annotations

import hashlib
import json

import pytest
from ledger_facts import at, event, lifecycle, usage
from sqlalchemy import Engine

from billing_bridge import (
    EMPTY_HASH,
    append,
    find_by_change,
    find_by_key,
    find_by_service,
    find_by_services,
    find_event,
    ledger_head,
    tail,
)
from inventory import KeyConflict, NotNewest, Refused, StalePlan, UnknownName
from orchestrator.database import reading, writing


def test_a_story_is_recorded_in_one_gapless_chain(engine: Engine) -> None:
    with writing(engine) as session:
        first = append(session, [lifecycle("service.activated", 1)], at(0))
    with writing(engine) as session:
        more = append(
            session, [lifecycle("tier.changed", 2, tier="t500"), usage(1), usage(2)], at(5)
        )
    events = (*first, *more)
    with reading(engine) as session:
        assert tail(session) == events
        assert tail(session, after_seq=2, limit=1) == events[2:3]
        head = ledger_head(session)
    assert [each.seq for each in events] == [1, 2, 3, 4]
    previous = EMPTY_HASH
    for each in events:
        text = each.recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") + " " + each.body
        own = hashlib.sha256(previous + each.seq.to_bytes(8, "big") + text.encode()).digest()
        assert (each.prev_hash, each.hash) == (previous, own)
        previous = own
    assert (head.seq, head.hash) == (4, previous)


def test_the_body_holds_what_was_given_and_nothing_empty(engine: Engine) -> None:
    with writing(engine) as session:
        (made,) = append(session, [usage(7)], at(0))
    body = json.loads(made.body)
    assert made.body == json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert sorted(body) == [
        "account_id", "actor", "effective_at", "event_id", "idempotency_key", "payload",
        "quantity", "reason_code", "schema_version", "service_id", "source", "type", "unit",
    ]  # fmt: skip
    assert made.effective_at == made.recorded_at == at(0)


def test_the_same_request_again_returns_the_stored_event(engine: Engine) -> None:
    """Also when it is told another effective time, which is not part of what was asked."""
    asked = usage(1)
    with writing(engine) as session:
        (made,) = append(session, [asked], at(0))
    with writing(engine) as session:
        again = append(session, [asked, asked], at(9))
        assert ledger_head(session).seq == 1
    assert again == (made, made)


def test_a_key_used_for_something_else_is_a_conflict_and_records_nothing(engine: Engine) -> None:
    with writing(engine) as session:
        append(session, [usage(1)], at(0))
    with pytest.raises(KeyConflict), writing(engine) as session:
        append(session, [usage(2), usage(1, quantity=999)], at(1))
    with reading(engine) as session:
        assert ledger_head(session).seq == 1


def test_time_never_steps_back(engine: Engine) -> None:
    with writing(engine) as session:
        append(session, [usage(1)], at(10))
    with writing(engine) as session:
        (made,) = append(session, [usage(2)], at(3))
    assert made.recorded_at == at(10)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("service.resumed", "active"),
        ("service.adopted", "active"),
        ("service.activated", "active"),
        ("tier.changed", "suspended"),
    ],
)
def test_an_illegal_transition_fails_the_transaction(engine: Engine, kind: str, state: str) -> None:
    with writing(engine) as session:
        append(session, [lifecycle("service.activated", 1)], at(0))
    with pytest.raises(Refused), writing(engine) as session:
        append(session, [usage(1), lifecycle(kind, 2, state)], at(1))
    with reading(engine) as session:
        assert ledger_head(session).seq == 1


@pytest.mark.parametrize("version", [1, 3])
def test_a_version_that_is_not_the_next_one_is_a_stale_plan(engine: Engine, version: int) -> None:
    with writing(engine) as session:
        append(session, [lifecycle("service.activated", 1)], at(0))
    with pytest.raises(StalePlan), writing(engine) as session:
        append(session, [lifecycle("tier.changed", version)], at(1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "service.deleted"},
        {"reason_code": "because the customer rang"},
        {"event_id": ""},
        {"service_id": ""},
        {"payload": {"meter": "down"}},
        {"payload": {"meter": "down", "revision": 1, "login": "anna"}},
        {"payload": {"meter": "down", "revision": "1"}},
        {"payload": {"meter": "Jane Doe, Elm Street 4", "revision": 1}},
        {"effective_at": at(2)},
        {"effective_until": at(-1), "effective_at": at(0)},
        {"service_version": 1},
        {"currency": "EUR", "amount_minor": 5, "exponent": 2},
        {"amount_minor": 5},
        {"quantity": 5, "unit": ""},
        {"payload": {"meter": "down", "revision": 1, "source": 1.5}},
        {"payload": {}},
        {"payload": {"meter": "down", "revision": 1, "login": "ada@isp"}},
        {"payload": {"meter": "down", "revision": 2}},
        {"payload": {"meter": "p95", "revision": 1}},
        {"unit": "bytes"},
        {"reverses_event_id": "e-1"},
        {"actor": "Jane Doe, Elm Street 4"},
    ],
)
def test_a_malformed_event_is_refused(engine: Engine, wrong: dict[str, object]) -> None:
    payload = {"meter": "down", "revision": 1}
    given = {"quantity": 1, "unit": "byte", "payload": payload} | wrong
    with (
        pytest.raises(ValueError, match=r"malformed|canonical|payload"),
        writing(engine) as session,
    ):
        append(session, [event("usage.recorded", **given)], at(1))


@pytest.mark.parametrize(
    "payload",
    [
        {"plan": "p", "tier": "t"},
        {"plan": "p", "tier": "t", "state": "asleep"},
        {"plan": "p", "tier": "t", "state": "active", "name": "Jane Doe"},
        {"plan": "p", "tier": "t", "state": "active", "evidence": [{"ip": "192.0.2.1"}]},
    ],
)
def test_a_lifecycle_payload_has_a_closed_shape(engine: Engine, payload: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="payload of"), writing(engine) as session:
        append(session, [lifecycle("service.activated", 1, payload=payload)], at(0))


def test_events_are_found_by_id_key_change_and_service(engine: Engine) -> None:
    one, two = lifecycle("service.activated", 1), lifecycle("tier.changed", 2, tier="t300")
    other = lifecycle("service.activated", 1, service_id="svc-2")
    with writing(engine) as session:
        first, second, third = append(session, [one, two, other], at(0))
        note = append(session, [usage(5)], at(1))
    with reading(engine) as session:
        assert find_event(session, one.event_id) == first
        assert find_event(session, "none") is None
        assert find_by_key(session, two.source, two.idempotency_key) == second
        assert find_by_change(session, two.change_id) == (second,)
        assert find_by_change(session, "") == ()
        assert find_by_service(session, "svc-1") == (first, second, *note)
        assert find_by_services(session, ["svc-1", "svc-2", "svc-3"]) == {
            "svc-1": (first, second),
            "svc-2": (third,),
            "svc-3": (),
        }


def reversal(original: object, version: int, **given: object) -> object:
    return event(
        "event.reversed",
        reverses_event_id=original.event_id,  # type: ignore[attr-defined]
        service_version=version,
        reason_code="as_never",
        **given,
    )


def test_an_event_is_reversed_once_and_only_the_newest(engine: Engine) -> None:
    back = {"plan": "fiber-100", "tier": "t100", "state": "active"}
    with writing(engine) as session:
        _, second, third = append(
            session,
            [
                lifecycle("service.activated", 1),
                lifecycle("tier.changed", 2, tier="t300"),
                lifecycle("tier.changed", 3, tier="t500"),
            ],
            at(0),
        )
    with pytest.raises(NotNewest), writing(engine) as session:
        append(session, [reversal(second, 4, payload=back)], at(1))
    with writing(engine) as session:
        on_300 = back | {"plan": "fiber-300", "tier": "t300"}
        append(session, [reversal(third, 4, payload=on_300)], at(1))
    with pytest.raises(Refused, match="reversed before"), writing(engine) as session:
        append(session, [reversal(third, 5, payload=back)], at(2))
    with writing(engine) as session:  # the newest one that stands now
        append(session, [reversal(second, 5, payload=back)], at(2))
    with pytest.raises(UnknownName), writing(engine) as session:
        append(session, [reversal(usage(9), 6, payload=back)], at(3))


def test_a_reversal_is_the_exact_opposite(engine: Engine) -> None:
    money = {"amount_minor": 1500, "currency": "EUR", "exponent": 2}
    with writing(engine) as session:
        (charge,) = append(session, [event("charge.issued", **money)], at(0))
    for wrong in ({"amount_minor": 1500}, {"currency": "USD"}, {"exponent": 3}):
        bad = reversal(charge, 0, **({**money, "amount_minor": -1500} | wrong))
        with pytest.raises(ValueError, match="not its opposite"), writing(engine) as session:
            append(session, [bad], at(1))
    with writing(engine) as session:
        (undone,) = append(
            session, [reversal(charge, 0, **{**money, "amount_minor": -1500})], at(1)
        )
    assert charge.amount_minor + undone.amount_minor == 0
