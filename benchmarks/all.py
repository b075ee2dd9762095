"""Runs every benchmark in a process of its own and prints one table; 1 where a reach is missed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from benchmarks.measure import Claim, show

SCRIPTS = (
    "help",
    "one_change",
    "bulk",
    "decision",
    "ledger_verify",
    "rating",
    "gate",
    "invoice_run",
    "usage_rollups",
    "percentile",
    "snmp_collect",
)


def main() -> int:
    """Entry point; `--quick` is handed on to each script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples; nothing is judged")
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=f"some of {SCRIPTS}")
    given = parser.parse_args()
    claims: list[Claim] = []
    failed = False
    for script in given.scripts or SCRIPTS:
        begun = time.monotonic()
        argv = [sys.executable, "-m", f"benchmarks.{script}", "--json"]
        ended = subprocess.run(
            [*argv, "--quick"] if given.quick else argv,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        claims += [Claim(**json.loads(line)) for line in ended.stdout.splitlines()]
        failed = failed or ended.returncode != 0
        print(f"benchmarks/{script}.py: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    show("benchmarks", claims, judged=not given.quick)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
