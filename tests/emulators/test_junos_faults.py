"""What NAPALM's own driver makes of the emulated Junos router when things go wrong."""

from __future__ import annotations

import pytest
from jnpr.junos.exception import (
    CommitError,
    ConnectClosedError,
    ConnectRefusedError,
    RpcTimeoutError,
)
from junos_rig import NEW, OLD, SESSION, TOKEN, bng, calls, opened, prepare, runs, shut, wait_until
from lxml.etree import XMLSyntaxError
from napalm.base.exceptions import LockError, MergeConfigException

from lab.emulators.fleet import Fleet
from tests.conftest import StartFleet

CONFIRMED = "commit-configuration confirmed"
PLAIN = "commit-configuration plain"


def pending(fleet: Fleet) -> bool:
    return bool(fleet.control("bng1", "dump")["pending"])


def nobody_on(fleet: Fleet) -> bool:
    return not fleet.control("bng1", "dump")["netconf_sessions"]


def test_a_refused_commit_raises_and_keeps_the_lock(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="refuse", arg="permission denied")
    with opened(spec) as driver:
        with pytest.raises(CommitError, match="permission denied"):
            prepare(driver)
        assert fleet.control("bng1", "dump")["lock"] == "bandmaster"
        assert runs(fleet, OLD)
        driver.commit_config(message=TOKEN, revert_in=60)  # the fault was good for one call
        assert runs(fleet, NEW)


def test_a_refused_load_raises(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb="load-configuration set", kind="refuse", arg="disk full")
    with opened(spec) as driver, pytest.raises(MergeConfigException, match="disk full"):
        driver.load_merge_candidate(config=NEW)


@pytest.mark.parametrize(("kind", "line"), [("drop_before", OLD), ("drop_after", NEW)])
def test_a_connection_lost_at_the_commit_leaves_either_state(
    start_fleet: StartFleet, subnet: str, kind: str, line: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind=kind)
    with opened(spec) as driver, pytest.raises(ConnectClosedError):
        prepare(driver)
    wait_until(lambda: nobody_on(fleet))
    state = fleet.control("bng1", "dump")
    assert runs(fleet, line)
    assert state["pending"] is (kind == "drop_after")
    assert (state["lock"], state["candidate"]) == (None, None)


def test_another_session_confirms_what_was_left_pending(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="drop_after")
    with opened(spec) as driver, pytest.raises(ConnectClosedError):
        prepare(driver)
    wait_until(lambda: nobody_on(fleet))
    with opened(spec) as driver:
        assert driver.has_pending_commit() is True
        driver.confirm_commit()
    fleet.control("bng1", "advance", seconds=3600)
    assert runs(fleet, NEW)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_connection_lost_at_the_confirm_leaves_either_state(
    start_fleet: StartFleet, subnet: str, kind: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        fleet.control("bng1", "fault", verb=PLAIN, kind=kind)
        with pytest.raises(ConnectClosedError):
            driver.confirm_commit()
    assert pending(fleet) is (kind == "drop_before")
    fleet.control("bng1", "advance", seconds=60)
    assert runs(fleet, OLD if kind == "drop_before" else NEW)


@pytest.mark.parametrize(("kind", "line"), [("hang_before", OLD), ("hang_after", NEW)])
def test_a_commit_without_an_answer_leaves_either_state(
    start_fleet: StartFleet, subnet: str, kind: str, line: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind=kind)
    with opened(spec, timeout_s=1) as driver:
        with pytest.raises(RpcTimeoutError):
            prepare(driver)
        assert runs(fleet, line)
        assert fleet.control("bng1", "dump")["lock"] == "bandmaster"
        assert driver.is_alive() == {"is_alive": True}
    assert fleet.control("bng1", "dump")["lock"] is None


def test_a_lock_without_an_answer_is_ours_until_we_close(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb="lock-configuration", kind="hang_after")
    with opened(spec, timeout_s=1) as driver:
        with pytest.raises(LockError):
            driver.load_merge_candidate(config=NEW)
        assert fleet.control("bng1", "dump")["lock"] == "bandmaster"
    assert fleet.control("bng1", "dump")["lock"] is None


def test_a_late_answer_is_swallowed_and_the_session_lives(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="answer_late", arg=5)
    with opened(spec, timeout_s=1) as driver:
        with pytest.raises(RpcTimeoutError):
            prepare(driver)
        assert runs(fleet, NEW)
        fleet.control("bng1", "advance", seconds=5)
        assert driver.has_pending_commit() is True
        driver.confirm_commit()
    assert not pending(fleet)


def test_a_slow_commit_is_executed_when_its_time_comes(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="delay", arg=5)
    with opened(spec, timeout_s=1) as driver:
        with pytest.raises(RpcTimeoutError):
            prepare(driver)
        assert runs(fleet, OLD)
        fleet.control("bng1", "advance", seconds=5)
        assert runs(fleet, NEW)


def test_a_commit_is_executed_after_the_connection_was_lost(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="late", arg=30)
    with opened(spec) as driver, pytest.raises(ConnectClosedError):
        prepare(driver)
    state = fleet.control("bng1", "dump")
    assert (state["pending"], state["lock"]) == (False, "bandmaster")
    with opened(spec) as driver, pytest.raises(LockError, match="locked by"):
        driver.load_merge_candidate(config=OLD)
    fleet.control("bng1", "advance", seconds=30)
    state = fleet.control("bng1", "dump")
    assert (state["pending"], state["lock"]) == (True, None)
    assert runs(fleet, NEW)
    assert "executed late" in calls(fleet)


def test_a_reload_forgets_what_was_to_be_executed_late(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="late", arg=30)
    with opened(spec) as driver, pytest.raises(ConnectClosedError):
        prepare(driver)
    fleet.control("bng1", "reload")
    fleet.control("bng1", "advance", seconds=30)
    state = fleet.control("bng1", "dump")
    assert (state["pending"], state["lock"], state["commits"]) == (False, None, 1)
    assert "executed late" not in calls(fleet)


def test_an_answer_cut_short_breaks_the_connection(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="drop_bytes", arg=40)
    with opened(spec) as driver, pytest.raises(ConnectClosedError):
        prepare(driver)
    assert pending(fleet)


def test_a_broken_answer_comes_after_the_commit(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="garbage")
    with (
        opened(spec) as driver,
        pytest.warns(RuntimeWarning, match="unknown exception"),
        pytest.raises(XMLSyntaxError),
    ):
        prepare(driver)
    assert pending(fleet)


def test_a_warning_is_raised_although_the_commit_happened(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="warning", arg="license is missing")
    with opened(spec) as driver, pytest.raises(CommitError, match="license is missing"):
        prepare(driver)
    assert pending(fleet)


def test_a_dead_device_refuses_until_it_is_revived(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "fault", verb=CONFIRMED, kind="die")
    with opened(spec) as driver, pytest.raises(ConnectClosedError):
        prepare(driver)
    with pytest.raises(ConnectRefusedError), opened(spec):
        pass
    fleet.control("bng1", "revive")
    with opened(spec) as driver:
        prepare(driver)
    assert runs(fleet, NEW)


def test_dying_and_coming_back_in_one_breath_is_survived(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    for verb in ("die", "revive", "die", "revive", "reload"):
        fleet.control("bng1", verb)
    with opened(spec) as driver:
        prepare(driver)


def test_a_fault_waits_for_its_turn_and_counts(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fault = {"verb": "lock-*", "kind": "refuse", "arg": "busy", "skip": 1, "count": 2}
    fleet.control("bng1", "fault", **fault)
    results = []
    with opened(spec) as driver:
        for _ in range(4):
            try:
                driver.load_merge_candidate(config=NEW)
                driver.discard_config()
                results.append("ok")
            except LockError:
                results.append("busy")
        assert results == ["ok", "busy", "busy", "ok"]
    fleet.control("bng1", "fault", **fault)
    fleet.control("bng1", "clear")
    assert fleet.control("bng1", "dump")["faults"] == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "explode"}, "no fault kind 'explode'"),
        ({"kind": "late", "arg": "soon"}, "late needs a number"),
        ({"kind": "refuse", "times": 2}, "no field times"),
        ({"kind": "refuse", "count": 0}, "count must be 1"),
        ({"verb": "CoA-Request", "kind": "refuse", "arg": 503}, "no RADIUS"),
    ],
)
def test_a_fault_that_makes_no_sense_is_not_armed(
    start_fleet: StartFleet, subnet: str, fault: dict[str, object], message: str
) -> None:
    fleet = start_fleet(bng(subnet))
    with pytest.raises(ValueError, match=message):
        fleet.control("bng1", "fault", **fault)


def test_the_timer_takes_the_commit_back(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver, revert_in_s=120)
        fleet.control("bng1", "advance", seconds=119)
        assert runs(fleet, NEW)
        fleet.control("bng1", "expire")
        assert runs(fleet, OLD)
        assert driver.has_pending_commit() is False
        newest = driver.device.rpc.get_commit_information().find("commit-history")
        assert (newest.findtext("user"), newest.findtext("client")) == ("root", "other")
        driver.confirm_commit()  # comes too late, and nothing says so
    assert runs(fleet, OLD)


def test_a_fast_clock_lets_the_timer_run_out_by_itself(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet, speed=1200)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        driver.load_merge_candidate(config=NEW)
        driver.commit_config(message=TOKEN, revert_in=60)
        wait_until(lambda: not pending(fleet))
    assert runs(fleet, OLD)


def test_a_commit_of_a_person_confirms_ours(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
    fleet.control("bng1", "edit", lines=["set system host-name theirs"], log="by hand")
    with opened(spec) as driver:
        assert driver.has_pending_commit() is False
    fleet.control("bng1", "advance", seconds=3600)
    assert runs(fleet, NEW)
    assert runs(fleet, "set system host-name theirs")


def test_a_commit_check_confirms_although_napalm_sees_it_pending(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        fleet.control("bng1", "commit_check")
        fleet.control("bng1", "advance", seconds=3600)
        assert runs(fleet, NEW)
        assert driver.has_pending_commit() is True  # it reads only the text of the comment
        newest = driver.device.rpc.get_commit_information().find("commit-history")
        assert newest.findtext("commit-confirmed") is None


def test_edits_of_a_person_go_out_with_our_confirm(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        fleet.control("bng1", "edit_uncommitted", lines=["set system host-name theirs"])
        driver.confirm_commit()
    assert runs(fleet, "set system host-name theirs")


@pytest.mark.parametrize(("second", "line"), [("keep", OLD), ("confirm", NEW)])
def test_a_second_confirmed_commit_keeps_or_moves_the_point_to_return_to(
    start_fleet: StartFleet, subnet: str, second: str, line: str
) -> None:
    spec = bng(subnet, second_confirm=second)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        fleet.control("bng1", "advance", seconds=50)
        driver.commit_config(message=TOKEN, revert_in=60)
        fleet.control("bng1", "advance", seconds=50)
        assert pending(fleet)
        fleet.control("bng1", "advance", seconds=10)
    assert runs(fleet, line)


@pytest.mark.parametrize("reverts", [True, False])
def test_a_lost_session_may_take_its_commit_along(
    start_fleet: StartFleet, subnet: str, *, reverts: bool
) -> None:
    spec = bng(subnet, revert_on_loss=reverts)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        assert runs(fleet, NEW)
    assert runs(fleet, OLD if reverts else NEW)
    assert pending(fleet) is not reverts


def test_a_killed_session_takes_its_commit_along(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as mine, opened(spec) as other:
        prepare(mine)
        number = fleet.control("bng1", "dump")["netconf_sessions"][0]
        other.device.rpc.kill_session(session_id=str(number))
        assert runs(fleet, OLD)
        with pytest.raises(ConnectClosedError):
            mine.confirm_commit()


def test_a_reload_in_the_window_brings_back_the_old(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet, sessions=[SESSION])
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        state = fleet.control("bng1", "dump")
        assert OLD in state["startup"]
        fleet.control("bng1", "advance", seconds=30)
        fleet.control("bng1", "reload")
        with pytest.raises(ConnectClosedError):
            driver.has_pending_commit()
    state = fleet.control("bng1", "dump")
    assert (state["pending"], state["lock"], state["sessions"]) == (False, None, [])
    assert OLD in state["running"]
    with opened(spec) as driver:
        assert driver.device.uptime == 0


def test_a_reload_after_the_confirm_keeps_the_new(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        driver.confirm_commit()
    fleet.control("bng1", "reload", down_s=60)
    with pytest.raises(ConnectRefusedError), opened(spec):
        pass
    fleet.control("bng1", "advance", seconds=60)
    with opened(spec):
        assert runs(fleet, NEW)


def test_cutting_the_connections_leaves_the_commit_pending(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec, config_lock=True) as driver:
        prepare(driver)
        fleet.control("bng1", "cut")
        wait_until(lambda: nobody_on(fleet))
        with pytest.raises(ConnectClosedError):
            driver.confirm_commit()
        shut(driver)
        driver.open()  # the same object works again
        assert driver.has_pending_commit() is True
    assert pending(fleet)


def test_a_client_that_speaks_no_netconf_is_cut_off(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        channel = driver.device._conn._session._channel
        channel.sendall(b"<rpc>]]>]]>")
        wait_until(lambda: nobody_on(fleet))
    assert "session cut" in calls(fleet)


def test_unknown_verbs_and_options_are_named(start_fleet: StartFleet, subnet: str) -> None:
    fleet = start_fleet(bng(subnet))
    with pytest.raises(ValueError, match="does not know 'explode'"):
        fleet.control("bng1", "explode")
    with pytest.raises(ValueError, match="no device 'bng7'"):
        fleet.control("bng7", "dump")
    with pytest.raises(ValueError, match="unknown options colour"):
        Fleet([bng(subnet, 2, colour="red")])
