"""A night at the NOC by the command line: plan, apply, refusal, undo, sets, holds, exceptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestrator.cli.cli_rig import BOTH, ONE, TWO, Noc, StartNoc


def test_plan_only_shows_everything_and_touches_nothing(noc: Noc) -> None:
    said = noc("service", "tier", ONE, "fiber-500", "--plan-only", "--ticket", "CHG-1")
    assert said.code == 3
    for text in (
        "account A-1001, Elm Street 1001    fiber-100 -> fiber-500",
        "bng-fra-1   juniper_junos",
        "    + set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-500M",
        "undo 1 line · reads back as 100/20 Mbit/s now",
        "group fiber-100@juniper_junos -> fiber-500@juniper_junos",
        "CoA after the decision to 500/100 Mbit/s",
        "net on the next invoice",
        "then 49.99 a month",
        "plan hash ",
    ):
        assert text in said.out, text
    assert "policer output DOWN-100M" not in said.out
    assert "bandmaster change apply p-" in said.err
    assert noc.policer(ONE) == "DOWN-100M"
    assert noc("ledger", "tail", "--json").value()[-1]["type"] == "service.adopted"
    more = noc("service", "tier", ONE, "fiber-500", "--plan-only", "--show", "undo").out
    assert "    - set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-100M" in more
    assert noc("service", "tier", ONE, "fiber-500", "--show", "undone").code == 2


def test_nobody_to_ask_is_refused_and_no_is_pending(noc: Noc) -> None:
    alone = noc("service", "tier", ONE, "fiber-500")
    assert alone.code == 5
    assert "--yes" in alone.err
    for answer in ("n\n", "\n", "", "yeah\n"):
        said = noc("service", "tier", ONE, "fiber-500", types=answer)
        assert said.code == 3
        assert "Apply this plan? [y/N]" in said.err
        assert said.out == ""
    assert noc.policer(ONE) == "DOWN-100M"
    assert noc("change", "list", "--json").value()["changes"] == []


@BOTH
def test_yes_applies_shows_progress_and_tells_the_way_back(noc: Noc) -> None:
    said = noc("service", "tier", ONE, "fiber-500", "--ticket", "CHG-88123", types="y\n")
    assert said.code == 0
    assert noc.policer(ONE) == "DOWN-500M"
    for line in (
        "bng-fra-1   prepared",
        "olt-fra-1   prepared",
        "decision    committed",
        "olt-fra-1   saved",
    ):
        assert f"  {line}\n" in said.err, line
    (change,) = noc("change", "list", "--json").value()["changes"]
    assert (change["outcome"], change["ticket"]) == ("done", "CHG-88123")
    assert "Undo: bandmaster change rollback c-" in said.err
    story = noc("change", "show", change["change_id"])
    assert story.code == 0
    for text in (
        "ticket CHG-88123",
        "    + set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-500M",
        "    - service-port 1001",
        "decision   COMMIT, ledger seq 5",
        "bng-fra-1  reads 500/100 Mbit/s; running NEW, startup NEW",
        "ACK",
        "tier.changed",
    ):
        assert text in story.out, text
    value = noc("change", "show", change["set_id"], "--json").value()
    assert value["changes"][0]["events"][0]["type"] == "tier.changed"
    assert {step["kind"] for step in value["steps"]} >= {"intent", "prepare", "decision", "save"}


def test_refusal_names_the_reason_and_what_to_do(noc: Noc) -> None:
    noc.refuse(1, "Failure: System is busy, please retry after a while")
    said = noc("service", "tier", ONE, "fiber-500", "--yes")
    assert said.code == 1
    assert "System is busy" in said.err
    assert "Nothing changed and nothing was billed." in said.err
    again = said.err.partition("try again: bandmaster ")[2].split("\n")[0]
    assert noc.policer(ONE) == "DOWN-100M"
    assert noc("ledger", "tail", "--json").value()[-1]["type"] == "service.adopted"
    assert noc(*again.split(), "--yes").code == 0
    assert noc.policer(ONE) == "DOWN-500M"
    endings = [line["outcome"] for line in noc("change", "list", "--json").value()["changes"]]
    assert endings == ["done", "aborted"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("svc-9999", "fiber-500"), 2, "is not in the inventory"),
        (("svc-1001", "fiber-9"), 2, "fiber-9"),
        (("svc-1001", "fiber-100"), 2, "has plan fiber-100 already"),
        (("svc-1001",), 2, "needs the plan"),
        (("svc-1001", "fiber-500", "--to", "fiber-500"), 2, "needs one of"),
        (("--site", "fra"), 2, "--to PLAN"),
        (("--site", "nowhere", "--to", "fiber-500"), 2, "nowhere"),
    ],
)
def test_wrong_requests_touch_nothing(
    noc: Noc, words: tuple[str, ...], code: int, text: str
) -> None:
    said = noc("service", "tier", *words, "--yes")
    assert said.code == code, said.both
    assert text in said.err
    assert "Traceback" not in said.err
    assert noc("change", "list", "--json").value() == {"changes": [], "plans": []}


def test_the_same_key_acts_once(noc: Noc) -> None:
    words = ("service", "tier", ONE, "fiber-500", "--idempotency-key", "order-7")
    first = noc.shell.change(*words)
    again = noc(*words, "--yes", "--json")
    assert again.code == 0
    assert again.value()["known"][0]["change_id"] == first
    other = noc("service", "tier", ONE, "fiber-1000", "--idempotency-key", "order-7", "--yes")
    assert other.code == 5
    assert "order-7" in other.err
    assert len(noc("change", "list", "--json").value()["changes"]) == 1


@BOTH
def test_rollback_and_as_never(noc: Noc) -> None:
    change = noc.shell.change("service", "tier", ONE, "fiber-500")
    back = noc.shell.change("change", "rollback", change[:18])
    assert noc.policer(ONE) == "DOWN-100M"
    newer = noc("change", "rollback", change, "--yes")
    assert newer.code in (2, 5)
    assert noc("change", "rollback", back, "--as-never", "--yes").code == 2  # needs a reason
    events = [event["type"] for event in noc("ledger", "tail", "--json").value()]
    assert events[-2:] == ["tier.changed", "tier.changed"]
    change = noc.shell.change("service", "tier", TWO, "fiber-500")
    noc.shell.change("change", "rollback", change, "--as-never", "--reason", "wrong customer")
    assert noc("ledger", "tail", "--json").value()[-1]["type"] == "event.reversed"
    assert noc.shell.ok("ledger", "replay", "--check")
    assert noc.shell.ok("ledger", "verify", "--deep")


@BOTH
def test_suspend_resume_terminate_activate(noc: Noc) -> None:
    noc.shell.change("service", "suspend", ONE, "--reason", "unpaid")
    assert noc.policer(ONE) == "DOWN-1M"
    assert noc.shell.ok("device", "check")  # a suspended line is as the ledger says
    assert noc("service", "tier", ONE, "fiber-500", "--yes").code == 2
    noc.shell.change("service", "resume", ONE)
    assert noc.policer(ONE) == "DOWN-100M"
    noc.shell.change("service", "terminate", ONE)
    assert "terminated" in noc("subscriber", "show", ONE).out
    assert noc.shell.ok("device", "check")
    said = noc("service", "activate", ONE, "--plan", "fiber-500", "--yes")
    assert said.code in (2, 5)
    assert "no password" in said.err
    assert noc.shell.ok("ledger", "replay", "--check")


def test_a_static_line_is_activated_anew(start_noc: StartNoc) -> None:
    noc = start_noc(services=2, logins=False)
    noc.shell.change("service", "terminate", ONE)
    assert noc("service", "activate", ONE, "--yes").code == 2  # with which plan?
    noc.shell.change("service", "activate", ONE, "--plan", "fiber-500")
    assert noc.policer(ONE) == "DOWN-500M"
    events = [event["type"] for event in noc("ledger", "tail", "--json").value()]
    assert events[-2:] == ["service.terminated", "service.activated"]


@BOTH
def test_a_file_makes_a_set(noc: Noc) -> None:
    Path("changes.csv").write_text("service,plan\nsvc-1001,fiber-500\nsvc-1002,fiber-1000\n")
    said = noc("service", "tier", "--file", "changes.csv", "--yes", "--json")
    assert said.code == 0
    assert "changes.csv: 2 services." in said.err
    assert said.value()["outcome"]["exit_code"] == 0
    assert (noc.policer(ONE), noc.policer(TWO)) == ("DOWN-500M", "DOWN-1000M")


def test_a_wrong_line_of_a_file_is_named_and_nothing_is_planned(start_noc: StartNoc) -> None:
    noc = start_noc(services=2, logins=False)
    rows = [f"svc-{1001 + number % 2},fiber-500" for number in range(2)]
    rows += ["svc-7777,fiber-500", "svc-1002,fiber-9", ",x", "svc-1001,fiber-500"]
    Path("changes.csv").write_text("service,plan\n" + "\n".join(rows) + "\n")
    said = noc("service", "tier", "--file", "changes.csv", "--yes")
    assert said.code == 2
    assert "changes.csv:6: must hold a service and a plan" in said.err
    assert "changes.csv:7: service svc-1001 stands in line 2" in said.err
    Path("changes.csv").write_text("service,plan\n" + "\n".join(rows[:3]) + "\n")
    said = noc("service", "tier", "--file", "changes.csv", "--yes")
    assert said.code == 2
    assert "changes.csv:4: service: service svc-7777" in said.err
    Path("changes.csv").write_text("name,plan\n")
    assert noc("service", "tier", "--file", "changes.csv", "--yes").code == 2
    assert noc("service", "tier", "--file", "nowhere.csv", "--yes").code == 2
    assert noc("change", "list", "--json").value()["plans"] == []


def test_filters_show_the_count_and_many_are_typed(start_noc: StartNoc) -> None:
    noc = start_noc(services=22, logins=False)
    noc.shell.change("service", "tier", ONE, "fiber-500")
    words = ("service", "tier", "--site", "fra", "--to", "fiber-500")
    wrong = noc(*words, types="20\n")
    assert wrong.code == 3
    assert "Matched 22 services (site fra): 21 to change, 1 have fiber-500 already" in wrong.err
    assert "type 21:" in wrong.err
    assert "bng-fra-1   juniper_junos      21 services" in wrong.err
    assert "olt-fra-1   huawei_smartax     10 services" in wrong.err
    assert noc.policer(TWO) == "DOWN-100M"
    said = noc(*words, "--set-max", "11", types="21\n")
    assert said.code == 0
    assert "21 done" in said.err
    assert noc.policer("svc-1022") == "DOWN-500M"
    assert len({line["set_id"] for line in _changes(noc)}) == 3


def _changes(noc: Noc) -> list[dict[str, str]]:
    changes: list[dict[str, str]] = noc("change", "list", "--limit", "99", "--json").value()[
        "changes"
    ]
    return changes


def test_plans_are_listed_applied_once_and_cancelled(noc: Noc) -> None:
    plan = noc("service", "tier", ONE, "fiber-500", "--plan-only", "--json").value()["plan"]
    listed = noc("change", "list", "--json").value()["plans"]
    assert [line["plan_id"] for line in listed] == [plan["plan_id"]]
    shown = noc("change", "show", plan["plan_id"])
    assert "Change plan p-" in shown.out
    assert noc("change", "apply", plan["plan_id"], "--yes").code == 0
    assert noc("change", "apply", plan["plan_id"], "--yes").code == 0
    assert len(_changes(noc)) == 1
    assert noc("change", "cancel", plan["plan_id"]).code == 5
    plan = noc("service", "tier", TWO, "fiber-500", "--plan-only", "--json").value()["plan"]
    assert noc("change", "cancel", plan["plan_id"]).code == 0
    said = noc("change", "apply", plan["plan_id"], types="")
    assert said.code == 5
    assert "was cancelled" in said.err
    assert "[y/N]" not in said.err  # a plan that cannot be applied is not asked about


@BOTH
def test_holds_stop_new_work(noc: Noc) -> None:
    noc.shell.ok("hold", "--device", "olt-fra-1", "card swap until 04:00")
    said = noc("service", "tier", ONE, "fiber-500", "--yes")
    assert said.code == 5
    assert "card swap" in said.err
    assert "card swap" in noc("hold").out
    assert "on hold" in noc("device", "list").out
    assert noc("service", "tier", TWO, "fiber-500", "--yes").code == 0
    assert noc("release").code == 2
    noc.shell.ok("release", "--device", "olt-fra-1")
    assert noc("hold", "--device", "olt-fra-1").code == 2  # a hold needs a reason
    assert noc("service", "tier", ONE, "fiber-500", "--yes").code == 0


def test_ticket_may_be_needed(noc: Noc) -> None:
    place = noc.shell.folder / "bandmaster.toml"
    place.write_text(place.read_text() + "require_ticket = true\n")
    said = noc("service", "tier", ONE, "fiber-500", "--yes")
    assert said.code == 5
    assert "--ticket" in said.err


@BOTH
def test_exceptions_are_told_with_every_way_out(noc: Noc) -> None:
    noc.fleet.control(noc.isp.bng, "fault", verb="CoA-Request", kind="refuse", arg=401, count=9)
    said = noc("service", "tier", ONE, "fiber-500", "--yes")
    assert said.code == 4
    assert "Decided and billed, but not everything is settled" in said.err
    assert "bandmaster exceptions show x-" in said.err
    listed = noc("exceptions", "list")
    assert "EUR 20.00/mo" in listed.out
    assert "retry · accept" in listed.out
    (row,) = noc("exceptions", "list", "--json").value()
    shown = noc("exceptions", "show", row["exception_id"][:13])
    assert "NAK 401" in shown.out
    assert "bandmaster exceptions resolve x-" in shown.out
    assert "exception" in noc("subscriber", "show", ONE).out
    assert noc("service", "tier", ONE, "fiber-1000", "--yes").code == 5
    assert noc("exceptions", "resolve", row["exception_id"], "dance").code == 2
    assert noc("exceptions", "resolve", row["exception_id"], "accept").code == 5  # nobody to ask
    noc.fleet.control(noc.isp.bng, "clear")
    assert noc("exceptions", "resolve", row["exception_id"], "retry").code == 0
    assert noc("exceptions", "list", "--json").value() == []
    assert noc("exceptions", "resolve", row["exception_id"], "retry").code == 5


def test_accepting_needs_words_and_is_a_question(noc: Noc) -> None:
    noc.fleet.control(noc.isp.bng, "fault", verb="CoA-Request", kind="refuse", arg=401, count=9)
    assert noc("service", "tier", ONE, "fiber-500", "--yes").code == 4
    (row,) = noc("exceptions", "list", "--json").value()
    words = ("exceptions", "resolve", row["exception_id"], "accept")
    assert noc(*words, types="n\n").code == 3
    assert noc(*words, types="y\n").code == 2
    assert noc(*words, "--reason", "logs in anew at night", types="y\n").code == 0
    assert noc("exceptions", "list", "--json").value() == []
    assert "logs in anew at night" in noc("exceptions", "show", row["exception_id"]).out


def test_recover_has_nothing_to_do_after_a_healthy_change(noc: Noc) -> None:
    noc.shell.change("service", "tier", ONE, "fiber-500")
    quiet = noc("change", "list")
    assert "recover" not in quiet.err
    closed = noc.shell.ok("recover")
    assert ONE in closed.out
    assert noc.shell.ok("recover").err == "Nothing to settle.\n"


@BOTH
def test_subscriber_screen(noc: Noc) -> None:
    noc.shell.change("service", "tier", ONE, "fiber-500", "--ticket", "CHG-5")
    by_service = noc.shell.ok("subscriber", "show", ONE).out
    assert by_service == noc.shell.ok("subscriber", "show", "user1001@isp").out
    assert by_service == noc.shell.ok("subscriber", "show", "A-1001").out
    for text in (
        "A-1001  Subscriber 1001, Elm Street 1001",
        "intended    500/100 Mbit/s",
        "observed    500/100 Mbit/s  bng-fra-1 at ",
        "observed    500/100 Mbit/s  olt-fra-1 at ",
        "user user1001@isp, group fiber-500@juniper_junos",
        "CHG-5",
        "service.adopted",
        "tier.changed",
    ):
        assert text in by_service, text
    live = noc.shell.ok("subscriber", "show", ONE, "--live")
    assert "8a1001 500/100 Mbit/s" in live.out
    assert "olt-fra-1 now" in live.out
    value = noc.shell.ok("subscriber", "show", ONE, "--json", "--live").value()
    assert value["services"][0]["live"]["sessions"][0]["acct_session_id"] == "8a1001"
    unknown = noc("subscriber", "show", "svc-10011")
    assert unknown.code == 2


def test_device_check_finds_drift(noc: Noc) -> None:
    assert noc.shell.ok("device", "check").out.count("ok") == 3
    unit = "interfaces ge-0/0/1 unit 1002 family inet policer"
    noc.fleet.control("bng-fra-1", "edit", lines=[f"set {unit} output DOWN-1M"])
    said = noc("device", "check", "bng-fra-1")
    assert said.code == 3
    assert "svc-1002" in said.out
    assert "the ledger says 100/20 Mbit/s" in said.out
    value = noc("device", "check", "--json").value()
    assert [one["drifted"] for one in value] == [True, False, False]
    refused = noc("service", "tier", TWO, "fiber-500", "--yes")
    assert refused.code == 5
    assert "bng-fra-1" in refused.err


def test_device_that_does_not_answer(noc: Noc) -> None:
    noc.fleet.control("olt-fra-2", "die")
    said = noc("device", "check")
    assert said.code == 1
    assert "olt-fra-2" in said.out
    assert "unusable" in said.out
    assert "Traceback" not in said.both


def test_device_screens(noc: Noc) -> None:
    shown = noc.shell.ok("device", "show", "bng-fra-1").out
    assert "password env:***" in shown
    assert "SHA256:" in shown
    assert "4 active" in shown
    value = noc.shell.ok("device", "show", "bng-fra-1", "--json").value()
    assert value["services"] == ["svc-1001", "svc-1002", "svc-1003", "svc-1004"]
    assert noc.shell.ok("device", "profiles", "olt-fra-1").out == ""
    assert noc.shell.ok("find", "1001").out.count("svc-1001") >= 2


def test_missing_profiles_are_shown_and_made(noc: Noc) -> None:
    Path("more.yaml").write_text("tiers:\n  - {code: gold, down_kbps: 700000, up_kbps: 70000}\n")
    noc.shell.ok("inventory", "import", "more.yaml")
    shown = noc("device", "profiles", "olt-fra-1")
    assert shown.code == 3
    assert "700000" in shown.out
    assert noc("device", "profiles", "olt-fra-1", "--apply").code == 5  # nobody to ask
    assert noc("device", "profiles", "olt-fra-1", "--apply", "--yes").code == 0
    assert noc("device", "profiles", "olt-fra-1").code == 0


def test_enrolling_a_key_is_a_question(noc: Noc) -> None:
    noc.shell.ok("device", "enroll-key", "olt-fra-1", "--yes")  # the same key again
    (noc.shell.folder / "known_hosts").unlink()
    assert noc("device", "enroll-key", "olt-fra-1").code == 5
    said = noc("device", "enroll-key", "olt-fra-1", types="n\n")
    assert said.code == 3
    assert "SHA256:" in said.err
    wrong = noc("device", "enroll-key", "olt-fra-1", "--fingerprint", "SHA256:nonsense")
    assert wrong.code == 1
    stopped = noc("service", "tier", ONE, "fiber-500", "--yes")
    assert stopped.code == 1
    assert "bandmaster device enroll-key" in stopped.err
    fingerprint = said.err.partition("shows    ")[2].split(" ")[0]
    assert noc("device", "enroll-key", "olt-fra-1", "--fingerprint", fingerprint).code == 0


def test_a_missing_secret_is_named_without_a_trace(
    noc: Noc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BM_DEVICE_PASSWORD")
    said = noc("service", "tier", ONE, "fiber-500", "--yes")
    assert said.code == 2
    assert "BM_DEVICE_PASSWORD" in said.err
    assert "BM_DEVICE_PASSWORD" in noc("doctor").out
    ended = noc.shell.process("service", "tier", ONE, "fiber-500", "--yes")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


@BOTH
def test_ledger_commands(noc: Noc) -> None:
    noc.shell.change("service", "tier", ONE, "fiber-500")
    good = noc.shell.ok("ledger", "verify")
    anchor = good.out.splitlines()[1].removeprefix("anchor ")
    assert noc.shell.ok("ledger", "verify", "--deep", "--anchor", anchor)
    other = "00" if anchor[-2:] != "00" else "11"
    bad = noc("ledger", "verify", "--anchor", anchor[:-2] + other)
    assert bad.code == 1
    assert "BROKEN" in bad.out
    assert noc("ledger", "verify", "--anchor", "nonsense").code == 2
    lines = noc.shell.ok("ledger", "export").out.splitlines()
    assert [int(json.loads(line)["sequence"]) for line in lines] == [1, 2, 3, 4, 5]
    rest = noc.shell.ok("ledger", "export", "--after", "4").out.splitlines()
    assert rest == lines[4:]
    assert noc.shell.ok("ledger", "export", "--after", "5").out == ""
    last = json.loads(lines[3])
    kept = f"{int(last['sequence'])}:{last['ledgerhash']}"
    assert noc.shell.ok("ledger", "export", "--after", kept).out.splitlines() == rest
    for wrong in ("6", "-1", "x", "4:", f"4:{'z' * 64}", "9" * 30):
        assert noc("ledger", "export", "--after", wrong).code == 2, wrong
    assert noc("ledger", "export", "--after", f"4:{'0' * 64}").code == 1
    assert noc.shell.ok("ledger", "tail", "--limit", "1").out.splitlines()[1].startswith("  5")
    assert noc("ledger", "replay").code == 2


@BOTH
def test_as_a_process_at_no_terminal(noc: Noc) -> None:
    ended = noc.shell.process("service", "tier", ONE, "fiber-500")
    assert ended.returncode == 5
    ended = noc.shell.process("service", "tier", ONE, "fiber-500", "--yes", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["outcome"]["items"][0]["ending"] == "done"
    assert "prepared" in ended.stderr
    assert "\x1b" not in ended.stderr
