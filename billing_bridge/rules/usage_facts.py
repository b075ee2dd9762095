"""What was used, as the rules look at it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedPeriod:
    """The bytes of a complete billing period; `seq` is the newest event's that says so."""

    since: dt.datetime
    until: dt.datetime
    down: int
    up: int
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fast:
    """A window in which more came through than the tier of `tier_kbps` lets through."""

    meter: str
    since: dt.datetime
    until: dt.datetime
    quantity: int
    tier_kbps: int
    event_id: str

    @property
    def possible(self) -> int:
        """The bytes that the tier lets through in the window."""
        return self.tier_kbps * 125 * int((self.until - self.since).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured95:
    """The newest 95th percentile; `coverage_bp` -1 = nobody told how many samples there are."""

    since: dt.datetime
    until: dt.datetime
    bps: int
    coverage_bp: int
    samples: int
    event_id: str
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """Records of one kind and name that could not be counted, together; `record_key` is one."""

    service_id: str
    kind: str
    source: str
    identifier: str
    currency: str
    exponent: int
    records: int
    amount_minor: int
    since: dt.datetime
    newest: dt.datetime
    record_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFacts:
    """One service's usage: complete periods by time, and what is odd about it."""

    periods: tuple[UsedPeriod, ...] = ()
    last_used: dt.datetime | None = None
    fast: tuple[Fast, ...] = ()
    measured: Measured95 | None = None
    strays: tuple[Stray, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and median absolute deviation of some numbers (exact: halves where they are even)."""

    median: Fraction
    mad: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """How much the services of one tier used in the last 30 days."""

    services: int
    spread: Spread

    @classmethod
    def of(cls, used: Sequence[int]) -> Cohort:
        """Return the cohort of some services' bytes."""
        return cls(services=len(used), spread=spread(used))


def spread(numbers: Sequence[int]) -> Spread:
    """Return median and MAD; of no numbers 0 and 0."""
    doubled = _middle(sorted(numbers))  # twice the median, so that all of it stays whole
    away = _middle(sorted(abs(2 * number - doubled) for number in numbers))
    return Spread(median=Fraction(doubled, 2), mad=Fraction(away, 4))


def _middle(ordered: Sequence[int]) -> int:
    """Return twice the median."""
    if not ordered:
        return 0
    half = len(ordered) // 2
    return ordered[half] + ordered[half if len(ordered) % 2 else half - 1]
