"""The 95th percentile in the ledger: a month with a change of clocks, coverage, part of a month."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from ledger_facts import lifecycle
from sqlalchemy import Engine, delete, insert
from usage_facts import record

from billing_bridge import (
    SLOT,
    FoldedService,
    Metered,
    append,
    find_by_service,
    fold_service,
    metered_stretches,
    percentile_rollup,
    sampled_services,
    samples_between,
    usage_check,
    used,
)
from billing_bridge.usage_rows import SAMPLES
from inventory import find_account, list_plans
from orchestrator.database import database_now, reading, writing
from orchestrator.settings import Settings
from orchestrator.usage import post_percentiles
from tests.usage_isp import make_isp

SINCE = dt.datetime(2026, 2, 28, 23, 0, tzinfo=dt.UTC)  # midnight in Berlin
UNTIL = dt.datetime(2026, 3, 31, 22, 0, tzinfo=dt.UTC)
SLOTS = 8_916


@pytest.fixture
def berlin(empty_engine: Engine) -> Engine:
    """An ISP in Berlin whose svc-3 has a plan with a committed rate since January."""
    make_isp(empty_engine, "Europe/Berlin")
    adopted = lifecycle(
        "service.adopted", 1, plan="burst", service_id="svc-3", billing_from="2026-01-01"
    )
    with writing(empty_engine) as session:
        append(session, [adopted], dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
    return empty_engine


def samples(engine: Engine, since: dt.datetime, count: int, *, but: range = range(0)) -> None:
    """Poll by poll: slot n carries n kbit/s down, so that the rank can be read from the rate."""
    octets, rows = 0, []
    for number in range(count + 1):
        if number not in but:
            at = since + number * SLOT
            rows.append(
                {
                    "device": "bng-1", "interface": "sub3", "slot": at, "service_id": "svc-3",
                    "polled_at": at, "in_octets": 0, "out_octets": octets, "speed_mbps": 1_000,
                    "uptime_cs": number * 30_000, "discontinuity_cs": 0,
                }
            )  # fmt: skip
        octets += (number + 1) * 1_000 * 300 // 8
    with engine.begin() as connection:
        connection.execute(insert(SAMPLES), rows)


def stretches(engine: Engine, now: dt.datetime) -> tuple[FoldedService, tuple[Metered, ...]]:
    with reading(engine) as session:
        service = fold_service("svc-3", find_by_service(session, "svc-3"))
        plans = {plan.code: plan for plan in list_plans(session)}
        account = find_account(session, "A-1")
        return service, metered_stretches(service, plans, account, now)


def test_a_month_that_loses_an_hour_has_its_own_slots(berlin: Engine) -> None:
    """Method: slot n carries n kbit/s; of 8,916 the 445 highest are free, number 8,471 counts."""
    samples(berlin, SINCE, SLOTS)
    service, found = stretches(berlin, UNTIL + dt.timedelta(hours=1))
    assert found[-1] == Metered(since=SINCE, until=UNTIL)
    with reading(berlin) as session:
        kept = samples_between(session, ["svc-3"], SINCE, UNTIL)["svc-3"]
        assert sampled_services(session, SINCE) == ("svc-3",)
    rollup = percentile_rollup(service, found[-1], kept)
    assert rollup is not None
    assert (rollup.quantity, rollup.samples, rollup.coverage_bp) == (8_471_000, SLOTS, 10_000)
    event = record(berlin, [rollup], UNTIL + SLOT).events[0]
    assert (event.unit, event.payload["coverage_bp"]) == ("bit_per_s", 10_000)
    assert (event.effective_at, event.effective_until) == (SINCE, UNTIL)
    assert record(berlin, [rollup], UNTIL + SLOT).events == ()
    assert record(berlin, [replace(rollup, quantity=9)], UNTIL + SLOT).events[0].quantity < 0
    with reading(berlin) as session:
        assert usage_check(session) == ()
        assert used(session, ["svc-3"], SINCE, UNTIL)["svc-3"][0].quantity == 9


def test_slots_that_nobody_knows_are_not_zeros(berlin: Engine) -> None:
    """Method: a restart hides a tenth of the month; the rank is that of what is left."""
    samples(berlin, SINCE, 1_000)
    with berlin.begin() as connection:  # the device was away, and its counters began anew
        gone = SAMPLES.c.slot > SINCE + 899 * SLOT
        connection.execute(delete(SAMPLES).where(gone))
    service, found = stretches(berlin, UNTIL)
    with reading(berlin) as session:
        kept = samples_between(session, ["svc-3"], SINCE, UNTIL)["svc-3"]
    rollup = percentile_rollup(service, found[-1], kept)
    assert rollup is not None
    assert (rollup.quantity, rollup.samples) == ((899 - 44) * 1_000, 899)
    assert rollup.coverage_bp == 899 * 10_000 // SLOTS
    assert percentile_rollup(service, found[-1], []) is None


def test_part_of_a_month_has_the_percentile_of_its_own_slots(berlin: Engine) -> None:
    moved = lifecycle("tier.changed", 2, plan="fiber-100", service_id="svc-3")
    with writing(berlin) as session:
        append(session, [moved], dt.datetime(2026, 3, 11, 9, tzinfo=dt.UTC))
    _, found = stretches(berlin, UNTIL + SLOT)
    assert found[-1] == Metered(since=SINCE, until=dt.datetime(2026, 3, 10, 23, tzinfo=dt.UTC))
    assert len(found) == 2


def test_the_periods_that_are_over_are_posted_once(berlin: Engine) -> None:
    """Goal: by the database's own clock; done again it does nothing, `again` corrects."""
    settings = Settings(usage_wait_s=0)
    with reading(berlin) as session:
        _, found = stretches(berlin, database_now(session))
    samples(berlin, found[-1].since, 20)
    runs: list[dict[str, Any]] = [{}, {}, {"again": True}]
    assert [post_percentiles(berlin, settings, "noc", **run).events for run in runs] == [1, 0, 0]
    with berlin.begin() as connection:
        connection.execute(delete(SAMPLES).where(SAMPLES.c.slot > found[-1].since + 10 * SLOT))
    assert post_percentiles(berlin, settings, "noc").events == 0
    assert post_percentiles(berlin, settings, "noc", again=True).events == 1
    with reading(berlin) as session:
        (window,) = used(session, ["svc-3"], found[-1].since, found[-1].until)["svc-3"]
    assert (window.quantity, window.samples, window.revision) == (10_000, 10, 2)
