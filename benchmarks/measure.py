"""What every benchmark needs: claims with their reach, host facts, and how a script is run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

from rich.console import Console
from rich.table import Table

from orchestrator.heap import collect_less


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One measured figure. `reach` "" = told for comparison, nothing is claimed about it."""

    what: str
    measured: str
    reach: str = ""
    holds: bool = True


class Measure(Protocol):
    """Takes the measurements of one script, in the order in which they are told."""

    def __call__(self, *, quick: bool) -> Iterator[Claim]:
        """Yield the claims; `quick` = a smoke run, whose figures have no weight."""


def run(title: str, measure: Measure) -> int:
    """Entry point of a script: measure, print a table; 1 where a reach is missed.

    `--quick` takes few samples and judges nothing. `--json` prints the claims as JSON lines.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is judged")
    parser.add_argument("--json", action="store_true", help="print the claims as JSON lines")
    given = parser.parse_args()
    collect_less()  # as every command does
    claims = []
    for claim in measure(quick=given.quick):
        claims.append(claim)
        if given.json:
            print(json.dumps(asdict(claim)), flush=True)
    if not given.json:
        show(title, claims, judged=not given.quick)
    return int(not given.quick and not all(claim.holds for claim in claims))


def show(title: str, claims: Sequence[Claim], *, judged: bool) -> None:
    """Print the claims as one table under the facts of the host."""
    table = Table(title=title, caption=host_facts(), title_justify="left", caption_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("reach", justify="right")
    table.add_column("")
    for claim in claims:
        verdict = ("holds" if claim.holds else "MISSED") if claim.reach and judged else ""
        table.add_row(claim.what, claim.measured, claim.reach, verdict)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def host_facts() -> str:
    """What the figures depend on: cores, Python, kernel, load, and how fast all that is now."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release().partition('-')[0]}, load {load:.1f}, "
        f"{_million_steps():.0f} million Python steps/s, fdatasync {_fdatasync_ms():.2f} ms"
    )


def _million_steps() -> float:
    """The best of twenty short loops, in million rounds per second."""
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        total = 0
        for step in range(100_000):
            total += step * step % 7
        times.append(time.perf_counter() - begun)
    return 0.1 / min(times)


def _fdatasync_ms() -> float:
    with tempfile.NamedTemporaryFile(dir=".") as file:
        times = []
        for _ in range(20):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return median(times) * 1000


def spread(times_s: Sequence[float]) -> str:
    """Return median and middle half of the times, in milliseconds."""
    if len(times_s) < 2:
        return f"{times_s[0] * 1000:.0f} ms"
    low, middle, high = quantiles(times_s, n=4, method="inclusive")
    return f"{middle * 1000:.0f} ms ({low * 1000:.0f}..{high * 1000:.0f})"


def p99(times_s: Sequence[float]) -> float:
    """Return the 99th percentile: the largest of fewer than a hundred times."""
    ordered = sorted(times_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder on a real disk, below the present directory, gone at the end."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as name:
        yield Path(name).resolve()
