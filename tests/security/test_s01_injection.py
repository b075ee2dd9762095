"""S1: no text in any field of any template adds to a line or makes another one.

A value is refused, or the lines have the skeleton of a benign value's, however lines are told
apart. The named separators, look-alikes and all code points stand in
tests/device_templates/test_injection.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, meta

import device_templates
from device_templates import Field, ProfileSeen, as_section, gate, platform, platforms
from device_templates.render import render_lines, word
from inventory import BadField, BandmasterError, Rate

ROOM = Path(device_templates.__path__[0])
TEMPLATES = sorted(ROOM.glob("*/*.j2"))
AT_ONCE = 25  # values in one example: drawing is dear, checking is not
PER_FIELD_TYPE, PER_TEMPLATE = 20_000, 1_000
SPECIAL = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00\x03\x15\x1a\x1b\x7f\x9b\t ?!#;|&<>$`'\"\\"
SPECIAL += "[]{}()%*~^=,\u202e\u200b\ufeff\u00a0\uff27\u0661ge-0/1.x:@_"
TEXT = st.text(max_size=12) | st.text(SPECIAL, max_size=8)
SEED = st.binary(min_size=4 * AT_ONCE, max_size=16 * AT_ONCE)
STILL = {"deadline": None, "derandomize": True, "database": None}
HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large]
BENIGN = {
    r"(?:ge|xe|et)-": "ge-0/0/1",
    r"[0-9]{1,2}/": "0/1/7",
    r"(?!ifb-)": "sub1",
    r"[1-9a-f]": "3a",
}


def texts(seed: bytes) -> list[str]:
    """AT_ONCE texts from octets, two a character: half of SPECIAL, half of all of Unicode.

    Drawing octets and cutting them up is ten times as fast as drawing texts, and shrinks as well.
    """
    characters = [
        SPECIAL[low % len(SPECIAL)]
        if high < 0x80
        else chr((high * 0x8801 + low * 0x101) % 0x110000)
        for high, low in zip(seed[::2], seed[1::2], strict=False)
    ]
    size = max(1, len(characters) // AT_ONCE)
    found = ["".join(characters[place : place + size]) for place in range(0, len(characters), size)]
    return ["", *found[: AT_ONCE - 1]]


def fields() -> list[tuple[str, str, Field]]:
    """Every field of every platform."""
    return [
        (found.name, name, field)
        for found in platforms().values()
        for name, field in found.fields.items()
    ]


def benign(field: Field) -> str:
    """A value that a field takes."""
    if field.kind == "int":
        return str(field.low + 1)
    return next(value for start, value in BENIGN.items() if field.pattern.startswith(start))


def plain(value: str | int) -> bool:
    """Whether a value that was let through is one word of ASCII, however it is split."""
    text = str(value)
    return (
        re.fullmatch(r"[A-Za-z0-9._/:@-]*", text) is not None
        and text.splitlines() == text.split("\n") == text.split() == ([text] if text else [])
    ) or text == ""


def mixed(value: str, inside: str, place: int) -> tuple[str, ...]:
    """A value alone, and put into a benign one at its ends and somewhere in it."""
    at = place % (len(inside) + 1)
    return (value, inside + value, value + inside, inside[:at] + value + inside[at:])


@pytest.mark.parametrize("kind", ["text", "int"])
def test_any_text_in_a_field_of_this_type(kind: str) -> None:
    """Goal: S1 at the model. Method: each value alone and inside a benign one, in each field."""
    chosen = [found for found in fields() if found[2].kind == kind]
    inside = {(name, field): benign(what) for name, field, what in chosen}
    taken = 0

    @settings(max_examples=PER_FIELD_TYPE // AT_ONCE, suppress_health_check=HEALTH, **STILL)  # type: ignore[arg-type]
    @given(seed=SEED, place=st.integers(0, 9))
    def attempt(seed: bytes, place: int) -> None:
        nonlocal taken
        for value in texts(seed):
            for name, field, what in chosen:
                for given_value in mixed(value, inside[name, field], place):
                    try:
                        typed = what.check("S-1", field, given_value)
                    except BadField:
                        continue
                    taken += 1
                    assert plain(typed)
                    assert word("S-1", typed) == typed

    attempt()
    assert taken > 0


def test_any_text_as_a_template_s_value() -> None:
    """Goal: S1 at the renderer's own gate. Method: the same, as the third type: a word."""
    taken = 0

    @settings(max_examples=PER_FIELD_TYPE // AT_ONCE, suppress_health_check=HEALTH, **STILL)  # type: ignore[arg-type]
    @given(seed=SEED, place=st.integers(0, 9))
    def attempt(seed: bytes, place: int) -> None:
        nonlocal taken
        for value in texts(seed):
            for given_value in mixed(value, "UP-20M", place):
                try:
                    typed = word("S-1", given_value)
                except BadField:
                    continue
                taken += 1
                assert plain(typed)

    attempt()
    assert taken > 0


def variables(path: Path) -> tuple[str, ...]:
    """What a template is given, found in the template itself."""
    tree = Environment(autoescape=True).parse(path.read_text("ascii"))
    return tuple(sorted(meta.find_undeclared_variables(tree)))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_any_text_in_a_template(path: Path) -> None:
    """Goal: the skeleton stays. Method: all branches on, one variable after the other is attacked.

    The marker is found again in the benign lines, so that lines can be compared token by token.
    """
    names = variables(path)
    folder, template = str(path.parent), path.name
    usual = dict.fromkeys(names, "1")
    marked = {name: render_lines(folder, template, **{**usual, name: "Mark"}) for name in names}
    assert all(any("Mark" in line for line in marked[n]) or n in FLAGS for n in names), names
    taken = 0

    @settings(max_examples=PER_TEMPLATE, suppress_health_check=HEALTH, **STILL)  # type: ignore[arg-type]
    @given(value=TEXT, place=st.integers(0, 9))
    @example(value="{{7*7}}", place=0)
    @example(value="{% include '/etc/passwd' %}", place=0)
    @example(value="x\nset system login user eve", place=0)
    def attempt(value: str, place: int) -> None:
        nonlocal taken
        for name in names:
            for given_value in mixed(value, "x1", place):
                try:
                    lines = render_lines(folder, template, **{**usual, name: given_value})
                except BadField:
                    continue
                taken += 1
                assert all(line.split("\n") == line.splitlines() == [line] for line in lines)
                if given_value:
                    wanted = tuple(line.replace("Mark", given_value) for line in marked[name])
                    assert lines == wanted
                    assert [len(x.split()) for x in lines] == [len(x.split()) for x in wanted]

    attempt()
    assert taken > 0


FLAGS = {"disable", "enable", "drop_input", "drop_output", "set_down", "set_up", "rebind"}

BEFORE = {
    "juniper_junos": {"input": "UP-20M", "output": "DOWN-100M"},
    "huawei_smartax": {"inbound": "10", "outbound": "11"},
    "linux_tc": {},
}
OBJECTS: dict[str, dict[str, str | int]] = {
    "juniper_junos": {"interface": "ge-0/0/1", "unit": 1042},
    "huawei_smartax": {"service_port": 1042},
    "linux_tc": {"interface": "sub1", "class_minor": "3a"},
}


@pytest.mark.parametrize("name", sorted(platforms()))
def test_any_name_that_a_device_shows(name: str) -> None:
    """Goal: a profile's name comes from the device and goes back into lines: the same holds."""
    found = platform(name)
    rate = Rate(down_kbps=500_000, up_kbps=500_000)
    leaves = {"state": "on", "down_kbps": "100000", "up_kbps": "20000", **BEFORE[name]}
    before = as_section(leaves)

    @settings(max_examples=PER_TEMPLATE, suppress_health_check=HEALTH, **STILL)  # type: ignore[arg-type]
    @given(value=TEXT)
    @example(value="gold")
    @example(value="12")
    @example(value="12\n")
    @example(value="x disable")
    def attempt(value: str) -> None:
        profiles = tuple(ProfileSeen(name=value, kbps=500_000, kind=kind) for kind in ("", "up"))
        try:
            after = found.target(OBJECTS[name], "active", rate, before, profiles)
            lines = gate(found, found.render(OBJECTS[name], before, after), OBJECTS[name])
        except (BandmasterError, ValueError):  # int() of a table's index is a refusal too
            return
        assert all(line.split("\n") == line.splitlines() == [line] for line in lines)
        assert [line.replace(value, "x").split() for line in lines if value] == [
            line.replace(value, "x").split(" ") for line in lines if value
        ]

    attempt()


@pytest.mark.parametrize("name", sorted(n for n, p in platforms().items() if p.session_read))
def test_any_login_in_a_query(name: str) -> None:
    """Goal: the one text of people's that goes into a query is one word of it, or refused."""
    read = platforms()[name].session_read
    assert read is not None
    wanted = read("Mark")
    taken = 0

    @settings(max_examples=PER_TEMPLATE, suppress_health_check=HEALTH, **STILL)  # type: ignore[arg-type]
    @given(value=TEXT, place=st.integers(0, 9))
    @example(value="x; reboot", place=0)
    @example(value="../../etc/shadow", place=0)
    def attempt(value: str, place: int) -> None:
        nonlocal taken
        for login in mixed(value, "user1@isp", place):
            try:
                queries = read(login)
            except BadField:
                continue
            taken += 1
            assert queries == tuple(query.replace("Mark", login) for query in wanted)
            assert re.fullmatch(r"[A-Za-z0-9._@+-]+", login)

    attempt()
    assert taken > 0


def test_every_template_and_every_kind_of_field_is_held_to_this() -> None:
    assert {path.parent.name for path in TEMPLATES} == set(platforms()) == set(OBJECTS)
    assert {field.kind for _, _, field in fields()} == {"text", "int"}
