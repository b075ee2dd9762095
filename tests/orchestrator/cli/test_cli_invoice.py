"""Billing at the command line: preview, draft, look, issue, take back, and what is refused."""

from __future__ import annotations

import datetime as dt

import pytest

from orchestrator import ahead
from tests.orchestrator.cli.cli_rig import BOTH, Noc

ACCOUNT = "A-1001"


@BOTH
def test_bills_are_drafted_looked_at_issued_and_taken_back(noc: Noc) -> None:
    """Goal: a billing clerk's day, with the rights of role app. Method: one story, each exit."""
    shell = noc.shell
    (bill,) = shell.ok("invoice", "preview", ACCOUNT, "--json").value()
    assert bill["net_minor"] == sum(line["amount_minor"] for line in bill["lines"]) > 0
    assert shell.ok("invoice", "preview", ACCOUNT).both.count("svc-1001") == len(bill["lines"])
    assert shell("invoice", "preview", "A-9").code == 2
    soon = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3)).isoformat()
    refused = shell("invoice", "run", "--on", soon)
    assert (refused.code, "not over" in refused.err) == (5, True)
    assert shell("invoice", "run", "--entity", "nobody").code == 2

    run = shell.ok("invoice", "run", "--json").value()["run"]
    drafts = shell.ok("invoice", "list", "--run", f"r-{run['run_id']}", "--json").value()
    assert {one["state"] for one in drafts} == {"draft"}
    assert len(drafts) == run["drafts"] == 4
    assert run["run_id"] in shell.ok("invoice", "list", "--runs").both
    alone = shell("invoice", "finalise", run["run_id"])
    assert (alone.code, "--yes" in alone.err) == (5, True)
    assert shell("invoice", "finalise", run["run_id"], types="n\n").code == 3
    reasonless = shell("invoice", "finalise", run["run_id"], "--yes", "--override", "f-0")
    assert (reasonless.code, "--reason" in reasonless.err) == (2, True)
    issued = shell.ok("invoice", "finalise", run["run_id"], "--yes", "--early", "--json").value()
    assert (issued["issued"], issued["drafts_left"], issued["run"]["state"]) == (4, 0, "done")
    assert shell.ok("invoice", "finalise", run["run_id"], "--json").value()["issued"] == 0

    shown = shell.ok("invoice", "show", "isp-000001", "--json").value()
    assert (shown["account_id"], shown["net_minor"]) == (ACCOUNT, bill["net_minor"])
    assert "isp-000001" in shell.ok("invoice", "show", f"i-{shown['invoice_id']}").both
    assert shell("invoice", "show", "isp-999999").code == 2
    assert shell("invoice", "list", "--state", "lost").code == 2
    assert shell("invoice", "void", "isp-000001", "--reason", " ", "--yes").code == 2
    why = ("--reason", "wrong account")
    note = shell.ok("invoice", "void", "isp-000001", *why, "--yes", "--json").value()
    assert (note["number"], note["total_minor"]) == ("isp-CN-000001", -shown["total_minor"])
    again = shell("invoice", "void", "isp-000001", *why, "--yes")
    assert (again.code, "void already" in again.err) == (5, True)
    states = shell.ok("invoice", "list", "--account", ACCOUNT, "--json").value()
    assert [(one["number"], one["state"]) for one in states] == [
        ("isp-CN-000001", "final"),
        ("isp-000001", "void"),
    ]
    (open_again,) = shell.ok("invoice", "preview", ACCOUNT, "--json").value()
    assert open_again["lines"] == bill["lines"]
    shell.ok("ledger", "verify", "--deep")
    shell.ok("ledger", "replay", "--check")


def test_a_run_that_has_no_helpers_says_why_it_is_slow(
    noc: Noc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: who waits for it knows. Method: no process can be started, as where none is left."""

    def full(_program: str) -> None:
        raise BlockingIOError

    assert "Slower" not in noc.shell.ok("invoice", "run").both
    monkeypatch.setattr(ahead, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr(ahead, "start_beside", full)
    said = noc.shell.ok("invoice", "run", "--json")
    assert said.value()["run"]["drafts"] == 4
    assert "Slower than usual: a process that was to price" in said.err
