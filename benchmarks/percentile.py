"""The 95th percentile of a month of five-minute samples, circuit after circuit in one process."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.measure import Claim, run
from billing_bridge import circuit_95, percentile_95

SAMPLES = 8_928  # of a month of 31 days
CIRCUITS = 1_000
REACH_S = 5


def measure(*, quick: bool) -> Iterator[Claim]:
    """Each circuit has samples of its own; making them is not measured."""
    circuits = 20 if quick else CIRCUITS
    bare_s = one_s = both_s = 0.0
    chance = random.Random(1)  # noqa: S311 - the same samples every time
    for _ in range(circuits):
        down, up = ([chance.randrange(10**9) for _ in range(SAMPLES)] for _ in range(2))
        bare_s += _timed(lambda down=down: _bare(down))  # type: ignore[misc]  # a lambda with a default
        one_s += _timed(lambda down=down: percentile_95(down, SAMPLES))  # type: ignore[misc]  # a lambda with a default
        both_s += _timed(lambda down=down, up=up: circuit_95(down, up, expected=SAMPLES))  # type: ignore[misc]  # a lambda with a default
    yield Claim(what=f"{circuits} sorted lists of {SAMPLES}", measured=f"{bare_s:.2f} s")
    yield Claim(
        what=f"95th percentile of {SAMPLES} samples x {circuits} circuits",
        measured=f"{one_s:.2f} s (x {one_s / bare_s:.2f} of sorting)",
        reach=f"<= {REACH_S} s",
        holds=one_s <= REACH_S,
    )
    yield Claim(what=f"{circuits} circuits of two directions", measured=f"{both_s:.2f} s")


def _bare(samples: Sequence[int]) -> int:
    return sorted(samples)[-(len(samples) // 20) - 1]


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
