"""The command line before any device: help, wrong use, settings, files, errors, output."""

from __future__ import annotations

import json
import os
import pty
import stat
import sys
from pathlib import Path

import pytest

from inventory import BandmasterError, UnknownName, WrongUse, new_id
from orchestrator.cli import desk
from orchestrator.cli.ids import resolve
from orchestrator.cli.options import EXIT_CODES
from orchestrator.cli.output import Cell, Painted, clean, table_lines
from orchestrator.cli.trouble import is_stop
from orchestrator.database import make_engine, reading
from orchestrator.journal import short
from tests.orchestrator.cli.cli_rig import CHECKOUT, Shell

HEAVY = (
    "alembic",
    "napalm",
    "netmiko",
    "nornir",
    "paramiko",
    "pyrad",
    "pysnmp",
    "rich",
    "sqlalchemy",
    "sqlmodel",
)


def test_help_is_light(shell: Shell) -> None:
    for words in (["--help"], ["service", "tier", "--help"]):
        script = (
            "import sys\n"
            "from orchestrator.cli.app import run\n"
            f"assert run({words!r}) == 0\n"
            f"print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr)\n"
        )
        ended = shell.python(script)
        assert ended.stderr.strip() == "[]"
        assert "Usage: bandmaster" in ended.stdout


def test_wrong_use_is_2(shell: Shell) -> None:
    assert shell("nonsense").code == 2
    assert shell("device", "show").code == 2
    assert shell("service", "tier").code == 2
    assert shell().code == 2
    assert shell("--version").code == 0


def test_init_writes_private_settings_and_tables_once(shell: Shell) -> None:
    first = shell.ok("init")
    assert "tables created" in first.err
    place = Path("bandmaster.toml")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    text = place.read_text()
    again = shell.ok("init", "--database", "sqlite:///other.db")
    assert "stays as it is" in again.err
    assert "up to date" in again.err
    assert place.read_text() == text
    assert not Path("other.db").exists()
    assert shell.ok("db", "upgrade").out == ""


def test_init_refuses_what_is_no_database(shell: Shell) -> None:
    said = shell("init", "--database", "oracle://scott@db/x")
    assert said.code == 2
    assert "sqlite:///FILE" in said.err
    assert not Path("bandmaster.toml").exists()


def test_password_of_the_database_is_never_shown(shell: Shell) -> None:
    said = shell("--debug", "init", "--database", "postgresql://app:s3cr3t-word@127.0.0.1:1/x")
    assert said.code == 1
    assert "s3cr3t-word" not in said.both


def test_settings_with_a_password_must_be_private(shell: Shell) -> None:
    place = Path("bandmaster.toml")
    place.write_text('database_url = "postgresql://app:s3cr3t-word@127.0.0.1/x"\n')
    place.chmod(0o644)
    said = shell("plan", "list")
    assert said.code == 2
    assert "chmod 600" in said.err
    assert "s3cr3t-word" not in said.both


def test_unknown_setting_is_named(shell: Shell) -> None:
    Path("bandmaster.toml").write_text("settel_s = 3\n")
    said = shell("plan", "list")
    assert said.code == 2
    assert "settel_s" in said.err


def test_without_tables_the_way_to_them_is_named(shell: Shell) -> None:
    said = shell("plan", "list")
    assert said.code == 1
    assert "bandmaster init" in said.err


def test_a_full_or_broken_database_is_told_in_words(shell: Shell) -> None:
    Path("bandmaster.db").write_bytes(b"this is no database at all, and long enough to be read")
    said = shell("plan", "list")
    assert said.code == 1
    assert "not a database" in said.err
    assert "Name another file" in said.err


def test_import_names_file_line_and_field(shell: Shell) -> None:
    shell.ok("init")
    Path("bad.yaml").write_text(
        "tiers:\n  - {code: good, down_kbps: 1000, up_kbps: 1000}\n"
        "  - {code: bad, down_kbps: 0, up_kbps: -5}\n"
    )
    said = shell("inventory", "import", "bad.yaml")
    assert said.code == 2
    assert "bad.yaml:3" in said.err
    assert "down_kbps" in said.err
    assert shell("plan", "list", "--json").value()["tiers"] == []


def test_import_of_a_missing_file_is_wrong_use(shell: Shell) -> None:
    shell.ok("init")
    said = shell("inventory", "import", "nowhere.yaml")
    assert said.code == 2
    assert "nowhere.yaml" in said.err


def test_bug_is_told_in_one_line_and_in_full_with_debug(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_text: str) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(desk, "_maskers", [lambda text: text.replace("hunter2", "***")])
    monkeypatch.setattr("orchestrator.cli.desk.remember_url", broken)
    said = shell("plan", "list")
    assert said.code == 70
    assert said.err.startswith("bug in bandmaster: RuntimeError: the secret is ***\n")
    assert "--debug" in said.err
    assert "Traceback" not in said.err
    for words in (("--debug", "plan", "list"), ("plan", "list", "--debug")):
        full = shell(*words)
        assert full.code == 70
        assert "Traceback" in full.err
        assert "hunter2" not in full.err


def test_errors_name_thing_problem_and_remedy(shell: Shell) -> None:
    shell.ok("init")
    said = shell("device", "show", "olt-none")
    assert said.code == 2
    assert said.err.splitlines()[0].startswith("device olt-none: is not in the inventory")


def test_hostile_text_cannot_steer_the_terminal(shell: Shell) -> None:
    shell.ok("init")
    said = shell("find", "\x1b[2Jx")
    assert "\x1b" not in said.both
    assert clean("a\x1b[31mb\nc\u202e") == "a\\x1b[31mb\\nc\\u202e"


def test_colours_only_on_a_terminal_that_wants_them(shell: Shell) -> None:
    script = "from orchestrator.cli.output import paint, show; show(paint('x', 'good'))"
    assert on_terminal(script) == "\x1b[32mx\x1b[0m"
    assert on_terminal(script, NO_COLOR="1") == "x"
    assert on_terminal(script, TERM="dumb") == "x"
    assert shell.python(script).stdout == "x\n"


def on_terminal(script: str, **environ: str) -> str:
    """What a Python script writes on a terminal."""
    pid, descriptor = pty.fork()
    if pid == 0:
        settings = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(CHECKOUT), **environ}
        os.execve(sys.executable, [sys.executable, "-c", script], settings)  # noqa: S606
    text = b""
    try:
        while part := os.read(descriptor, 4096):
            text += part
    except OSError:  # how Linux tells that the other side has closed
        pass
    os.waitpid(pid, 0)
    os.close(descriptor)
    return text.decode().strip()


def test_tables_lose_nothing_in_a_pipe() -> None:
    long = "word " * 60
    rows: list[tuple[Cell, ...]] = [("7", "a", long), ("1234", Painted("b", "good"), "x")]
    lines = table_lines(("n", "name", "why"), rows)
    assert lines[1] == f"   7  a     {long.rstrip()}"
    assert "\x1b[32mb   \x1b[0m" in lines[2]
    assert table_lines(("n",), []) == []


def test_tables_fold_their_widest_column_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.output.width", lambda: 40)
    rows: list[tuple[Cell, ...]] = [("x-1", "word " * 12, "retry"), ("x-22", "short", "accept")]
    lines = table_lines(("id", "what", "you can"), rows)
    assert lines[1:] == [
        "x-1   word word word word word   retry",
        "      word word word word word",
        "      word word",
        "x-22  short                      accept",
    ]
    assert all(len(line) <= 40 or "\x1b" in line for line in lines)


def test_closed_pipe_is_quiet(shell: Shell) -> None:
    script = (
        "import sys; from orchestrator.cli.app import main\n"
        "from orchestrator.cli import output\n"
        "import orchestrator.cli.app as a\n"
        "def run(words):\n"
        "    while output.show('x' * 9000): pass\n"
        "    return 3\n"
        "a.run = run\n"
        "main()\n"
    )
    (shell.folder / "endless.py").write_text(script)
    ended = shell.bash(f"{sys.executable} endless.py | head -c 5; exit ${{PIPESTATUS[0]}}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "xxxxx", "")


def test_identifiers_are_prefixes(shell: Shell) -> None:
    shell.ok("init")
    engine = make_engine("sqlite:///bandmaster.db")
    first, second = new_id(), new_id()
    with engine.begin() as connection:
        for name in (first, second):
            connection.exec_driver_sql(
                "INSERT INTO change_plan VALUES (?, 'h', 'open', '', '', '')", (name,)
            )
    with reading(engine) as session:
        for text in (first, first.upper(), short(first, "p"), first.replace("-", "")):
            assert resolve(session, "p", text) == ("p", first)
            assert resolve(session, "csp", text) == ("p", first)
        with pytest.raises(WrongUse, match="could be any of") as many:
            resolve(session, "p", first[:6])
        assert first in many.value.problem
        assert second in many.value.problem
        for text in ("zebra", "", "p-", "c-", "0" * 33, "%", "p-____"):
            with pytest.raises(WrongUse):
                resolve(session, "p", text)
        with pytest.raises(WrongUse, match="is a change plan, here a change is needed"):
            resolve(session, "c", short(first, "p"))
        with pytest.raises(UnknownName, match="is no change or change set"):
            resolve(session, "cs", first)
    engine.dispose()


def test_actor_is_spelled_as_the_ledger_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "DOMAIN\\jane doe")
    assert desk.actor() == "DOMAIN_jane_doe"
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    assert desk.actor() == "uid987654"


def test_exit_codes_of_errors_are_those_of_the_help() -> None:
    listed = {
        int(line.split()[0]) for line in EXIT_CODES.splitlines() if line.strip()[:1].isdigit()
    }
    todo = [BandmasterError]
    while todo:
        kind = todo.pop()
        assert kind.exit_code in listed, kind
        todo += kind.__subclasses__()


def test_doctor_says_what_is_missing_and_how_to_get_it(shell: Shell) -> None:
    bare = shell("doctor", "--json")
    assert bare.code == 1
    words = {row["thing"]: row for row in bare.value()}
    assert words["database"]["word"] == "missing"
    assert "bandmaster init" in words["database"]["remedy"]
    shell.ok("init")
    said = shell("doctor")
    assert said.code == 1
    assert "inventory import" in said.err
    assert "no FreeRADIUS" in said.out


def test_lab_outside_a_checkout_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.lab.__file__", str(shell.folder / "a" / "b" / "lab.py"))
    said = shell("lab", "status")
    assert said.code == 2
    assert "checkout" in said.err


def test_json_goes_to_standard_output_alone(shell: Shell) -> None:
    shell.ok("init")
    for words in (
        ("plan", "list"),
        ("device", "list"),
        ("change", "list"),
        ("exceptions", "list"),
        ("ledger", "tail"),
        ("ledger", "verify"),
        ("ledger", "replay", "--check"),
        ("find", "x"),
        ("hold",),
        ("recover",),
    ):
        said = shell.ok(*words, "--json")
        json.loads(said.out)
        assert said.err == "", words


def test_an_error_on_the_way_out_of_ctrl_c_is_no_bug() -> None:
    """Goal: whoever stops a command hears that it stopped. Method: what lies behind the error."""
    tripped, told = ValueError(), WrongUse("it", "was told in words of its own")
    for error in (tripped, told):  # a driver in the middle of a statement, and our own words
        error.__context__ = KeyboardInterrupt()
    told.__suppress_context__ = True
    assert is_stop(KeyboardInterrupt())
    assert is_stop(tripped)
    assert not is_stop(told)
    assert not is_stop(ValueError())
