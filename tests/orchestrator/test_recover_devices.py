"""Every fault of a device that section 3 of the protocol names, met by a whole change.

One store is enough here: what the databases do differently is in test_store_faults.py.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from orchestrator.apply import apply_plan
from orchestrator.interrupt import Interrupts
from orchestrator.plan import make_plan
from orchestrator.recover import recover
from tests.orchestrator.conftest import StartRig
from tests.orchestrator.moments import (
    ARM,
    BNG,
    LINE,
    NEW,
    OLD,
    OLT,
    ONE,
    PLAIN,
    come_online,
    disputed,
    is_as_before,
    is_done,
    nothing_left,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, at_tier, truth
from tests.orchestrator.test_change import set_password
from workflows.transports import napalm, netmiko

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """One BNG, one OLT, and a program that does not wait long."""
    return hasty_rig


# --- before the decision -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "verb", "kind"),
    [
        (BNG, ARM, "drop_before"),
        (BNG, ARM, "drop_after"),
        (BNG, ARM, "hang_before"),
        (BNG, ARM, "hang_after"),
        (BNG, ARM, "garbage"),
        (BNG, ARM, "refuse"),
        (BNG, "load-configuration", "drop_before"),
        (BNG, "load-configuration", "refuse"),
        (BNG, "lock-configuration", "drop_after"),
        (OLT, LINE, "drop_before"),
        (OLT, LINE, "hang_before"),
        (OLT, LINE, "refuse"),
    ],
)
def test_a_fault_while_preparing_is_undone(isp: Rig, device: str, verb: str, kind: str) -> None:
    isp.fleet.control(device, "fault", verb=verb, kind=kind, arg="no")
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert device in outcome.items[0].reason
    is_as_before(isp)


@pytest.mark.parametrize("kind", ["drop_after", "hang_after", "drop_bytes"])
def test_a_line_whose_answer_is_lost_is_judged_by_reading(isp: Rig, kind: str) -> None:
    """W3: the OLT did what it was told and nobody heard of it; the reading says so."""
    isp.fleet.control(OLT, "fault", verb=LINE, kind=kind, arg="3")
    assert upgrade(isp)[0] == "done"
    is_done(isp)


@pytest.mark.parametrize("refused", [1001, 1002, 1003])
def test_any_line_of_a_batch_may_be_the_refused_one(start_rig: StartRig, refused: int) -> None:
    """A batch that stops at line k of n is undone exactly, whichever line k is."""
    rig = start_rig(services=3, olts=1, save_s=0.02)
    orders = tuple(rig.order(service_id, NEW) for service_id in rig.isp.ids())
    plan = make_plan(rig.office, orders, skip=False, all_or_nothing=True)
    before = rig.fleet.control(OLT, "dump")
    rig.fleet.control(OLT, "fault", verb=f"service-port {refused} *", kind="refuse", arg="no")
    outcome = rig.apply(plan)
    assert [item.ending for item in outcome.items] == ["aborted"] * 3
    after = rig.fleet.control(OLT, "dump")
    assert (after["running"], after["saved"]) == (before["running"], before["saved"])
    for service_id in rig.isp.ids():
        at_tier(rig, service_id, OLD)
    nothing_left(rig)


# --- after the decision --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "verb", "kind"),
    [
        (BNG, PLAIN, "drop_before"),
        (BNG, PLAIN, "drop_after"),
        (BNG, PLAIN, "hang_before"),
        (BNG, PLAIN, "hang_after"),
        (BNG, PLAIN, "garbage"),
        (BNG, PLAIN, "refuse"),
        (OLT, "save", "drop_before"),
        (OLT, "save", "drop_after"),
        (OLT, "save", "hang_before"),
        (OLT, "save", "refuse"),
    ],
)
def test_a_fault_after_the_decision_is_driven_over(
    isp: Rig, device: str, verb: str, kind: str
) -> None:
    isp.fleet.control(device, "fault", verb=verb, kind=kind, arg="Failure: System is busy")
    assert upgrade(isp)[0] == "done"
    is_done(isp)


@pytest.mark.parametrize(("device", "verb"), [(BNG, PLAIN), (OLT, "save")])
def test_who_refuses_three_times_is_not_billed(isp: Rig, device: str, verb: str) -> None:
    """W15: the decision is taken back, in the ledger and on every device."""
    isp.fleet.control(device, "fault", verb=verb, kind="refuse", arg="Failure: no licence", count=3)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("reversed", 1)
    is_as_before(isp, "tier.changed", "event.reversed")


def test_the_timer_that_ran_out_before_the_confirm(isp: Rig) -> None:
    """H-rollback: the router went back by itself after the decision; it is rolled forward."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(BNG, "expire"))
    assert upgrade(isp)[0] == "done"
    is_done(isp)


@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_reload_right_after_the_decision(isp: Rig, device: str) -> None:
    """What was not confirmed or saved is gone with the reload, and is done once more."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(device, "reload"))
    assert upgrade(isp)[0] == "done"
    # the subscriber's session went down with the router and comes back by the rows
    if device == BNG:
        assert truth(isp, ONE).session == (0, 0)
        come_online(isp, NEW)
    is_done(isp)


@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_device_that_dies_after_the_decision_is_waited_for(isp: Rig, device: str) -> None:
    """Billed, and not yet live everywhere: an exception says so until recovery mends it."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(device, "die"))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("in doubt", 4)
    assert disputed(isp).cause == "unreachable"
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed")
    assert recover(isp.office).outcome.exit_code() == 4
    isp.fleet.control(device, "revive")
    assert recover(isp.office).outcome.exit_code() == 0
    is_done(isp)


# --- on the way back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["drop_before", "drop_after", "hang_before", "hang_after", "refuse"]
)
@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_fault_while_undoing_is_driven_over(isp: Rig, device: str, kind: str) -> None:
    """Somebody stops the change with everything prepared; then the undo meets a fault."""
    interrupts = Interrupts()

    def stop() -> None:
        verb = PLAIN if device == BNG else LINE
        isp.fleet.control(device, "fault", verb=verb, kind=kind, arg="Failure: busy")
        interrupts.requested = True

    when(isp, OLT, "prepared", stop)
    plan = isp.plan(isp.order(ONE, NEW))
    outcome = apply_plan(isp.office, interrupts, plan.plan_id)
    assert (outcome.items[0].ending, outcome.exit_code()) == ("aborted", 1)
    is_as_before(isp)


@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_device_that_dies_while_preparing_is_put_back_later(isp: Rig, device: str) -> None:
    when(isp, device, "prepared", lambda: isp.fleet.control(device, "die"))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("in doubt", 4)
    assert disputed(isp).participant == device
    isp.fleet.control(device, "revive")
    assert recover(isp.office).outcome.items[0].ending == "aborted"
    is_as_before(isp)


def test_a_person_confirms_ours_and_then_it_is_aborted(isp: Rig) -> None:
    """H-commit: a commit check of somebody else makes our timer permanent; the old is pushed."""

    def confirm() -> None:
        isp.fleet.control(BNG, "commit_check")

    when(isp, OLT, "refused", confirm)
    isp.fleet.control(OLT, "fault", verb=LINE, kind="refuse", arg="no")
    assert upgrade(isp)[0] == "aborted"
    is_as_before(isp)


def test_what_the_olt_saved_by_itself_is_put_back(isp: Rig) -> None:
    """P7: an autosave between prepare and abort has kept the new rate for the next reload."""

    def autosave() -> None:
        isp.fleet.control(OLT, "save")

    when(isp, OLT, "prepared", autosave)
    isp.fleet.control(BNG, "knob", name="not_programmed", value=True)
    assert upgrade(isp)[0] == "aborted"
    isp.fleet.control(BNG, "knob", name="not_programmed", value=False)
    isp.fleet.control(BNG, "program")
    is_as_before(isp)
    isp.fleet.control(OLT, "reload")
    at_tier(isp, ONE, OLD)


# --- what devices do to words and time -----------------------------------------------------------


@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_reload_while_preparing(isp: Rig, device: str) -> None:
    when(isp, OLT, "prepared", lambda: isp.fleet.control(device, "reload"))
    assert upgrade(isp)[0] == "aborted"
    if device == BNG:
        come_online(isp, OLD)
    is_as_before(isp)


def test_a_rate_that_the_hardware_did_not_take(isp: Rig) -> None:
    """Accepted in the configuration, not programmed: the operational value is what counts."""
    isp.fleet.control(BNG, "knob", name="not_programmed", value=True)
    ending, outcome = upgrade(isp)
    assert (ending, BNG in outcome.items[0].reason) == ("aborted", True)
    isp.fleet.control(BNG, "knob", name="not_programmed", value=False)
    isp.fleet.control(BNG, "program")
    is_as_before(isp)


@pytest.mark.parametrize(
    ("device", "verb", "wire"), [(BNG, ARM, napalm), (OLT, LINE, netmiko)], ids=["bng", "olt"]
)
def test_a_write_that_happens_late_is_waited_for(
    isp: Rig, device: str, verb: str, wire: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4: while an older session may still act, nothing that is read is believed."""
    monkeypatch.setattr(wire, "DRAIN_WAIT_S", 0)
    isp.fleet.control(device, "fault", verb=verb, kind="late", arg="900")
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("in doubt", 4)
    assert "older session" in disputed(isp).seen
    isp.fleet.control(device, "advance", seconds=900)
    assert recover(isp.office).outcome.items[0].ending == "aborted"
    is_as_before(isp)


@pytest.mark.parametrize("lines", [0, 1])
def test_rolling_forward_over_a_half_done_batch(isp: Rig, lines: int) -> None:
    """The OLT restarts after the decision, and the way forward is cut at one of its two lines."""
    assert isp.apply(isp.plan(isp.order(ONE, kind="terminate"))).exit_code() == 0
    set_password(isp, "user1001@isp")

    def restart() -> None:
        isp.fleet.control(OLT, "reload")
        isp.fleet.control(OLT, "fault", verb=LINE, kind="drop_after", skip=lines)

    when(isp, "decision", "committed", restart)
    (item,) = isp.apply(isp.plan(isp.order(ONE, NEW, kind="activate"))).items
    assert item.ending == "done"
    seen = truth(isp, ONE)
    assert (seen.olt, seen.olt_saved) == ((500_000, 100_000), (500_000, 100_000))
    assert seen.events[-1] == "service.activated"
    recover(isp.office)
    nothing_left(isp)
