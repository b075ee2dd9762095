"""The emulated Junos router as NAPALM's own driver sees it when nothing fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from jnpr.junos.exception import CommitError, ConnectAuthError, RpcError
from junos_rig import CONFIG, NEW, OLD, SESSION, TOKEN, bng, calls, opened, prepare, runs
from napalm.base.exceptions import LockError, MergeConfigException

from tests.conftest import StartFleet


@pytest.mark.parametrize("framing", ["1.0", "1.1"])
def test_a_confirmed_commit_lives_through_all_its_steps(
    start_fleet: StartFleet, subnet: str, framing: str
) -> None:
    spec = bng(subnet, framing=framing)
    fleet = start_fleet(spec)
    with opened(spec, config_lock=True) as driver:
        driver.load_merge_candidate(config=NEW)
        assert driver.compare_config().splitlines() == [
            "[edit interfaces ge-0/0/1 unit 1042 family inet policer]",
            "-   output DOWN-50M;",
            "+   output DOWN-100M;",
        ]
        assert runs(fleet, OLD)
        driver.commit_config(message=TOKEN, revert_in=120)
        assert runs(fleet, NEW)
        assert driver._get_pending_commits() == {"re0-1767236400-2": 120}
        driver.confirm_commit()
        assert driver.has_pending_commit() is False
    state = fleet.control("bng1", "dump")
    assert (state["pending"], state["lock"], state["candidate"]) == (False, None, None)
    assert state["startup"] == state["running"]
    assert NEW in state["running"]


def test_every_call_is_logged_in_order(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
    assert calls(fleet) == [
        "session opened",
        "lock-configuration",
        "load-configuration",
        "commit-configuration",
        "unlock-configuration",
        "close-session",
        "session ended",
    ]
    last = fleet.control("bng1", "log")["last"]
    assert calls(fleet, since=last) == []


def test_the_history_carries_token_and_marker(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        newest = driver.device.rpc.get_commit_information().find("commit-history")
        assert newest.findtext("log") == TOKEN
        assert newest.findtext("comment") == "commit confirmed, rollback in 1mins"
        assert newest.findtext("commit-confirmed") == "rollback pending"
        driver.confirm_commit()
        entries = driver.device.rpc.get_commit_information().findall("commit-history")
        assert [entry.findtext("log") for entry in entries] == [None, TOKEN, None]
        assert [entry.findtext("commit-confirmed") for entry in entries] == [None, None, None]


def test_the_configuration_reads_in_both_forms(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    start_fleet(spec)
    with opened(spec) as driver:
        lines = driver.get_config("running", format="set")["running"].split("\n")
        assert sorted(filter(None, lines)) == sorted(filter(None, CONFIG.split("\n")))
        driver.load_merge_candidate(config=NEW)
        both = driver.get_config()
        inside = "policer {\n                    input DOWN-50M;\n                    output "
        assert inside + "DOWN-50M;" in both["running"]
        assert inside + "DOWN-100M;" in both["candidate"]
        assert 'description "line of service 1042";' in both["running"]
        driver.discard_config()


def test_a_filter_cuts_the_configuration_to_top_statements(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    start_fleet(spec)
    with opened(spec) as driver:
        options = {"format": "set", "database": "committed"}
        read = driver.device.rpc.get_config
        text = read(filter_xml="<configuration><system/></configuration>", options=options).text
        assert text.split() == ["set", "system", "host-name", "bng1"]
        with pytest.raises(RpcError, match="not implemented"):
            read(filter_xml="<system><host-name/></system>", options=options)


def test_facts_are_answered(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    start_fleet(spec)
    with opened(spec) as driver:
        facts = driver.get_facts()
    assert facts["hostname"] == "bng1"
    assert facts["os_version"] == "23.4R1.10"
    assert facts["interface_list"] == ["ge-0/0/1"]


def test_uptime_follows_the_device_clock(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "advance", seconds=90)
    with opened(spec) as driver:
        assert driver.device.uptime == 90


def test_a_policer_that_does_not_exist_fails_the_commit(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        driver.load_merge_candidate(config=NEW.replace("DOWN-100M", "DOWN-9G"))
        with pytest.raises(CommitError, match="Policer 'DOWN-9G' is not defined") as caught:
            driver.commit_config(message=TOKEN, revert_in=60)
        assert caught.value.errs[0]["edit_path"] == (
            "[edit interfaces ge-0/0/1 unit 1042 family inet policer]"
        )
        state = fleet.control("bng1", "dump")
        assert state["lock"] == "bandmaster"
        assert state["candidate"] is not None
        assert state["commits"] == 1
        driver.discard_config()
    assert fleet.control("bng1", "dump")["lock"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("set firewal policer X then discard", "syntax error"),
        ("set firewall policer X if-exceeding bandwidth-limit -5", "invalid value"),
        ("set interfaces ge-0/0/1 unit 7 family inet policer input", "missing argument"),
    ],
)
def test_wrong_lines_are_refused_at_load(
    start_fleet: StartFleet, subnet: str, line: str, message: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        with pytest.raises(MergeConfigException, match=message):
            driver.load_merge_candidate(config=f"{NEW}\n{line}")
        state = fleet.control("bng1", "dump")
        assert (state["candidate"], state["lock"]) == (None, None)


def test_deleting_what_is_not_there_is_a_warning(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    missing = "delete interfaces ge-0/0/9"
    with opened(spec) as driver, pytest.raises(MergeConfigException, match="statement not found"):
        driver.load_merge_candidate(config=missing)
    with opened(spec, ignore_warning=True) as driver:
        driver.load_merge_candidate(config=f"{missing}\ndelete {OLD[4:]}")
        driver.commit_config()
    assert not runs(fleet, OLD)


def test_a_form_that_is_not_implemented_is_refused(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    start_fleet(spec)
    with opened(spec) as driver, pytest.raises(MergeConfigException, match="only action=set"):
        driver.load_merge_candidate(config="system { host-name other; }")


def test_a_call_that_is_not_implemented_is_refused(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    start_fleet(spec)
    with opened(spec) as driver, pytest.raises(RpcError, match="syntax error"):
        driver.device.rpc.get_bgp_summary_information()


def test_a_lock_keeps_the_others_out(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec, config_lock=True) as mine, opened(spec, lock_disable=True) as other:
        with pytest.raises(CommitError, match="locked by:\n  bandmaster netconf"):
            other.commit_config()
        with pytest.raises(ValueError, match="locked by"):
            fleet.control("bng1", "edit", lines=["set system host-name theirs"])
        prepare(mine)
        with pytest.raises(CommitError, match="locked by"):
            other.confirm_commit()
        mine.confirm_commit()
    fleet.control("bng1", "edit", lines=["set system host-name theirs"])
    assert runs(fleet, "set system host-name theirs")


def test_a_person_in_exclusive_mode_blocks_the_load(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "lock")
    with opened(spec) as driver, pytest.raises(LockError, match="noc cli"):
        driver.load_merge_candidate(config=NEW)
    fleet.control("bng1", "unlock")
    with opened(spec) as driver:
        prepare(driver)


def test_unsaved_edits_of_a_person_block_the_lock(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    fleet.control("bng1", "edit_uncommitted", lines="set system host-name half-done")
    with opened(spec) as driver, pytest.raises(LockError, match="database modified"):
        driver.load_merge_candidate(config=NEW)
    assert not runs(fleet, "set system host-name half-done")


def test_edits_without_a_commit_go_with_the_session(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        driver.load_merge_candidate(config=NEW)
        assert fleet.control("bng1", "dump")["candidate"] is not None
    state = fleet.control("bng1", "dump")
    assert (state["candidate"], state["lock"]) == (None, None)
    assert runs(fleet, OLD)


def test_rollback_in_the_window_restores_and_after_it_does_not(
    start_fleet: StartFleet, subnet: str
) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        prepare(driver)
        driver.rollback()
        assert runs(fleet, OLD)
        assert driver.has_pending_commit() is False
        prepare(driver)
        driver.confirm_commit()
        driver.rollback()
        assert runs(fleet, NEW)  # the confirming commit is an entry of its own
        text = driver.device.rpc.get_rollback_information(rollback="3", format="set")
        assert OLD in text.findtext(".//configuration-output").splitlines()


def test_forwarding_shows_the_policers(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet)
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        read = driver.device.rpc.get_interface_policer_information

        def output() -> str | None:
            unit = read(interface_name="ge-0/0/1.1042").find(".//logical-interface")
            assert unit.findtext("name") == "ge-0/0/1.1042"
            text: str | None = unit.findtext("policer-family/policer-output")
            return text

        assert output() == "DOWN-50M-ge-0/0/1.1042-inet-o"
        fleet.control("bng1", "knob", name="not_programmed", value=["ge-0/0/1.1042"])
        prepare(driver)
        assert runs(fleet, NEW)
        assert output() == "DOWN-50M-ge-0/0/1.1042-inet-o"
        fleet.control("bng1", "program")
        assert output() == "DOWN-100M-ge-0/0/1.1042-inet-o"
        driver.rollback()
        assert output() == "DOWN-100M-ge-0/0/1.1042-inet-o"
        assert read(interface_name="ge-9/9/9").find(".//logical-interface") is None


def test_subscribers_are_listed_by_name(start_fleet: StartFleet, subnet: str) -> None:
    bob = {**SESSION, "user": "bob@isp", "acct_session_id": "s-2"}
    spec = bng(subnet, sessions=[SESSION, bob])
    fleet = start_fleet(spec)
    with opened(spec) as driver:
        found = driver.device.rpc.get_subscribers(user_name="alice@isp", detail=True)
        assert [row.findtext("user-name") for row in found] == ["alice@isp"]
        assert found.findtext("subscriber/radius-accounting-id") == "s-1"
        assert found.findtext("subscriber/service-session-name") == "bandmaster(50000k,10000k)"
        assert found.findtext("subscriber/effective-shaping-rate") == "50000k"
        assert len(driver.device.rpc.get_subscribers()) == 2
        fleet.control("bng1", "session_close", acct_session_id="s-1")
        assert len(driver.device.rpc.get_subscribers()) == 1


def test_a_wrong_password_is_refused(start_fleet: StartFleet, subnet: str) -> None:
    spec = bng(subnet, users={"other": "pass"})
    fleet = start_fleet(spec)
    stranger = bng(subnet)
    object.__setattr__(stranger, "password", "no")
    with pytest.raises(ConnectAuthError), opened(stranger):
        pass
    seen = [entry["what"] for entry in fleet.control("bng1", "log")["entries"]]
    assert seen[:2] == ["connected", "login of bandmaster refused"]
    object.__setattr__(stranger, "username", "other")
    object.__setattr__(stranger, "password", "pass")
    with opened(stranger) as driver:
        assert driver.is_alive() == {"is_alive": True}


def test_two_hundred_devices_share_one_process(start_fleet: StartFleet, subnet: str) -> None:
    specs = [bng(subnet, number) for number in range(1, 201)]
    fleet = start_fleet(*specs)

    def change(place: int) -> bool:
        with opened(specs[place]) as driver:
            prepare(driver)
            driver.confirm_commit()
        return True

    places = range(0, 200, 10)
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(change, places))
    new = [name for name in fleet.devices if runs(fleet, NEW, name)]
    assert new == [specs[place].name for place in places]
