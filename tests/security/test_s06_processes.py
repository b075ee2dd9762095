"""S6 around the process: its arguments, its children, its temporary files, its database file.

What commands show, log and journal is read in test_s06_secrets.py.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_bridge import beside
from inventory import SecretRef
from lab.servers.postgres import binaries
from orchestrator.secrets import SecretStore
from tests.desk import ROOT, tier
from tests.tree import ROOMS, modules, tree

from .conftest import DEVICE, LOGIN, Guarded

BNG, ONE, TWO = "bng-fra-1", "svc-1001", "svc-1002"
ARM = "commit-configuration confirmed"
WAIT_S = 120  # for what comes at once on a host that is not busy
COMMANDS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("service", "tier", ONE, "fiber-500", "--plan-only"), 3),
    (("device", "check"), 0),
    (("device", "check", "no-such-device"), 2),
    (("ledger", "verify", "--deep"), 0),
    (("doctor",), 0),
)


def _process(
    guarded: Guarded, *words: str, temporary: Path, python: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start the real command line, by itself."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", "orchestrator.cli", *words],
        cwd=guarded.desk.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the commands put what is passing."""
    folder = tmp_path / "passing"
    folder.mkdir()
    return folder


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:  # it has ended, or gone
        return ""


def test_a_running_change_shows_no_secret_to_the_host(guarded: Guarded, temporary: Path) -> None:
    """Goal: S6 in `ps`, in children and in temporary files. Method: it waits in the middle."""
    desk = guarded.desk
    desk.control(BNG, "fault", verb=ARM, kind="hang_before")
    last = desk.control(BNG, "log")["last"]
    running = _process(guarded, *tier(ONE, "fiber-500", "--debug"), temporary=temporary)
    deadline = time.monotonic() + WAIT_S
    while not _came(guarded, last):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
    seen = [_read(Path(f"/proc/{running.pid}/{name}")) for name in ("cmdline", "comm")]
    for child in _descendants(running.pid):
        seen += [_read(Path(f"/proc/{child}/{name}")) for name in ("cmdline", "environ")]
    assert "orchestrator.cli" in seen[0]
    seen += [_read(path) for path in temporary.rglob("*") if path.is_file()]
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 1, err
    for text in (*seen, out, err):
        assert guarded.leaks(text) == []
    assert list(temporary.rglob("*")) == []  # and nothing stays


def _came(guarded: Guarded, last: int) -> bool:
    entries = guarded.desk.control(BNG, "log", since=last)["entries"]
    return any("commit-configuration" in f"{e['what']} {e['text']}" for e in entries)


@pytest.mark.parametrize("python", [(), ("-X", "dev")], ids=["as it is", "-X dev"])
def test_no_command_tells_a_secret_as_a_process(
    guarded: Guarded, temporary: Path, python: tuple[str, ...]
) -> None:
    """Goal: S6 with all that Python itself can say. Method: `-X dev`, with `--debug`."""
    for words, code in COMMANDS:
        started = _process(guarded, *words, "--debug", temporary=temporary, python=python)
        out, err = started.communicate(timeout=WAIT_S)
        assert started.returncode == code or words == ("doctor",), err
        assert guarded.leaks(out + err) == []
    assert list(temporary.rglob("*")) == []


def test_the_database_holds_logins_passwords_alone(guarded: Guarded) -> None:
    """Goal: 0 octets in the store but where FreeRADIUS reads. Method: the files, or a dump."""
    desk = guarded.desk
    desk.good(*tier(ONE))
    desk.control(BNG, "fault", verb="commit-configuration", kind="refuse", arg=f"no {DEVICE}")
    desk.good(*tier(TWO), code=1)
    others = [canary for canary in guarded.canaries if canary != LOGIN]
    if desk.engine.dialect.name == "sqlite":
        files = list(desk.folder.glob("bandmaster.db*"))
        assert files
        found = b"".join(path.read_bytes() for path in files)
        assert LOGIN.encode() in found
        assert [canary for canary in others if canary.encode() in found] == []
        return
    url = desk.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    dumped = subprocess.run(
        [str(binaries() / "pg_dump"), "--dbname", url], capture_output=True, text=True, check=True
    ).stdout
    assert "COPY public.journal_step" in dumped
    assert [canary for canary in others if canary in dumped] == []
    blocks = [block.partition("\n\\.\n")[0] for block in dumped.split("COPY ")[1:]]
    with_login = {block.partition(" ")[0] for block in blocks if LOGIN in block}
    assert with_login == {"radius.radcheck"}


def test_the_ledger_s_helpers_are_given_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a child's environment holds no credential. Method: the real child is looked at."""
    for name in ("BM_DEVICE_PASSWORD", "PGPASSWORD", "BANDMASTER_DATABASE_URL", "ANYTHING"):
        monkeypatch.setenv(name, DEVICE)
    with beside.start_beside("import sys; sys.stdin.read()") as helper:
        place = Path(f"/proc/{helper.pid}/environ")
        until = time.monotonic() + 30
        while not (environ := _read(place)) and time.monotonic() < until:
            time.sleep(0.01)  # between its start and its first instruction there is none yet
        arguments = _read(Path(f"/proc/{helper.pid}/cmdline"))
        helper.kill()
    assert "PYTHONPATH=" in environ
    assert "PATH=" in environ
    assert DEVICE not in environ + arguments


# who starts other programs, and why that is no leak
STARTERS = {
    "billing_bridge/beside.py": "its environment is chosen, see above",
    "orchestrator/cli/lab.py": "the lab, which is no part of the product's network",
}


def test_nobody_else_starts_a_program() -> None:
    """Goal: the list of children is complete. Method: who imports what could start one."""
    found = {
        path
        for path in modules(*ROOMS)
        for node in ast.walk(tree(path))
        if (
            isinstance(node, ast.Import)
            and {alias.name for alias in node.names} & {"subprocess", "multiprocessing", "pty"}
        )
        or (
            isinstance(node, ast.Attribute)
            and ast.unparse(node) in ("os.system", "os.popen", "os.fork", "os.execv", "os.spawnv")
        )
    }
    assert found == STARTERS.keys()


NASTY = "p\u00e4ss'w\"ord\\<&>% 7"


def test_a_secret_is_masked_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a trace shows reprs, a library URLs and XML: none of them shows the secret."""
    monkeypatch.setenv("NASTY", NASTY)
    store = SecretStore(tmp_path)
    store(SecretRef(ref="env:NASTY"))
    written = (
        NASTY,
        repr(NASTY)[1:-1],
        "p\\u00e4ss'w\\\"ord\\\\<&>% 7",
        "p%C3%A4ss%27w%22ord%5C%3C%26%3E%25%207",
        "p\u00e4ss&#x27;w&quot;ord\\&lt;&amp;&gt;% 7",
    )
    for text in written:
        assert store.mask(f"<{text}>") == "<***>"


def test_a_bug_of_ours_is_traced_masked(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: S6 in tracebacks. Method: a bug with the secret in what it says, under --debug."""

    def broken(*_: object, **__: object) -> object:
        raise RuntimeError(f"login {DEVICE!r} of {{'password': {DEVICE!r}}} failed")

    desk = guarded.desk
    desk.good("device", "check")  # by now the secret has been given out
    monkeypatch.setattr("workflows.observe._read", broken)
    for more in ((), ("--debug",)):
        told = desk.run("device", "check", *more)
        assert told.code == 70, told.text
        assert "bug in bandmaster" in told.err
        assert guarded.leaks(told.text) == []
    assert "Traceback" in told.err
