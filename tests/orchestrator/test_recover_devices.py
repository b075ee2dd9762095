"""Every fault of a device that section 3 of the protocol names, met by a whole change.

One store is enough here: what the databases do differently is in test_store_faults.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import asyncssh
import pytest

from inventory import StalePlan
from lab.small_isp import TIERS
from orchestrator.apply import apply_plan
from orchestrator.database import reading
from orchestrator.exceptions import list_open
from orchestrator.interrupt import Interrupts
from orchestrator.outcome import Outcome
from orchestrator.plan import make_plan
from orchestrator.recover import orphans, recover
from orchestrator.rows import ExceptionRow
from tests.orchestrator.conftest import StartRig
from tests.orchestrator.moments import Hasty, when
from tests.orchestrator.rig import Rig, at_tier, truth
from tests.orchestrator.test_change import set_password
from workflows.transports import cli_session, napalm, netmiko

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ONE = "svc-1001"
OLD, NEW = "fiber-100", "fiber-500"
OLT = "olt-fra-1"
BNG = "bng-fra-1"
ARM, PLAIN, LINE = "commit-configuration confirmed", "commit-configuration plain", "service-port*"
BY_HAND = "service-port 1001 inbound traffic-table index 10 outbound traffic-table index 10"
UNIT_BY_HAND = "set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-1000M"


@pytest.fixture
def isp(start_rig: StartRig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One BNG, one OLT, and a program that does not wait long."""
    rig = start_rig(services=2, olts=1, save_s=0.02, timeout_s=2)
    rig.office = replace(rig.office, clock=Hasty())
    monkeypatch.setattr(cli_session, "LINE_S", 0.5)
    monkeypatch.setattr(napalm, "LOCK_WAIT_S", 0)
    return rig


def upgrade(rig: Rig) -> tuple[str, Outcome]:
    outcome = rig.tier(ONE, NEW)
    (item,) = outcome.items
    return item.ending, outcome


def is_done(rig: Rig, *, events: int = 1) -> None:
    at_tier(rig, ONE, NEW)
    assert truth(rig, ONE).events == ("service.adopted", *["tier.changed"] * events)
    assert recover(rig.office).outcome.exit_code() == 0
    nothing_left(rig)


def is_as_before(rig: Rig, *more: str) -> None:
    at_tier(rig, ONE, OLD)
    assert truth(rig, ONE).events == ("service.adopted", *more)
    recover(rig.office)
    nothing_left(rig)
    at_tier(rig, ONE, OLD)


def nothing_left(rig: Rig) -> None:
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
        assert list_open(session) == ()


def disputed(rig: Rig) -> ExceptionRow:
    with reading(rig.office.engine) as session:
        (row,) = list_open(session)
    return row


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
        _come_online(isp, NEW)
    is_done(isp)


def _come_online(rig: Rig, plan: str) -> None:
    down, up, _ = TIERS[plan]
    rig.fleet.control(
        BNG,
        "session_open",
        user="user1001@isp",
        acct_session_id="again",
        service=f"bandmaster({down}k,{up}k)",
    )


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


# --- other people --------------------------------------------------------------------------------


def test_a_person_edits_the_olt_inside_the_window(isp: Rig) -> None:
    """P8: their line is never overwritten; the rest goes back and a person is asked."""
    when(isp, OLT, "prepared", lambda: isp.fleet.control(OLT, "edit", lines=[BY_HAND]))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 4)
    assert (disputed(isp).participant, disputed(isp).cause) == (OLT, "foreign section")
    seen = truth(isp, ONE)
    assert seen.olt[0] == seen.olt[1] not in (0, 100_000, 500_000)
    assert seen.bng == seen.bng_startup == ("DOWN-100M", "UP-20M")
    assert seen.events == ("service.adopted",)


def test_a_person_edits_the_olt_after_the_decision(isp: Rig) -> None:
    """P8 once more: decided and billed, and the line by hand stays until a person says more."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(OLT, "edit", lines=[BY_HAND]))
    ending, outcome = upgrade(isp)
    assert outcome.exit_code() == 4
    assert (disputed(isp).participant, disputed(isp).cause) == (OLT, "foreign section")
    seen = truth(isp, ONE)
    assert seen.olt[0] == seen.olt[1] not in (0, 100_000, 500_000)
    assert (seen.bng, seen.events) == (
        ("DOWN-500M", "UP-100M"),
        ("service.adopted", "tier.changed"),
    )
    assert ending in ("done", "in doubt")


def test_a_lock_held_by_a_person_is_named_and_not_broken(isp: Rig) -> None:
    isp.fleet.control(BNG, "lock")
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "noc" in outcome.items[0].reason
    assert isp.fleet.control(BNG, "dump")["lock"] == "noc"
    isp.fleet.control(BNG, "unlock")
    is_as_before(isp)


def test_a_confirm_window_of_somebody_else_is_left_alone(isp: Rig) -> None:
    plan = isp.plan(isp.order(ONE, NEW))
    isp.fleet.control(BNG, "edit", lines=["set system host-name other"], confirm_min=5)
    with pytest.raises(StalePlan, match="commit confirmed"):
        isp.apply(plan)
    assert isp.fleet.control(BNG, "dump")["pending"] is True


# --- what devices do to words and time -----------------------------------------------------------


@pytest.mark.parametrize("device", [BNG, OLT])
def test_a_reload_while_preparing(isp: Rig, device: str) -> None:
    when(isp, OLT, "prepared", lambda: isp.fleet.control(device, "reload"))
    assert upgrade(isp)[0] == "aborted"
    if device == BNG:
        _come_online(isp, OLD)
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


# --- the door ------------------------------------------------------------------------------------


def test_a_wrong_password_is_named_and_starts_nothing(
    isp: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = isp.plan(isp.order(ONE, NEW))
    monkeypatch.setenv("BM_DEVICE_PASSWORD", "not-the-password")
    with pytest.raises(StalePlan, match="refused the login") as caught:
        isp.apply(plan)
    assert caught.value.exit_code == 5
    assert "not-the-password" not in str(caught.value)
    monkeypatch.undo()
    nothing_left(isp)


def test_a_password_that_is_wrong_only_for_recovery(
    isp: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret was changed between the crash and the recovery: nothing is lost by that."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(OLT, "die"))
    assert upgrade(isp)[0] == "in doubt"
    isp.fleet.control(OLT, "revive")
    with monkeypatch.context() as changed:
        changed.setenv("BM_DEVICE_PASSWORD", "not-the-password")
        assert recover(isp.office).outcome.exit_code() == 4
        with reading(isp.office.engine) as session:
            rows = list_open(session)
        assert {row.participant for row in rows} == {BNG, OLT}
        assert all("refused the login" in row.seen for row in rows)
    assert recover(isp.office).outcome.exit_code() == 0
    is_done(isp)


def test_another_host_key_gets_no_password(isp: Rig) -> None:
    """F8: a device that was replaced, or somebody between, is told nothing."""
    plan = isp.plan(isp.order(ONE, NEW))
    known = Path(isp.office.settings.known_hosts)
    right = known.read_text("utf-8")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()
    words = [line.split() for line in right.splitlines()]
    known.write_text("".join(f"{w[0]} {other[0]} {other[1]}\n" for w in words), "utf-8")
    since = {name: isp.fleet.control(name, "log")["last"] for name in (BNG, OLT)}
    with pytest.raises(StalePlan, match="host key"):
        isp.apply(plan)
    for name, last in since.items():
        entries = isp.fleet.control(name, "log", since=last)["entries"]
        assert {entry["what"] for entry in entries} <= {"connected", "disconnected"}
    nothing_left(isp)
    known.write_text(right, "utf-8")
    assert isp.apply(plan).exit_code() == 0


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
