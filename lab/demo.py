"""`make demo`: the main job on SQLite and emulated devices, as a NOC engineer would do it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.rule import Rule

from lab.demo_table import closing_table
from lab.emulators.control import ControlClient
from lab.small_isp import SmallIsp

HOME = Path(".demo")
BANDMASTER = Path(sys.executable).parent / "bandmaster"
console = Console(width=100, highlight=False)


class DemoFailedError(Exception):
    """A step did not end as it must; the demo stops there and says so."""


def say(title: str, text: str) -> None:
    """Print the heading of a step and what is about to be seen."""
    console.print()
    console.print(Rule(f"[bold cyan]{title}[/]", align="left", style="cyan"))
    console.print(f"[italic]{text}[/]\n")
    sys.stdout.flush()


class Demo:
    """Runs the real command line in the demo's own directory and checks each exit code."""

    def __init__(self, isp: SmallIsp, root: Path) -> None:
        self._isp = isp
        self._root = root
        self._environ = {
            **os.environ,
            **isp.secrets(),
            "PYTHONPATH": str(root),
            "COLUMNS": "100",
        }
        self._environ.pop("BANDMASTER_DATABASE_URL", None)
        self.devices = ControlClient(HOME.resolve() / "fleet")

    def run(self, *arguments: str, expect: int = 0, cut: str = "") -> None:
        """Show a command, run it and demand its exit code; `cut` = SIGKILL at that edge."""
        note = f"   # killed with SIGKILL {cut}" if cut else ""
        console.print(f"[bold green]$ bandmaster {' '.join(arguments)}[/][dim]{note}[/]")
        sys.stdout.flush()
        program = [str(BANDMASTER)]
        if cut:
            program = [sys.executable, "-m", "lab.cut", "--at", cut, "--"]
        done = subprocess.run(
            [*program, *arguments],
            cwd=HOME,
            env=self._environ,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        shown = (
            f"killed by signal {-done.returncode}"
            if done.returncode < 0
            else (f"exit code {done.returncode}")
        )
        console.print(f"[dim]({shown})[/]\n")
        if done.returncode != expect:
            raise DemoFailedError(f"{arguments} ended with {shown}, not {expect}")


@contextlib.contextmanager
def fleet(isp: SmallIsp, root: Path) -> Iterator[None]:
    """Run the emulated devices in a process of their own: they outlive what gets killed."""
    _, _ = isp.write(HOME)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "lab.emulators", "run", "fleet.yaml"),
            *("--state", "fleet", "--exit-with-pid", str(os.getpid())),
        ],
        cwd=HOME,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        for _ in range(100):
            if (HOME / "fleet" / "ready").exists():
                break
            if process.poll() is not None:
                raise DemoFailedError("the emulated devices did not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def show(demo: Demo, isp: SmallIsp) -> None:
    """The six parts of the demonstration."""
    names = [spec.name for spec in isp.specs()]
    say("1  The network, from files", "Four subscribers who are live already, a BNG, two OLTs.")
    demo.run("init")
    Path(HOME, "bandmaster.toml").write_text(
        'database_url = "sqlite:///bandmaster.db"\nsettle_s = 2\ncoa_window_s = 2\n',
        encoding="utf-8",
    )
    demo.run("inventory", "import", "inventory.yaml")
    for name in names:
        demo.run("device", "enroll-key", name, "--yes")
    demo.run("device", "list")
    demo.run("plan", "list")

    say("2  One upgrade, planned", "Native lines, their undo, RADIUS, CoA and money; frozen.")
    demo.run("service", "tier", "svc-1001", "fiber-500", "--plan-only", "--show", "undo", expect=3)

    say("3  The same upgrade, applied", "Devices armed, read back, decided with the bill, kept.")
    demo.run("service", "tier", "svc-1001", "fiber-500", "--yes", "--ticket", "CHG-88123")
    demo.run("ledger", "tail")

    say("4  A change that the OLT refuses", "Everything goes back; nothing is billed.")
    demo.devices.call("olt-fra-2", "fault", verb="service-port*", kind="busy", count=1)
    demo.run("service", "tier", "svc-1002", "fiber-500", "--yes", expect=1)

    say("5a  Killed between prepare and decision", "Recovery undoes it: nothing was decided.")
    demo.run("service", "tier", "svc-1003", "fiber-1000", "--yes", expect=-9, cut="before decision")
    demo.run("recover")
    say("5b  Killed between decision and confirm", "Recovery finishes it: it was decided.")
    demo.run("service", "tier", "svc-1004", "fiber-1000", "--yes", expect=-9, cut="after decision")
    demo.run("recover")

    say("6  The books", "The chain holds, the fold is the service table, and all sides agree.")
    demo.run("recover")
    demo.run("ledger", "verify")
    demo.run("ledger", "replay", "--check")
    demo.run("subscriber", "show", "svc-1001")


def main() -> int:
    """Run the demonstration; 0 when every step ended as it must."""
    root = Path(__file__).resolve().parent.parent
    started = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o700)
    isp = SmallIsp()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with fleet(isp, root):
            demo = Demo(isp, root)
            show(demo, isp)
            agreed = closing_table(console, demo.devices, isp, HOME / "bandmaster.db")
    except DemoFailedError as failure:
        console.print(f"[bold red]The demo failed: {failure}[/]")
        return 1
    console.print(f"\nDone in {time.monotonic() - started:.0f} s. What was made lies in {HOME}/.")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
