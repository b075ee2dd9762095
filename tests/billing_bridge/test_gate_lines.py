"""R-01, R-02, R-03 and R-05: what devices and accounting show, held to the ledger.

Prices: 30, 60 and 90 EUR a month; June has 30 days, so a day costs 1, 2 and 3 EUR.
"""

from __future__ import annotations

import datetime as dt

import pytest
from gate_world import DAY, HOUR, NOW, World, days
from sqlalchemy import Engine

from billing_bridge import Found
from inventory import Rate


@pytest.fixture
def world(empty_engine: Engine) -> World:
    return World(empty_engine).open()


def money(found: Found) -> tuple[int, int, str]:
    return found.money.at_risk_minor, found.money.monthly_minor, found.money.currency


def one(found: list[Found]) -> Found:
    (only,) = found
    assert len(only.sides) > 1, "evidence from both sides"
    assert all(side.at or side.says == "not active yet" for side in only.sides)
    assert only.since <= NOW
    return only


def test_nothing_is_wrong_with_lines_as_they_are_billed(world: World) -> None:
    for number in (1, 2, 3, 4):
        world.show(f"svc-{number}", "t100", days(1))
        world.online(number, days(2), NOW)
    assert world.judged() == []


def test_a_terminated_line_that_stays_on_is_unbilled(world: World) -> None:
    """Ten days at the 60 EUR tier; near misses: off, read too early, switched off since."""
    for service in ("svc-1", "svc-2", "svc-3", "svc-4"):
        world.show(service, "t500", days(20))
        world.post("service.terminated", service, "fiber-100", days(10))
    world.show("svc-1", "t500", days(0))
    world.show("svc-2", "t500", days(10) + 23 * HOUR)  # the day after it nobody looked
    world.show("svc-3", "", days(1), on=False)
    found = one(world.judged("R-01"))
    assert (found.service_id, found.account_id) == ("svc-1", "A-1")
    assert money(found) == (2000, 6000, "EUR")
    assert (found.since, found.blocks, found.scope) == (days(10), True, "line")
    assert [side.who for side in found.sides] == ["ledger", "olt-1"]


def test_a_line_that_was_never_sold_is_live_only_at_a_rate_that_is_sold(world: World) -> None:
    for number in (7, 8):
        world.line(number)
    for at in (days(3), days(0)):
        world.show("svc-7", "t1000", at)
        world.show_rate("svc-8", Rate(down_kbps=7, up_kbps=7), at)
    found = one(world.judged("R-01"))
    assert found.service_id == "svc-7"
    assert money(found) == (900, 9000, "EUR")


def test_a_session_that_goes_on_after_the_end_is_unbilled(world: World) -> None:
    """Near misses: the session ended; it was last heard of within the day after the end."""
    for number in (1, 2, 3):
        world.post("service.terminated", f"svc-{number}", "fiber-500", days(10))
    world.online(1, days(12), NOW)
    world.online(2, days(12), days(5), stop=True)
    world.online(3, days(12), days(10) + HOUR)
    found = one(world.judged("R-01"))
    assert (found.service_id, found.what) == ("svc-1", "online, not billed")
    assert money(found) == (2000, 6000, "EUR")


def test_a_line_that_is_gone_may_have_to_be_paid_back(world: World) -> None:
    """At once by its configuration: 12 days of 30 EUR. Near miss: read before the last change."""
    world.show("svc-1", "", days(12), on=False)
    world.show("svc-1", "", NOW, on=False)
    world.show("svc-2", "", days(12), on=False)
    world.post("tier.changed", "svc-2", "fiber-500", days(11))
    world.show("svc-3", "t100", NOW)
    found = one(world.judged("R-02"))
    assert (found.service_id, found.blocks) == ("svc-1", True)
    assert money(found) == (-1200, -3000, "EUR")


def test_a_login_that_is_never_online_is_told_after_a_week(world: World) -> None:
    """Near misses: six days; an open session; accounting itself has gone silent."""
    world.online(1, days(30), days(9), stop=True)
    world.online(2, days(30), days(6.9), stop=True)
    world.online(3, days(38), NOW)
    world.online(4, days(2), NOW)
    found = one(world.judged("R-02"))
    assert (found.service_id, found.since) == ("svc-1", days(9))
    assert money(found) == (-900, -3000, "EUR")
    later = NOW + 8 * DAY  # nobody logs in any more: that is no subscriber's doing
    assert world.judged("R-02", later) == []


def test_without_accounting_nobody_is_called_dead(world: World) -> None:
    assert world.judged("R-02") == []


@pytest.mark.parametrize(
    ("tier", "risk", "monthly", "blocks"),
    [("t500", 1000, 3000, True), ("t1000", 2000, 6000, True), ("suspended", -1000, -3000, False)],
)
def test_another_rate_than_billed_costs_the_difference(
    world: World, tier: str, risk: int, monthly: int, blocks: bool
) -> None:
    """Ten days; it blocks where the line gives more than is paid for."""
    world.show("svc-1", tier, days(10))
    world.show("svc-1", tier, NOW)
    found = one(world.judged("R-03"))
    assert money(found) == (risk, monthly, "EUR")
    assert found.blocks == blocks


def test_what_encapsulation_adds_is_no_other_rate(world: World) -> None:
    for service, down in (("svc-1", 102_000), ("svc-2", 98_000), ("svc-3", 102_001)):
        world.show_rate(service, Rate(down_kbps=down, up_kbps=20_000), days(10))
    found = one(world.judged("R-03"))
    assert found.service_id == "svc-3"
    assert money(found)[1] == 0  # the nearest tier is its own


def test_two_devices_that_say_the_same_are_one_finding(world: World) -> None:
    for device in ("olt-1", "bng-1"):
        world.show("svc-1", "t500", days(10), device)
    found = one(world.judged("R-03"))
    assert sorted(side.who for side in found.sides) == ["bng-1", "ledger", "olt-1"]
    assert money(found)[1] == 3000


def test_a_pinned_price_is_what_the_difference_is_taken_from(world: World) -> None:
    world.sell("old-100", "t100", 1000)
    world.post("tier.changed", "svc-1", "old-100", days(15))
    world.show("svc-1", "t500", days(10))
    assert money(one(world.judged("R-03"))) == (2000 - 333, 6000 - 1000, "EUR")


def test_a_login_that_is_online_twice_costs_one_more_service(world: World) -> None:
    """Near misses: an overlap of one interim; a session whose Stop was lost; another login."""
    world.online(1, days(10), days(5), stop=True)
    world.online(1, days(9), days(6), stop=True, port="p2")
    world.online(2, days(10), days(5), stop=True)
    world.online(2, days(5) - 600 * dt.timedelta(seconds=1), days(4), stop=True, port="p2")
    world.online(3, days(10), days(8))  # never stopped, never heard of again
    world.online(3, days(7), NOW, port="p2")
    world.online(4, days(10), NOW)
    found = one(world.judged("R-05"))
    assert (found.service_id, found.blocks) == ("svc-1", False)
    assert money(found) == (900, 3000, "EUR")
    assert [side.who for side in found.sides] == ["ledger", "accounting", "accounting"]


def test_a_login_on_two_circuits_at_once_is_told_with_both(world: World) -> None:
    """The overlap is with the first of three sessions. Near misses: one port; one after the other.

    Of svc-2 the port is one and the stations are two; of svc-3 nobody tells a station.
    """
    world.online(1, days(10), days(2), stop=True)
    world.online(1, days(9.9), days(9.8), stop=True, port="p2")
    world.online(1, days(5), days(4), stop=True, port="p2")
    world.online(2, days(10), days(5), stop=True, station="00-00-5e-00-53-01")
    world.online(2, days(9), days(6), stop=True, station="00-00-5e-00-53-02")
    world.online(3, days(10), days(5), stop=True, station="00-00-5e-00-53-03")
    world.online(3, days(9), days(6), stop=True)
    world.online(4, days(10), days(5), stop=True)
    world.online(4, days(4), days(3), stop=True, port="p2")
    found = {one.service_id: one for one in world.judged("R-05")}
    assert {name: one.what for name, one in found.items()} == {
        "svc-1": "online on two circuits at once: 2 overlaps",
        "svc-2": "online on two circuits at once: 1 overlap",
        "svc-3": "online twice at once: 1 overlap",
    }
    says = [side.says for side in found["svc-1"].sides[1:]]
    assert says[0].startswith("open on 192.0.2.1 p1 until ")
    assert says[1] == "began on 192.0.2.1 p2"


def test_a_line_that_two_ports_carry_at_once_is_told(world: World) -> None:
    """Seen on both for a day. Near misses: a BNG and an OLT; moved; off; a quarter of an hour."""
    for number, second, seen in ((1, 3, 2), (2, 3, 2), (3, 1, 0.5), (4, 3, 3 - 15 / 1440)):
        line = f"svc-{number}"
        device = "bng-1" if number == 2 else "olt-1"
        for at in (days(10), days(2)):
            world.show(line, "t100", at)
        for at in (days(second), days(seen)):
            world.show(line, "t100", at, device, obj=f"port {number}")
    world.show("svc-2", "t100", days(3), obj="port 9", on=False)
    world.show("svc-2", "t100", days(2), obj="port 9", on=False)
    found = one(world.judged("R-05"))
    assert (found.subject, found.blocks) == ("svc-1 circuits", False)
    assert found.what == "olt-1 carries it on port 1, olt-1 on svc-1"
    assert money(found) == (300, 3000, "EUR")
