"""Other people on the same devices, and a door that does not open: nothing of theirs is touched."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from inventory import StalePlan
from orchestrator.database import reading
from orchestrator.exceptions import list_open
from orchestrator.recover import recover
from tests.orchestrator.moments import (
    BNG,
    NEW,
    OLT,
    ONE,
    disputed,
    is_as_before,
    is_done,
    nothing_left,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, truth

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

BY_HAND = "service-port 1001 inbound traffic-table index 10 outbound traffic-table index 10"


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """One BNG, one OLT, and a program that does not wait long."""
    return hasty_rig


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
