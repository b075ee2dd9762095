"""What is written about commands is true: each has help and an example, and each hint exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from orchestrator.cli.app import app

ROOT = Path(__file__).parents[1]
ROOMS = ("inventory", "device_templates", "billing_bridge", "workflows", "orchestrator")
ISSUE_2 = """
init, doctor, db upgrade, inventory import, device list, device show, device check,
device profiles, device enroll-key, plan list, subscriber show, service activate, service tier,
service suspend, service resume, service terminate, change list, change show, change apply,
change cancel, change rollback, recover, exceptions list, exceptions show, exceptions resolve,
hold, release, ledger tail, ledger anchor, ledger verify, ledger export, ledger replay, find,
lab up, lab down, lab status
"""
ISSUE_4 = """
webhook add, webhook list, webhook test, webhook run, webhook dead, webhook retry, webhook pause,
webhook resume, webhook remove,
credit issue, credit list, credit approve, credit reject, credit reverse, charge issue,
price override, price list,
billing check, billing findings list, billing findings show, billing ack, billing ignore,
billing resolve, billing override,
invoice preview, invoice run, invoice show, invoice list, invoice finalise, invoice void,
invoice export, invoice explain,
usage radius, usage collect, usage percentile, usage import, usage show,
usage exceptions list, usage exceptions resolve
"""
NO_DATA = {
    "init",
    "db upgrade",
    "device enroll-key",
    "change cancel",
    "release",
    "webhook pause",
    "webhook resume",
    "webhook remove",
    "lab up",
    "lab down",
    "ledger export",  # JSON lines by nature
}
# as messages name a command: after a colon, in backticks, or where an example begins
HINT = re.compile(r"(?:: |`|\$ |\")bandmaster ([a-z]+(?:-[a-z]+)*(?: [a-z]+(?:-[a-z]+)*)?)")


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command by its words."""
    return dict(_walk(typer.main.get_command(app), ()))


def _walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from _walk(below, (*words, name))
    elif isinstance(command, typer.core.TyperCommand):
        yield " ".join(words), command


COMMANDS = commands()


def test_the_commands_are_those_that_were_promised() -> None:
    promised = {name.strip() for name in f"{ISSUE_2},{ISSUE_4}".replace("\n", " ").split(",")}
    assert set(COMMANDS) == promised


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_says_what_and_gives_an_example_that_parses(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    command = COMMANDS[name]
    assert command.help
    assert command.help.strip()
    options = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    examples = re.findall(r"^ +\$ bandmaster (.+)$", command.epilog or "", re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[: len(name.split())] == name.split(), example
        assert {word for word in words if word.startswith("--")} <= options, example


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NO_DATA))
def test_commands_that_print_data_have_json(name: str) -> None:
    assert any("--json" in param.opts for param in COMMANDS[name].params)


def hints() -> Iterator[tuple[str, str]]:
    """Every `bandmaster WORD [WORD]` in the rooms' sources, and where it stands."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                for found in HINT.finditer(line):
                    yield f"{path.relative_to(ROOT)}:{number}", found[1]


def test_every_command_a_message_names_exists() -> None:
    groups = {name.rpartition(" ")[0] for name in COMMANDS} | {
        name.partition(" ")[0] for name in COMMANDS
    }
    found = list(hints())
    wrong = [
        f"{place}: bandmaster {words}"
        for place, words in found
        if words not in COMMANDS | dict.fromkeys(groups) and words.split(" ")[0] not in COMMANDS
    ]
    assert len(found) > len(COMMANDS)
    assert wrong == []


def test_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"bandmaster {name}" not in readme]
    assert missing == []
