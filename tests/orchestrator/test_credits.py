"""Credits and charges: exact amounts, one event each, and two people above the limit."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing_bridge import ledger_head, tail, verify
from inventory import KeyConflict, Refused
from lab.servers.postgres import Postgres
from orchestrator.credits import CreditOrder, approve, issue, reject, reverse
from orchestrator.database import make_engine, reading
from orchestrator.migrate import upgrade
from orchestrator.office import Office
from tests.desk import Desk, refused
from tests.orchestrator.money_desk import told

WHY = ("--reason", "two days without service")
ACCOUNT = "A-EUR"


def _order(amount: str = "60", key: str = "k", **given: str) -> CreditOrder:
    return CreditOrder(
        kind="credit",
        account_id=given.get("account", ACCOUNT),
        service_id="",
        amount=amount,
        currency="",
        reason="goodwill",
        idempotency_key=key,
    )


def _events(desk: Desk) -> list[tuple[str, str, str, int, str, int]]:
    with reading(desk.engine) as session:
        assert verify(session, deep=True).problem == ""
        return [
            (e.type, e.account_id, e.service_id, e.amount_minor, e.currency, e.exponent)
            for e in tail(session, limit=1000)
            if e.currency
        ]


def test_small_amounts_are_posted_at_once_and_exactly(desk: Desk) -> None:
    """Goal: minor units of the currency, the reason beside the event and not in it."""
    cases = [
        (("credit", "issue", ACCOUNT, "12.5"), ("credit.issued", ACCOUNT, "", 1250, "EUR", 2)),
        (("charge", "issue", "--service", "svc-1", "0.01"),
         ("charge.issued", ACCOUNT, "svc-1", 1, "EUR", 2)),
        (("credit", "issue", "A-JPY", "500", "--currency", "JPY"),
         ("credit.issued", "A-JPY", "", 500, "JPY", 0)),
        (("credit", "issue", "A-KWD", "1.005"), ("credit.issued", "A-KWD", "", 1005, "KWD", 3)),
    ]  # fmt: skip
    for arguments, _event in cases:
        assert told(desk, *arguments, *WHY)["state"] == "posted"
    assert _events(desk) == [event for _arguments, event in cases]
    listed = told(desk, "credit", "list")
    assert [row["reason"] for row in listed] == [WHY[1]] * len(cases)
    with reading(desk.engine) as session:
        bodies = [event.body for event in tail(session, limit=100)]
    assert not [body for body in bodies if "without service" in body]
    assert [json.loads(body)["payload"] for body in bodies[1:3]] == [
        {"credit_id": listed[3]["credit_id"]},
        {"charge_id": listed[2]["credit_id"]},
    ]


def test_above_the_limit_a_second_person_posts_it_once(desk: Desk, office: Office) -> None:
    waiting = told(desk, "credit", "issue", ACCOUNT, "50.01", *WHY, code=3)
    assert (waiting["state"], _events(desk)) == ("waiting", [])
    shown = "m-" + waiting["credit_id"].replace("-", "")[:16]
    refused(desk, ("credit", "approve", shown), 5, "was asked for by", "another person approves")
    for _ in range(2):  # the second time it is done already
        assert approve(office, waiting["credit_id"], "second").decided_by == "second"
    assert _events(desk) == [("credit.issued", ACCOUNT, "", 5001, "EUR", 2)]
    with pytest.raises(Refused, match="was posted by second"):
        approve(office, waiting["credit_id"], "third")
    refused(desk, ("credit", "reject", shown, *WHY), 5, "was posted by second")
    row = told(desk, "credit", "list", "--account", ACCOUNT)[0]
    assert (row["asked_by"], row["decided_by"]) == (waiting["asked_by"], "second")
    with reading(desk.engine) as session:
        posted = tail(session, limit=100)[-1]
    assert (posted.actor, posted.payload["asked_by"]) == ("second", waiting["asked_by"])


def test_a_limit_is_not_cut_into_slices(desk: Desk, office: Office) -> None:
    """Goal: what one person gives one account within a day counts together, of each kind."""
    assert told(desk, "credit", "issue", ACCOUNT, "30", *WHY)["state"] == "posted"
    assert told(desk, "charge", "issue", ACCOUNT, "30", *WHY)["state"] == "posted"
    assert told(desk, "credit", "issue", "A-JPY", "4000", *WHY)["state"] == "posted"
    assert told(desk, "credit", "issue", ACCOUNT, "20.01", *WHY, code=3)["state"] == "waiting"
    assert told(desk, "credit", "issue", ACCOUNT, "20", *WHY)["state"] == "posted"
    assert issue(office, _order("50"), "another").state == "posted"

    def slice_(number: int) -> str:
        return issue(office, _order("30", key=f"slice-{number}"), "third").state

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(slice_, range(4))) == ["posted"] + ["waiting"] * 3


def test_a_key_asks_once(desk: Desk, office: Office) -> None:
    asked = ("credit", "issue", ACCOUNT, "5", *WHY, "--idempotency-key", "ticket-7")
    first = told(desk, *asked)
    assert told(desk, *asked) == first
    assert len(_events(desk)) == 1
    for other in (("credit", "issue", ACCOUNT, "6"), ("charge", "issue", ACCOUNT, "5")):
        again = (*other, *WHY, "--idempotency-key", "ticket-7")
        refused(desk, again, 5, "ticket-7", "Choose another key")

    def ask(account: str) -> str:
        try:
            return issue(office, _order("1", key="race", account=account), "clerk").credit_id
        except KeyConflict:
            return "conflict"

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(ask, ["A-JPY", "A-KWD"] * 2))
    assert len(ids - {"conflict"}) == 1
    assert len(_events(desk)) == 2


def test_of_many_second_persons_one_decides(desk: Desk, office: Office) -> None:
    waiting, mine = (issue(office, _order(key=key), "first") for key in "ab")
    assert reject(office, mine.credit_id, "not our outage", "first").state == "rejected"

    def agree(number: int) -> str:
        try:
            return approve(office, waiting.credit_id, f"second-{number}").state
        except Refused:
            return "late"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(agree, range(4))) == ["late"] * 3 + ["posted"]
    with pytest.raises(Refused, match="was rejected by first"):
        approve(office, mine.credit_id, "second")
    assert len(_events(desk)) == 1


def test_a_reversal_takes_it_back_once_under_the_same_limit(desk: Desk, office: Office) -> None:
    small, large = issue(office, _order("5", key="a"), "first"), issue(office, _order(), "first")
    approve(office, large.credit_id, "second")
    back = ("credit", "reverse", small.credit_id, *WHY)
    assert told(desk, *back, "--idempotency-key", "r")["state"] == "posted"
    assert told(desk, *back, "--idempotency-key", "r")["state"] == "posted"  # the same act
    refused(desk, back, 5, "is taken back already")
    assert reverse(office, large.credit_id, "wrong account", "l", "second").state == "waiting"
    with pytest.raises(Refused, match="somebody has asked for it"):
        reverse(office, large.credit_id, "wrong account", "m", "first")
    reversal = told(desk, "credit", "list", "--waiting")[0]
    approve(office, reversal["credit_id"], "first")
    amounts = [(kind, amount) for kind, _, _, amount, _, _ in _events(desk)]
    assert amounts == [("credit.issued", 500), ("credit.issued", 6000),
                       ("event.reversed", -500), ("event.reversed", -6000)]  # fmt: skip
    for row in told(desk, "credit", "list"):
        if row["kind"] == "reversal":
            again = ("credit", "reverse", row["credit_id"], *WHY)
            refused(desk, again, 5, "is a reversal", "issued anew")


BAD = [
    (("credit", "issue", "A-9", "5"), 2, "account A-9", "is not in the inventory"),
    (("credit", "issue", "--service", "svc-9", "5"), 2, "service svc-9", "Did you mean"),
    (("credit", "issue", "A-JPY", "5", "--service", "svc-1"), 2, "is of account A-EUR"),
    (("credit", "issue", ACCOUNT, "0"), 2, "must be above 0"),
    (("charge", "issue", ACCOUNT, "0.00"), 2, "must be above 0"),
    (("credit", "issue", ACCOUNT, "100000000.01"), 2, "is above", "decimal point"),
    (("credit", "issue", ACCOUNT, "9" * 13), 2, "at most 2 decimals"),
    (("credit", "issue", ACCOUNT, "5.001"), 2, "at most 2 decimals", "5.001"),
    (("credit", "issue", "A-JPY", "5.0"), 2, "no decimals", "like 1250"),
    (("credit", "issue", "A-KWD", "5.0001"), 2, "at most 3 decimals"),
    (("credit", "issue", ACCOUNT, "5,00"), 2, "5,00"),
    (("credit", "issue", ACCOUNT, "1e3"), 2, "1e3"),
    (("credit", "issue", ACCOUNT, "nan"), 2, "nan"),
    (("credit", "issue", ACCOUNT, "\u0665"), 2, "must be an amount"),
    (("credit", "issue", "--", ACCOUNT, "-5"), 2, "must be an amount"),
    (("credit", "issue", ACCOUNT, "5", "--currency", "USD"), 2, "USD", "is billed in EUR"),
    (("credit", "issue", "5"), 2, "needs an account and an amount"),
    (("credit", "issue", ACCOUNT, "5", "6"), 2, "needs an account and an amount"),
    (("credit", "approve", "m-0197a3f2"), 2, "is no credit", "bandmaster credit list"),
    (("credit", "approve", "x-0197a3f2"), 2, "is an exception"),
    (("credit", "list", "--account", "A-9"), 2, "account A-9"),
]


def test_bad_input_is_named_and_nothing_is_kept(desk: Desk) -> None:
    for arguments, code, *words in BAD:
        cut = arguments.index("--") if "--" in arguments else len(arguments)
        why = WHY if arguments[1] == "issue" else ()
        refused(desk, (*arguments[:cut], *why, *arguments[cut:]), code, *words)
    refused(desk, ("credit", "issue", ACCOUNT, "5", "--reason", " "), 2, "needs a reason")
    refused(desk, ("credit", "issue", ACCOUNT, "5", "--reason", "x" * 1001), 2, "1000 characters")
    refused(desk, ("credit", "issue", ACCOUNT, "5"), 2, "--reason")


def test_the_store_itself_wants_two_people(desk: Desk, office: Office) -> None:
    """Goal: no program error posts alone what needs two. Method: say so past the program."""
    issue(office, _order(), "first")
    alone = "UPDATE credit SET state = 'posted', decided_by = 'first'"
    with pytest.raises(IntegrityError, match="credit_two_people"), desk.engine.begin() as opened:
        opened.execute(text(alone))
    with reading(desk.engine) as session:
        assert ledger_head(session).seq == 1  # the adoption


def test_what_was_asked_for_stands(postgres_server: Postgres, postgres_database: str) -> None:
    """Goal: between asking and agreeing the amount cannot be changed. Method: role app tries."""
    engine = make_engine(postgres_server.url("migrate", postgres_database))
    upgrade(engine)
    engine.dispose()
    with psycopg.connect(postgres_server.conninfo("app", postgres_database)) as connection:
        for statement in (
            "UPDATE credit SET amount_minor = 1",
            "UPDATE credit SET second_person = false",
            "UPDATE credit SET asked_by = ''",
            "DELETE FROM credit",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()
        connection.execute("UPDATE credit SET state = state")
