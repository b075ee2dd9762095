"""The wall time of `bandmaster --help` against an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.measure import Claim, run, spread

REACH_MS = 150
# `jnpr` is not looked for: its own .pth file puts it into every interpreter
HEAVY = frozenset(
    {
        "alembic",
        "jinja2",
        "keyring",
        "lxml",
        "napalm",
        "ncclient",
        "netmiko",
        "nornir",
        "paramiko",
        "psycopg",
        "pydantic",
        "pyrad",
        "pysnmp",
        "rich",
        "sqlalchemy",
        "sqlmodel",
        "yaml",
    }
)
LOOK = """
import contextlib, io, sys
from orchestrator.cli.app import run
with contextlib.redirect_stdout(io.StringIO()):
    code = run(["--help"])
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def measure(*, quick: bool) -> Iterator[Claim]:
    """Take turns between the command and the bare interpreter, after one unmeasured run."""
    command = (str(Path(sys.executable).with_name("bandmaster")), "--help")
    nothing = (sys.executable, "-c", "pass")
    helping, starting = [], []
    _time(command)
    for _ in range(3 if quick else 20):
        helping.append(_time(command))
        starting.append(_time(nothing))
    middle_ms = median(helping) * 1000
    yield Claim(
        what="bandmaster --help",
        measured=spread(helping),
        reach=f"<= {REACH_MS} ms",
        holds=middle_ms <= REACH_MS,
    )
    yield Claim(what="  python -c pass", measured=spread(starting))
    heavy = _imported() & HEAVY
    yield Claim(
        what="heavy modules it imports",
        measured=", ".join(sorted(heavy)) or "none",
        reach="none",
        holds=not heavy,
    )


def _time(command: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _imported() -> set[str]:
    look = subprocess.run((sys.executable, "-c", LOOK), check=True, capture_output=True, text=True)
    code, *names = look.stdout.split()
    if code != "0":
        message = "--help failed"
        raise RuntimeError(message)
    return set(names)


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
