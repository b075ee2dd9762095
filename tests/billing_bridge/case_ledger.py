"""Billing cases of the ledger itself, put to it on a database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ledger_facts import at, event, usage
from sqlalchemy import Engine

from billing_bridge import EMPTY_HASH, append, tail
from billing_bridge.event import link_hash
from inventory import KeyConflict, Refused
from orchestrator.database import reading, writing

Given = dict[str, Any]


def run_chain(given: Given) -> Given:
    hashes, previous = [], EMPTY_HASH
    for seq, text in enumerate(given["payloads"], start=1):
        previous = link_hash(previous, seq, text.encode())
        hashes.append(previous.hex())
    return {"hashes": hashes}


def on_idempotency(given: Given, engine: Engine) -> Given:
    for source, key, quantity in given["events"]:
        same = usage(0, quantity=quantity)
        one = replace(same, event_id=f"e-{source}-{key}", source=source, idempotency_key=key)
        with writing(engine) as session:
            append(session, [one], at(0))
    with reading(engine) as session:
        events = tail(session)
    return {"accepted": len(events), "sum": sum(event.quantity for event in events)}


def on_idempotency_conflict(given: Given, engine: Engine) -> Given:
    first = usage(1, quantity=given["first"]["amount"])
    second = replace(first, quantity=given["second"]["amount"])
    with writing(engine) as session:
        append(session, [first], at(0))
    try:
        with writing(engine) as session:
            append(session, [second], at(1))
    except KeyConflict:
        return {"result": "conflict"}
    return {"result": "recorded"}


def on_reversal(given: Given, engine: Engine) -> Given:
    money = {"amount_minor": given["original"], "currency": "EUR", "exponent": 2}
    with writing(engine) as session:
        (original,) = append(session, [event("charge.issued", **money)], at(0))
    accepted = 0
    for _ in range(given["reversals_attempted"]):
        back = event(
            "event.reversed",
            reverses_event_id=original.event_id,
            reason_code="corrected",
            **(money | {"amount_minor": -given["original"]}),
        )
        try:
            with writing(engine) as session:
                append(session, [back], at(1))
        except Refused:
            continue
        accepted += 1
    with reading(engine) as session:
        net = sum(each.amount_minor for each in tail(session))
    return {"accepted": accepted, "net": net}


def on_cursor(given: Given, engine: Engine) -> Given:
    """The case's naive reader loses A; here B cannot even get its number before A has committed."""
    first, second = (usage(number) for number in given["seqs"].values())

    def append_second() -> None:
        with writing(engine) as session:
            append(session, [second], at(0))

    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as session:
            append(session, [first], at(0))
            later = pool.submit(append_second)
            assert not later.done()
            with reading(engine) as other:
                assert tail(other) == ()
        later.result()
    with reading(engine) as session:
        seen = [each.event_id for each in tail(session)]
    assert seen == [first.event_id, second.event_id]
    return {"lost": []}
