"""A plan that was applied already is told as that: when, by which event, and nothing is sent."""

from __future__ import annotations

from tests.orchestrator.cli.cli_rig import ONE, TWO, Noc


def plan_of(noc: Noc, *services: str) -> str:
    rows = "".join(f"{service},fiber-500\n" for service in services)
    (noc.shell.folder / "changes.csv").write_text(f"service,plan\n{rows}")
    said = noc("service", "tier", "--file", "changes.csv", "--plan-only", "--json")
    assert said.code == 3, said.both
    plan_id: str = said.value()["plan"]["plan_id"]
    return plan_id


def test_the_second_time_says_when_and_sends_nothing(noc: Noc) -> None:
    plan_id = plan_of(noc, ONE)
    assert noc("change", "apply", plan_id, "--yes").code == 0
    (change,) = noc("change", "list", "--json").value()["changes"]
    before = noc.told()
    said = noc("change", "apply", plan_id, "--yes")
    assert said.code == 0
    assert f"{ONE}: done already, applied 20" in said.err
    assert "ledger seq 5 tier.changed" in said.err
    assert "nothing was sent" in said.err
    assert "Applied in" not in said.err
    assert noc.told() == before
    (item,) = noc("change", "apply", plan_id, "--yes", "--json").value()["outcome"]["items"]
    assert (item["ending"], item["earlier"]) == ("done", True)
    assert item["change_id"] == change["change_id"]
    assert len(noc("ledger", "tail", "--json").value()) == 5


def test_what_is_left_of_a_plan_is_told_apart_from_what_was_done(noc: Noc) -> None:
    plan_id = plan_of(noc, ONE, TWO)
    noc.refuse(1, "busy")
    assert noc("change", "apply", plan_id, "--yes").code == 4
    noc.fleet.control("olt-fra-1", "clear")
    said = noc("change", "apply", plan_id, "--yes")
    assert said.code == 0, said.both
    assert "2 done in" in said.err
    assert "1 of them had ended so before and were sent nothing" in said.err
