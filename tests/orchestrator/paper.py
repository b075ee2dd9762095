"""Open sets on paper: rows of a store with no device behind them, and what a pass has found."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlmodel import select

from inventory import Rate
from orchestrator.astray import Outbox
from orchestrator.clock import Clock
from orchestrator.database import database_now, reading, writing
from orchestrator.drive import Arrived, Cause, Stuck
from orchestrator.journal import OpenSet, load_set, session_name
from orchestrator.live import Driven, Ending, Live
from orchestrator.office import Office, open_office
from orchestrator.rows import (
    ChangeRow,
    DecisionRow,
    ExceptionRow,
    OrderRow,
    ParticipantRow,
    SetRow,
)
from orchestrator.settings import Settings
from orchestrator.settle import _Pass
from tests.orchestrator import paper_items
from tests.schema import create_schema
from workflows import (
    Handle,
    HandleItem,
    ItemSeen,
    Observation,
    PlanItem,
    ServicePoint,
    handle_json,
    item_json,
)
from workflows.participant import PendingSeen

LONG_AGO = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
SLOW = ServicePoint(
    plan_code="slow", tier_code="slow", state="active", rate=Rate(down_kbps=100, up_kbps=20)
)
FAST = ServicePoint(
    plan_code="fast", tier_code="fast", state="active", rate=Rate(down_kbps=500, up_kbps=100)
)
VERDICTS = {"COMMITTED": "COMMIT", "REVERSED": "COMMIT", "CLOSED": "COMMIT", "ABORTED": "ABORT"}


def paper_office(folder: Path, engine: Engine, clock: Clock, **settings: Any) -> Office:
    """An office over an empty store, with a clock that a test moves."""
    create_schema(engine)
    url = engine.url.render_as_string(hide_password=False)
    known = str(folder / "known_hosts")
    office = open_office(Settings(database_url=url, known_hosts=known, **settings))
    office.engine.dispose()
    return replace(office, engine=engine, clock=clock)


def item(service_id: str, before: ServicePoint = FAST, after: ServicePoint = SLOW) -> PlanItem:
    """A change of tier that nothing but the store takes part in, named after its service."""
    made = paper_items.item(service_id, before, after, today=LONG_AGO.date())
    named = {"order_id": f"order-{service_id}", "idempotency_key": f"key-{service_id}"}
    return replace(made, order=replace(made.order, **named))


def change(set_id: str, service_id: str, state: str = "COMMITTED", **more: Any) -> ChangeRow:
    """One change of a set; its id is its service's."""
    found = item(service_id)
    values: dict[str, Any] = {
        "change_id": service_id,
        "set_id": set_id,
        "order_id": found.order.order_id,
        "service_id": service_id,
        "kind": "service",
        "state": state,
        "outcome": "open",
        "epoch": 1,
        "item": item_json(found),
        "item_hash": found.item_hash(),
        "refusal": "",
        "created_at": LONG_AGO,
        "applied_at": None,
        "closed_at": None,
    }
    return ChangeRow(**(values | more))


def part(set_id: str, name: str, role: str = "device", **more: Any) -> ParticipantRow:
    """A participant of a set that has not been read at its goal yet."""
    values: dict[str, Any] = {
        "set_id": set_id,
        "name": name,
        "role": role,
        "service_id": "",
        "handle": "{}",
        "at_goal_since": None,
        "settled": False,
        "sent_at": None,
    }
    return ParticipantRow(**(values | more))


def doubt(change_row: ChangeRow, participant: str, **more: Any) -> ExceptionRow:
    """An exception of a change, open unless it is given an end."""
    values: dict[str, Any] = {
        "exception_id": f"x-{change_row.change_id}-{participant}",
        "change_id": change_row.change_id,
        "set_id": change_row.set_id,
        "service_id": change_row.service_id,
        "participant": participant,
        "cause": "refused",
        "wanted": "",
        "seen": "no licence",
        "at_stake_minor": 0,
        "currency": "EUR",
        "exponent": 2,
        "actions": "retry,accept",
        "opened_at": LONG_AGO,
        "resolved_at": None,
        "resolution": "",
        "resolved_by": "",
    }
    return ExceptionRow(**(values | more))


def keep_set(
    engine: Engine, set_id: str, *changes: ChangeRow, logins: tuple[str, ...] = ()
) -> None:
    """Write a set down as a worker would have left it: orders, decisions and live sessions too."""
    with writing(engine) as session:
        session.add(
            SetRow(
                set_id=set_id,
                plan_id="plan",
                attempt=1,
                kind="service",
                created_at=LONG_AGO,
                first_write_at=LONG_AGO,
            )
        )
        for row in changes:
            session.add(row)
            session.add(_order(row))
            if row.state in VERDICTS:
                verdict = VERDICTS[row.state]
                session.add(
                    DecisionRow(
                        change_id=row.change_id,
                        set_id=set_id,
                        verdict=verdict,
                        decided_at=LONG_AGO,
                    )
                )
        session.add_all(part(set_id, session_name(name), "session") for name in logins)


def _order(row: ChangeRow) -> OrderRow:
    return OrderRow(
        order_id=row.order_id,
        idempotency_key=f"key-{row.change_id}",
        payload_hash="",
        event_id=f"event-{row.change_id}",
        kind="tier",
        service_id=row.service_id,
        plan_id="plan",
        actor="tester",
        reason_code="requested",
        reason="",
        ticket="",
        created_at=LONG_AGO,
    )


def ago(engine: Engine, seconds: float) -> dt.datetime:
    """The store's time, so many seconds ago."""
    with reading(engine) as session:
        return database_now(session) - dt.timedelta(seconds=seconds)


def rows(engine: Engine) -> dict[str, ChangeRow]:
    """Every change as the store has it now, by its id."""
    with reading(engine) as session:
        return {row.change_id: row for row in session.exec(select(ChangeRow))}


def handle(name: str, *service_ids: str) -> Handle:
    """A device that carries these services."""
    return Handle(
        device=name,
        platform="",
        token="s-1.1",
        items=tuple(
            HandleItem(
                service_id=service_id, objects=(), before=(), after=(), forward=(), inverse=()
            )
            for service_id in service_ids
        ),
        revert_after_s=300,
    )


def arrived(at: dt.datetime | None = None) -> Arrived:
    """A device that is at its goal, read just now or not."""
    return Arrived(at=at, seen=_seen("NONE"))


def stuck(cause: Cause, pending: PendingSeen = "NONE") -> Stuck:
    """A device that is not, and what runs on it meanwhile."""
    return Stuck(cause=cause, reason=f"it is {cause}", seen=_seen(pending))


def _seen(pending: PendingSeen) -> Observation:
    return Observation(pending=pending, items={"a": ItemSeen(running="NEW", startup="NEW")})


def a_set(office: Office, *changes: ChangeRow, **devices: tuple[str, ...]) -> OpenSet:
    """A set in the store, whose devices carry the services that are named for each."""
    keep_set(office.engine, "s-1", *changes, logins=tuple(row.change_id for row in changes))
    with writing(office.engine) as session:
        for name, service_ids in devices.items():
            kept = json.dumps(handle_json(handle(name, *service_ids)))
            session.add(part("s-1", name, handle=kept))
    with reading(office.engine) as session:
        return load_set(session, "s-1")


def a_pass(
    opened: OpenSet,
    devices: Mapping[tuple[str, str], Arrived | Stuck],
    accepted: frozenset[tuple[str, str]] = frozenset(),
) -> _Pass:
    """A pass that has found the devices so."""
    found = _Pass(opened=opened, changes=opened.changes, accepted=accepted)
    found.devices.update(devices)
    return found


def driven(office: Office, **endings: Ending) -> Driven:
    """What became of live sessions, by change; nothing of it is on its way any more."""
    outbox = Outbox(office=office, set_id="s-1", left=[])
    found = {name: Live(ending=end, text=f"the rate is {end}") for name, end in endings.items()}
    return Driven(endings=found, outbox=outbox)
