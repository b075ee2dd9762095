"""Faults of the SmartAX emulator as netmiko meets them: lost answers, alarms, pages, questions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from netmiko.exceptions import (
    NetmikoAuthenticationException,
    NetmikoTimeoutException,
    ReadTimeout,
)
from ntc_templates.parse import parse_output
from paramiko import Channel
from smartax_rig import (
    LOST,
    PLAIN,
    StartFleet,
    StartRig,
    columns,
    everything,
    push,
    rebind,
    running_rigs,
)


@pytest.fixture
def start_rig(start_fleet: StartFleet, subnet: str) -> Iterator[StartRig]:
    """Starts a Rig by the options of its device."""
    with running_rigs(start_fleet, subnet) as start:
        yield start


# Lost answers.


@pytest.mark.parametrize(
    ("kind", "applied"),
    [("drop_before", 20), ("drop_after", 22), ("hang_before", 20), ("hang_after", 22)],
)
def test_a_lost_answer_looks_the_same_whether_applied_or_not(
    start_rig: StartRig, kind: str, applied: int
) -> None:
    rig = start_rig()
    session = rig.connect()
    session.config_mode()
    rig.control("fault", verb=rebind(2), kind=kind)
    with pytest.raises(LOST):
        push(session, [rebind(1), rebind(2), rebind(3)], read_timeout=1)
    assert [rig.bound(n)[1] for n in (1, 2, 3)] == [22, applied, 20]
    again = rig.connect()
    assert columns(again.send_command("display service-port all"), 2)[1] == str(applied)


def test_a_connection_cut_in_the_middle_of_an_answer(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    session.config_mode()
    rig.control("fault", verb=rebind(1), kind="drop_bytes", arg=30)
    session.write_channel(rebind(1) + "\n")
    assert everything(session) == rebind(1)[:30]
    assert rig.bound(1) == (21, 22)


def test_a_line_executed_late_shows_its_session_until_then(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb="service-port *", kind="late", arg=20)
    with pytest.raises(LOST):
        push(session, [rebind(1)], read_timeout=1)
    again = rig.connect()
    assert "Total : 2" in again.send_command("display client")
    assert rig.bound(1) == (21, 20)
    rig.control("advance", seconds=20)
    assert rig.bound(1) == (21, 22)
    assert "Total : 1" in again.send_command("display client")


def test_a_late_line_dies_with_its_session_when_that_is_kicked_off(
    start_rig: StartRig,
) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb="service-port *", kind="late", arg=20)
    with pytest.raises(LOST):
        push(session, [rebind(1)], read_timeout=1)
    again = rig.connect()
    assert "Failure:" in again.send_command("client kick-off 2")  # that is this very session
    assert "Failure:" not in again.send_command("client kick-off 1")
    assert "Failure:" in again.send_command("client kick-off 1")
    rig.control("advance", seconds=20)
    assert rig.bound(1) == (21, 20)


def test_kicking_off_a_human_cuts_only_that_session(start_rig: StartRig) -> None:
    rig = start_rig()
    first, second = rig.connect(), rig.connect()
    human = rig.control("login", user="noc")["id"]
    text = second.send_command("display client")
    assert [line.split()[:2] for line in text.splitlines() if line.split()[:1] == [str(human)]] == [
        [str(human), "noc"]
    ]
    second.send_command("client kick-off 1")
    with pytest.raises(LOST):
        first.send_command("display sysuptime", read_timeout=1)
    rig.control("logout", id=human)
    assert "Total : 1" in second.send_command("display client")


def test_a_slow_answer_comes_and_a_given_up_one_is_still_executed(
    start_rig: StartRig,
) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb="service-port *", kind="delay", arg=5, count=2)
    session.config_mode()
    session.write_channel(rebind(1) + "\n" + rebind(2) + "\n")
    session.read_until_pattern("outbound traffic-table index 22")
    rig.control("advance", seconds=5)
    session.read_until_pattern(r"\(config\)#")
    assert [rig.bound(n)[1] for n in (1, 2)] == [22, 20]
    session.paramiko_cleanup()
    assert "Total : 2" in rig.connect().send_command("display client")
    rig.control("advance", seconds=5)
    assert rig.bound(2) == (21, 22)


def test_a_dead_device_refuses_connections_until_it_is_revived(
    start_rig: StartRig,
) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb=rebind(2), kind="die")
    with pytest.raises(LOST):
        push(session, [rebind(1), rebind(2)], read_timeout=1)
    with pytest.raises(NetmikoTimeoutException):
        rig.connect()
    rig.control("revive")
    assert columns(rig.connect().send_command("display service-port all"), 1)[1] == "22"
    assert rig.bound(2) == (21, 20)


# Other trouble.


def test_an_alarm_in_the_echo_costs_the_answer_of_an_applied_line(
    start_rig: StartRig,
) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb=rebind(1), kind="alarm_echo")
    with pytest.raises(ReadTimeout):
        push(session, [rebind(1)], read_timeout=1)
    assert rig.bound(1) == (21, 22)


def test_an_alarm_between_lines_does_no_harm(start_rig: StartRig) -> None:
    rig = start_rig()
    rig.control("fault", verb="service-port *", kind="alarm", count=5)
    assert "ALARM NAME" in push(rig.connect(), [rebind(n) for n in range(1, 6)])
    assert [rig.bound(n)[1] for n in range(1, 6)] == [22] * 5


def test_a_silent_line_is_accepted_and_not_applied(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb=rebind(1), kind="silent")
    push(session, [rebind(1)])
    assert columns(session.send_command("display service-port all"), 1)[1] == "20"


def test_busy_by_order_passes(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    rig.control("fault", verb="save", kind="busy", count=2)
    assert "System is busy" in session.save_config()
    assert "System is busy" in session.save_config()
    assert "please wait" in session.save_config()


def test_a_human_edits_saves_and_is_recorded(start_rig: StartRig) -> None:
    rig = start_rig()
    session = rig.connect()
    modify = "traffic table ip modify index 20 cir 64 pir 64"
    answers = rig.control("edit", lines=[rebind(5), modify], user="noc")["answers"]
    assert [answer["text"] for answer in answers] == ["", ""]
    assert "PIR                  : 64 kbps" in session.send_command(
        "display traffic table ip name DOWN-100M"
    )
    assert rig.bound(5, saved=True) == (21, 20)
    rig.control("save")
    assert rig.bound(5, saved=True) == (21, 22)
    assert rig.lines("noc") == [rebind(5), modify]
    assert rig.lines()[-1] == "display traffic table ip name DOWN-100M"


def test_autosave_makes_an_unconfirmed_change_durable(start_rig: StartRig) -> None:
    rig = start_rig(autosave_s=60)
    push(rig.connect(), [rebind(1)])
    rig.control("advance", seconds=59)
    assert rig.bound(1, saved=True) == (21, 20)
    rig.control("advance", seconds=1)
    assert rig.bound(1, saved=True) == (21, 22)


# Pages, questions, banners.


def test_a_600_row_list_is_read_whole_when_scroll_ends_paging(
    start_rig: StartRig,
) -> None:
    session = start_rig(count=600).connect()
    text = session.send_command("display service-port all")
    rows = parse_output(platform="huawei_smartax", command="display service-port all", data=text)
    assert len(rows) == 600
    assert (rows[599]["index"], rows[599]["rx"], rows[599]["tx"]) == ("600", "21", "20")


def test_where_scroll_ends_at_512_lines_the_reader_must_turn_the_page(
    start_rig: StartRig,
) -> None:
    session = start_rig(count=600, scroll_max=512).connect()
    with pytest.raises(ReadTimeout):
        session.send_command("display service-port all", read_timeout=1)
    session.write_channel(" ")
    rest = session.read_until_prompt()
    assert columns(rest, 600) == ["21", "20", "up"]
    session.write_channel("display service-port all\n")
    session.read_until_pattern("Press 'Q' to break")
    session.write_channel("q")
    assert "600" not in session.read_until_prompt()
    assert "Total : 1" in session.send_command("display client")


def test_smart_interaction_asks_before_it_runs(start_rig: StartRig) -> None:
    rig = start_rig(keep_smart=True)
    session = rig.connect()
    text = session.send_command("display service-port all", expect_string=r"\|\|<K> \}:")
    text = session.send_command("", expect_string="OLT1#", cmd_verify=False)
    assert "Command:\n          display service-port all" in text.replace("\r", "")
    assert columns(text, 12) == ["21", "20", "up"]
    push(session, [rebind(1)])
    assert rig.bound(1) == (21, 22)


def test_the_banner_may_ask_for_yes(start_rig: StartRig) -> None:
    rig = start_rig(yes_banner=True)
    assert "Total : 1" in rig.connect().send_command("display client")
    assert rig.lines()[0] == "yes"


def test_a_wrong_password_is_refused(start_rig: StartRig) -> None:
    with pytest.raises(NetmikoAuthenticationException):
        start_rig().connect(password="wrong")


def test_configuration_lines_need_configuration_mode(start_rig: StartRig) -> None:
    session = start_rig().connect()
    assert "% Unknown command" in session.send_command(rebind(1))


def test_what_is_typed_slowly_is_echoed_once(start_rig: StartRig) -> None:
    session = start_rig().connect()
    session.write_channel("display ser")
    session.read_until_pattern("display ser")
    session.write_channel("vice-port 1\n")
    answer = session.read_until_prompt()
    assert answer.startswith("vice-port 1\n")
    assert answer.count("service-port") == 0


def test_a_long_line_is_echoed_with_the_marks_of_a_terminal(
    start_rig: StartRig,
) -> None:
    """The marks are on the wire, and netmiko takes them out."""
    rig = start_rig()
    session = rig.connect()
    session.config_mode()
    line = f"traffic table ip index 50 name {'X' * 32} cir 64 cbs 2000 pir 64 pbs 2000 {PLAIN}"
    session.write_channel(line + "\n")
    channel = session.remote_conn
    assert isinstance(channel, Channel)
    assert b" \x1b[1D" in channel.recv(4096)
    assert line.replace("50", "51").replace("X", "Y") in push(
        session, [line.replace("50", "51").replace("X", "Y")]
    )
