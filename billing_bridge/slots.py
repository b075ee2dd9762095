"""Counters polled again and again: what each five minutes carried, or that nobody can know."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .counters import CounterQuality, counter_delta
from .percentile import SLOT_S
from .proration import prorate

SLOT = dt.timedelta(seconds=SLOT_S)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UPTIME_ENDS = 1 << 32  # hundredths of a second: 497 days
_SLACK_CS = 1_000
_MICROSECOND = dt.timedelta(microseconds=1)
_MBPS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An interface's counters at one poll; `slot` is the start of the five minutes that it is of.

    In is what the device received: up, where the interface is the subscriber's.
    """

    device: str
    interface: str
    slot: dt.datetime
    polled_at: dt.datetime
    in_octets: int
    out_octets: int
    uptime_cs: int
    discontinuity_cs: int
    speed_mbps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What five minutes carried; `estimated` = shared out evenly from a longer stretch."""

    since: dt.datetime
    down_octets: int
    up_octets: int
    down_bps: int
    up_bps: int
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Between two polls nobody can know what was carried, and nothing tells of a restart."""

    before: Sample
    after: Sample
    quality: CounterQuality


def slot_of(instant: dt.datetime) -> dt.datetime:
    """Return the start of the slot that holds an instant."""
    return instant - (instant - _EPOCH) % SLOT


def slots_of(samples: Iterable[Sample]) -> tuple[tuple[Slot, ...], tuple[Unknown, ...]]:
    """Return what a service's slots carried, ascending, and the odd stretches among them.

    Interfaces are added up slot by slot; a slot is known where every interface that was polled on
    both sides of it is. A restart makes a stretch unknown; so does a counter that goes back or
    counts more than the port can carry, and those are odd. A stretch of several slots is shared
    out evenly.
    """
    by_port: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        by_port[sample.device, sample.interface].append(sample)
    sums: dict[dt.datetime, list[int]] = {}
    lost: set[dt.datetime] = set()
    odd: list[Unknown] = []
    for port in sorted(by_port):
        ordered = sorted(by_port[port], key=lambda sample: sample.slot)
        for before, after in pairwise(ordered):
            found = _stretch(before, after)
            if isinstance(found, tuple):
                _share(sums, before, after, found)
                continue
            lost.update(_starts(before, after))
            if found is not None:
                odd.append(found)
    known = tuple(
        Slot(
            since=since,
            down_octets=values[0],
            up_octets=values[1],
            down_bps=values[2],
            up_bps=values[3],
            estimated=values[4] > 0,
        )
        for since, values in sorted(sums.items())
        if since not in lost
    )
    return known, tuple(odd)


def _stretch(before: Sample, after: Sample) -> tuple[int, int] | Unknown | None:
    """Return (down, up) octets between two polls; None = it restarted, Unknown = it is odd."""
    if _restarted(before, after):
        return None
    elapsed_s = max(round((after.polled_at - before.polled_at).total_seconds()), 1)
    found = []
    for was, now in (
        (before.out_octets, after.out_octets),
        (before.in_octets, after.in_octets),
    ):
        delta = counter_delta(
            was, now, bits=64, elapsed_s=elapsed_s, speed_bps=after.speed_mbps * _MBPS
        )
        if delta.quality != "ok":
            return Unknown(before=before, after=after, quality=delta.quality)
        found.append(delta.octets)
    return found[0], found[1]


def _restarted(before: Sample, after: Sample) -> bool:
    """Whether the counters may have begun anew: the device's clock did not run as ours did.

    That also finds a device which was away, and is up again for longer than it was before.
    """
    if before.discontinuity_cs != after.discontinuity_cs:
        return True
    passed_cs = (after.polled_at - before.polled_at) // _MICROSECOND // 10_000
    ran_cs = (after.uptime_cs - before.uptime_cs) % _UPTIME_ENDS
    return abs(ran_cs - passed_cs % _UPTIME_ENDS) > _SLACK_CS + passed_cs // 100


def _starts(before: Sample, after: Sample) -> list[dt.datetime]:
    return [before.slot + number * SLOT for number in range((after.slot - before.slot) // SLOT)]


def _share(
    sums: dict[dt.datetime, list[int]], before: Sample, after: Sample, octets: Sequence[int]
) -> None:
    """Add a stretch to its slots: whole octets, and the rate of all of it to each."""
    slots = _starts(before, after)
    lasted = max((after.polled_at - before.polled_at) // _MICROSECOND, 1)
    rates = [prorate(each * 8, 1_000_000, lasted) for each in octets]
    for number, since in enumerate(slots):
        into = sums.setdefault(since, [0, 0, 0, 0, 0])
        for place, each in enumerate(octets):
            part = each * (number + 1) // len(slots) - each * number // len(slots)
            into[place] += part
            into[place + 2] += rates[place]
        into[4] += len(slots) > 1
