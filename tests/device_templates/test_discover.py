"""Platforms are found by looking: folders here, folders dropped in, entry points."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pyrad.dictionary import Dictionary

import device_templates
from device_templates import Platform, discover, gate, platform, platforms, typed_objects
from inventory import BadField, Rate, Refused, UnknownName

SHIPPED = ("huawei_smartax", "juniper_junos", "linux_tc")

# Platform N+1: one folder with data, a parser and a template, as its author would write it.
FOLDER = '''
"""A switch that keeps a rate as one line."""
import re
from pathlib import Path
from device_templates import Field, Platform, Reading, as_section
from device_templates.render import render_lines

def read(database, objects):
    return tuple(f"show port {one['port']}" for one in objects)

def parse(database, objects, replies):
    rates = [re.fullmatch(r"rate (\\d+) (\\d+)", reply).groups() for reply in replies]
    return Reading(sections=tuple(
        as_section({"state": "on", "down_kbps": down, "up_kbps": up}) for down, up in rates))

def target(objects, state, rate, before, profiles):
    return as_section({"state": "on", "down_kbps": str(rate.down_kbps),
                       "up_kbps": str(rate.up_kbps)})

def render(objects, before, after):
    new = dict(after)
    return render_lines(str(Path(__file__).parent), "rate.j2", port=objects["port"],
                        down=int(new["down_kbps"]), up=int(new["up_kbps"]))

def owned(line, objects):
    return re.fullmatch(rf"port {objects['port']} rate \\d+ \\d+", line) is not None

PLATFORM = Platform(
    name="NAME", title="Acme", mechanism="inverse", transport="netmiko",
    fields={"port": Field(kind="int", low=1, high=48, help="1..48")},
    read=read, parse=parse, target=target, render=render, owned=owned,
    profile_lines=lambda rates, profiles: (), profile_owned=lambda line: False)
'''


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in which a folder is a platform; forgotten afterwards."""
    monkeypatch.setattr(device_templates, "__path__", [*device_templates.__path__, str(tmp_path)])
    platforms.cache_clear()
    importlib.invalidate_caches()
    yield tmp_path
    platforms.cache_clear()


def drop(where: Path, name: str, called: str = "") -> None:
    folder = where / name
    folder.mkdir()
    (folder / "__init__.py").write_text(FOLDER.replace("NAME", called or name))
    (folder / "rate.j2").write_text("port {{ port }} rate {{ down }} {{ up }}\n")


def test_the_shipped_folders_are_found_and_each_is_called_like_its_folder() -> None:
    assert tuple(platforms()) == SHIPPED
    assert all(found.name == name for name, found in platforms().items())
    assert platform("linux_tc") is platforms()["linux_tc"]


def test_an_unknown_platform_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName) as refused:
        platform("cisco_ios")
    assert "cisco_ios" in str(refused.value)
    assert all(name in refused.value.remedy for name in SHIPPED)


def test_two_folders_dropped_in_change_a_tier_with_no_edit_elsewhere(dropped: Path) -> None:
    drop(dropped, "acme_one")
    drop(dropped, "acme_two")
    assert {"acme_one", "acme_two", *SHIPPED} == set(platforms())
    for name in ("acme_one", "acme_two"):
        acme = platform(name)
        objects = typed_objects(acme, "S-1", {"port": "7"})
        before = acme.parse("running", (objects,), ("rate 100 20",)).sections[0]
        after = acme.target(objects, "active", Rate(down_kbps=500, up_kbps=100), before, ())
        forward, inverse = acme.render(objects, before, after), acme.render(objects, after, before)
        assert gate(acme, forward, objects) == ("port 7 rate 500 100",)
        assert gate(acme, inverse, objects) == ("port 7 rate 100 20",)
        with pytest.raises(Refused):
            gate(acme, forward, {"port": 8})


def test_a_folder_that_names_itself_otherwise_is_refused(dropped: Path) -> None:
    drop(dropped, "acme_three", called="acme_3")
    with pytest.raises(ValueError, match="acme_three"):
        platforms()


def test_another_package_offers_a_platform_by_entry_point(
    dropped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(dropped, "acme_four")
    offered = platform("acme_four")
    monkeypatch.setattr(device_templates, "__path__", device_templates.__path__[:-1])
    platforms.cache_clear()
    entry = EntryPoint("acme_four", "device_templates.acme_four:PLATFORM", discover.GROUP)
    monkeypatch.setattr(discover, "entry_points", lambda group: [entry] * (group == entry.group))
    assert platform("acme_four") is offered


def test_an_entry_point_may_not_take_a_shipped_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("linux_tc", "device_templates.linux_tc:PLATFORM", discover.GROUP)
    monkeypatch.setattr(discover, "entry_points", lambda group: [entry] * (group == entry.group))
    platforms.cache_clear()
    with pytest.raises(ValueError, match="linux_tc"):
        platforms()
    platforms.cache_clear()


def test_an_attachment_is_typed_by_the_platform() -> None:
    junos = platform("juniper_junos")
    typed = typed_objects(junos, "S-1", {"unit": "1042", "interface": "ge-0/0/1"})
    assert dict(typed) == {"interface": "ge-0/0/1", "unit": 1042}
    optional = typed_objects(platform("huawei_smartax"), "S-1", {"service_port": 7, "ont": 3})
    assert dict(optional) == {"service_port": 7, "ont": 3}
    assert dict(
        typed_objects(platform("linux_tc"), "S-1", {"interface": "sub1", "class_minor": 10})
    ) == {"interface": "sub1", "class_minor": "10"}


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("juniper_junos", {"interface": "ge-0/0/1"}, "unit is missing"),
        ("juniper_junos", {"interface": "ge-0/0/1", "unit": 1, "vlan": 2}, "no field 'vlan'"),
        ("juniper_junos", {"interface": "fxp0", "unit": 1}, "interface must be"),
        ("juniper_junos", {"interface": "ge-0/0/1", "unit": 1_073_741_824}, "unit must be"),
        ("juniper_junos", {"interface": "ge-0/0/1", "unit": True}, "unit must be"),
        ("huawei_smartax", {"service_port": 65_536}, "service_port must be"),
        ("huawei_smartax", {"service_port": 1, "port": "0/1"}, "port must be"),
        ("linux_tc", {"interface": "twelve-chars", "class_minor": 10}, "interface must be"),
        ("linux_tc", {"interface": "ifb-sub1", "class_minor": 10}, "interface must be"),
        ("linux_tc", {"interface": "sub1", "class_minor": 0}, "class_minor must be"),
        ("linux_tc", {"interface": "sub1", "class_minor": "1:10"}, "class_minor must be"),
    ],
)
def test_a_wrong_attachment_names_the_service_and_the_field(
    name: str, values: dict[str, object], said: str
) -> None:
    with pytest.raises(BadField, match="S-1") as refused:
        typed_objects(platform(name), "S-1", values)
    assert said in str(refused.value)


def test_every_platform_says_what_its_mechanism_needs() -> None:
    for found in platforms().values():
        assert isinstance(found, Platform)
        assert (found.dead_man is not None) == (found.mechanism == "dead_man")
        assert found.note
        assert all(field.help for field in found.fields.values())
        if found.mechanism != "native_confirm":
            assert found.save_lines is not None or found.transport_options["save"]


def test_a_vendors_attributes_can_be_read_by_the_library_that_sends_them() -> None:
    junos = platform("juniper_junos")
    assert junos.coa is not None
    known = Dictionary(junos.dictionary)
    for attribute in junos.coa(
        Rate(down_kbps=1, up_kbps=1), Rate(down_kbps=2, up_kbps=2), *(False,)
    ):
        name, _, tag = attribute.name.partition(":")
        assert known[name].has_tag == bool(tag)
