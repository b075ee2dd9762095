"""Rows of the matrix about time and people at a device: reloads, late writes, locks, edits."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from inventory import StalePlan
from orchestrator.recover import recover
from tests.faults.moments import consistent, lines_to, neighbour_is_untouched
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
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, at_tier, truth
from workflows.transports import napalm, netmiko

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
During = Callable[..., None]
UNIT = "set interfaces ge-0/0/1 unit 1001 family inet policer"
BY_HAND_BNG = f"{UNIT} output DOWN-1000M"
BY_HAND_OLT = "service-port 1001 inbound traffic-table index 10 outbound traffic-table index 10"
LOCK_S = napalm.LOCK_WAIT_S  # before a fixture shortens it


@pytest.fixture
def isp(patient_isp: Rig) -> Rig:
    """A program that waits: every moment here is arranged."""
    return patient_isp


def ended_alone(rig: Rig) -> str:
    """Return how the upgrade ended, which must be one of the two worlds, and all of it."""
    ending, outcome = upgrade(rig)
    assert (ending, outcome.exit_code()) in (("done", 0), ("aborted", 1))
    if truth(rig, ONE).session == (0, 0):
        come_online(rig, NEW if ending == "done" else OLD)
    consistent(rig)
    is_done(rig) if ending == "done" else is_as_before(rig)
    return ending


# --- reload --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "verb", "ends"),
    [
        (BNG, "load-configuration", "aborted"),
        (BNG, ARM, "aborted"),
        (OLT, LINE, "aborted"),
        (BNG, PLAIN, "done"),
        (OLT, "save", "done"),
    ],
)
@pytest.mark.parametrize("kind", ["hang_before", "hang_after"])
def test_reload_during(
    isp: Rig, during: During, device: str, verb: str, ends: str, kind: str
) -> None:
    """Prepare, confirm, before save: power goes while the device is at that very line."""
    during(device, verb, lambda: isp.fleet.control(device, "reload"), kind=kind)
    assert ended_alone(isp) == ends
    neighbour_has_its_line(isp)


def neighbour_has_its_line(rig: Rig) -> None:
    """The other subscriber's line; the session may have gone down with the router."""
    seen = truth(rig, "svc-1002")
    assert (seen.bng, seen.olt_saved) == (("DOWN-100M", "UP-20M"), (100_000, 20_000))


# --- executes 60 s after the drop ----------------------------------------------------------------


@pytest.mark.parametrize(("device", "verb"), [(BNG, ARM), (OLT, LINE)])
def test_executes_60_s_after_the_drop(
    isp: Rig, device: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4: closing waits until that can happen no more; nothing of it reaches the line later."""
    for wire in (napalm, netmiko):
        monkeypatch.setattr(wire, "DRAIN_WAIT_S", 0)
    isp.fleet.control(device, "fault", verb=verb, kind="late", arg="60")
    ending, _ = upgrade(isp)
    assert ending in ("in doubt", "aborted")
    isp.fleet.control(device, "advance", seconds=60)
    assert recover(isp.office).outcome.exit_code() in (0, 1)
    is_as_before(isp)
    for name in (BNG, OLT):  # P10: after the close nothing of this change is on its way any more
        isp.fleet.control(name, "advance", seconds=900)
    at_tier(isp, ONE, OLD)


@pytest.mark.parametrize(("device", "verb"), [(BNG, PLAIN), (OLT, "save")])
def test_executes_60_s_after_the_drop_of_the_way_forward(
    isp: Rig, device: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same after the decision: late or twice, it is what was decided."""
    for wire in (napalm, netmiko):
        monkeypatch.setattr(wire, "DRAIN_WAIT_S", 0)
    isp.fleet.control(device, "fault", verb=verb, kind="late", arg="60")
    assert upgrade(isp)[0] in ("in doubt", "done")
    isp.fleet.control(device, "advance", seconds=60)
    assert recover(isp.office).outcome.exit_code() == 0
    is_done(isp)


# --- config lock held by a human -----------------------------------------------------------------


def test_config_lock_held_by_a_human_for_a_moment(
    isp: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, 30 s at the most; who ends in time costs nothing."""
    assert LOCK_S <= 30
    monkeypatch.setattr(napalm, "LOCK_WAIT_S", 30)
    isp.fleet.control(BNG, "lock")
    release_when_asked(isp)
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def release_when_asked(rig: Rig) -> None:
    """Let the person leave configuration mode when somebody else asks for the lock."""

    def wait() -> None:
        while not any("lock-configuration" in line for line in lines_to(rig, BNG)):
            threading.Event().wait(0.01)
        rig.fleet.control(BNG, "unlock")

    threading.Thread(target=wait, daemon=True).start()


def test_config_lock_held_by_a_human_after_the_decision(
    isp: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody broke our lock and took it: it is left to them, and driven on when it is free."""
    monkeypatch.setattr(napalm, "DRAIN_WAIT_S", 0)

    def break_and_take() -> None:
        isp.fleet.control(BNG, "cut")
        isp.fleet.control(BNG, "lock")

    when(isp, "decision", "committed", break_and_take)
    ending, outcome = upgrade(isp)
    assert isp.fleet.control(BNG, "dump")["lock"] == "noc"
    consistent(isp)
    if outcome.exit_code() == 4:
        assert "noc" in disputed(isp).seen
    isp.fleet.control(BNG, "unlock")
    assert recover(isp.office).outcome.exit_code() in (0, 1)
    consistent(isp)
    is_done(isp) if ending != "reversed" else is_as_before(isp, "tier.changed", "event.reversed")


# --- human edit: before, between compare and write, inside the window, after ----------------------


@pytest.mark.parametrize(("device", "line"), [(BNG, BY_HAND_BNG), (OLT, BY_HAND_OLT)])
def test_human_edit_before(isp: Rig, device: str, line: str) -> None:
    """W10: the plan is stale, nothing is sent, their line stays."""
    plan = isp.plan(isp.order(ONE, NEW))
    isp.fleet.control(device, "edit", lines=[line])
    before = {name: isp.fleet.control(name, "dump")["running"] for name in (BNG, OLT)}
    with pytest.raises(StalePlan, match=device):
        isp.apply(plan)
    assert {name: isp.fleet.control(name, "dump")["running"] for name in (BNG, OLT)} == before
    neighbour_is_untouched(isp)


def test_human_edit_between_compare_and_write_on_the_olt(isp: Rig) -> None:
    """The OLT has no lock: it is compared once more right before its lines."""
    when(isp, BNG, "prepared", lambda: isp.fleet.control(OLT, "edit", lines=[BY_HAND_OLT]))
    since = isp.fleet.control(OLT, "log")["last"]
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 4)
    assert (disputed(isp).participant, disputed(isp).cause) == (OLT, "foreign section")
    entries = isp.fleet.control(OLT, "log", since=since)["entries"]
    ours = [entry["text"] for entry in entries if entry["who"].startswith("bandmaster#")]
    assert not [line for line in ours if line.startswith("service-port")]
    seen = truth(isp, ONE)
    assert seen.olt[0] == seen.olt[1]
    assert seen.bng == seen.bng_startup == ("DOWN-100M", "UP-20M")
    consistent(isp)


def test_human_edit_between_compare_and_write_on_the_router(isp: Rig, during: During) -> None:
    """The router is compared under its lock: a person is told to wait, and loses nothing."""
    refused: list[str] = []

    def try_to_edit() -> None:
        try:
            isp.fleet.control(BNG, "edit", lines=[BY_HAND_BNG])
        except ValueError as error:
            refused.append(str(error))
            isp.fleet.control(BNG, "cut")
            return
        isp.fleet.control(BNG, "cut")

    during(BNG, "load-configuration", try_to_edit)
    assert upgrade(isp)[0] == "aborted"
    assert refused
    is_as_before(isp)


def test_human_edit_left_in_the_candidate(isp: Rig) -> None:
    """Unsaved edits of a person in the shared candidate are neither committed nor thrown away."""
    isp.fleet.control(BNG, "edit_uncommitted", lines=["set system host-name theirs"])
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    dump = isp.fleet.control(BNG, "dump")
    assert "set system host-name theirs" in dump["candidate"]
    assert "set system host-name theirs" not in dump["running"]
    is_as_before(isp)


def test_human_edit_inside_the_window_of_the_router(isp: Rig) -> None:
    """F5: a window is the whole device's. Who breaks the lock and commits is found by reading."""

    def break_and_edit() -> None:
        isp.fleet.control(BNG, "cut")
        isp.fleet.control(BNG, "edit", lines=[BY_HAND_BNG])

    when(isp, OLT, "prepared", break_and_edit)
    _, outcome = upgrade(isp)
    assert outcome.exit_code() == 4
    assert (disputed(isp).participant, disputed(isp).cause) == (BNG, "foreign section")
    assert truth(isp, ONE).bng[0] == "DOWN-1000M"
    assert truth(isp, ONE).events == ("service.adopted",)
    consistent(isp)
    recover(isp.office)
    assert truth(isp, ONE).bng[0] == "DOWN-1000M"


@pytest.mark.parametrize(("device", "line"), [(BNG, BY_HAND_BNG), (OLT, BY_HAND_OLT)])
def test_human_edit_after(isp: Rig, device: str, line: str) -> None:
    """All was read, not yet closed: the closing pass sees it, asks, and touches nothing."""
    assert upgrade(isp)[0] == "done"
    isp.fleet.control(device, "edit", lines=[line])
    before = {name: isp.fleet.control(name, "dump")["running"] for name in (BNG, OLT)}
    assert recover(isp.office).outcome.exit_code() == 4
    assert (disputed(isp).participant, disputed(isp).cause) == (device, "foreign section")
    assert {name: isp.fleet.control(name, "dump")["running"] for name in (BNG, OLT)} == before
    consistent(isp)


# --- human commit confirms ours ------------------------------------------------------------------


def test_human_commit_confirms_ours_and_we_commit(isp: Rig) -> None:
    """P3 is theirs to break: the decision is COMMIT all the same or ABORT, and all follows it."""

    def break_and_check() -> None:
        isp.fleet.control(BNG, "cut")
        isp.fleet.control(BNG, "commit_check")
        assert isp.fleet.control(BNG, "dump")["pending"] is False

    when(isp, OLT, "prepared", break_and_check)
    assert ended_alone(isp) in ("done", "aborted")


def test_human_rolls_our_window_back(isp: Rig) -> None:
    """Somebody breaks the lock and rolls back: read, and not billed before it is live."""

    def break_and_roll_back() -> None:
        isp.fleet.control(BNG, "cut")
        isp.fleet.control(BNG, "rollback", number=1)

    when(isp, OLT, "prepared", break_and_roll_back)
    assert ended_alone(isp) in ("done", "aborted")
