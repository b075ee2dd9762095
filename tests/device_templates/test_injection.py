"""No value of a field can add to a line or make another one (commit-protocol.md S1 to S4)."""

from __future__ import annotations

import ast
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, UndefinedError, nodes

import device_templates
from device_templates import Objects, Platform, gate, gate_profiles, platform, platforms
from device_templates.render import render_lines
from inventory import BadField, Rate, Refused

ROOM = Path(device_templates.__path__[0])
SEPARATORS = "\n\x0b\x0c\r\x1c\x1d\x1e\x85\u2028\u2029"
NASTY = (
    *SEPARATORS,
    *"\x00\x03\x15\x1a\x1b\x7f\x9b\t ?!#;|&<>$`'\"\\[]{}()%*~^=,",
    "\u202e\u200b\ufeff\u00a0",
    "\uff27\uff45",  # NFKC turns these into `Ge`
    "\u0661\u0662",  # digits that are not ASCII
)
BENIGN: dict[str, dict[str, str | int]] = {
    "juniper_junos": {"interface": "ge-0/0/1", "unit": 1042},
    "huawei_smartax": {"service_port": 1042, "port": "0/1/7", "ont": 5},
    "linux_tc": {"interface": "sub1", "class_minor": "3a"},
}
# (state, down_kbps, up_kbps and what binds them) of three sections, as each platform shapes them
BINDINGS = {
    "juniper_junos": ({"input": "UP-20M", "output": "gold"}, {"input": "UP-1M", "output": "bulk"}),
    "huawei_smartax": ({"inbound": "10", "outbound": "11"}, {"inbound": "12", "outbound": "13"}),
    "linux_tc": ({}, {"down_prio": "3"}),
}
VALUES = st.text() | st.text(st.sampled_from("".join(NASTY) + "ge-0/1.x\u00e9"), max_size=8)


def sections(name: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    first, second = BINDINGS[name]
    return (
        device_templates.as_section(
            {"state": "on", "down_kbps": "100000", "up_kbps": "20000", **first}
        ),
        device_templates.as_section(
            {"state": "off", "down_kbps": "500000", "up_kbps": "100000", **second}
        ),
    )


def all_lines(found: Platform, objects: Objects) -> tuple[str, ...]:
    """Every line that any template gives for these objects: both ways, saving, arming."""
    old, new = sections(found.name)
    there, back = found.render(objects, old, new), found.render(objects, new, old)
    kept = found.save_lines(objects, new) if found.save_lines else ()
    armed = found.dead_man.arm("0197.1", back, 60) if found.dead_man else ()
    return (*there, *back, *kept, *armed)


def checked(found: Platform, values: dict[str, str | int], name: str, value: str) -> Objects | None:
    """The objects with one field replaced, or None where the field refuses the value."""
    try:
        return {**values, name: found.fields[name].check("S-1", name, value)}
    except BadField:
        return None


def assert_same_skeleton(found: Platform, name: str, value: str) -> None:
    benign = BENIGN[found.name]
    objects = checked(found, benign, name, value)
    if objects is None:
        return
    got = all_lines(found, objects)
    wanted = tuple(
        line.replace(str(benign[name]), str(objects[name])) for line in all_lines(found, benign)
    )
    assert got == wanted
    assert all(line.split("\n") == line.splitlines() == [line] for line in got)
    there = found.render(objects, *sections(found.name))
    assert gate(found, there, objects) == there


FIELDS = [(name, field) for name in BENIGN for field in BENIGN[name]]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_any_text_in_a_field_is_refused_or_stays_one_word(name: str, field: str) -> None:
    """Goal: S1. Method: arbitrary text, and a benign value with something added anywhere."""
    found = platform(name)
    benign = str(BENIGN[name][field])

    @settings(max_examples=1500, deadline=None, derandomize=True)
    @given(value=VALUES, place=st.integers(0, len(benign)), alone=st.booleans())
    @example(value="{{7*7}}", place=0, alone=True)
    @example(value="\nset system login user x class super-user", place=len(benign), alone=False)
    def attempt(value: str, place: int, *, alone: bool) -> None:
        whole = value if alone else benign[:place] + value + benign[place:]
        assert_same_skeleton(found, field, whole)

    attempt()


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_code_point_after_a_benign_value(name: str, field: str) -> None:
    """Goal: no code point is forgotten. Method: all of the first two planes, one by one."""
    found = platform(name)
    pattern_holder = found.fields[field]
    benign = BENIGN[name][field]
    for code in range(0x20000):
        try:
            pattern_holder.check("S-1", field, f"{benign}{chr(code)}")
        except BadField:
            continue
        assert code < 0x80
        assert_same_skeleton(found, field, f"{benign}{chr(code)}")


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_named_separators_controls_and_look_alikes_are_refused(
    name: str, field: str, nasty: str
) -> None:
    benign = str(BENIGN[name][field])
    for value in (nasty + benign, benign + nasty, benign[:1] + nasty + benign[1:]):
        assert checked(platform(name), BENIGN[name], field, value) is None


@pytest.mark.parametrize("value", ["a\nb", "a b", "a;b", "$(a)", "\u2028", "'", '"', "a" * 65])
def test_text_that_is_not_allow_listed_cannot_enter_a_template(value: str) -> None:
    folder = str(ROOM / "juniper_junos")
    with pytest.raises(BadField, match="name"):
        render_lines(folder, "policer.j2", name=value, bandwidth="1m", burst="15k")


def test_what_is_neither_text_nor_a_number_cannot_enter_a_template() -> None:
    folder = str(ROOM / "juniper_junos")
    for value in (None, 1.5, True, ["x"], {"x": 1}, b"x", object()):
        with pytest.raises(BadField):
            render_lines(folder, "policer.j2", name=value, bandwidth="1m", burst="15k")  # type: ignore[arg-type]


def test_a_template_without_one_of_its_values_gives_nothing() -> None:
    with pytest.raises(UndefinedError):
        render_lines(str(ROOM / "juniper_junos"), "policer.j2", name="UP-1M", burst="15k")


def test_braces_in_a_value_stay_text(tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_text("x {{ a }}")
    with pytest.raises(BadField):
        render_lines(str(tmp_path), "t.j2", a="{{7*7}}")
    assert render_lines(str(tmp_path), "t.j2", a="7:7") == ("x 7:7",)


@pytest.mark.parametrize("text", ["a\x0bb", "a\tb", "\u00e9", "a\x1b[0m", "a\u2028b", "a\x85b"])
def test_a_template_that_would_write_a_hidden_line_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.j2").write_text(text, "utf-8")
    with pytest.raises(Refused):
        render_lines(str(tmp_path), "t.j2")


def test_a_template_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret.j2").write_text("secret")
    (inner / "t.j2").write_text('{% include "../secret.j2" %}')
    with pytest.raises(Exception, match="secret"):
        render_lines(str(inner), "t.j2")
    (inner / "u.j2").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(Exception, match="unsafe"):
        render_lines(str(inner), "u.j2")


ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.If,
    nodes.Assign,
    nodes.Concat,
    nodes.Const,
)


@pytest.mark.parametrize("path", sorted(ROOM.glob("*/*.j2")), ids=lambda path: path.stem)
def test_templates_only_join_values_and_branch(path: Path) -> None:
    """No filter, call, attribute, loop or include: what a template can do is seen at a glance."""
    tree = Environment(autoescape=True).parse(path.read_text("ascii"))
    used = {type(node) for node in tree.find_all(nodes.Node)}
    assert used <= set(ALLOWED), used


MODULES = sorted(ROOM.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_only_the_renderer_touches_jinja_and_nothing_touches_the_world(path: Path) -> None:
    """Goal: S3 and the room's rule. Method: names in the syntax tree, not in the text."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    tops = {name.partition(".")[0] for name in imported}
    assert not tops & {"os", "subprocess", "socket", "time", "datetime", "random", "sqlmodel"}
    assert not names & {"from_string", "Template", "Environment", "open", "eval", "exec"}
    if path.stem != "render":
        assert "jinja2" not in tops
    own = path.parent.name
    others = set(BENIGN) - {own}
    assert not any(other in name for name in imported for other in others)


def test_sources_hold_no_character_that_shows_as_another() -> None:
    for path in [*MODULES, *ROOM.rglob("*.j2"), *ROOM.rglob("*.md")]:
        odd = {c for c in path.read_text("utf-8") if unicodedata.category(c) in ("Cf", "Co", "Cs")}
        assert odd == set(), path


FOREIGN = {
    "juniper_junos": (
        "set system login user eve class super-user",
        "delete interfaces ge-0/0/1 unit 1042",
        "delete interfaces ge-0/0/1",
        "set interfaces ge-0/0/1 unit 1043 family inet policer input UP-20M",
        "set interfaces ge-0/0/10 unit 1042 family inet policer input UP-20M",
        "set interfaces ge-0/0/1 unit 10420 disable",
        "set interfaces ge-0/0/1 disable",
        "set interfaces ge-0/0/1 unit 1042 family inet policer input UP-20M output gold",
        "set interfaces ge-0/0/1 unit 1042 family inet filter input f",
        "set firewall policer UP-20M if-exceeding bandwidth-limit 1g",
        "delete interfaces ge-0/0/1 unit 1042 family inet policer",
        "load factory-default",
        "set snmp community public",
    ),
    "huawei_smartax": (
        "undo service-port 1042",
        "service-port 1043 adminstatus disable",
        "service-port 10420 adminstatus disable",
        "service-port 1042 vlan 7 gpon 0/1/0 ont 1 gemport 1 multi-service user-vlan 7",
        "service-port 1042 inbound traffic-table index 1 outbound traffic-table index 2 x",
        "traffic table ip modify index 10 cir 64",
        "terminal user name",
        "reboot system",
        "undo traffic table ip index 10",
        "save",
    ),
    "linux_tc": (
        "tc class change dev sub2 parent 1: classid 1:3a htb rate 1kbit ceil 1kbit quantum 1514",
        "tc class change dev sub1 parent 1: classid 1:3 htb rate 1kbit ceil 1kbit quantum 1514",
        "tc qdisc del dev sub1 root",
        "ip link set dev sub1 down; reboot",
        "ip link set dev sub11 down",
        "ip link set dev ifb-sub1 down",
        "ip link delete sub1",
        "useradd eve",
        "ip link set dev sub1 up && useradd eve",
    ),
}


@pytest.mark.parametrize("name", sorted(BENIGN))
def test_the_gate_names_a_line_that_is_not_the_services_own(name: str) -> None:
    found, objects = platform(name), BENIGN[name]
    own = found.render(objects, *sections(name))
    assert gate(found, own, objects) == own
    for line in (*FOREIGN[name], *(f"{own[0]}{c}{own[0]}" for c in SEPARATORS), f" {own[0]}", ""):
        with pytest.raises(Refused) as refused:
            gate(found, (*own, line), (objects,))
        assert repr(line)[:100] in str(refused.value)
        with pytest.raises(Refused):
            gate_profiles(found, (line,))


@pytest.mark.parametrize("name", sorted(BENIGN))
def test_a_line_of_one_service_is_none_of_anothers(name: str) -> None:
    found = platform(name)
    number = {"juniper_junos": "unit", "huawei_smartax": "service_port", "linux_tc": "interface"}
    other = {**BENIGN[name], number[name]: "sub2" if name == "linux_tc" else 7}
    lines = found.render(BENIGN[name], *sections(name))
    with pytest.raises(Refused):
        gate(found, lines, other)
    assert gate(found, lines, (other, BENIGN[name])) == lines


@pytest.mark.parametrize("name", sorted(BENIGN))
def test_profile_lines_pass_their_gate_and_no_other(name: str) -> None:
    found = platform(name)
    lines = found.profile_lines((Rate(down_kbps=500_000, up_kbps=512),), ())
    assert gate_profiles(found, lines) == lines
    for line in lines:
        with pytest.raises(Refused):
            gate(found, (line,), BENIGN[name])


def test_every_shipped_platform_is_held_to_this() -> None:
    assert set(BENIGN) == set(platforms())
