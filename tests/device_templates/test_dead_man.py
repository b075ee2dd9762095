"""The dead man's switch, run by a real shell: whoever renames first has won."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_templates.linux_tc.dead_man import dead_man
from device_templates.platform import DeadMan

TOKEN = "0197a3f2-1c2d-7e3f-8a4b-5c6d7e8f9a0b.1"
OTHER = "0197a3f2-1c2d-7e3f-8a4b-5c6d7e8f9a0b.10"
LONG_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A directory of jobs and a shell."""

    directory: Path
    switch: DeadMan

    def run(self, line: str) -> tuple[int, str]:
        """Exit status and output, as a transport runs a line."""
        command = f"{{ {line}\n}} </dev/null 2>&1"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def send(self, lines: tuple[str, ...]) -> int:
        """The exit status of the first line that fails, or 0."""
        for line in lines:
            status, _ = self.run(line)
            if status:
                return status
        return 0

    def arm(self, token: str = TOKEN, inverse: tuple[str, ...] = (), seconds: int = LONG_S) -> int:
        """Send the arming lines."""
        return self.send(self.switch.arm(token, inverse, seconds))

    def disarm(self, token: str = TOKEN) -> int:
        """Send the disarming lines."""
        return self.send(self.switch.disarm(token))

    def pending(self, token: str = TOKEN) -> str:
        """What the query prints."""
        status, text = self.run(self.switch.pending(token))
        assert status == 0
        return text.strip()

    def files(self, ending: str) -> list[Path]:
        """The files in a state."""
        return sorted(self.directory.glob(f"*.{ending}"))

    def jobs(self) -> list[int]:
        """The processes that run a job of this directory."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and f"{self.directory}/" in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box whose jobs end with the test."""
    directory = tmp_path / "run"
    made = Box(directory=directory, switch=dead_man(str(directory)))
    yield made
    for job in made.jobs():
        with suppress(ProcessLookupError):
            os.killpg(job, signal.SIGKILL)  # a job leads its own group


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens outside; the suite's timeout is the deadline."""
    pause = threading.Event()
    while not true():
        pause.wait(0.02)


def test_nothing_is_armed_on_a_fresh_box(box: Box) -> None:
    assert box.pending() == "none"
    assert box.disarm() == 0
    assert not box.directory.exists()


def test_an_armed_job_lives_apart_from_the_shell_that_started_it(box: Box) -> None:
    assert box.arm(inverse=("true",)) == 0
    assert box.pending() == "pending"
    (job,) = box.jobs()
    assert os.getsid(job) == job
    assert box.directory.stat().st_mode & 0o777 == 0o700


def test_a_disarmed_job_never_restores_and_disarming_may_be_repeated(box: Box) -> None:
    mark = box.directory / "restored-it"
    assert box.arm(inverse=(f"touch {mark}",), seconds=1) == 0
    assert box.disarm() == 0
    assert box.disarm() == 0
    assert box.pending() == "none"
    until(lambda: box.jobs() == [])
    assert not mark.exists()
    assert list(box.directory.iterdir()) == []  # it tidied up after itself


def test_a_job_that_is_not_disarmed_restores_every_line_in_order(box: Box) -> None:
    out = box.directory / "out"
    lines = tuple(f"echo {number} of {'x' * 80} >> {out}" for number in range(60))
    assert box.arm(inverse=("false", *lines), seconds=1) == 0
    until(lambda: box.pending() == "none")
    assert [int(line.split()[0]) for line in out.read_text().splitlines()] == list(range(60))
    assert box.disarm() != 0  # too late, and it says so
    assert len(box.files("restored")) == 1
    assert box.arm() == 0  # a new attempt under the same name is possible
    assert box.files("restored") == box.files("fired") == []
    assert box.disarm() == 0


def test_while_a_job_restores_nothing_is_armed_or_called_off(box: Box) -> None:
    box.directory.mkdir()
    gate = box.directory / "gate"
    os.mkfifo(gate)
    assert box.arm(inverse=(f"cat {gate}",), seconds=1) == 0
    until(lambda: box.files("fired") != [])
    assert box.pending() == "pending"
    assert box.pending(OTHER) == f"foreign {TOKEN}"
    assert box.disarm() != 0
    assert box.arm() != 0
    gate.write_text("go on\n")  # a reader is there: the job
    until(lambda: box.pending() == "none")


def test_arming_again_starts_the_time_anew_and_calls_the_older_job_off(box: Box) -> None:
    mark = box.directory / "restored-it"
    assert box.arm(inverse=(f"touch {mark}",), seconds=1) == 0
    assert box.arm(inverse=(f"touch {mark}",)) == 0
    until(lambda: len(box.jobs()) == 1)
    assert not mark.exists()
    assert box.pending() == "pending"
    assert len(box.files("armed")) == 1


def test_another_changes_job_is_foreign_and_untouched(box: Box) -> None:
    assert box.arm(OTHER) == 0
    assert box.pending(TOKEN) == f"foreign {OTHER}"
    assert box.arm(TOKEN) == 0
    assert box.pending(TOKEN) == f"foreign {OTHER}"
    assert box.disarm(TOKEN) == 0
    assert box.pending(OTHER) == "pending"
    assert box.disarm(OTHER) == 0


def test_of_many_that_disarm_at_once_none_harms_another(box: Box) -> None:
    """Goal: the rename decides. Method: disarm from eight shells while the job may go off."""
    for _ in range(3):
        mark = box.directory / "restored-it"
        mark.unlink(missing_ok=True)
        assert box.arm(inverse=(f"touch {mark}",), seconds=1) == 0
        until(lambda: bool(box.files("armed")))
        shells = [threading.Thread(target=box.disarm) for _ in range(8)]
        for shell in shells:
            shell.start()
        for shell in shells:
            shell.join()
        until(lambda: box.jobs() == [])
        assert box.disarm() == (1 if mark.exists() else 0)
        assert box.pending() == "none"


def test_a_box_without_setsid_is_not_armed(box: Box, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "find", "rm", "mv", "head", "sleep", "test"):
        found = subprocess.run(
            ["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if found.startswith("/"):
            (tools / name).symlink_to(found)
    lines = box.switch.arm(TOKEN, (), LONG_S)
    statuses = [box.run(f"PATH={tools}; {line}")[0] for line in lines]
    assert statuses[-1] != 0
    assert box.pending() == "none"


@pytest.mark.parametrize(
    "token", ["", "A", "../x", "0 1", "0;1", "0\n", ".1", "0" * 65, "x", "0_1"]
)
def test_a_token_is_never_anything_else(box: Box, token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        box.switch.arm(token, (), 60)
    with pytest.raises(ValueError, match="token"):
        box.switch.disarm(token)
    with pytest.raises(ValueError, match="token"):
        box.switch.pending(token)


def test_a_line_that_could_leave_its_quotes_or_a_job_without_time_is_refused(box: Box) -> None:
    for line in ("echo 'x'", "echo\nreboot", "echo \u2028", "\x1b"):
        with pytest.raises(ValueError, match="line"):
            box.switch.arm(TOKEN, (line,), 60)
    with pytest.raises(ValueError, match="wait"):
        box.switch.arm(TOKEN, (), 0)
