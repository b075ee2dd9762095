"""`bandmaster billing`: what devices were read to show is held to the ledger, and people decide."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Engine, MetaData, Table, Text, create_engine, text

from tests.orchestrator.cli.cli_rig import BOTH, ONE, TWO, Noc, StartNoc

COLUMNS = (
    *("exception_id", "kind", "source", "record_key", "identifier", "service_id", "seen_at"),
    *("quantity", "unit", "evidence", "amount_minor", "currency", "exponent", "status"),
    *("decided_by", "reason"),
)
EXCEPTIONS = Table("usage_exception", MetaData(), *(Column(name, Text) for name in COLUMNS))
BY_HAND = [
    "set interfaces ge-0/0/1 unit 1001 family inet policer input UP-100M",
    "set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-500M",
]


@pytest.fixture
def dear(start_noc: StartNoc) -> Noc:
    """A line that gives 500 Mbit/s for the price of 100, as a device check has seen."""
    noc = start_noc(services=2, logins=False)
    assert noc("billing", "check").code == 0
    noc.fleet.control(noc.isp.bng, "edit", lines=BY_HAND)
    assert noc("device", "check").code == 3
    return noc


def findings(noc: Noc, *more: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = noc("billing", "findings", "list", "--json", *more).value()
    return rows


@BOTH
def test_what_a_device_check_has_read_is_found_priced_and_decided(dear: Noc) -> None:
    """Goal: the whole way of a finding at the command line, as the role that may do no more."""
    noc = dear
    said = noc("billing", "check")
    assert said.code == 4, said.both
    assert "EUR 20.00" in said.out
    assert "leakage" in said.out
    (row,) = findings(noc)
    assert (row["rule"], row["service_id"], row["monthly_minor"]) == ("R-03", ONE, 2000)
    assert [side["who"] for side in row["evidence"]] == ["ledger", noc.isp.bng]
    assert all(side["at"] for side in row["evidence"])
    shown = noc("billing", "findings", "show", row["finding_id"][:13])
    assert shown.code == 0
    for words in ("holds the lines of svc-1001", "500/100 Mbit/s", row["command"], "by check"):
        assert words in shown.out

    name = f"f-{row['finding_id']}"
    assert noc("billing", "ack", name, "--reason", "INC-1").code == 0
    assert noc("billing", "check").code == 4
    assert noc("billing", "override", name, "--reason", "agreed").code == 0
    assert noc("billing", "check").code == 3
    assert noc("billing", "ignore", name, "--until", "2999-01-01", "--reason", "ours").code == 0
    assert noc("billing", "check").code == 0
    assert noc("billing", "resolve", name, "--reason", "put back").code == 0
    assert noc("billing", "check").code == 4
    assert noc("device", "check").code == 3
    story = noc("billing", "findings", "show", name, "--json").value()["story"]
    assert [act["act"] for act in story] == [
        *("found", "ack", "override", "ignored", "resolved", "returned"),
    ]
    reasons = [act["reason"].rpartition("Z: ")[2] for act in story]
    assert reasons[1:5] == ["INC-1", "agreed", "ours", "put back"]

    back = [line.replace("UP-100M", "UP-20M").replace("DOWN-500M", "DOWN-100M") for line in BY_HAND]
    noc.fleet.control(noc.isp.bng, "edit", lines=back)
    assert noc("device", "check").code == 0
    assert noc("billing", "check").code == 0
    assert findings(noc) == []
    assert [row["status"] for row in findings(noc, "--past")] == ["resolved"]


def test_a_finding_holds_its_own_lines_and_no_others(dear: Noc) -> None:
    """Goal: from a device to the bill. Method: two bills, one of a line that gives too much."""
    noc = dear
    run = noc("invoice", "run", "--json").value()["run"]["run_id"]
    assert noc("billing", "check").code == 4
    said = noc("invoice", "finalise", run, "--yes", "--early")
    assert said.code == 4, said.both
    assert "Nothing was checked" not in said.err
    assert "1 bills are issued" in said.err
    (row,) = findings(noc)
    held = ("--override", row["finding_id"], "--reason", "agreed with the customer")
    said = noc("invoice", "finalise", run, "--yes", "--early", *held)
    assert said.code == 0, said.both
    assert "1 bills are issued" in said.err
    story = noc("billing", "findings", "show", row["finding_id"], "--json").value()["story"]
    assert (story[-1]["act"], story[-1]["reason"]) == ("override", "agreed with the customer")


def test_bills_that_nobody_checked_are_not_issued_in_silence(start_noc: StartNoc) -> None:
    noc = start_noc(services=1, olts=1, logins=False)
    run = noc("invoice", "run", "--json").value()["run"]["run_id"]
    said = noc("invoice", "finalise", run, "--yes", "--early")
    assert said.code == 0, said.both
    assert "Nothing was checked since these bills were drafted" in said.err


def test_wrong_words_are_refused_and_leave_no_trace(dear: Noc) -> None:
    noc = dear
    noc("billing", "check")
    (row,) = findings(noc)
    name = f"f-{row['finding_id']}"
    for words, code in (
        (("findings", "list", "--rule", "R-99"), 2),
        (("findings", "list", "--status", "'; DROP TABLE finding; --"), 2),
        (("findings", "show", "f-ffffffff"), 2),
        (("findings", "show", "c-0197a3f2"), 2),
        (("ack", name, "--reason", "  "), 2),
        (("ignore", name, "--until", "2001-01-01", "--reason", "late"), 2),
        (("ignore", name, "--until", "tomorrow", "--reason", "late"), 2),
        (("resolve", "f-00", "--reason", "x"), 2),
    ):
        said = noc("billing", *words)
        assert said.code == code, said.both
        assert "Traceback" not in said.both
    assert findings(noc) == [row]


def test_what_a_meter_calls_a_line_cannot_steer_a_terminal(dear: Noc, database_url: str) -> None:
    """Goal: a hostile name is shown escaped on every screen. Method: a record that has one."""
    name = "\x1b[2J\u202e'; rm -rf / #"
    row = {
        "exception_id": "x", "kind": "unmatched", "source": "csv", "record_key": name,
        "identifier": name, "service_id": "", "seen_at": "2026-01-01T00:00:00.000000Z",
        "quantity": "0", "unit": "byte", "evidence": "{}", "amount_minor": 7, "currency": "EUR",
        "exponent": 2, "status": "open", "decided_by": "", "reason": "",
    }  # fmt: skip
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(EXCEPTIONS.insert(), [row])
    engine.dispose()
    screens = [dear("billing", "check"), dear("billing", "findings", "list")]
    (found,) = findings(dear, "--rule", "r-11")
    screens += [
        dear("billing", *words, found["finding_id"])
        for words in (("findings", "show"), ("ack", "--reason", name), ("findings", "show"))
    ]
    for said in screens:
        assert "\\x1b[2J\\u202e" in said.both
        assert not set(said.both) & {"\x1b", "\u202e"}


def test_a_change_in_doubt_is_found_with_its_price(start_noc: StartNoc, database_url: str) -> None:
    """Goal: R-06 from the journal. Method: rows as a crash or a person's hand leaves them."""
    noc = start_noc(services=2, olts=1, logins=False)
    change = noc.shell.change("service", "tier", ONE, "fiber-500")
    noc.shell.change("service", "tier", TWO, "fiber-500")
    assert noc("billing", "check").code == 0
    engine = create_engine(database_url)
    stuck = "UPDATE change SET state = 'COMMITTED', outcome = 'open', applied_at = NULL"
    run(engine, f"{stuck}, created_at = '2026-01-01T00:00:00.000000Z'", change)
    assert noc("billing", "check").code == 4
    (row,) = findings(noc)
    assert (row["rule"], row["subject"], row["service_id"]) == ("R-06", change, ONE)
    assert row["monthly_minor"] == -2000  # billed already, and perhaps not delivered
    assert [side["says"] for side in row["evidence"]][1] == "tier.changed"
    back = "UPDATE change SET state = 'CLOSED', outcome = 'done', applied_at = created_at"
    run(engine, back, change)
    run(engine, "DELETE FROM decision", change)
    assert noc("billing", "check").code == 4
    (row,) = findings(noc)
    assert row["what"] == "an event without a committed change"
    engine.dispose()


def run(engine: Engine, statement: str, change: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"{statement} WHERE change_id = :change"), {"change": change})


def test_from_a_broken_chain_nothing_else_is_judged(dear: Noc, database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER billing_event_no_update"))
        connection.execute(text("UPDATE billing_event SET body = '{}' WHERE seq = 2"))
    engine.dispose()
    said = dear("billing", "check")
    assert said.code == 4, said.both
    assert "the chain breaks at seq 2" in said.out.replace("\n", " ")
    assert [row["rule"] for row in findings(dear)] == ["R-13"]
    assert "bandmaster ledger verify" in findings(dear)[0]["command"]
