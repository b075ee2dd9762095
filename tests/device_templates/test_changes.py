"""From what was read to what is wanted and back: targets, lines, and devices that take them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_models import (
    JunosModel,
    Model,
    SmartaxModel,
    TcModel,
    golden,
    read,
    upgrade,
)

from device_templates import (
    Objects,
    Platform,
    ProfileSeen,
    as_section,
    gate,
    gate_profiles,
    platform,
    section_rate,
)
from inventory import ProfileMissing, Rate, Refused

JUNOS, SMARTAX, LINUX = (platform(n) for n in ("juniper_junos", "huawei_smartax", "linux_tc"))
UNIT: Objects = {"interface": "ge-0/0/1", "unit": 1042}
PORT: Objects = {"service_port": 101}
LINE: Objects = {"interface": "sub1", "class_minor": "10"}
OTHERS: dict[str, tuple[Objects, ...]] = {
    "juniper_junos": tuple({**UNIT, "unit": unit} for unit in (1043, 1044)),
    "huawei_smartax": tuple({"service_port": number} for number in (100, 102, 103)),
    "linux_tc": ({**LINE, "interface": "sub2"},),
}
BOOKED, SUSPENDED = (False,), (True,)  # the last argument of the RADIUS functions
STATES = ("active", "suspended", "terminated")


def junos() -> JunosModel:
    lines = [line for line in golden("juniper_junos", "committed").splitlines() if line]
    return JunosModel(line for line in lines if line.startswith("set ") and " version " not in line)


def smartax(granularity_kbps: int = 0) -> SmartaxModel:
    return SmartaxModel(
        granularity_kbps=granularity_kbps,
        traffic_tables=[
            {"index": 10, "cir_kbps": 20_032, "pir_kbps": 20_032},
            {"index": 11, "cir_kbps": 99_968, "pir_kbps": 99_968},
        ],
        service_ports=[
            {
                "index": 100 + n,
                "vlan": 100,
                "fsp": "0/1/0",
                "ont": n,
                "gem": 1,
                "inbound": 10,
                "outbound": 11,
            }
            for n in range(4)
        ],
    )


def cases() -> list[tuple[Platform, Model, Objects]]:
    return [
        (JUNOS, junos(), UNIT),
        (SMARTAX, smartax(), PORT),
        (SMARTAX, smartax(64), PORT),
        (LINUX, TcModel(("sub1", "sub2")), LINE),
    ]


RATE = st.integers(64, 999_999) | st.integers(1000, 10_240).map(lambda mbps: mbps * 1000)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(STATES), st.builds(Rate, down_kbps=RATE, up_kbps=RATE)),
        min_size=1,
        max_size=4,
    ),
    cut=st.integers(0, 4),
)
def test_any_change_reads_back_as_its_target_and_its_undo_as_before(
    steps: list[tuple[str, Rate]], cut: int
) -> None:
    """Goal: forward reaches the target and inverse the start, cut anywhere, repeated.

    Method: models of the devices that were written from the devices' side, with neighbours.
    """
    for found, model, objects in cases():
        others = read(found, model, OTHERS[found.name]).sections
        for state, rate in steps:
            profiles = found.profile_lines((rate,), read(found, model, (objects,)).profiles)
            model.send(gate_profiles(found, profiles))
            seen = read(found, model, (objects,))
            before = seen.sections[0]
            after = found.target(objects, state, rate, before, seen.profiles)
            forward = gate(found, found.render(objects, before, after), objects)
            inverse = gate(found, found.render(objects, after, before), objects)
            model.send(forward[:cut])
            model.send(inverse)
            model.send(inverse)
            assert read(found, model, (objects,)).sections == (before,)
            model.send(forward[:cut])
            model.send(forward)
            assert read(found, model, (objects,)).sections == (after,)
            assert_reached(state, rate, section_rate(after), dict(after)["state"])
            assert found.render(objects, after, after) == ()
        assert read(found, model, OTHERS[found.name]).sections == others


def assert_reached(state: str, rate: Rate, got: Rate, leaf: str) -> None:
    assert leaf == ("off" if state == "terminated" else "on")
    if state == "terminated":
        return
    for wanted, has in ((rate.down_kbps, got.down_kbps), (rate.up_kbps, got.up_kbps)):
        assert has in (wanted, wanted // 64 * 64)


def test_running_and_startup_agree_once_saved() -> None:
    rate = Rate(down_kbps=20_000, up_kbps=20_000)
    for found, model, objects in cases():
        model.send(found.profile_lines((rate,), read(found, model, (objects,)).profiles))
        seen = read(found, model, (objects,))
        after = found.target(objects, "active", rate, seen.sections[0], seen.profiles)
        model.send(found.render(objects, seen.sections[0], after))
        if found.save_lines is not None:
            assert read(found, model, (objects,), "startup").sections != (after,)
            model.send(found.save_lines(objects, after))
        elif isinstance(model, SmartaxModel):
            assert read(found, model, (objects,), "startup").sections != (after,)
            model.device.save_now()
        assert read(found, model, (objects,), "startup").sections == (after,)


def test_few_and_many_service_ports_read_alike_on_the_emulated_olt() -> None:
    model = smartax(64)
    model.send(["service-port 102 adminstatus disable"])
    many: tuple[Objects, ...] = ({**PORT, "ont": 1, "port": "0/1/0"}, *OTHERS["huawei_smartax"])
    together = read(SMARTAX, model, many)
    alone = [read(SMARTAX, model, (one,)) for one in many]
    assert together.sections == tuple(one.sections[0] for one in alone)
    assert {one.profiles for one in alone} == {together.profiles}
    assert len(SMARTAX.read("running", many)) == 3


@pytest.mark.parametrize("found", [JUNOS, SMARTAX, LINUX], ids=lambda found: found.name)
def test_the_golden_upgrade_and_its_undo(found: Platform) -> None:
    if found is JUNOS:
        objects, database = UNIT, "running"
        replies = tuple(golden(found.name, name) for name in ("committed", "policers"))
        rate = Rate(down_kbps=1_000_000, up_kbps=100_000)
    elif found is SMARTAX:
        objects, database = {"service_port": 22}, "running"
        replies = tuple(golden(found.name, name) for name in ("tables", "port"))
        rate = Rate(down_kbps=500_000, up_kbps=100_000)
    else:
        objects, database = LINE, "startup"
        text = golden(found.name, "startup").partition("dev sub2")[0]
        replies = (f"{text}end\n",)
        rate = Rate(down_kbps=500_000, up_kbps=100_000)
    seen = found.parse(database, (objects,), replies)  # type: ignore[arg-type]
    before = seen.sections[0]
    after = found.target(objects, "active", rate, before, seen.profiles)
    assert (found.render(objects, before, after), found.render(objects, after, before)) == upgrade(
        found.name
    )


def test_a_bound_profile_of_the_right_rate_stays() -> None:
    seen = (
        ProfileSeen(name="DOWN-100M", kbps=100_000, kind="down"),
        ProfileSeen(name="aa", kbps=100_000),
        ProfileSeen(name="UP-100M", kbps=100_000, kind="up"),
        ProfileSeen(name="zz", kbps=100_000),
    )
    rate = Rate(down_kbps=100_000, up_kbps=100_000)
    before = as_section({"state": "on", "down_kbps": "1", "up_kbps": "1", "input": "zz"})
    after = dict(JUNOS.target(UNIT, "active", rate, before, seen))
    assert (after["input"], after["output"]) == ("zz", "DOWN-100M")
    fewer = tuple(profile for profile in seen if not profile.kind)
    assert dict(JUNOS.target(UNIT, "active", rate, before, fewer))["output"] == "aa"
    # a policer named for the other direction is never taken
    with pytest.raises(ProfileMissing):
        JUNOS.target(UNIT, "active", rate, before, seen[:1])


def test_a_table_that_keeps_the_priority_is_preferred() -> None:
    tables = (
        ProfileSeen(name="10", kbps=20_032, kind="2 local-pri"),
        ProfileSeen(name="11", kbps=99_968, kind="0 local-pri"),
        ProfileSeen(name="12", kbps=99_968, kind="2 local-pri"),
        ProfileSeen(name="13", kbps=100_000, kind="0 local-pri"),
        ProfileSeen(name="6", kbps=0, kind="0 tag-pri"),
    )
    before = as_section(
        {"state": "on", "down_kbps": "1", "up_kbps": "1", "inbound": "10", "outbound": "6"}
    )
    rate = Rate(down_kbps=100_000, up_kbps=100_000)
    after = dict(SMARTAX.target(PORT, "active", rate, before, tables))
    assert (after["inbound"], after["up_kbps"]) == ("12", "99968")
    assert (after["outbound"], after["down_kbps"]) == ("13", "100000")


@pytest.mark.parametrize(
    ("found", "objects", "made"),
    [(JUNOS, UNIT, "UP-7M"), (SMARTAX, PORT, "bm-7000")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_missing_profile_names_what_would_be_made(
    found: Platform, objects: Objects, made: str
) -> None:
    model: Model = junos() if found is JUNOS else smartax()
    seen = read(found, model, (objects,))
    rate = Rate(down_kbps=100_000, up_kbps=7_000)
    with pytest.raises(ProfileMissing) as refused:
        found.target(objects, "active", rate, seen.sections[0], seen.profiles)
    assert made in refused.value.remedy
    lines = found.profile_lines((rate,), seen.profiles)
    assert any(made in line for line in lines)
    model.send(lines)
    again = read(found, model, (objects,))
    assert found.profile_lines((rate,), again.profiles) == ()
    assert found.target(objects, "active", rate, again.sections[0], again.profiles)


def test_a_policer_name_that_is_taken_by_another_rate_is_left_alone() -> None:
    taken = (
        ProfileSeen(name="UP-7M", kbps=8_000, kind="up"),
        ProfileSeen(name="UP-7M-2", kbps=0, kind="up"),
        ProfileSeen(name="any", kbps=9_000),
    )
    lines = JUNOS.profile_lines((Rate(down_kbps=9_000, up_kbps=7_000),), taken)
    assert lines == gate_profiles(JUNOS, lines)
    assert {line.split()[3] for line in lines} == {"UP-7M-3"}


def test_profiles_hold_the_rates_and_bursts_that_are_documented() -> None:
    lines = JUNOS.profile_lines((Rate(down_kbps=500_000, up_kbps=512),), ())
    assert lines == (
        "set firewall policer DOWN-500M if-exceeding bandwidth-limit 500m",
        "set firewall policer DOWN-500M if-exceeding burst-size-limit 3125k",
        "set firewall policer DOWN-500M then discard",
        "set firewall policer UP-512K if-exceeding bandwidth-limit 512k",
        "set firewall policer UP-512K if-exceeding burst-size-limit 15k",
        "set firewall policer UP-512K then discard",
    )
    taken = tuple(ProfileSeen(name=str(index), kbps=0) for index in (0, 6, 10, 12))
    plain = "priority 0 priority-policy local-setting"
    assert SMARTAX.profile_lines((Rate(down_kbps=500_000, up_kbps=100_000),), taken) == (
        f"traffic table ip index 11 name bm-100000 cir 100000 pir 100000 {plain}",
        f"traffic table ip index 13 name bm-500000 cir 500000 pir 500000 {plain}",
    )
    assert LINUX.profile_lines((Rate(down_kbps=1, up_kbps=1),), ()) == ()


@pytest.mark.parametrize(
    ("found", "kbps"), [(JUNOS, 7), (JUNOS, 100_000_001), (SMARTAX, 63), (SMARTAX, 10_240_001)]
)
def test_a_rate_that_the_platform_cannot_hold_is_refused(found: Platform, kbps: int) -> None:
    with pytest.raises(Refused, match=str(kbps)):
        found.profile_lines((Rate(down_kbps=kbps, up_kbps=kbps),), ())


def test_an_olt_without_a_free_index_is_refused() -> None:
    full = tuple(ProfileSeen(name=str(index), kbps=0) for index in range(1024))
    with pytest.raises(Refused, match="free"):
        SMARTAX.profile_lines((Rate(down_kbps=64, up_kbps=64),), full)


@pytest.mark.parametrize(
    ("found", "objects"), [(JUNOS, UNIT), (SMARTAX, PORT), (LINUX, LINE)], ids=lambda _: ""
)
def test_an_object_that_is_not_there_is_refused(found: Platform, objects: Objects) -> None:
    for state in STATES:
        with pytest.raises(Refused):
            found.target(objects, state, Rate(down_kbps=64, up_kbps=64), (), ())


def test_what_could_not_be_put_back_is_refused_before_it_is_sent() -> None:
    rate = Rate(down_kbps=99_968, up_kbps=99_968)
    tables = (ProfileSeen(name="11", kbps=99_968),)
    leaves = {"state": "on", "down_kbps": "1", "up_kbps": "1", "inbound": "11", "outbound": "-"}
    with pytest.raises(Refused, match="restore"):
        SMARTAX.target(PORT, "active", rate, as_section(leaves), tables)
    bound = as_section({**leaves, "outbound": "11"})
    with pytest.raises(Refused, match="unbound"):
        SMARTAX.render(PORT, bound, as_section(leaves))
    off = SMARTAX.target(PORT, "terminated", rate, as_section(leaves), tables)
    assert SMARTAX.render(PORT, as_section(leaves), off) == (
        "service-port 101 adminstatus disable",
    )
    inactive = as_section({"state": "on", "down_kbps": "0", "up_kbps": "0", "inactive": "yes"})
    with pytest.raises(Refused, match="deactivated"):
        JUNOS.target(UNIT, "active", rate, inactive, ())
    fine = Rate(down_kbps=1_000_500, up_kbps=1000)
    on = as_section({"state": "on", "down_kbps": "1", "up_kbps": "1"})
    with pytest.raises(Refused, match="whole Mbit/s"):
        LINUX.target(LINE, "active", fine, on, ())


def test_a_line_goes_off_before_its_rates_and_on_after_them() -> None:
    off = as_section({"state": "off", "down_kbps": "1", "up_kbps": "1"})
    on = as_section({"state": "on", "down_kbps": "2", "up_kbps": "2"})
    assert LINUX.render(LINE, off, on)[-1].startswith("ip link")
    assert LINUX.render(LINE, on, off)[0].startswith("ip link")
    tables = {"inbound": "1", "outbound": "2"}
    there = as_section({**dict(off), **tables})
    here = as_section({**dict(on), "inbound": "3", "outbound": "4"})
    assert SMARTAX.render(PORT, there, here)[-1].endswith("enable")
    assert SMARTAX.render(PORT, here, there)[0].endswith("disable")


def test_what_a_person_tuned_on_a_class_survives_a_change_and_its_undo() -> None:
    model = TcModel(("sub1",))
    model.classes["sub1", "1:10"] = (3, 50_000, 80_000)
    before = read(LINUX, model, (LINE,)).sections[0]
    after = LINUX.target(LINE, "active", Rate(down_kbps=200_000, up_kbps=100_000), before, ())
    model.send(LINUX.render(LINE, before, after))
    assert model.classes["sub1", "1:10"] == (3, 200_000, 200_000)
    model.send(LINUX.render(LINE, after, before))
    assert model.classes["sub1", "1:10"] == (3, 50_000, 80_000)


def test_the_radius_dialects() -> None:
    old, new = Rate(down_kbps=100_000, up_kbps=20_000), Rate(down_kbps=500_000, up_kbps=512)
    assert JUNOS.radius_reply is not None
    assert JUNOS.coa is not None
    assert LINUX.radius_reply is not None
    assert LINUX.coa is not None
    (reply,) = JUNOS.radius_reply(new, *BOOKED)
    assert (reply.name, reply.value) == ("ERX-Service-Activate:1", "bandmaster(500000k,512k)")
    assert JUNOS.radius_reply(new, *SUSPENDED) == (reply,)
    sent = [(a.name, a.value) for a in JUNOS.coa(old, new, *BOOKED)]
    assert sent == [
        ("ERX-Service-Deactivate", "bandmaster(100000k,20000k)"),
        ("ERX-Service-Activate:1", "bandmaster(500000k,512k)"),
    ]
    unknown = JUNOS.coa(Rate(down_kbps=0, up_kbps=0), new, *BOOKED)
    assert unknown[0].value == "bandmaster"
    assert len(JUNOS.coa(new, new, *SUSPENDED)) == 1
    (filter_id,) = LINUX.radius_reply(new, *BOOKED)
    assert (filter_id.name, filter_id.value) == ("Filter-Id", "500000/512")
    assert LINUX.coa(old, new, *SUSPENDED) == (filter_id,)
    assert SMARTAX.radius_reply is None


def test_the_interface_that_snmp_knows() -> None:
    assert JUNOS.snmp_interface is not None
    assert JUNOS.snmp_interface(UNIT) == "ge-0/0/1.1042"
    assert LINUX.snmp_interface is not None
    assert LINUX.snmp_interface(LINE) == "sub1"
