"""What a counter moved by between two polls, or that nobody can know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inventory import WrongUse

CounterQuality = Literal["ok", "reset", "above_ifspeed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterDelta:
    """Octets between two polls; meaningful only where the quality is ok, else the slot is unknown.

    reset = the counter began anew, above_ifspeed = more than the port can carry.
    """

    octets: int
    quality: CounterQuality


def counter_delta(
    before: int,
    after: int,
    *,
    bits: Literal[32, 64],
    elapsed_s: int,
    speed_bps: int,
    restarted: bool = False,
) -> CounterDelta:
    """Return what an octet counter moved by; `speed_bps` 0 = not known.

    `restarted` = sysUpTime went back or the discontinuity time changed. A counter of 64 bits that
    is lower than before began anew; one of 32 bits may have wrapped (once), which is believed
    only if the port could have carried that much. Raises WrongUse for values no counter has.
    """
    limit = 1 << bits
    if not (0 <= before < limit and 0 <= after < limit):
        raise WrongUse("counter", f"of {bits} bits cannot hold {before} or {after}")
    if elapsed_s <= 0:
        raise WrongUse("counter", f"was polled {elapsed_s} s after the poll before")
    most = speed_bps * elapsed_s // 8
    if restarted:
        return CounterDelta(octets=0, quality="reset")
    if after < before:
        wrapped = after - before + limit
        if bits == 32 and wrapped <= most:  # noqa: PLR2004  the width of Counter32
            return CounterDelta(octets=wrapped, quality="ok")
        return CounterDelta(octets=0, quality="reset")
    if speed_bps and after - before > most:
        return CounterDelta(octets=0, quality="above_ifspeed")
    return CounterDelta(octets=after - before, quality="ok")


def joined_octets(gigawords: int, octets: int) -> int:
    """Return a RADIUS counter (RFC 2869): its gigawords, absent = 0, count 2^32 octets each."""
    return (gigawords << 32) + octets
