"""What an account is billed: in advance and in arrears, once, and corrected when it was wrong."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from billing_bridge import (
    RADIUS,
    count_radius,
    keep_packets,
    record_usage,
    tail,
    take_due,
    verify,
)
from inventory import Refused
from orchestrator import invoicing
from orchestrator.bills import Bills
from orchestrator.database import database_now, reading, writing
from orchestrator.invoicing import draft_run, finalise, void_invoice
from tests.orchestrator.billing_world import BILLS, World, make_world, quiet, said, sold


@pytest.fixture
def world(empty_engine: Engine) -> World:
    """An account of the first of the month, and two plans billed in advance."""
    made = make_world(empty_engine)
    made.sell(sold("f100", 3000), sold("f500", 6000), sold("later", 3000, bill_in="arrears"))
    made.account()
    return made


def test_the_first_bill_has_the_days_so_far_and_the_next_period(world: World) -> None:
    world.starts("svc-1", "f100", "2025-03-17T10:00")
    outcome = world.run("2025-04-01")
    assert outcome.issued == 1
    ((invoice, lines),) = world.billed()
    assert said(lines) == [
        ("recurring", "f100", "2025-03-17", "2025-04-01", 1452),  # 15 of 31 days
        ("recurring", "f100", "2025-04-01", "2025-05-01", 3000),
    ]
    assert (invoice.number, invoice.state) == ("isp-000001", "final")
    assert (invoice.net_minor, invoice.tax_minor, invoice.total_minor) == (4452, 890, 5342)
    assert world.run("2025-04-01").issued == 0
    assert world.run("2025-04-30").issued == 0
    assert world.run("2025-05-01").issued == 1
    assert said(world.billed()[1][1]) == [
        ("recurring", "f100", "2025-05-01", "2025-06-01", 3000),
    ]


def test_a_change_is_credited_and_charged_on_the_next_bill(world: World) -> None:
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.run("2025-04-01")
    world.does("svc-1", "tier.changed", "f500", "2025-04-16T12:00")
    world.run("2025-05-01")
    lines = world.billed()[1][1]
    assert said(lines) == [
        ("correction", "f100", "2025-04-16", "2025-05-01", -1500),
        ("recurring", "f500", "2025-04-16", "2025-05-01", 3000),
        ("recurring", "f500", "2025-05-01", "2025-06-01", 6000),
    ]
    assert (lines[0].numerator, lines[0].denominator) == (-15, 30)


def test_arrears_bill_what_is_over(world: World) -> None:
    world.starts("svc-1", "later", "2025-03-17T10:00")
    world.run("2025-04-01")
    world.run("2025-05-01")
    assert [said(lines) for _, lines in world.billed()] == [
        [("recurring", "later", "2025-03-17", "2025-04-01", 1452)],
        [("recurring", "later", "2025-04-01", "2025-05-01", 3000)],
    ]


def test_a_voided_invoice_is_taken_back_whole_and_billed_anew(world: World) -> None:
    """Goal: nothing is edited, the sums hold. Method: void, look, run again, void again."""
    world.starts("svc-1", "f100", "2025-07-17T10:00")
    bills = Bills(grace_hours=0, backdate_days=100_000, tax=BILLS.tax)
    world.run("2025-08-01", bills)
    ((first, lines),) = world.billed()
    note = void_invoice(world.engine, bills, first.invoice_id, "anna", "wrong account")
    assert (note.kind, note.number, note.cancels) == (
        "credit_note",
        "isp-CN-000001",
        first.invoice_id,
    )
    assert (note.net_minor, note.tax_minor, note.total_minor) == (
        -first.net_minor,
        -first.tax_minor,
        -first.total_minor,
    )
    (gone, same), (noted, negated) = world.billed()
    assert (gone.state, gone.document, same) == ("void", first.document, lines)
    assert [line.amount_minor for line in negated] == [-line.amount_minor for line in lines]
    assert json.loads(noted.document)["cancels"] == {
        "number": first.number,
        "invoice_id": first.invoice_id,
    }
    with pytest.raises(Refused, match="void already"):
        void_invoice(world.engine, bills, first.invoice_id, "anna", "again")
    with pytest.raises(Refused, match="a correction is not corrected"):
        void_invoice(world.engine, bills, note.invoice_id, "anna", "the note was wrong")
    world.run("2025-08-01", bills)
    again = world.billed(state="final")[-1]
    assert (said(again[1]), again[0].number) == (said(lines), "isp-000002")
    with reading(world.engine) as session:
        assert verify(session, deep=True).problem == ""
        types = [event.type for event in tail(session, 1)]
    assert types == ["invoice.issued", "invoice.issued", "invoice.voided", "invoice.issued"]


def test_an_old_invoice_is_not_voided(world: World) -> None:
    world.starts("svc-1", "f100", "2025-03-17T10:00")
    world.run("2025-04-01")
    with pytest.raises(Refused, match="too old"):
        void_invoice(world.engine, BILLS, world.invoices()[0].invoice_id, "anna", "late")


FORBIDDEN = (
    "UPDATE invoice SET net_minor = 1, total_minor = 1 + tax_minor",
    "UPDATE invoice SET state = 'draft', number = ''",
    "UPDATE invoice SET document = '{}'",
    "UPDATE invoice SET state = 'void', known_seq = 0",
    "DELETE FROM invoice",
    "UPDATE invoice_line SET amount_minor = 0",
    "UPDATE invoice_line SET invoice_id = 'i-other'",
    "DELETE FROM invoice_line",
    "INSERT INTO invoice_tax VALUES ((SELECT invoice_id FROM invoice), 9, 'x', 1, 1, 1)",
    "DELETE FROM invoice_tax",
    "UPDATE invoice_counter SET last_number = last_number - 1",
    "DELETE FROM invoice_counter",
)
ITS_OWN = {
    "sqlite": (
        "INSERT OR REPLACE INTO invoice SELECT * FROM invoice",
        "INSERT OR REPLACE INTO invoice_line SELECT * FROM invoice_line",
        "INSERT OR REPLACE INTO invoice_counter VALUES ('isp', 'invoice', 0)",
    ),
    "postgresql": (
        "TRUNCATE invoice_line",
        "TRUNCATE invoice, invoice_line",
        "INSERT INTO invoice TABLE invoice ON CONFLICT (invoice_id) DO UPDATE SET number = '9'",
    ),
}


def test_final_invoices_and_their_numbers_stand(world: World) -> None:
    """Goal: neither database lets anybody edit what was billed. Method: each way in, once."""
    world.starts("svc-1", "f100", "2025-03-17T10:00")
    world.run("2025-04-01")
    before = world.billed()
    for statement in (*FORBIDDEN, *ITS_OWN[world.engine.dialect.name]):
        with pytest.raises(DBAPIError), world.engine.begin() as connection:
            connection.execute(text(statement))
        assert world.billed() == before, statement


def test_credits_and_charges_are_billed_once(world: World) -> None:
    """Goal: each event is one line. Method: given, given and taken back, taken back when billed."""
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    credit = world.gives("credit.issued", 500)
    world.gives("charge.issued", 200, "svc-1")
    world.takes_back(world.gives("credit.issued", 300))
    world.run("2025-04-01")
    world.takes_back(credit)
    world.run("2025-05-01")
    world.run("2025-06-01")
    money = [
        [(line.kind, line.service_id, line.amount_minor) for line in lines if not line.plan_code]
        for _, lines in world.billed()
    ]
    assert money == [[("credit", "", -500), ("charge", "svc-1", 200)], [("charge", "", 500)], []]


@pytest.mark.parametrize(
    ("currency", "exponent", "price", "expected"),
    [("JPY", 0, 3000, 1452), ("EUR", 2, 3000, 1452), ("KWD", 3, 30_005, 14_519)],
)
def test_every_currency_has_its_own_bill_in_its_own_units(
    world: World, currency: str, exponent: int, price: int, expected: int
) -> None:
    world.sell(sold("other", price, currency=currency, exponent=exponent))
    world.starts("svc-1", "later", "2025-03-17T10:00")
    world.starts("svc-2", "other", "2025-03-17T10:00")
    world.run("2025-04-01")
    found = {
        (one.currency, one.exponent): [line.amount_minor for line in lines]
        for one, lines in world.billed()
    }
    assert sum(found[currency, exponent]) == expected + price + (1452 if currency == "EUR" else 0)
    assert set(found) == {("EUR", 2), (currency, exponent)}


def test_usage_is_billed_when_its_period_is_over_and_late_usage_with_the_next(
    world: World,
) -> None:
    """Goal: blocks over the allowance, each once. Method: use, bill, use more of the same month."""
    gb = 10**9
    world.sell(
        sold("metered", 1000, allowance_bytes=10 * gb, block_bytes=gb, block_minor=50),
        sold("leased", 5000, commit_kbps=1000, burst_minor=300),
    )
    world.starts("svc-1", "metered", "2025-03-01T00:00")
    world.starts("svc-2", "leased", "2025-03-01T00:00")
    world.uses("svc-1", "down", "2025-03-05", 8 * gb)
    world.uses("svc-1", "up", "2025-03-06", 5 * gb)
    world.uses("svc-2", "p95", "2025-03-01", 3_000_000, days=31)
    world.run("2025-04-01")
    world.uses("svc-1", "down", "2025-03-07", 3 * gb)
    world.run("2025-05-01")
    used = [
        [
            (line.kind, str(line.period_from), line.amount_minor, line.quantity, line.late)
            for line in lines
            if line.kind in ("usage", "burst")
        ]
        for _, lines in world.billed()
    ]
    assert used == [
        [
            ("usage", "2025-03-01", 150, 13 * gb, False),
            ("burst", "2025-03-01", 600, 3_000_000, False),
        ],
        [("usage", "2025-03-01", 150, 3 * gb, True)],
    ]


def test_a_session_over_the_boundary_is_billed_in_both_periods(world: World) -> None:
    """Goal: `at_record`: what grew between two readings is billed where the later one lies.

    Method: packets around local midnight of 1 April, counted, and the bills of both months.
    """
    gb = 10**9
    world.sell(sold("metered", 1000, block_bytes=gb, block_minor=50))
    world.account("A-2", zone="Asia/Kolkata")
    world.starts("svc-1", "metered", "2025-02-28T18:30", "A-2", login="ada@isp")
    said_by_nas = {  # minutes from midnight to bytes so far
        ("Start", -50): 0,
        ("Interim-Update", -20): 3 * gb,
        ("Interim-Update", 10): 7 * gb,
        ("Stop", 20): 9 * gb,
    }
    midnight = dt.datetime(2025, 3, 31, 18, 30, tzinfo=dt.UTC)
    packets = [
        {
            "Acct-Status-Type": kind,
            "Acct-Session-Id": "1",
            "User-Name": "ada@isp",
            "NAS-IP-Address": "192.0.2.1",
            "Acct-Session-Time": (minutes + 50) * 60,
            "Event-Timestamp": int(midnight.timestamp()) + minutes * 60,
            "Acct-Output-Octets": octets % 2**32,
            "Acct-Output-Gigawords": octets // 2**32,
        }
        for (kind, minutes), octets in said_by_nas.items()
    ]
    with writing(world.engine) as session:
        now = database_now(session)
        keep_packets(session, packets, now)
        due = take_due(session, RADIUS, now, 100)
        rollups, odd = count_radius(session, due, now)
        record_usage(session, rollups, now, actor="test", backdate_days=100_000)
    assert odd == 0
    for on in ("2025-04-01", "2025-05-01"):
        world.run(on)
    used = [
        [(str(x.period_from), x.quantity, x.amount_minor) for x in lines if x.kind == "usage"]
        for _, lines in world.billed("A-2")
    ]
    assert used == [[("2025-03-01", 3 * gb, 150)], [("2025-04-01", 6 * gb, 300)]]


def test_a_reversed_change_sums_to_nothing(world: World) -> None:
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.run("2025-04-01")
    changed = world.does("svc-1", "tier.changed", "f500", "2025-04-16T12:00")
    world.run("2025-05-01")
    world.does(
        "svc-1", "event.reversed", "f100", "2025-05-16T12:00", reverses_event_id=changed.event_id
    )
    world.run("2025-06-01")
    lines = [line for _, each in world.billed() for line in each]
    assert sum(line.amount_minor for line in lines) == 4 * 3000
    assert sum(line.amount_minor for line in lines if line.plan_code == "f500") == 0


def test_the_31st_is_clamped_and_never_chained(empty_engine: Engine) -> None:
    """Goal: cycle day 31 with two changes of the clock. Method: a bill for each of six months."""
    world = make_world(empty_engine)
    world.sell(sold("f100", 3000))
    world.account(zone="America/New_York", cycle_day=31)
    world.starts("svc-1", "f100", "2025-01-31T06:00")
    for date in ("2025-01-31", "2025-03-01", "2025-03-31", "2025-05-01", "2025-05-31"):
        world.run(date)
    assert [said(lines)[-1][2:] for _, lines in world.billed()] == [
        ("2025-01-31", "2025-02-28", 3000),
        ("2025-02-28", "2025-03-31", 3000),
        ("2025-03-31", "2025-04-30", 3000),
        ("2025-04-30", "2025-05-31", 3000),
        ("2025-05-31", "2025-06-30", 3000),
    ]


def test_what_a_finding_holds_is_left_out_and_comes_later(world: World) -> None:
    """Goal: a blocker holds just its lines. Method: two services, one of them held, then freed."""
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.starts("svc-2", "f500", "2025-03-01T00:00")
    finding = world.holds("svc-1")
    outcome = world.run("2025-04-01")
    assert (outcome.issued, outcome.held_lines) == (1, 2)
    assert [line.service_id for line in world.billed()[0][1]] == ["svc-2", "svc-2"]
    world.frees(finding)
    world.run("2025-05-01")
    lines = world.billed()[1][1]
    assert [line.amount_minor for line in lines if line.service_id == "svc-1"] == [3000] * 3


def test_an_account_that_is_held_stays_a_draft(world: World) -> None:
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    finding = world.holds("", scope="account")
    outcome = world.run("2025-04-01")
    assert (outcome.issued, outcome.drafts_left, outcome.run.state) == (0, 1, "drafted")
    ((draft, lines),) = world.billed()
    assert (draft.state, {line.finding_id for line in lines}) == ("draft", {finding})
    world.frees(finding)
    assert world.run("2025-04-01").issued == 1
    assert [one.state for one in world.invoices()] == ["final"]


def test_a_finding_of_the_whole_run_stops_it(world: World) -> None:
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.holds("", scope="run")
    with pytest.raises(Refused, match="is stopped by R-13"):
        world.run("2025-04-01")
    assert [one.state for one in world.invoices()] == ["draft"]


def test_an_account_that_cannot_be_priced_is_left_out_alone(world: World) -> None:
    """Goal: one plan without a price stops nobody else. Method: its price begins too late."""
    world.sell(sold("unpriced", 100, since=dt.date(2025, 9, 1)))
    world.account("A-2")
    world.starts("svc-1", "f100", "2025-03-01T00:00")
    world.starts("svc-2", "unpriced", "2025-03-01T00:00", "A-2")
    found = draft_run(world.engine, BILLS, "isp", dt.date(2025, 4, 1), "test", quiet)
    ((name, why),) = found.left_out
    assert (name, found.run.drafts) == ("A-2", 1)
    assert why == "unpriced: has no price on 2025-03-01"


def test_who_was_left_out_before_a_run_was_killed_is_told_when_it_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: nobody is forgotten unbilled. Method: it dies behind the one that has no price."""
    monkeypatch.setattr(invoicing, "BATCH", 1)
    world.sell(sold("unpriced", 100, since=dt.date(2025, 9, 1)))
    world.account("A-2")
    world.starts("svc-1", "unpriced", "2025-03-01T00:00")
    world.starts("svc-2", "f100", "2025-03-01T00:00", "A-2")

    def death(*_: int) -> None:
        raise KeyboardInterrupt

    april = dt.date(2025, 4, 1)
    with pytest.raises(KeyboardInterrupt):
        draft_run(world.engine, BILLS, "isp", april, "test", death)
    found = draft_run(world.engine, BILLS, "isp", april, "test", quiet)
    assert [name for name, _ in found.left_out] == ["A-1"]
    assert (found.run.state, found.run.drafts) == ("drafted", 1)


def test_usage_counted_while_a_run_lay_killed_waits_for_the_next_bill(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a run that goes on says what it would have said. Method: a correction and a new day."""
    monkeypatch.setattr(invoicing, "BATCH", 1)
    gb = 1_000_000_000
    world.sell(sold("metered", 2999, allowance_bytes=10 * gb, block_bytes=gb, block_minor=100))
    world.account("A-0")
    world.starts("svc-0", "f100", "2025-03-01T00:00", "A-0")
    world.starts("svc-1", "metered", "2025-03-01T00:00")
    world.uses("svc-1", "down", "2025-03-05", 8 * gb)
    world.uses("svc-1", "down", "2025-03-06", 5 * gb)

    def death(*_: int) -> None:
        raise KeyboardInterrupt

    april = dt.date(2025, 4, 1)
    with pytest.raises(KeyboardInterrupt):
        draft_run(world.engine, BILLS, "isp", april, "test", death)
    world.uses("svc-1", "down", "2025-03-06", 9 * gb)
    world.uses("svc-1", "down", "2025-03-07", 4 * gb)
    found = draft_run(world.engine, BILLS, "isp", april, "test", quiet).run
    assert (found.state, found.drafts) == ("drafted", 2)
    used_now = [line for _, lines in world.billed() for line in lines if line.kind == "usage"]
    assert [(line.quantity, line.amount_minor) for line in used_now] == [(13 * gb, 300)]
    finalise(world.engine, BILLS, found.run_id, "test", quiet, early=True)
    world.run("2025-05-01")
    late = [line for _, lines in world.billed() for line in lines if line.kind == "usage"]
    assert sorted((line.quantity, line.amount_minor) for line in late) == [
        (8 * gb, 800),
        (13 * gb, 300),
    ]
