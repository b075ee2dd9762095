"""What is read back: the documented shapes, and nothing that is cut, wrong or hostile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_models import golden, without

from device_templates import Objects, Section, platform, section_rate
from inventory import UNKNOWN_RATE, BadField, Rate, Unreadable

JUNOS, SMARTAX, LINUX = (platform(n) for n in ("juniper_junos", "huawei_smartax", "linux_tc"))
UNITS = tuple({"interface": "ge-0/0/1", "unit": unit} for unit in (1042, 1043, 1044, 1045, 9))
CONFIG, POLICERS = golden("juniper_junos", "committed"), golden("juniper_junos", "policers")
PORTS: tuple[Objects, ...] = tuple({"service_port": number} for number in (22, 23, 24, 25, 26))
LISTS = tuple(golden("huawei_smartax", name) for name in ("tables", "ports", "current_bbs"))
LINES = tuple({"interface": f"sub{number}", "class_minor": "10"} for number in (1, 2, 3))
RUNNING = golden("linux_tc", "running")


def leaves(section: Section) -> dict[str, str]:
    return dict(section)


def test_junos_units_and_policers_are_read() -> None:
    reading = JUNOS.parse("running", UNITS, (CONFIG, POLICERS))
    plain, other, off, inactive, absent = reading.sections
    assert leaves(plain) == {
        "state": "on",
        "input": "UP-20M",
        "output": "DOWN-100M",
        "down_kbps": "100000",
        "up_kbps": "20000",
    }
    assert plain == tuple(sorted(plain))
    assert leaves(other)["programmed"] == "no"  # forwarding still has another input policer
    assert section_rate(other) == Rate(down_kbps=100_000, up_kbps=100_000)
    assert leaves(off) == {"state": "off", "down_kbps": "0", "up_kbps": "0"}
    assert leaves(inactive)["inactive"] == "yes"
    assert section_rate(inactive) == UNKNOWN_RATE
    assert absent == ()
    rates = {profile.name: (profile.kbps, profile.kind) for profile in reading.profiles}
    assert rates == {
        "DOWN-1000M": (1_000_000, "down"),
        "DOWN-100M": (100_000, "down"),
        "UP-20M": (20_000, "up"),
        "UP-512K": (512, "up"),
        "gold": (100_000, ""),
        "mark-only": (0, ""),  # it does not limit
        "share": (0, ""),  # a share is no rate
    }


def test_junos_startup_is_read_without_the_forwarding_report() -> None:
    assert JUNOS.read("startup", UNITS) == ("config:committed",)
    reading = JUNOS.parse("startup", UNITS, (CONFIG,))
    assert "programmed" not in leaves(reading.sections[1])


@pytest.mark.parametrize(
    "line",
    [
        "deactivate interfaces ge-0/0/1",
        "deactivate interfaces ge-0/0/1 unit 1042",
        "deactivate interfaces ge-0/0/1 unit 1042 family inet",
        "deactivate interfaces ge-0/0/1 unit 1042 family inet policer input",
        "deactivate interfaces",
    ],
)
def test_what_a_person_deactivated_on_junos_is_not_taken_for_in_force(line: str) -> None:
    section = JUNOS.parse("startup", UNITS[:1], (f"{CONFIG}{line}\n",)).sections[0]
    assert leaves(section)["inactive"] == "yes"
    assert section_rate(section) == UNKNOWN_RATE


def test_a_deactivated_policer_of_junos_has_no_rate() -> None:
    text = f"{CONFIG}deactivate firewall policer UP-20M\n"
    reading = JUNOS.parse("startup", UNITS[:1], (text,))
    assert section_rate(reading.sections[0]) == Rate(down_kbps=100_000, up_kbps=0)
    assert {p.name: p.kbps for p in reading.profiles}["UP-20M"] == 0


BOMB = """<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<interface-policer-information>&b;</interface-policer-information>"""
OUTSIDE = """<!DOCTYPE x SYSTEM "file:///etc/passwd"><interface-policer-information/>"""


@pytest.mark.parametrize(
    "config",
    [
        "",
        "\n\n",
        "error: syntax error",
        "interfaces {\n    ge-0/0/1;\n}\n",
        f"{CONFIG}unknown command.\n",
        CONFIG.replace("bandwidth-limit 20m", "bandwidth-limit fast"),
        CONFIG.replace("input UP-20M", 'input "two words"'),
        "set\x00",
    ],
)
def test_a_junos_configuration_that_is_not_understood_is_unreadable(config: str) -> None:
    with pytest.raises(Unreadable):
        JUNOS.parse("running", UNITS, (config, POLICERS))


@pytest.mark.parametrize(
    "report",
    [
        "",
        "text",
        "<a>",
        "<other/>",
        BOMB,
        OUTSIDE,
        POLICERS[: len(POLICERS) // 2],
        "<rpc-reply><rpc-error><error-message>no</error-message></rpc-error></rpc-reply>",
        "<interface-policer-information>&undefined;</interface-policer-information>",
        "<interface-policer-information>\x00</interface-policer-information>",
    ],
)
def test_a_junos_report_that_is_not_understood_is_unreadable(report: str) -> None:
    with pytest.raises(Unreadable):
        JUNOS.parse("running", UNITS, (CONFIG, report))
    with pytest.raises(Unreadable):
        JUNOS.session_parse("anna@isp.example", (report,))  # type: ignore[misc]


def test_no_line_of_a_configuration_stands_in_an_error() -> None:
    secret = 'set system root-authentication encrypted-password "$6$canary"'
    for text in (f"{secret}\ncanary", f"{CONFIG}{secret}\n  canary canary"):
        with pytest.raises(Unreadable) as refused:
            JUNOS.parse("startup", UNITS, (text,))
        assert "canary" not in f"{refused.value} {refused.value.remedy}"


def test_junos_sessions_are_read_with_the_rate_of_their_service() -> None:
    (query,) = JUNOS.session_read("anna@isp.example")  # type: ignore[misc]
    assert query == "rpc:get-subscribers user-name=anna@isp.example extensive="
    text = golden("juniper_junos", "subscribers")
    (session,) = JUNOS.session_parse("anna@isp.example", (text,))  # type: ignore[misc]
    assert session.acct_session_id == "jnpr ge-0/0/1.1042:1042:71"
    assert session.rate == Rate(down_kbps=100_000, up_kbps=20_000)
    assert (session.address, session.interface) == ("198.51.100.7", "pp0.3221225480")
    assert session.started == "2026-11-20 21:04:11 UTC"
    assert JUNOS.session_parse("bert", (text,)) == ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("services", "rate"),
    [
        ((), UNKNOWN_RATE),
        (("voice",), UNKNOWN_RATE),
        (("bandmaster(1g,100m)",), Rate(down_kbps=1_000_000, up_kbps=100_000)),
        (("bandmaster(8000,512k)", "voice"), Rate(down_kbps=8, up_kbps=512)),
        (("bandmaster(2m,1m)", "bandmaster(4m,1m)"), UNKNOWN_RATE),
        (("bandmaster(2m)",), UNKNOWN_RATE),
    ],
)
def test_a_junos_rate_that_is_not_sure_is_not_known(services: tuple[str, ...], rate: Rate) -> None:
    names = "".join(f"<service-session-name>{s}</service-session-name>" for s in services)
    text = (
        "<subscribers-information><subscriber><user-name>u</user-name>"
        f"<radius-accounting-id>7</radius-accounting-id>{names}</subscriber>"
        "</subscribers-information>"
    )
    assert JUNOS.session_parse("u", (text,))[0].rate == rate  # type: ignore[misc]


@pytest.mark.parametrize(
    "login", ["", "a b", "a=b", "a;b", "../x", "a\n", "-x", "a" * 65, "\u00e9"]
)
@pytest.mark.parametrize("found", [JUNOS, LINUX], ids=lambda found: found.name)
def test_a_login_that_could_say_more_than_a_name_is_not_asked_for(
    found: object, login: str
) -> None:
    with pytest.raises(BadField):
        found.session_read(login)  # type: ignore[attr-defined]


def test_smartax_lists_are_read() -> None:
    reading = SMARTAX.parse("running", PORTS, LISTS)
    plain, off, open_end, factory, absent = reading.sections
    assert leaves(plain) == {
        "state": "on",
        "inbound": "10",
        "outbound": "11",
        "up_kbps": "20032",
        "down_kbps": "99968",
    }
    assert leaves(off)["state"] == "off"
    # `off` and `-` limit nothing, which is not the same as a rate that is not known
    assert section_rate(open_end) == Rate(down_kbps=400_000_000, up_kbps=400_000_000)
    assert leaves(factory)["up_kbps"] == "2048"  # what the line may do is the peak rate
    assert absent == ()
    usable = {profile.name: profile.kbps for profile in reading.profiles if profile.kbps}
    assert usable == {"10": 20_032, "11": 99_968, "12": 99_968, "13": 499_968}
    assert {profile.name for profile in reading.profiles} == {"0", "6", "10", "11", "12", "13"}


def test_one_smartax_service_port_reads_like_the_lists() -> None:
    tables, port, missing = (golden("huawei_smartax", n) for n in ("tables", "port", "missing"))
    some = (PORTS[0], PORTS[4])
    assert SMARTAX.read("running", some)[1:] == (
        "display service-port 22",
        "display service-port 26",
    )
    reading = SMARTAX.parse("running", some, (tables, port, missing))
    lists = SMARTAX.parse("running", PORTS, LISTS)
    assert reading.sections == (lists.sections[0], ())
    assert reading.profiles == lists.profiles


def test_smartax_startup_is_the_saved_configuration() -> None:
    saved = tuple(golden("huawei_smartax", name) for name in ("saved_global", "saved_bbs"))
    assert len(SMARTAX.read("startup", PORTS)) == len(saved)
    reading = SMARTAX.parse("startup", PORTS, saved)
    running = SMARTAX.parse("running", PORTS, LISTS)
    assert leaves(reading.sections[0])["outbound"] == "13"
    assert reading.sections[1:] == running.sections[1:]
    assert reading.profiles == running.profiles


def test_a_smartax_number_that_was_given_to_another_line_is_not_ours() -> None:
    moved: tuple[Objects, ...] = ({"service_port": 22, "ont": 9}, {"service_port": 22, "ont": 5})
    text = golden("huawei_smartax", "port")
    first, second = SMARTAX.parse("running", moved, (LISTS[0], text, text)).sections
    assert first == ()
    assert second != ()
    elsewhere: tuple[Objects, ...] = ({"service_port": 22, "port": "0/1/1"},)
    assert SMARTAX.parse("running", elsewhere, (LISTS[0], text)).sections == ((),)


def test_a_smartax_that_shows_the_directions_the_other_way_is_unreadable_alone() -> None:
    swapped = (
        golden("huawei_smartax", "port").replace(": 10\n", ": x\n").replace(": 11\n", ": 10\n")
    )
    with pytest.raises(Unreadable, match="other way"):
        SMARTAX.parse("running", PORTS[:1], (LISTS[0], swapped.replace(": x\n", ": 11\n")))


def test_a_smartax_flow_that_disagrees_with_the_configuration_is_not_programmed() -> None:
    listed = LISTS[1].replace("100        10   11 ", "100        10   13 ")
    assert listed != LISTS[1]
    reading = SMARTAX.parse("running", PORTS, (LISTS[0], listed, LISTS[2]))
    assert leaves(reading.sections[0])["programmed"] == "no"
    assert "programmed" not in leaves(reading.sections[1])


@pytest.mark.parametrize("place", range(len(LISTS)))
def test_a_line_lost_from_a_smartax_answer_is_noticed_or_harmless(place: int) -> None:
    """A disable that is lost from the configuration is the one that the list cannot show."""
    whole = SMARTAX.parse("running", PORTS, LISTS)
    noticed = 0
    for text in without(LISTS[place]):
        replies = (*LISTS[:place], text, *LISTS[place + 1 :])
        try:
            reading = SMARTAX.parse("running", PORTS, replies)
        except Unreadable:
            noticed += 1
            continue
        lost = set(LISTS[place].split("\n")) - set(text.split("\n"))
        assert reading == whole or lost == {" service-port 23 adminstatus disable"}
    assert noticed >= 5


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        (0, "Total Num : 6", "Total Num : 7"),
        (0, "  10   20032 ", "  11   20032 "),
        (0, "643024     20032", "643024     fast "),
        (1, "Total : 4", "Total : 5"),
        (1, "untag      10 ", "untag      ?? "),
        (1, "      25  103", "      26  103"),
        (2, "\nreturn", ""),
        (2, "[bbs-config]", "[other]"),
        (2, "outbound traffic-table index 11", "outbound traffic-table name x"),
        (2, "outbound traffic-table index 11", "outbound traffic-table index 99"),
        (2, "service-port 22 vlan", "service-port 22 vlan vlan"),
    ],
)
def test_a_smartax_answer_that_does_not_add_up_is_unreadable(
    place: int, old: str, new: str
) -> None:
    replies = list(LISTS)
    assert old in replies[place]
    replies[place] = replies[place].replace(old, new)
    with pytest.raises(Unreadable):
        SMARTAX.parse("running", PORTS, tuple(replies))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Index                : 22", "Index                : 23"),
        ("Admin status         : enable", "Admin status         : maybe"),
        ("RX                   : 10", "RX                   : 99"),
        ("TX                   : 11\n", ""),
        ("ONT ID               : 5\n", ""),
        ("  Index", "  Failure: System is busy, please retry after a while\n  Index"),
    ],
)
def test_a_smartax_display_that_is_not_understood_is_unreadable(old: str, new: str) -> None:
    text = golden("huawei_smartax", "port")
    assert old in text
    with pytest.raises(Unreadable):
        SMARTAX.parse("running", PORTS[:1], (LISTS[0], text.replace(old, new)))


def test_an_empty_smartax_has_none_of_our_lines() -> None:
    empty = golden("huawei_smartax", "current_bbs").split("\n")
    kept = "\n".join(line for line in empty if "service-port" not in line)
    none = "  Failure: No service virtual port can be operated\n"
    assert set(SMARTAX.parse("running", PORTS, (LISTS[0], none, kept)).sections) == {()}
    with pytest.raises(Unreadable):
        SMARTAX.parse("running", PORTS, (LISTS[0], none, LISTS[2]))


HOSTILE = st.text(max_size=200) | st.lists(
    st.sampled_from(
        [line for text in (CONFIG, POLICERS, *LISTS, RUNNING) for line in text.split("\n")]
    ),
    max_size=30,
).map("\n".join)


def breaks(parse: Callable[[], object]) -> bool:
    """Whether an answer gives an endless error; anything but an Unreadable goes up by itself."""
    try:
        parse()
    except Unreadable as problem:
        return len(str(problem)) > 300
    return False


@settings(max_examples=400, deadline=None, derandomize=True)
@given(replies=st.tuples(HOSTILE, HOSTILE, HOSTILE), few=st.booleans())
def test_no_answer_breaks_a_parser(replies: tuple[str, str, str], *, few: bool) -> None:
    """Goal: a reading or Unreadable, never another error. Method: noise, real lines shuffled."""
    ports = PORTS[:2] if few else PORTS
    assert not breaks(lambda: SMARTAX.parse("running", ports, replies))
    assert not breaks(lambda: JUNOS.parse("running", UNITS, replies[:2]))
    assert not breaks(lambda: LINUX.parse("running", LINES, replies[:1]))
    for found in (JUNOS, LINUX):
        assert not breaks(lambda found=found: found.session_parse("u", replies[:1]))
