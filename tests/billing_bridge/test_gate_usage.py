"""R-04, R-07, R-09, R-10 and R-11: what was used, held to history, tier and inventory.

The plan `metered` has 100 GB a month for 30 EUR and 1 EUR for each 10 GB begun beyond.
"""

from __future__ import annotations

import datetime as dt

import pytest
from gate_world import DAY, GB, HOUR, NOW, World, days
from sqlalchemy import Engine
from test_gate_lines import money, one

from billing_bridge.rules.usage_facts import spread

MAY = dt.datetime(2026, 5, 10, tzinfo=dt.UTC)
ADOPTED = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """Services on the metered plan, old enough for a history of a year."""
    world = World(empty_engine, recorded=ADOPTED).open(0)
    terms = {"allowance_bytes": 100 * GB, "block_bytes": 10 * GB, "block_minor": 100}
    world.sell("metered", "t100", 3000, **terms)
    for number in range(1, 9):
        world.line(number)
        world.post(
            "service.adopted", f"svc-{number}", "metered", ADOPTED, billing_from="2025-01-01"
        )
    return world


def test_median_and_deviation_are_exact() -> None:
    assert spread([]).median == 0
    assert (spread([1, 2, 4]).median, spread([1, 2, 4]).mad) == (2, 1)
    four = spread([1, 2, 3, 10])
    assert (four.median, four.mad) == (dt.timedelta(hours=5) / dt.timedelta(hours=2), 1)


def test_a_service_that_is_paid_for_and_not_used_is_told_after_a_month(world: World) -> None:
    """Near misses: used 29 days ago; never used; suspended; R-02 tells of the same silence."""
    world.used("svc-1", days(32), days(31), GB)
    world.used("svc-1", days(20), days(19), 0)
    world.used("svc-2", days(30), days(29), GB)
    world.counted(days(1))
    world.used("svc-4", days(32), days(31), GB)
    world.post("service.suspended", "svc-4", "metered", days(31))
    found = one(world.judged("R-04"))
    assert (found.service_id, found.since, found.blocks) == ("svc-1", days(31), False)
    assert money(found) == (-3000, -3000, "EUR")
    world.used("svc-5", days(32), days(31), GB)
    world.online(5, days(38), days(33), stop=True)
    world.online(6, days(1), NOW)
    assert [one.service_id for one in world.judged("R-04") if one.service_id == "svc-5"] == []


def test_where_nothing_is_counted_nobody_is_called_silent(world: World) -> None:
    world.used("svc-1", days(62), days(61), GB)
    world.counted(days(16))
    assert world.judged("R-04") == []
    world.counted(days(14))
    assert len(world.judged("R-04")) == 1


def test_a_period_unlike_its_history_is_told(world: World) -> None:
    """Median 120, MAD 1: 180 GB stand out (z 40), which is 6 blocks or 6 EUR more than usual.

    Near misses: 125 GB (z 3.4 and under the floor); 131 GB beside a history that varies.
    """
    world.months("svc-1", 119, 121, 120, 119, 121, 120, 120, 180)
    world.months("svc-2", 119, 121, 120, 119, 121, 120, 120, 125)
    world.months("svc-3", 100, 140, 110, 130, 120, 105, 135, 165)
    found = one(world.judged("R-07"))
    assert (found.service_id, found.scope, found.blocks) == ("svc-1", "usage", False)
    assert money(found) == (-600, -600, "EUR")


def test_less_than_ever_may_not_have_been_billed(world: World) -> None:
    world.months("svc-1", 209, 211, 210, 209, 211, 210, 150)
    assert money(one(world.judged("R-07"))) == (600, 600, "EUR")


def test_a_history_that_does_not_vary_counts_by_relative_change(world: World) -> None:
    """MAD 0: more than half as much again, and not exactly half."""
    world.months("svc-1", *[200] * 6, 301)
    world.months("svc-2", *[200] * 6, 300)
    assert one(world.judged("R-07")).service_id == "svc-1"


def test_a_short_history_is_held_to_the_tier(world: World) -> None:
    """Others of the tier use 100 to 106 GB in 30 days; five periods of its own say nothing."""
    for number in range(2, 9):
        world.used(f"svc-{number}", days(10), days(9), (98 + number) * GB)
    world.months("svc-1", 500, 500, 500, 500, 500)
    world.months("svc-2", 101, 102, 103, 104, 105)
    found = one(world.judged("R-07"))
    assert (found.service_id, "of t100" in found.sides[1].who) == ("svc-1", True)


def test_the_period_in_which_a_service_began_is_no_history(world: World) -> None:
    world.months("svc-1", *[100] * 7)
    assert world.judged("R-07") == []
    world.line(9)
    world.post("service.adopted", "svc-9", "metered", days(45), billing_from="2026-05-06")
    world.used("svc-9", MAY, MAY + DAY, 900 * GB)
    assert world.judged("R-07") == []


def test_thin_coverage_holds_the_percentile(world: World) -> None:
    """Committed 10 Mbit/s, 20 measured; all that is missing may have run at 100: 80 Mbit/s more.

    Near misses: 95 % are enough; a meter that does not tell its coverage.
    """
    world.sell("leased", "t100", 50_000, commit_kbps=10_000, burst_minor=500)
    for number in (1, 2, 3):
        world.post("tier.changed", f"svc-{number}", "leased", days(50))
    may, june = dt.datetime(2026, 5, 1, tzinfo=dt.UTC), dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    for service, coverage in (("svc-1", 9499), ("svc-2", 9500), ("svc-3", -1)):
        world.used(service, may, june, 20_000_000, "p95", coverage)
    found = one(world.judged("R-09"))
    assert (found.service_id, found.scope, found.blocks) == ("svc-1", "usage", True)
    assert money(found) == (40_000, 40_000, "EUR")


def test_counters_gone_wrong_hold_the_usage_lines(world: World) -> None:
    """Near misses: decided before; of another kind."""
    world.stray("counter", "svc-1")
    world.stray("regressive", "svc-1")
    world.stray("counter", "svc-2", status="ignored")
    world.stray("late", "svc-3")
    world.used("svc-1", days(5), days(4), GB)
    found = one(world.judged("R-09"))
    assert (found.service_id, found.scope, found.blocks) == ("svc-1", "usage", True)
    assert money(found) == (500, 0, "EUR")


def test_more_than_the_line_lets_through_is_told(world: World) -> None:
    """100 Mbit/s for an hour is 45 GB: 50 GB is beyond a tenth more, 49.5 GB is not.

    Near misses: exactly a tenth more; upload by its own rate; a window before the tier changed.
    """
    world.used("svc-1", days(3), days(3) + HOUR, 50 * GB)
    world.used("svc-2", days(3), days(3) + HOUR, 495 * GB // 10)
    world.used("svc-3", days(3), days(3) + HOUR, 9 * GB, "up")
    world.used("svc-4", days(30), days(30) + HOUR, 200 * GB)
    world.post("tier.changed", "svc-4", "metered", days(20))
    found = one(world.judged("R-10"))
    assert (found.service_id, found.scope, found.blocks) == ("svc-1", "usage", False)
    assert money(found) == (-100, -100, "EUR")  # 5 GB too much: one block begun


def test_what_nobody_is_called_is_queued_at_its_price(world: World) -> None:
    """Two records of one name are one finding; a hostile name stays a name."""
    world.stray("unmatched")
    world.stray("unmatched")
    world.stray("unmatched", name="'; rm -rf / #")
    world.stray("unmatched", name="decided@isp", status="resolved")
    world.stray("late", "svc-1", name="u1@isp", amount_minor=0, currency="", exponent=0)
    found = {found.subject: found for found in world.judged("R-11")}
    assert set(found) == {
        "unmatched csv nobody@isp",
        "unmatched csv '; rm -rf / #",
        "late csv u1@isp",
    }
    two = one([found["unmatched csv nobody@isp"]])
    assert (money(two), two.blocks, two.account_id) == ((500, 0, "EUR"), False, "")
    assert {each.command for each in found.values()} == {"bandmaster usage exceptions list"}
    late = found["late csv u1@isp"]
    assert (late.account_id, late.money.currency) == ("A-1", "")
    assert world.check().found == 3
    assert world.check(NOW + HOUR).opened == 0
