"""Stopping a command in its middle: by Ctrl-C once, by SIGKILL, while planning."""

from __future__ import annotations

import signal

from tests.orchestrator.cli.cli_rig import ONE, Noc


def test_ctrl_c_before_the_decision_puts_everything_back(noc: Noc) -> None:
    noc.fleet.control(
        noc.isp.bng, "fault", verb="commit-configuration confirmed", kind="delay", arg=2
    )
    running = noc.shell.started("service", "tier", ONE, "fiber-500", "--yes")
    noc.wait_for(running, noc.isp.bng, "commit-configuration")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 1, said
    assert "Stopping as soon as it is safe" in said
    assert "stopped by a person before the decision" in said
    assert "Traceback" not in said
    assert noc.policer(ONE) == "DOWN-100M"
    assert noc("ledger", "tail", "--json").value()[-1]["type"] == "service.adopted"
    assert noc("change", "list", "--open", "--json").value()["changes"] == []


def test_a_killed_command_is_named_by_others_and_settled_by_recover(noc: Noc) -> None:
    noc.fleet.control("olt-fra-1", "fault", verb="service-port*", kind="hang_after")
    running = noc.shell.started("service", "tier", ONE, "fiber-500", "--yes")
    noc.wait_for(running, "olt-fra-1", "service-port 1001 inbound")
    busy = noc("change", "list", "--json")
    assert busy.err == ""  # its worker lives: nobody else's worry
    assert busy.value()["changes"][0]["state"] == "INTENT"
    assert noc("recover").code == 6
    running.kill()
    running.communicate()
    noc.fleet.control("olt-fra-1", "clear")
    assert "1 change set is not settled yet" in noc("plan", "list").err
    assert noc("doctor").code == 1
    settled = noc.shell.ok("recover")
    assert "aborted" in settled.out
    assert noc.policer(ONE) == "DOWN-100M"
    assert noc("plan", "list").err == ""
    assert noc.shell.ok("device", "check")
    assert noc("service", "tier", ONE, "fiber-500", "--yes").code == 0


def test_ctrl_c_while_planning_touches_nothing(noc: Noc) -> None:
    noc.fleet.control(noc.isp.bng, "fault", verb="get-configuration*", kind="hang_before")
    running = noc.shell.started("service", "tier", ONE, "fiber-500", "--yes")
    noc.wait_for(running, noc.isp.bng, "get-configuration")
    running.send_signal(signal.SIGINT)
    noc.fleet.control(noc.isp.bng, "clear")
    noc.fleet.control(noc.isp.bng, "cut")
    _, said = running.communicate()
    assert running.returncode == 1, said
    assert "Nothing has been touched" in said
    assert noc("change", "list", "--json").value() == {"changes": [], "plans": []}
