"""The 95th percentile of five-minute rates, by nearest rank and without interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from inventory import Refused, WrongUse

from .proration import Period, midnight

SLOT_S = 300
COVERAGE_FLOOR_BP = 9_500  # below it a line is held
PercentileMode = Literal["per_direction", "per_sample_max", "sum"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A percentile with what it rests on; rates in the unit of the samples, bit/s as a rule.

    Of `samples` in order the `discarded` highest are free: the value has that rank from below.
    `coverage_bp` is the hundredth of a percent of the expected samples that there are.
    """

    value: int
    samples: int
    discarded: int
    rank: int
    coverage_bp: int

    @property
    def covered(self) -> bool:
        """Whether enough samples are there to bill by."""
        return self.coverage_bp >= COVERAGE_FLOOR_BP


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRate:
    """What a circuit is billed by. In the modes that join both directions all three are alike."""

    down: Percentile
    up: Percentile
    billed: Percentile


def percentile_95(samples: Sequence[int], expected: int = 0) -> Percentile:
    """Return the sample that is left after floor(0.05 n) higher ones are dropped.

    That is nearest rank, ceil(0.95 n) from below. Missing samples are not in n: they are neither
    zero nor anything else. `expected` (0 = as many as there are) tells the coverage. Raises
    Refused where there is no sample.
    """
    count = len(samples)
    if not count:
        raise Refused("95th percentile", "has no samples", "Nothing measured is not zero.")
    discarded = count // 20
    rank = count - discarded
    return Percentile(
        value=sorted(samples)[rank - 1],
        samples=count,
        discarded=discarded,
        rank=rank,
        coverage_bp=min(count * 10_000 // expected, 10_000) if expected else 10_000,
    )


def circuit_95(
    down: Sequence[int],
    up: Sequence[int],
    mode: PercentileMode = "per_direction",
    expected: int = 0,
) -> CircuitRate:
    """Return the rate of a circuit: of each direction, then the larger one.

    The other modes are for contracts that say so: the larger direction of each sample, or the
    sum of both. They need samples of the same slots, else WrongUse.
    """
    if mode == "per_direction":
        one, other = percentile_95(down, expected), percentile_95(up, expected)
        return CircuitRate(down=one, up=other, billed=max(one, other, key=lambda p: p.value))
    if len(down) != len(up):
        raise WrongUse("95th percentile", f"{mode} needs both directions of every slot")
    join = max if mode == "per_sample_max" else _sum
    joined = percentile_95([join(pair) for pair in zip(down, up, strict=True)], expected)
    return CircuitRate(down=joined, up=joined, billed=joined)


def expected_slots(period: Period, zone_name: str) -> int:
    """Return how many five-minute slots a period of local dates has, change of clocks included."""
    start, until = midnight(period.start, zone_name), midnight(period.until, zone_name)
    return int((until - start).total_seconds()) // SLOT_S


def _sum(pair: tuple[int, int]) -> int:
    return pair[0] + pair[1]
