"""A price for one service: asked for, agreed to, billed on its dates, and over by itself."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine, text

from billing_bridge import Found, ledger_head, tail, verify
from orchestrator.credits import approve
from orchestrator.database import database_now, reading
from orchestrator.invoicing import draft_run
from orchestrator.office import Office
from tests.desk import Desk, refused
from tests.orchestrator.billing_world import BILLS, World, make_world, quiet, said, sold
from tests.orchestrator.money_desk import told

WHY = ("--reason", "spring offer")
DAY = dt.timedelta(days=1)


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """A service of 30.00 a month since March."""
    made = make_world(empty_engine)
    made.sell(sold("f100", 3000), sold("f500", 6000))
    made.account()
    made.starts("svc-1", "f100", "2025-03-01T00:00")
    return made


def expired(world: World, on: str) -> list[Found]:
    return [one for one in world.unlike_ledger(on, rule="R-12") if one.subject[:5] == "offer"]


def test_an_offer_is_billed_on_its_dates_and_the_catalogue_after_it(world: World) -> None:
    """Goal: nobody has to end it. Method: from the middle of a month to that of the next but one.

    It is told after the first bill, so that bill is corrected; the line names the event.
    """
    world.run("2025-03-01")
    event = world.costs("svc-1", "f100", 1000, "2025-03-17", "2025-05-16")
    for on in ("2025-04-01", "2025-05-01", "2025-06-01"):
        world.run(on)
    bills = [lines for _, lines in world.billed()]
    assert [said(lines) for lines in bills[1:]] == [
        [("correction", "f100", "2025-03-01", "2025-04-01", -968),
         ("recurring", "f100", "2025-04-01", "2025-05-01", 1000)],
        [("recurring", "f100", "2025-05-01", "2025-05-16", 484),
         ("recurring", "f100", "2025-05-16", "2025-06-01", 1548)],
        [("recurring", "f100", "2025-06-01", "2025-07-01", 3000)],
    ]  # fmt: skip
    named = [[event.event_id in line.event_ids for line in lines] for lines in bills]
    assert named == [[False], [True, True], [True, False], [False]]


def test_an_offer_is_of_one_plan_and_taken_back_as_if_it_never_was(world: World) -> None:
    event = world.costs("svc-1", "f100", 1000, "2025-03-01")
    world.run("2025-04-01")
    world.does("svc-1", "tier.changed", "f500", "2025-04-16T00:00")
    world.run("2025-05-01")
    world.takes_back(event)
    world.run("2025-06-01")
    lines = [line for _, each in world.billed() for line in each]
    sums = {code: sum(x.amount_minor for x in lines if x.plan_code == code)
            for code in ("f100", "f500")}  # fmt: skip
    assert sums == {"f100": 3000 + 1500, "f500": 3000 + 6000 + 6000}


def test_a_draft_that_still_uses_an_expired_offer_is_held(world: World) -> None:
    """Goal: R-12. Method: drafted, then taken back; then a line that goes on beyond the end.

    Near misses: the draft as it was made; the draft made anew.
    """
    draft = dt.date(2025, 4, 1)
    event = world.costs("svc-1", "f100", 1000, "2025-03-01", "2025-04-16")
    draft_run(world.engine, BILLS, "isp", draft, "test", quiet)
    assert expired(world, "2025-04-02") == []
    with world.engine.begin() as connection:
        connection.execute(text(
            "UPDATE invoice_line SET until_date = '2025-05-01', amount_minor = 1000, "
            "numerator = 30 WHERE from_date = '2025-04-01'"
        ))  # fmt: skip
    (found,) = expired(world, "2025-04-02")
    assert (found.blocks, found.scope, found.service_id) == (True, "line", "svc-1")
    assert found.what == "an expired offer is still applied: it ended on 2025-04-16"
    assert (found.money.at_risk_minor, found.sides[0].ref) == (2000, event.event_id)
    draft_run(world.engine, BILLS, "isp", draft, "test", quiet)
    assert expired(world, "2025-04-02") == []
    world.takes_back(event)
    assert {one.what for one in expired(world, "2025-04-02")} == {
        "an expired offer is still applied: it was taken back"
    }
    draft_run(world.engine, BILLS, "isp", draft, "test", quiet)
    assert expired(world, "2025-04-02") == []


def days(desk: Desk, *distances: int) -> list[str]:
    """Local dates of the account, so many days from today."""
    with reading(desk.engine) as session:
        today = (database_now(session) + dt.timedelta(hours=1)).date()
    return [str(today + number * DAY) for number in distances]


def test_a_small_price_is_posted_shown_and_previewed(desk: Desk) -> None:
    """Its reason stands beside the event; the same key again changes nothing."""
    today, until = days(desk, 0, 20)
    asked = ("price", "override", "svc-1", "19.99", "--until", until, *WHY,
             "--idempotency-key", "k")  # fmt: skip
    first = told(desk, *asked)
    assert (first["state"], first["kind"], told(desk, *asked)) == ("posted", "price", first)
    (listed,) = told(desk, "price", "list", "svc-1")
    assert [listed[name] for name in ("plan_code", "price_minor", "since", "until")] == [
        "fiber-100", 1999, today, until,
    ]  # fmt: skip
    with reading(desk.engine) as session:
        posted = tail(session, limit=100)[-1]
        assert verify(session, deep=True).problem == ""
    assert (posted.type, posted.currency, posted.amount_minor) == ("price.overridden", "", 0)
    assert "spring" not in posted.body
    assert "EUR 19.99" in desk.good("price", "list", "svc-1").out
    bill = desk.good("invoice", "preview", "A-EUR", "--on", until[:8] + "01", "--json").out
    assert '"full_amount_minor": 1999' in bill
    with desk.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM credit_v1")).scalar() == 0
    back = told(desk, "credit", "reverse", "m-" + first["credit_id"][:13], "--reason", "no")
    assert back["state"] == "posted"
    assert told(desk, "price", "list", "svc-1") == []


def test_a_line_at_its_own_price_is_explained_to_who_asked(desk: Desk) -> None:
    """From the bill to the event, its dates, the person and the reason."""
    (today,) = days(desk, 0)
    first = today[:8] + "01"
    until = str(dt.date.fromisoformat(first) + 32 * DAY)
    told(desk, "price", "override", "svc-1", "28.99", "--from", first, "--until", until, *WHY)
    run = told(desk, "invoice", "run", "--on", first)["run"]["run_id"]
    told(desk, "invoice", "finalise", run, "--yes", "--early")
    with desk.engine.connect() as connection:
        number, line = connection.execute(
            text("SELECT number, line_no FROM invoice JOIN invoice_line USING (invoice_id) "
                 "WHERE full_amount_minor = 2899")
        ).one()  # fmt: skip
    shown = " ".join(desk.good("invoice", "explain", number, str(line)).out.split())
    assert f"fiber-100 at EUR 28.99 from {first} until {until}" in shown
    assert "price.overridden" in shown
    assert "spring offer" in shown
    assert desk.run("billing", "check").code in (0, 3, 4)
    assert not [row for row in told(desk, "billing", "findings", "list")
                if row["rule"] in ("R-12", "R-13")]  # fmt: skip


def test_a_large_price_waits_for_a_second_person(desk: Desk, office: Office) -> None:
    """It has no end: a year of it counts. Another one for the same dates is refused by then."""
    waiting = told(desk, "price", "override", "svc-1", "24.99", *WHY, code=3)
    assert (waiting["state"], told(desk, "price", "list", "svc-1")) == ("waiting", [])
    shown = "m-" + waiting["credit_id"].replace("-", "")[:16]
    refused(desk, ("credit", "approve", shown), 5, "was asked for by", "another person approves")
    assert approve(office, waiting["credit_id"], "second").decided_by == "second"
    (listed,) = told(desk, "price", "list", "svc-1")
    assert listed["until"] is None
    again = ("price", "override", "svc-1", "28.99", "--until", days(desk, 9)[0], *WHY)
    refused(desk, again, 5, "svc-1", "has a price of its own for fiber-100", "credit reverse")


def test_what_is_no_price_is_refused_and_nothing_is_kept(desk: Desk) -> None:
    today, old, before, after = days(desk, 0, -91, -1, 9)
    with reading(desk.engine) as session:
        head = ledger_head(session)
    cases = [
        (("svc-9", "1"), 2, "svc-9"),
        (("svc-1", "-1"), 2, ""),
        (("svc-1", "1.999"), 2, "price in EUR"),
        (("svc-1", "29.99"), 5, "costs 29.99 on these dates already"),
        (("svc-1", "1", "--until", today), 2, "must come after"),
        (("svc-1", "1", "--until", before), 2, "must come after"),
        (("svc-1", "1", "--until", "soon"), 2, "is no date"),
        (("svc-1", "1", "--from", old, "--until", after), 5, "older than the 90 days"),
    ]
    for words, code, why in cases:
        refused(desk, ("price", "override", *words, *WHY), code, why)
    with desk.engine.begin() as connection:
        connection.execute(text("UPDATE service SET state = 'suspended'"))
    refused(desk, ("price", "override", "svc-1", "1", *WHY), 5, "is suspended")
    with reading(desk.engine) as session:
        assert ledger_head(session) == head
    with desk.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM credit")).scalar() == 0
