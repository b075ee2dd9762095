"""The fold: what the ledger says a service is, and every way a row can differ from it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from ledger_facts import PLAN_OF, at, lifecycle, usage
from sqlalchemy import Engine

from billing_bridge import (
    FoldedService,
    LedgerEvent,
    NewEvent,
    append,
    charged_history,
    find_by_service,
    fold_service,
    fold_without,
    replay_check,
    service_payload,
    shift_payload,
)
from inventory import LedgerBroken, Plan, Service
from orchestrator.database import reading, writing

BY_DAY = {
    code: Plan(code=code, name=code, tier_code=tier, currency="EUR", exponent=2)
    for tier, code in PLAN_OF.items()
}
BY_SECOND = {code: replace(plan, proration="second") for code, plan in BY_DAY.items()}
BACK_100 = service_payload(plan="fiber-100", tier="t100", state="active")


def post(engine: Engine, minute: int, *events: NewEvent) -> tuple[LedgerEvent, ...]:
    with writing(engine) as session:
        return append(session, events, at(minute))


def folded(engine: Engine, service_id: str = "svc-1") -> FoldedService:
    with reading(engine) as session:
        return fold_service(service_id, find_by_service(session, service_id))


def reverse(event: LedgerEvent, version: int, payload: dict[str, object]) -> NewEvent:
    return lifecycle(
        "event.reversed",
        version,
        payload=payload,
        reverses_event_id=event.event_id,
        reason_code="undone",
    )


def test_a_whole_life(engine: Engine) -> None:
    post(engine, 0, lifecycle("service.activated", 1))
    post(engine, 10, lifecycle("tier.changed", 2, tier="t500"), usage(1))
    post(engine, 20, lifecycle("service.suspended", 3, "suspended", "t500"))
    post(engine, 30, lifecycle("service.resumed", 4, tier="t500"))
    post(engine, 40, lifecycle("service.terminated", 5, "terminated", "t500"))
    service = folded(engine)
    assert (service.state, service.version, service.tier_code) == ("terminated", 5, "t500")
    assert service.active_since == at(0)
    assert [(s.since, s.plan_code, s.state) for s in service.history] == [
        (at(0), "fiber-100", "active"),
        (at(10), "fiber-500", "active"),
        (at(20), "fiber-500", "suspended"),
        (at(30), "fiber-500", "active"),
        (at(40), "fiber-500", "terminated"),
    ]
    history = charged_history(service, BY_SECOND, "UTC")
    charged = [(entry.since, entry.plan_code) for entry in history]
    assert charged == [
        (at(0), "fiber-100"), (at(10), "fiber-500"), (at(20), ""), (at(30), "fiber-500"),
        (at(40), ""),
    ]  # fmt: skip
    # by the day the last state of the date counts, and that is: not charged
    assert charged_history(service, BY_DAY, "UTC") == ()


def test_an_adopted_service_is_charged_from_the_first_date_we_bill(engine: Engine) -> None:
    long_ago = at(0) - dt.timedelta(days=900)
    adopted = lifecycle(
        "service.adopted", 1, effective_at=long_ago, billing_from="2026-07-01", reason_code="import"
    )
    post(engine, 0, adopted)
    service = folded(engine)
    assert service.active_since == long_ago
    assert service.billing_from == dt.date(2026, 7, 1)
    (entry,) = charged_history(service, BY_DAY, "Europe/Berlin")
    assert entry.since == dt.datetime(2026, 6, 30, 22, tzinfo=dt.UTC)


def test_a_reversed_event_leaves_the_fold_and_takes_its_shift_along(engine: Engine) -> None:
    post(engine, 0, lifecycle("service.activated", 1))
    (up,) = post(engine, 10, lifecycle("tier.changed", 2, tier="t500"))
    on_500 = service_payload(plan="fiber-500", tier="t500", state="active")
    shift = shift_payload(on_500, shifts=up.event_id, was=at(10), to=at(15))
    post(engine, 20, lifecycle("service.effect_shifted", 3, payload=shift))
    assert [step.since for step in folded(engine).history] == [at(0), at(15)]
    with reading(engine) as session:
        then = fold_without("svc-1", find_by_service(session, "svc-1"), up.event_id)
    (undone,) = post(engine, 30, reverse(up, 4, BACK_100))
    assert folded(engine) == then
    assert [step.since for step in then.history] == [at(0)]
    assert (then.version, then.tier_code) == (4, "t100")
    # a reversal of the reversal brings both back
    post(engine, 40, reverse(undone, 5, dict(on_500)))
    assert [step.since for step in folded(engine).history] == [at(0), at(15)]


def test_an_activation_taken_back_leaves_nothing(engine: Engine) -> None:
    (first,) = post(engine, 0, lifecycle("service.activated", 1))
    nothing = service_payload(plan="", tier="", state="none")
    post(engine, 5, reverse(first, 2, nothing))
    assert folded(engine) == FoldedService(service_id="svc-1", version=2)
    post(engine, 9, lifecycle("service.activated", 3, tier="t300"))
    assert folded(engine).active_since == at(9)


def test_a_termination_taken_back_keeps_the_old_dates(engine: Engine) -> None:
    post(engine, 0, lifecycle("service.activated", 1))
    (end,) = post(engine, 5, lifecycle("service.terminated", 2, "terminated"))
    post(engine, 9, reverse(end, 3, BACK_100))
    service = folded(engine)
    assert (service.state, service.active_since, service.version) == ("active", at(0), 3)


@pytest.mark.parametrize("said", [PLAN_OF["t500"], ""])
def test_an_event_that_says_something_else_than_its_past_is_found(
    engine: Engine, said: str
) -> None:
    """Appending takes the reversal's word for what is left; the fold does not."""
    post(engine, 0, lifecycle("service.activated", 1))
    (up,) = post(engine, 10, lifecycle("tier.changed", 2, tier="t500"))
    wrong = service_payload(plan=said, tier="t500", state="active")
    post(engine, 20, reverse(up, 3, wrong))
    with pytest.raises(LedgerBroken, match="the events lead to fiber-100/t100/active"):
        folded(engine)


def test_a_gap_in_the_versions_is_found(engine: Engine) -> None:
    post(engine, 0, lifecycle("service.activated", 1), lifecycle("tier.changed", 2))
    with reading(engine) as session:
        events = find_by_service(session, "svc-1")
    with pytest.raises(LedgerBroken, match="has version 2, expected 1"):
        fold_service("svc-1", events[1:])


ROW = Service(
    service_id="svc-1",
    account_id="A-1",
    login="",
    plan_code="fiber-300",
    tier_code="t300",
    state="active",
    version=2,
    active_since=at(0),
    billing_from=dt.date(2026, 6, 1),
)


@pytest.fixture
def told(engine: Engine) -> Engine:
    post(
        engine,
        0,
        lifecycle("service.adopted", 1, reason_code="import"),
        lifecycle("tier.changed", 2, tier="t300"),
        usage(1),
    )
    return engine


def test_rows_that_agree_with_the_ledger_give_no_mismatch(told: Engine) -> None:
    unborn = replace(
        ROW, service_id="svc-2", plan_code="", tier_code="", state="none", version=0,
        active_since=None, billing_from=None,
    )  # fmt: skip
    with reading(told) as session:
        assert replay_check(session, [unborn, ROW]) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_id", "A-2"),
        ("plan_code", "fiber-500"),
        ("tier_code", "t500"),
        ("state", "suspended"),
        ("version", 3),
        ("active_since", None),
        ("billing_from", dt.date(2026, 6, 2)),
    ],
)
def test_each_field_of_a_row_is_held_to_the_ledger(told: Engine, field: str, value: object) -> None:
    with reading(told) as session:
        (found,) = replay_check(session, [replace(ROW, **{field: value})])
    assert (found.service_id, found.field, found.table) == ("svc-1", field, str(value))


def test_a_service_without_a_row_is_a_mismatch(told: Engine) -> None:
    with reading(told) as session:
        (found,) = replay_check(session, [])
    assert (found.service_id, found.table) == ("svc-1", "missing")
