"""The netmiko wire on real shells, with linux_tc's own dead man's switch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shell_host import FileBox, ShellHost
from transport_rig import NEW, OLD, PASSWORD, TOKEN, USER, address, host_key, wait_until

from device_templates import platform
from inventory import Device, LoginRefused, SecretRef, Unreachable, Unreadable
from tests.required import missing
from workflows.observe import observe, read_sections
from workflows.participant import Handle, HandleItem, Observation, Wire, WireContext
from workflows.transports import enroll, netmiko

NAMES = ("sub1", "sub2", "sub3")


class Box:
    """A shell host with a file per line, and wires to it."""

    def __init__(self, host: ShellHost, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self.platform = FileBox(folder=folder).platform()
        self.wires: list[Wire] = []
        self._known_hosts = str(folder / "known_hosts")
        enroll(self._known_hosts, host.address, host.port, host_key(host.host_key))
        for name in NAMES:
            self.set(name, f"{OLD.down_kbps} {OLD.up_kbps}")
            (folder / f"{name}.saved").write_text(f"{OLD.down_kbps} {OLD.up_kbps}\n")

    def set(self, name: str, text: str) -> None:
        """A person writes a rate."""
        (self.folder / f"{name}.rate").write_text(f"{text}\n")

    def open(self, **changes: object) -> Wire:
        """An open wire."""
        device = Device(
            **{
                "name": "bng1",
                "role": "bng",
                "platform": "linux_tc",
                "host": self.host.address,
                "port": self.host.port,
                "username": USER,
                "password": SecretRef(ref=f"test:{PASSWORD}"),
                "timeout_s": 20,
                **changes,
            }
        )
        context = WireContext(
            device=device,
            resolve=lambda ref: ref.ref.partition(":")[2],
            known_hosts=self._known_hosts,
            timeout_s=device.timeout_s,
        )
        wire = netmiko.connect(context, self.platform)
        self.wires.append(wire)
        wire.open()
        return wire

    def handle(self, wire: Wire, seconds: int = 600) -> Handle:
        """All lines to the new tier."""
        objects = tuple({"name": name} for name in NAMES)
        sections = read_sections(wire, self.platform, objects).sections
        items = []
        for one, before in zip(objects, sections, strict=True):
            after = self.platform.target(one, "active", NEW, before, ())
            items.append(
                HandleItem(
                    service_id=one["name"],
                    objects=tuple(one.items()),
                    before=before,
                    after=after,
                    forward=self.platform.render(one, before, after),
                    inverse=self.platform.render(one, after, before),
                )
            )
        return Handle(
            device="bng1",
            platform="linux_tc",
            token=TOKEN,
            items=tuple(items),
            revert_after_s=seconds,
        )

    def observed(self, handle: Handle) -> Observation:
        """The truth, read through a new wire."""
        return observe(self.open(), self.platform, handle)

    def jobs(self, end: str = "armed") -> list[str]:
        """The names of jobs in a state."""
        return sorted(path.name for path in (self.folder / "run").glob(f"*.{end}"))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box; jobs that its tests armed and left are ended."""
    with ShellHost(address(), PASSWORD, tmp_path) as host:
        made = Box(host, tmp_path)
        yield made
        for wire in made.wires:
            wire.close()
    mine = str(tmp_path / "run").encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if mine in command and int(process.name) != os.getpid():
            os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def wire(box: Box) -> Wire:
    """An open wire."""
    return box.open()


@pytest.fixture
def handle(box: Box, wire: Wire) -> Handle:
    """All three lines to the new tier."""
    return box.handle(wire)


def test_the_whole_way(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: armed before the first line; confirm disarms; save keeps what runs."""
    assert wire.prepare(handle).verdict == "SENT"
    seen = box.observed(handle)
    assert (seen.running(), seen.startup(), seen.pending) == ("NEW", "OLD", "OURS")
    (job,) = box.jobs()
    assert wire.extend(handle).verdict == "SENT"
    (second,) = box.jobs()
    assert second != job
    assert wire.confirm(handle).verdict == "SENT"
    assert wire.save(handle).verdict == "SENT"
    seen = box.observed(handle)
    assert (seen.running(), seen.startup(), seen.pending) == ("NEW", "NEW", "NONE")
    assert box.jobs() == []


def test_the_switch_restores(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: without a confirmation the box goes back by itself; a late confirm is refused."""
    brief = replace(handle, revert_after_s=1)
    assert wire.prepare(brief).verdict == "SENT"
    wait_until(lambda: bool(box.jobs("restored")), pause_s=0.01)
    assert box.observed(handle).running() == "OLD"
    for verb in (wire.confirm, wire.extend):
        reply = verb(brief)
        assert (reply.verdict, "nothing armed" in reply.reason) == ("REFUSED", True)


def test_abort_undoes_and_disarms(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: the old rates at once, and no job left that could act on the next change."""
    wire.prepare(handle)
    assert wire.abort(handle).verdict == "SENT"
    seen = box.observed(handle)
    assert (seen.running(), seen.pending) == ("OLD", "NONE")
    assert wire.abort(handle).verdict == "SENT"


def test_another_change_s_job_refuses(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: over a foreign timer nothing is armed, sent or confirmed."""
    wire.prepare(handle)
    other = replace(handle, token="0197a3f2-ffff.1")
    assert wire.pending(other)[0] == "FOREIGN"
    for reply in (wire.prepare(other), wire.extend(other), wire.confirm(other)):
        assert reply.verdict == "REFUSED"
        assert TOKEN in reply.reason
    assert len(box.jobs()) == 1


def test_exit_status_refuses(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: the second line fails: its words arrive, the first stays applied, abort undoes it."""
    bad = replace(handle.items[1], forward=(f"echo 1 1 > {box.folder}/no/sub2.rate",))
    partial = replace(handle, items=(handle.items[0], bad, handle.items[2]))
    reply = wire.prepare(partial)
    assert reply.verdict == "REFUSED"
    assert reply.reason.startswith("line 2 of 3 refused: exit status")
    assert "1 before it applied" in reply.reason
    assert box.observed(handle).running() == "MIXED"
    assert wire.abort(handle).verdict == "SENT"
    seen = box.observed(handle)
    assert (seen.running(), seen.pending) == ("OLD", "NONE")


def test_section_that_differs_refuses(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: W10, before anything is armed."""
    box.set("sub2", "7 7")
    for verb in (wire.prepare, wire.abort):
        assert "owned section differs for service sub2" in verb(handle).reason
    assert box.jobs() == []


def test_hang_is_unknown_and_drained(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: a shell that hangs is ended by the next wire's drain. Method: sub1 is a pipe."""
    wire.close()
    hung = box.open(timeout_s=1)
    pipe = box.folder / "sub1.rate"
    pipe.unlink()
    os.mkfifo(pipe)
    assert hung.prepare(handle).verdict == "UNKNOWN"
    pipe.unlink()
    box.set("sub1", f"{OLD.down_kbps} {OLD.up_kbps}")
    second = box.open()
    assert second.drain(handle).verdict == "SENT"
    assert box.host.processes[1].wait() < 0
    assert second.prepare(handle).verdict == "SENT"


def test_drain_ends_our_older_shells_only(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: another session of ours dies, a person's shell and this session live."""
    older = box.open()
    with subprocess.Popen(["sh", "-s", "person"], stdin=subprocess.PIPE) as person:
        assert wire.drain(handle).verdict == "SENT"
        assert box.host.processes[1].wait() < 0
        assert person.poll() is None
        person.communicate()
    with pytest.raises(Unreachable):
        older.ask(("true",))
    assert wire.ask(("echo here",)) == ("here\n",)


def test_cut_connection_is_unknown(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: a lost connection is noticed at once, by writes and reads."""
    box.host.cut()
    assert wire.prepare(handle).verdict == "UNKNOWN"
    with pytest.raises(Unreachable):
        wire.ask(("true",))
    assert box.open().drain(handle).verdict == "SENT"


def test_answers_are_exact(box: Box, wire: Wire) -> None:
    """Goal: long lines, background jobs, stdin, colours, odd bytes: the answer is what was said."""
    long = "x" * 20_000
    (box.folder / "odd").write_bytes(b"\x1b[31mred\x1b[0m \xff\xfe\x07 end\n")
    assert wire.ask(
        (
            f"printf %s {long}",
            "sleep 0 & echo started",
            "cat; echo nothing on stdin",
            f"cat {box.folder}/odd",
            "seq 1 20000 | tail -n 1",
            "echo '#'; echo '$'; echo 'root@box:~# '",
        )
    ) == (long, "started\n", "nothing on stdin\n", "red  end\n", "20000\n", "#\n$\nroot@box:~# \n")


def test_failed_query_is_unreadable(wire: Wire) -> None:
    """Goal: no answer is taken from a command that failed."""
    with pytest.raises(Unreadable, match="exit status 3"):
        wire.ask(("sh -c 'echo half; exit 3'",))


def test_two_lines_are_not_one(wire: Wire) -> None:
    """Goal: what would be a second command is not sent."""
    with pytest.raises(Unreadable, match="not one line"):
        wire.ask(("echo a\necho b",))


def test_secret_is_not_typed(box: Box, wire: Wire, handle: Handle) -> None:
    """Goal: the password goes to the login only."""
    wire.prepare(handle)
    assert PASSWORD.encode() not in box.host.heard
    with pytest.raises(LoginRefused):
        box.open(password=SecretRef(ref="test:another"))


def test_linux_tc_s_own_queries_run(box: Box, wire: Wire) -> None:
    """Goal: the real platform's reading gets through this wire; an absent line is `()`."""
    if shutil.which("tc") is None:
        missing("iproute2 is not installed")
    kind = platform("linux_tc")
    objects = ({"interface": "nosuch0", "class_minor": "10"},)
    assert read_sections(wire, kind, objects).sections == ((),)
    assert kind.dead_man is not None
    assert wire.ask((kind.dead_man.pending(TOKEN),))[0].split()[0] in ("none", "foreign")
    assert box.jobs() == []
