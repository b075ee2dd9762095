"""Events that belong to an account and to no service of it."""

from __future__ import annotations

import json

import pytest
from ledger_facts import at, event, lifecycle
from sqlalchemy import Engine

from billing_bridge import (
    Head,
    append,
    export_lines,
    find_by_service,
    find_event,
    replay_check,
    verify,
)
from inventory import new_id
from orchestrator.database import reading, writing

MONEY = {"amount_minor": -1500, "currency": "EUR", "exponent": 2}
ISSUED = {
    "invoice": new_id(),
    "number": "17",
    "kind": "invoice",
    "closes_on": "2026-06-01",
    "net_minor": 4900,
    "tax_minor": -1,
    "total_minor": 4899,
    "currency": "EUR",
    "exponent": 2,
    "lines_digest": "0" * 64,
    "known_seq": 3,
}


def test_they_join_the_chain_and_every_reader_copes(engine: Engine) -> None:
    """Goal: no service does no harm. Method: one of each kind among a service's own events."""
    credit = event("credit.issued", "", **MONEY)
    back = event(
        "event.reversed", "", reverses_event_id=credit.event_id, **MONEY | {"amount_minor": 1500}
    )
    voided = {"invoice": ISSUED["invoice"], "number": "17", "credit_note": new_id()}
    events = (
        lifecycle("service.activated", 1),
        credit,
        event("charge.issued", "svc-1", **MONEY),
        event("invoice.issued", "", payload=ISSUED),
        event("invoice.voided", "", payload=voided),
    )
    with writing(engine) as session:
        append(session, events, at(0))
    with writing(engine) as session:
        append(session, [back], at(1))
    with reading(engine) as session:
        assert verify(session, deep=True).problem == ""
        stored = find_event(session, credit.event_id)
        assert stored is not None
        assert (stored.service_id, stored.amount_minor) == ("", -1500)
        assert len(find_by_service(session, "svc-1")) == 2
        # the services' table is not there: only svc-1 is missed, not a service without a name
        assert [each.service_id for each in replay_check(session, ())] == ["svc-1"]
        subjects = [json.loads(line)["subject"] for line in export_lines(session, Head())]
    assert subjects == ["svc-1", "A-1", "svc-1", "A-1", "A-1", "A-1"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"closes_on": "1 June"},
        {"number": "Jane Doe, Elm Street 4"},
        {"net_minor": "4900"},
        {"buyer": "A-1"},
        {"kind": None},
    ],
)
def test_an_invoice_event_holds_ids_dates_and_integers_only(
    engine: Engine, wrong: dict[str, object]
) -> None:
    payload = {name: value for name, value in (ISSUED | wrong).items() if value is not None}
    with pytest.raises(ValueError, match="malformed"), writing(engine) as session:
        append(session, [event("invoice.issued", "", payload=payload)], at(0))


@pytest.mark.parametrize("kind", ["usage.recorded", "price.overridden"])
def test_other_kinds_need_a_service(engine: Engine, kind: str) -> None:
    with pytest.raises(ValueError, match="service_id missing"), writing(engine) as session:
        append(session, [event(kind, "")], at(0))
