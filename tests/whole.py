"""`python -m tests.whole`: every test of the project; ends with 1 where one of them failed.

With arguments of pytest it runs those tests alone.

pytest and the kills wait for timers, devices and servers; the simulation has a clock of its own
and waits for nobody. So it runs all the while, with the least priority, on what those leave of the
cores.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# once before the workers begin, as each of them would do it: pytest rewrites what tests assert
COMPILE = ("pytest", "--collect-only", "-qq")
# more workers than cores: the long modules, which begin, wait most of the time
PYTEST = ("pytest", "-n", "5", "--dist", "loadscope", "--no-loadscope-reorder")
KILLS = ("tests.kills",)
SIMULATION = ("tests.simulation",)


def step_back() -> None:
    """Give way to everybody else, also where the kernel shares the cores out by session."""
    os.nice(19)
    with suppress(OSError):  # a kernel without autogroups: the niceness is all
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")


@contextmanager
def beside(arguments: tuple[str, ...], told: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module in a session of its own, which ends with this block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=told,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=step_back,  # noqa: PLW1509 - no thread runs yet
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def main() -> int:
    """Run all, one after the other has ended, and show what each of them says."""
    if only := sys.argv[1:]:
        return subprocess.run([sys.executable, "-m", *PYTEST, *only], check=False).returncode
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryFile() as told, beside(SIMULATION, told) as simulation:
        subprocess.run([sys.executable, "-m", *COMPILE], stdout=subprocess.DEVNULL, check=False)
        failed = [
            arguments[0]
            for arguments in (PYTEST, KILLS)
            if subprocess.run([sys.executable, "-m", *arguments], check=False).returncode
        ]
        if simulation.wait():
            failed.append(SIMULATION[0])
        told.seek(0)
        sys.stdout.write(told.read().decode("utf-8", "replace"))
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "all tests passed\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
