"""A ledger with a past that somebody with power over its tables is about to attack."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger_facts import at, event, lifecycle, take_guards_away, usage
from sqlalchemy import Engine, text

from billing_bridge import (
    Anchor,
    LedgerEvent,
    NewEvent,
    VerifyReport,
    append,
    open_anchors,
    read_anchors,
    tail,
    verify,
)
from billing_bridge.event import chain_hash, payload_hash
from inventory import instant_text
from orchestrator.database import reading, writing

EVENTS = 40
_COLUMNS = """
seq, event_id, source, idempotency_key, payload_hash, type, schema_version, account_id,
service_id, service_version, change_id, effective_at, effective_until, recorded_at,
price_version_id, quantity, unit, amount_minor, currency, exponent, reverses_event_id, actor,
reason_code, body, prev_hash, hash
"""
COLUMNS = tuple(name.strip() for name in _COLUMNS.split(","))


def tell_story(engine: Engine) -> None:
    """Record 40 events of every shape: services, usage with a span of time, money."""
    for number in range(0, EVENTS, 4):
        story: Sequence[NewEvent] = (
            lifecycle("service.activated", 1, service_id=f"svc-{number}"),
            lifecycle("tier.changed", 2, tier="t500", service_id=f"svc-{number}"),
            usage(number, f"svc-{number}"),
            event(
                "charge.issued",
                f"svc-{number}",
                order=f"rate-{number}",
                amount_minor=-4999 - number,
                currency="EUR",
                exponent=2,
                effective_at=at(number),
                effective_until=at(number + 1),
                price_version_id="pv-1",
                reason_code="billing_run",
            ),
        )
        with writing(engine) as session:
            append(session, story, at(number + 2))


def anchor(engine: Engine, path: Path, minutes: int = 60) -> Anchor:
    """Anchor the head as the command does."""
    with open_anchors(path) as opened, reading(engine) as session:
        return opened.add(session, at(minutes))


def look(engine: Engine, path: Path | None = None) -> VerifyReport:
    """Verify everything, against a file of anchors where there is one."""
    heads = [one.head for one in read_anchors(path)] if path else []
    with reading(engine) as session:
        return verify(session, deep=True, anchors=heads)


def all_events(engine: Engine) -> tuple[LedgerEvent, ...]:
    """Return the whole ledger."""
    with reading(engine) as session:
        return tail(session, limit=10_000)


def rewrite(engine: Engine, seq: int, old: str, new: str) -> None:
    """Alter one event and make everything fit again: copies, every later hash, the head."""
    take_guards_away(engine)
    previous = b""
    with engine.begin() as connection:
        for one in all_events(engine)[seq - 1 :]:
            body = one.body.replace(old, new) if one.seq == seq else one.body
            previous = previous or one.prev_hash
            link = chain_hash(previous, one.seq, instant_text(one.recorded_at), body)
            connection.execute(
                text(
                    "UPDATE billing_event SET body = :body, actor = :actor, prev_hash = :before, "
                    "hash = :own, payload_hash = :asked WHERE seq = :seq"
                ),
                {
                    "body": body,
                    "actor": one.actor.replace(old, new) if one.seq == seq else one.actor,
                    "before": previous,
                    "own": link,
                    "asked": payload_hash(body),
                    "seq": one.seq,
                },
            )
            previous = link
        connection.execute(text("UPDATE ledger_head SET hash = :own"), {"own": previous})


def cut_tail(engine: Engine, last: int) -> None:
    """Take the newest events away and let the head end there."""
    take_guards_away(
        engine,
        f"DELETE FROM billing_event WHERE seq > {last}",  # noqa: S608
        f"UPDATE ledger_head SET seq = {last}, "  # noqa: S608
        f"hash = (SELECT hash FROM billing_event WHERE seq = {last})",
    )


def snapshot(engine: Engine) -> list[tuple[Any, ...]]:
    """Return every row of the ledger and its head, read plainly."""
    with engine.connect() as connection:
        events = connection.execute(text("SELECT * FROM billing_event ORDER BY seq")).all()
        head = connection.execute(text("SELECT * FROM ledger_head")).all()
    return [tuple(row) for row in (*events, *head)]


def later(instant: dt.datetime, bit: int) -> dt.datetime:
    """Return an instant some power of two of microseconds later."""
    return instant + dt.timedelta(microseconds=1 << bit)
