"""Rows of the matrix about time: a slow device, a timer that runs out, a machine that slept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.leases import LeaseLostError
from orchestrator.office import Office
from orchestrator.recover import recover
from tests.faults.conftest import Moved
from tests.faults.moments import consistent, lines_to
from tests.orchestrator.moments import (
    ARM,
    BNG,
    NEW,
    OLD,
    OLT,
    ONE,
    is_as_before,
    is_done,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, at_tier, truth

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def windows(rig: Rig) -> int:
    """Count the confirmed commits that came to the router."""
    return sum("confirm-timeout" in line or "confirmed" in line for line in lines_to(rig, BNG))


def pass_time(clock: Moved, rig: Rig, seconds: float) -> None:
    """Let the same time pass for the program and for the router's timer."""
    clock.ahead_s += seconds
    rig.fleet.control(BNG, "advance", seconds=seconds)


def test_slow_10x_extends_the_timer(isp: Rig, clock: Moved) -> None:
    """The OLT takes minutes: the router's timer is started anew before the decision, not after."""
    when(isp, OLT, "prepared", lambda: pass_time(clock, isp, 280))
    assert upgrade(isp)[0] == "done"
    assert windows(isp) == 2
    is_done(isp)


def test_slow_10x_aborts_where_the_timer_cannot_be_extended(isp: Rig, clock: Moved) -> None:
    isp.fleet.control(BNG, "fault", verb=ARM, kind="refuse", arg="busy", skip=1)
    when(isp, OLT, "prepared", lambda: pass_time(clock, isp, 280))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "could not be extended" in outcome.items[0].reason
    is_as_before(isp)


def test_slow_10x_until_the_timer_has_fired(isp: Rig, clock: Moved) -> None:
    """The router went back before the decision: that is read, and nothing is decided or billed."""
    when(isp, OLT, "prepared", lambda: pass_time(clock, isp, 301))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    is_as_before(isp)


def test_no_late_confirm_is_counted_as_success(isp: Rig, clock: Moved) -> None:
    """F4: after the timer a confirm is a plain commit of nothing, and is answered with OK."""
    when(isp, "decision", "committed", lambda: pass_time(clock, isp, 301))
    assert upgrade(isp)[0] == "done"
    assert windows(isp) == 2  # rolled forward: armed once more, then confirmed
    is_done(isp)


@pytest.mark.parametrize("who", [BNG, OLT])
def test_suspended_vm_10_min_before_the_decision(
    isp: Rig, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The woken worker finds its lease over by the clock that runs through suspend: it stops."""
    clock = Moved()
    monkeypatch.setattr(isp, "office", _on(isp, clock))
    when(isp, who, "prepared", lambda: pass_time(clock, isp, 600))
    since = isp.fleet.control(OLT, "log")["last"]
    with pytest.raises(LeaseLostError) as caught:
        upgrade(isp)
    assert caught.value.exit_code == 6
    sent = [line for line in lines_to(isp, OLT, since) if line.startswith("line service-port")]
    assert len(sent) == (0 if who == BNG else 1)
    assert truth(isp, ONE).events == ("service.adopted",)
    assert recover(isp.office).outcome.exit_code() == 1
    is_as_before(isp)


def test_suspended_vm_10_min_after_the_decision(isp: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided and billed; the woken worker sends nothing, and recovery drives it to its end."""
    clock = Moved()
    monkeypatch.setattr(isp, "office", _on(isp, clock))
    when(isp, "decision", "committed", lambda: pass_time(clock, isp, 600))
    since = isp.fleet.control(OLT, "log")["last"]
    with pytest.raises(LeaseLostError) as caught:
        upgrade(isp)
    assert caught.value.exit_code == 6
    assert "line save" not in lines_to(isp, OLT, since)
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed")
    assert recover(isp.office).outcome.exit_code() == 0
    is_done(isp)


def _on(rig: Rig, clock: Moved) -> Office:
    return replace(rig.office, clock=clock)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_device_clock_jumps_an_hour(isp: Rig, moment: str) -> None:
    """NTP steps the router's clock: its timer fires at once; no clock of ours is compared to it."""
    who, text = (OLT, "prepared") if moment == "before" else ("decision", "committed")
    when(isp, who, text, lambda: isp.fleet.control(BNG, "advance", seconds=3600))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == (("aborted", 1) if moment == "before" else ("done", 0))
    consistent(isp)
    at_tier(isp, ONE, OLD if moment == "before" else NEW)
    is_as_before(isp) if moment == "before" else is_done(isp)
