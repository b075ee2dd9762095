"""S2: what reaches a template is typed by an allow-list; nothing is escaped, nothing is raw."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

# the standard library's own parser of patterns; under this name since Python 3.11
from re import _constants, _parser  # type: ignore[attr-defined]  # isort: skip

from device_templates import Field, platforms
from tests.tree import ROOMS, modules, tree

ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@-")
TEXT_FIELDS = [
    (found.name, name, field)
    for found in platforms().values()
    for name, field in found.fields.items()
    if field.kind == "text"
]


def _characters(parsed: object) -> Iterator[str]:
    """Every character that a pattern can take; AssertionError for what says "anything but"."""
    assert isinstance(parsed, _parser.SubPattern | list | tuple)
    for part in parsed:
        if isinstance(part, _parser.SubPattern | list):
            yield from _characters(part)
            continue
        if not isinstance(part, tuple) or len(part) != 2:
            continue
        operation, value = part
        assert operation not in (
            _constants.ANY,
            _constants.NOT_LITERAL,
            _constants.NEGATE,
            _constants.CATEGORY,
        ), operation
        if operation is _constants.LITERAL:
            yield chr(value)
        elif operation is _constants.RANGE:
            yield from map(chr, range(value[0], value[1] + 1))
        elif operation in (_constants.ASSERT, _constants.ASSERT_NOT):
            continue  # it looks and takes nothing
        elif isinstance(value, tuple | list | _parser.SubPattern):
            yield from _characters(list(value))


@pytest.mark.parametrize(("name", "field", "what"), TEXT_FIELDS)
def test_a_text_field_is_an_allow_list_of_plain_characters(
    name: str, field: str, what: Field
) -> None:
    """Goal: S2. Method: the pattern's own syntax tree, not what somebody thought of trying."""
    assert name
    assert field
    found = set(_characters(_parser.parse(what.pattern)))
    assert found
    assert found <= ALLOWED, found - ALLOWED


@pytest.mark.parametrize("pattern", [".", "[^a]", r"\w", r"\S+", "a b", "a\n", "(a|;)", "[!-~]"])
def test_the_look_at_patterns_finds_what_takes_more(pattern: str) -> None:
    try:
        found = set(_characters(_parser.parse(pattern)))
    except AssertionError:
        return
    assert not found <= ALLOWED


def test_a_number_field_has_its_bounds() -> None:
    numbers = [f for found in platforms().values() for f in found.fields.values()]
    for field in (field for field in numbers if field.kind == "int"):
        assert 0 <= field.low < field.high


def _calls(path: str, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names:
            yield node


PAGE = "orchestrator/printing/html.py"  # goes to a reader and to no device: held by S3, escaped


def test_a_template_is_rendered_in_one_place_and_given_words_alone() -> None:
    """Goal: no way round the gate of words. Method: who loads, who renders, with what."""
    loads = {p for p in modules(*ROOMS) for _ in _calls(p, "get_template", "render_async")}
    assert loads == {"device_templates/render.py", PAGE}
    (render,) = [
        node
        for node in ast.walk(tree("device_templates/render.py"))
        if isinstance(node, ast.FunctionDef) and node.name == "render_lines"
    ]
    text = ast.unparse(render)
    assert "typed = {name: word(" in text
    assert ".render(typed)" in text
    users = {p for p in modules(*ROOMS) for _ in _calls(p, "render_lines")}
    assert users
    assert all(p.startswith("device_templates/") for p in users)


# who may put text together around an object's field: each with why that is no way in
TEXT_AROUND_OBJECTS = {
    "device_templates/huawei_smartax/reading.py": "a number in a display command",
    "device_templates/huawei_smartax/writing.py": "what a refusal is about",
    "device_templates/juniper_junos/__init__.py": "an SNMP ifName to compare with",
    "device_templates/juniper_junos/writing.py": "what a refusal is about",
    "device_templates/linux_tc/writing.py": "a refusal, and a path that check_lines looks at",
}


def test_no_platform_puts_a_field_into_text_past_the_templates() -> None:
    """Goal: a raw field in a line fails here. Method: every f-string that names an object."""
    found = {
        path
        for path in modules("device_templates")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr) and re.search(r"\b(?:objects|one)\[", ast.unparse(node))
    }
    assert found == TEXT_AROUND_OBJECTS.keys()


def test_stored_objects_are_typed_again_before_a_device_is_asked() -> None:
    """Goal: a journal that was altered brings no raw text. Method: who calls a platform's read."""
    readers = {
        path
        for path in modules("workflows", "orchestrator")
        for call in _calls(path, "read")
        if ast.unparse(call.func) in ("platform.read", "kind.read", "self._platform.read")
    }
    assert readers == {"workflows/observe.py"}
    (read,) = [
        node
        for node in ast.walk(tree("workflows/observe.py"))
        if isinstance(node, ast.FunctionDef) and node.name == "_read"
    ]
    assert "platform.read(database, typed)" in ast.unparse(read)
    assert "typed_objects(" in ast.unparse(read)
