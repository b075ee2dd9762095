"""Webhooks end to end: filled once, sent at least once, given up visibly; on both databases."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from billing_bridge import check_signature, delay_s, export_lines, fill_outbox, head_at
from orchestrator.credits import CreditOrder, issue
from orchestrator.database import database_now, reading, writing
from orchestrator.office import Office
from orchestrator.webhooks import run, run_round, unsubscribe
from tests.desk import ROOT, Desk, refused
from tests.hooks import Handler, Receiver, receiver, status
from tests.orchestrator.money_desk import told
from workflows import HookReply, HookTarget

SECRET = "canary-hook-of-enough-octets"
LOCAL = ("--secret", "env:BM_HOOK", "--http", "--allow", "127.0.0.0/8")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What signs, in the environment."""
    monkeypatch.setenv("BM_HOOK", SECRET)


@pytest.fixture
def office(office: Office) -> Office:
    """The office behind the desk; what fails is due again at once, after three tries dead."""
    return replace(office, settings=replace(office.settings, webhook_attempts=3))


@pytest.fixture
def other() -> Iterator[Receiver]:
    """The system that is told."""
    with receiver() as found:
        yield found


def credit(office: Office, count: int) -> None:
    """Let the ledger grow."""
    for number in range(count):
        issue(
            office,
            CreditOrder(
                kind="credit",
                account_id="A-JPY",
                service_id="",
                amount="1",
                currency="",
                reason=f"number {number}",
                idempotency_key=f"{number}-{os.urandom(8).hex()}",
            ),
            "clerk",
        )


def due_now(desk: Desk) -> None:
    """Let the time that a retry waits be over."""
    with desk.engine.begin() as opened:
        opened.execute(text("UPDATE webhook_delivery SET next_at = added_at FROM webhook"))


def state(desk: Desk, name: str = "crm") -> dict[str, Any]:
    """What the list says of a subscription."""
    found = {one["name"]: one for one in told(desk, "webhook", "list")}
    return dict(found[name])


def test_each_event_is_told_once_in_order_as_the_export_writes_it(
    desk: Desk, office: Office, other: Receiver
) -> None:
    desk.good("webhook", "add", "crm", f"{other.url}/in", *LOCAL, "--type", "credit.issued")
    desk.good("webhook", "add", "all", f"{other.url}/all", *LOCAL, "--after", "0")
    credit(office, 3)
    assert [(one["name"], one["taken"]) for one in told(desk, "webhook", "run")] == [
        ("all", 4),
        ("crm", 3),
    ]
    assert told(desk, "webhook", "run")[0]["taken"] == 0
    with reading(desk.engine) as session:
        lines = list(export_lines(session, head_at(session, 0)))
    ids = [json.loads(line)["id"] for line in lines]
    assert sorted(other.ids()) == sorted(ids + ids[1:])
    assert {body.decode() for body in other.bodies} == set(lines)
    for body, headers in zip(other.bodies, other.headers, strict=True):
        stamp = int(headers["bandmaster-timestamp"])
        assert check_signature(SECRET, headers, body, stamp) == json.loads(body)["id"]
        assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    found = state(desk)
    assert (found["taken"], found["waiting"], found["dead"], found["behind"]) == (3, 0, 0, 0)
    assert "number" not in str(other.bodies)  # reasons are nobody else's business


def test_what_is_not_taken_comes_again_and_at_last_waits_for_a_person(
    desk: Desk, office: Office, other: Receiver
) -> None:
    """Goal: the poison event alone is given up; the rest goes round it and none is lost."""
    desk.good("webhook", "add", "crm", other.url, *LOCAL)
    credit(office, 3)
    with reading(desk.engine) as session:
        lines = list(export_lines(session, head_at(session, 1)))
    poison = json.loads(lines[0])["id"]

    def answer(handler: Handler) -> None:
        bad = json.loads(handler.receiver.bodies[-1])["id"] == poison
        status(500 if bad else 200)(handler)

    other.answer = answer
    first = desk.good("webhook", "run", code=3)
    assert "answered 500" in first.err
    assert (len(other.bodies), state(desk)["waiting"]) == (1, 3)  # who is down is asked once
    assert "answered 500" in state(desk)["last_problem"]
    assert run(office)[0].taken == 2  # the first is not due yet, the others are
    due_now(desk)
    assert run(office)[0].failed == 1
    due_now(desk)
    assert (run(office)[0].dead, state(desk)["dead"]) == (1, 1)
    letters = told(desk, "webhook", "dead", "crm")
    assert [(one["event_id"], one["attempts"]) for one in letters] == [(poison, 3)]
    due_now(desk)
    assert desk.good("webhook", "run").out == "crm: 0 taken\n"  # a dead letter stays where it is
    refused(desk, ("webhook", "retry", "crm", "--seq", "99"), 2, "not among the dead letters")
    other.answer = status(204)
    assert told(desk, "webhook", "retry", "crm", "--seq", str(letters[0]["seq"])) == {
        "name": "crm",
        "waiting_again": 1,
    }
    assert told(desk, "webhook", "run")[0]["taken"] == 1
    assert other.ids().count(poison) == 4
    assert told(desk, "webhook", "dead") == []


KILLED = """
import os, sys
from orchestrator.office import open_office
from orchestrator.settings import load
from orchestrator.webhooks import run
from workflows import send_hook

count = 0
def send(target, body, headers):
    global count
    count += 1
    if count == int(sys.argv[1]) and sys.argv[2] == "before":
        os._exit(9)
    reply = send_hook(target, body, headers)
    if count == int(sys.argv[1]):
        os._exit(9)
    return reply

run(open_office(load()), send)
"""


def test_a_run_that_dies_loses_nothing(desk: Desk, office: Office, other: Receiver) -> None:
    """Goal: at least once. Method: a process that ends before or after a document has left it."""
    desk.good("webhook", "add", "crm", other.url, *LOCAL)
    credit(office, 4)
    for number, where in ((1, "before"), (2, "after")):
        died = subprocess.run(
            [sys.executable, "-c", KILLED, str(number), where],
            cwd=desk.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert died.returncode == 9
    due_now(desk)
    assert run(office)[0].problem == ""
    with reading(desk.engine) as session:
        wanted = [json.loads(line)["id"] for line in export_lines(session, head_at(session, 1))]
    got = other.ids()
    assert set(got) == set(wanted)
    assert len(got) == len(wanted) + 1  # what had left before the second death came once more


def test_two_runs_at_once_share_the_work(desk: Desk, office: Office, other: Receiver) -> None:
    desk.good("webhook", "add", "crm", other.url, *LOCAL)
    credit(office, 6)
    with ThreadPoolExecutor(3) as pool:
        for _ in pool.map(lambda _number: run(office), range(3)):
            pass
    run(office)
    assert len(other.ids()) == len(set(other.ids())) == 6
    assert state(desk)["taken"] == 6


def test_a_pause_loses_nothing_and_removal_forgets(
    desk: Desk, office: Office, other: Receiver
) -> None:
    desk.good("webhook", "add", "crm", other.url, *LOCAL)
    desk.good("webhook", "pause", "crm")
    credit(office, 2)
    assert told(desk, "webhook", "run") == []
    assert state(desk)["behind"] == 2
    desk.good("webhook", "resume", "crm")
    assert told(desk, "webhook", "run")[0]["taken"] == 2
    credit(office, 1)
    other.answer = status(503)
    desk.good("webhook", "run", code=3)
    refused(desk, ("webhook", "remove", "crm"), 5, "--yes")
    assert "1 deliveries were not taken" in desk.good("webhook", "remove", "crm", "--yes").err
    assert told(desk, "webhook", "list") == []
    with desk.engine.connect() as opened:
        assert opened.execute(text("SELECT count(*) FROM webhook_delivery")).scalar_one() == 0
        assert opened.execute(text("SELECT count(*) FROM consumer_cursor")).scalar_one() == 0


def test_one_that_is_removed_in_the_middle_of_a_run_stays_away(
    desk: Desk, office: Office, other: Receiver
) -> None:
    """Goal: no cursor is made anew. Method: remove it while it answers, and again before it."""
    desk.good("webhook", "add", "crm", other.url, *LOCAL)
    credit(office, 2)

    def answer(handler: Handler) -> None:
        if len(handler.receiver.bodies) == 1:
            unsubscribe(office, "crm", "clerk")
        status(200)(handler)

    other.answer = answer
    assert run(office)[0].taken == 1
    with writing(office.engine) as session:
        assert not fill_outbox(session, "crm", database_now(session))
    assert len(other.bodies) == 1
    with desk.engine.connect() as opened:
        assert opened.execute(text("SELECT count(*) FROM consumer_cursor")).scalar_one() == 0
        assert opened.execute(text("SELECT count(*) FROM webhook_delivery")).scalar_one() == 0


def test_one_that_is_slow_or_broken_holds_nobody_up(
    desk: Desk, office: Office, other: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: side by side. Method: the first answers only when the second has been told."""
    monkeypatch.setenv("BM_SHORT", SECRET)
    desk.good("webhook", "add", "a-slow", f"{other.url}/slow", *LOCAL)
    desk.good("webhook", "add", "b-quick", f"{other.url}/quick", *LOCAL)
    desk.good("webhook", "add", "c-none", other.url, "--secret", "env:BM_SHORT", *LOCAL[2:])
    monkeypatch.setenv("BM_SHORT", "short")
    told_quick = threading.Event()

    def answer(handler: Handler) -> None:
        if handler.path == "/quick":
            told_quick.set()
        assert told_quick.wait(60)
        status(200)(handler)

    other.answer = answer
    patient = replace(office, settings=replace(office.settings, webhook_timeout_s=60))
    credit(office, 1)
    found = {one.name: one for one in run_round(patient)}
    assert (found["a-slow"].taken, found["b-quick"].taken) == (1, 1)
    assert "can be guessed" in found["c-none"].problem


def test_a_ledger_that_was_rewritten_is_not_told(desk: Desk, office: Office) -> None:
    """Goal: verified on read. Method: an owner of the tables alters what waits to be told."""
    desk.good("webhook", "add", "crm", "https://billing.example/", "--secret", "env:BM_HOOK")
    credit(office, 2)
    sent: list[bytes] = []

    def send(_target: HookTarget, body: bytes, _headers: object) -> HookReply:
        sent.append(body)
        return HookReply(status=200)

    with desk.engine.begin() as opened:
        if desk.engine.dialect.name == "sqlite":
            opened.execute(text("DROP TRIGGER billing_event_no_update"))
        else:
            opened.execute(text("ALTER TABLE billing_event DISABLE TRIGGER ALL"))
        opened.execute(
            text("UPDATE billing_event SET body = replace(body, 'clerk', 'thief') WHERE seq = 3")
        )
    found = run(office, send)
    assert "does not follow" in found[0].problem
    assert sent == []


def test_a_watch_tells_what_comes_until_it_is_stopped(desk: Desk, other: Receiver) -> None:
    place = desk.folder / "bandmaster.toml"
    place.write_text(f"{place.read_text('utf-8')}watch_s = 1\n", "utf-8")
    desk.good("webhook", "add", "crm", other.url, *LOCAL)
    came = threading.Event()

    def answer(handler: Handler) -> None:
        status(200)(handler)
        came.set()

    other.answer = answer
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "webhook", "run", "--watch"],
        cwd=desk.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        desk.good("credit", "issue", "A-EUR", "1", "--reason", "late")
        assert came.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1].count("Stopped") == 1
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0


BAD = [
    (("http://billing.example/",), 2, "must be https", "--http"),
    (("https://user:pass@billing.example/",), 2, "a user or a password"),
    (("https://billing.example/", "--type", "credit.given"), 2, "is no event", "credit.issued"),
    (("https://billing.example/", "--allow", "10.0.0.1/8"), 2, "is not a network"),
    (("https://billing.example/", "--allow", "inside"), 2, "is not a network"),
    (("https://billing.example/", "--after", "99"), 2, "seq 99", "is not in the ledger"),
    (("https://billing.example/", "--ca-file", "none.pem"), 2, "none.pem", "cannot be read"),
]
NO_SECRET = [
    ((), "--secret", "is missing"),
    (("--secret", "env:BM_NOT_THERE"), "env:BM_NOT_THERE", "is not set"),
    (("--secret", "file:nowhere"), "nowhere", "cannot be read"),
    (("--secret", SECRET), "says no way to keep a secret", "env:NAME"),
    (("--secret", "env:BM_SHORT"), "16 octets", "guessed"),
]


def test_bad_input_is_named_and_nothing_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BM_SHORT", "short")
    for arguments, code, *words in BAD:
        asked = ("webhook", "add", "crm", *arguments, "--secret", "env:BM_HOOK")
        refused(desk, asked, code, *words)
    for given, *words in NO_SECRET:
        said = refused(desk, ("webhook", "add", "crm", "https://b.example/", *given), 2, *words)
        assert SECRET not in said.text
    good = ("https://billing.example/", "--secret", "env:BM_HOOK")
    refused(desk, ("webhook", "add", "two words", *good), 2, "webhook: name must be")
    desk.good("webhook", "add", "crm", *good)
    refused(desk, ("webhook", "add", "crm", *good), 5, "is a webhook already")
    for verb in ("test", "dead", "retry", "pause", "resume"):
        refused(desk, ("webhook", verb, "erp"), 2, "webhook erp: is not there", "webhook list")
    refused(desk, ("webhook", "remove", "erp", "--yes"), 2, "webhook erp: is not there")


def test_a_test_document_is_signed_and_in_no_ledger(desk: Desk, other: Receiver) -> None:
    desk.good("webhook", "add", "crm", f"{other.url}/?token=canary-query", *LOCAL)
    before = desk.world()
    assert told(desk, "webhook", "test", "crm") == {"status": 200, "problem": ""}
    other.answer = status(302, ("Location", other.url))
    assert "redirects are not followed" in desk.good("webhook", "test", "crm", code=1).err
    assert desk.world() == before
    assert json.loads(other.bodies[0])["type"] == "bandmaster.test"
    stamp = int(other.headers[0]["bandmaster-timestamp"])
    check_signature(SECRET, other.headers[0], other.bodies[0], stamp)
    seen = desk.good("webhook", "list")
    assert "canary" not in seen.text + desk.good("webhook", "list", "--json").text
    assert SECRET not in str(desk.world())
    with desk.engine.connect() as opened:
        line = opened.execute(text("SELECT detail FROM audit WHERE action = 'webhook add'"))
        assert "allowed: 127.0.0.0/8 http" in line.scalar_one()


def test_a_private_address_is_refused_until_somebody_allows_it(
    desk: Desk, office: Office, other: Receiver
) -> None:
    desk.good("webhook", "add", "crm", other.url, "--secret", "env:BM_HOOK", "--http")
    credit(office, 1)
    assert "127.0.0.1 is not a public address" in desk.good("webhook", "run", code=3).err
    assert other.connections == 0
    assert state(desk)["waiting"] == 1


def test_retries_wait_longer_each_time_and_never_together() -> None:
    waits = [(delay_s(n, 0.0), delay_s(n, 0.999)) for n in range(1, 16)]
    assert waits[0] == (5, pytest.approx(9.995))
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(waits))
    assert all(least * 2 > most for least, most in waits)
    assert waits[-1][1] <= 6 * 3600
    assert sum(least for least, _ in waits[:-1]) > 10 * 3600
    assert sum(most for _, most in waits[:-1]) < 24 * 3600
