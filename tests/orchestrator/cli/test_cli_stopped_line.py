"""A line that was stopped gives nothing, and nothing that people read says that it does."""

from __future__ import annotations

from tests.orchestrator.cli.cli_rig import ONE, Noc

RATE = "100/20"


def test_a_terminated_line_is_said_to_be_switched_off(noc: Noc) -> None:
    said = noc("service", "terminate", ONE, "--yes")
    assert said.code == 0, said.both
    _plan, _, progress = said.err.partition("prepared")
    for line in (
        "olt-fra-1   read back switched off",
        "bng-fra-1   read back switched off",
        "olt-fra-1   stays switched off",
        "bng-fra-1   stays switched off",
    ):
        assert line in progress, progress
    assert RATE not in progress
    assert "not read" not in progress

    (change,) = noc("change", "list", "--json").value()["changes"]
    story = noc("change", "show", change["change_id"]).out
    assert "olt-fra-1  reads switched off; running NEW" in story
    (event,) = [
        event
        for event in noc("ledger", "tail", "--json").value()
        if event["type"] == "service.terminated"
    ]
    rates = {
        seen["device"]: (seen["down_kbps"], seen["up_kbps"])
        for seen in event["payload"]["evidence"]
    }
    assert rates == {"bng-fra-1": (0, 0), "olt-fra-1": (0, 0)}
    for more in ((), ("--live",)):
        shown = noc("subscriber", "show", ONE, *more).out
        assert "intended    nothing" in shown
        assert "switched off  olt-fra-1" in shown
        assert "differs" not in shown
        assert RATE not in shown


def test_a_stopped_line_that_somebody_switches_on_is_drift(noc: Noc) -> None:
    assert noc("service", "terminate", ONE, "--yes").code == 0
    noc("recover")
    assert noc("device", "check").code == 0
    noc.fleet.control("olt-fra-1", "edit", lines=["service-port 1001 adminstatus enable"])
    said = noc("device", "check")
    assert said.code == 3, said.both
    assert "is switched on, 100/20 Mbit/s, the ledger says terminated" in said.out
