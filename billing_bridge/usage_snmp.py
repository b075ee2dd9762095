"""Samples of interfaces: kept once a slot, and counted by window from the slots that are known."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from inventory import instant_text

from .slots import SLOT, Sample, Slot, Unknown, slots_of
from .usage import Rollup
from .usage_due import DueWindow, mark_due, places_of
from .usage_exceptions import UsageProblem, keep_problems
from .usage_rows import SAMPLES
from .usage_store import insert_new

SNMP = "snmp"
_CHUNK = 500
_WORD = 1 << 32
_MAX_BP = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSample(Sample):
    """A sample and the service that the interface carries; `by_volume` = its bytes are counted.

    They are not where RADIUS counts them: a service with a login.
    """

    service_id: str
    by_volume: bool


def keep_samples(session: Session, samples: Sequence[ServiceSample]) -> None:
    """Keep the samples, of each interface one a slot, and mark the windows that they change."""
    ordered = sorted(samples, key=lambda one: (one.device, one.interface, one.slot))
    rows = [asdict(one) for one in ordered]
    for row in rows:
        del row["by_volume"]
    earlier = _earlier(session, ordered)
    insert_new(session.connection(), SAMPLES, rows)
    spans = [
        (one.service_id, earlier.get((one.device, one.interface), one.slot), one.slot)
        for one in ordered
        if one.by_volume
    ]
    mark_due(session, SNMP, spans, places_of(session, {span[0] for span in spans}))


def samples_between(
    session: Session, service_ids: Collection[str], since: dt.datetime, until: dt.datetime
) -> dict[str, tuple[Sample, ...]]:
    """Return each service's samples of the slots in [since, until), and one more on either side.

    Without those the first and the last stretch would have but one end.
    """
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    columns = SAMPLES.c
    names = sorted(set(service_ids))
    for start in range(0, len(names), _CHUNK):
        query = select(SAMPLES).where(
            columns.service_id.in_(names[start : start + _CHUNK]),
            columns.slot >= since - SLOT,
            columns.slot <= until,
        )
        for row in session.connection().execute(query):
            found[row.service_id].append(_sample(row))
    for service_id in names:
        have = found[service_id]
        if not any(one.slot < since for one in have):
            have += _next_to(session, service_id, since, before=True)
        if not any(one.slot >= until for one in have):
            have += _next_to(session, service_id, until, before=False)
    return {service_id: tuple(found[service_id]) for service_id in names}


def count_snmp(
    session: Session, due: Sequence[DueWindow], now: dt.datetime
) -> tuple[tuple[Rollup, ...], int]:
    """Return what the known slots of the due windows carried, and how many stretches are odd.

    A window of which nothing is known has no rollup: that is not zero.
    """
    places = places_of(session, {window.service_id for window in due})
    by_service: defaultdict[str, list[DueWindow]] = defaultdict(list)
    for window in due:
        by_service[window.service_id].append(window)
    samples = samples_between(
        session,
        by_service,
        min(window.since for window in due),
        max(window.until for window in due),
    )
    rollups: list[Rollup] = []
    odd: list[UsageProblem] = []
    for service_id, windows in by_service.items():
        slots, unknown = slots_of(samples[service_id])
        odd += [_problem(service_id, one) for one in unknown]
        for window in windows:
            rollups += _rollups(window, places[service_id].account_id, slots)
    return tuple(rollups), keep_problems(session, odd, now)


def _earlier(
    session: Session, samples: Sequence[ServiceSample]
) -> Mapping[tuple[str, str], dt.datetime]:
    """Return the slot of each interface's last sample: the stretch since then is new."""
    columns = SAMPLES.c
    found: dict[tuple[str, str], dt.datetime] = {}
    by_device: defaultdict[str, list[ServiceSample]] = defaultdict(list)
    for one in samples:
        by_device[one.device].append(one)
    for device, mine in by_device.items():
        slots = sorted({one.slot - SLOT for one in mine})
        query = select(columns.interface, columns.slot).where(
            columns.device == device, columns.slot.in_(slots)
        )
        for interface, slot in session.connection().execute(query):
            found[device, interface] = slot
        for one in mine:
            if (device, one.interface) in found:
                continue
            last = session.connection().execute(
                select(func.max(columns.slot)).where(
                    columns.device == device,
                    columns.interface == one.interface,
                    columns.slot < one.slot,
                )
            )
            found[device, one.interface] = last.scalar() or one.slot
    return found


def _next_to(session: Session, service_id: str, at: dt.datetime, *, before: bool) -> list[Sample]:
    """Return the samples of the nearest slot before an instant, or from it on."""
    column = SAMPLES.c.slot
    nearest = func.max(column) if before else func.min(column)
    side = column < at if before else column >= at
    mine = SAMPLES.c.service_id == service_id
    slot = session.connection().execute(select(nearest).where(mine, side)).scalar()
    if slot is None:
        return []
    query = select(SAMPLES).where(mine, column == slot)
    return [_sample(row) for row in session.connection().execute(query)]


def _sample(row: object) -> Sample:
    return Sample(**{name: getattr(row, name) for name in Sample.__slots__})


def _rollups(window: DueWindow, account_id: str, slots: Iterable[Slot]) -> Iterable[Rollup]:
    mine = [slot for slot in slots if window.since <= slot.since < window.until]
    expected = (window.until - window.since) // SLOT
    if not mine:
        return
    sums = {
        "down": sum(slot.down_octets for slot in mine),
        "up": sum(slot.up_octets for slot in mine),
    }
    for meter, quantity in sums.items():
        yield Rollup(
            service_id=window.service_id,
            account_id=account_id,
            meter=meter,  # type: ignore[arg-type]  # both are meters
            since=window.since,
            until=window.until,
            quantity=quantity,
            unit="byte",
            source=SNMP,
            samples=len(mine),
            coverage_bp=len(mine) * _MAX_BP // expected,
        )


def _problem(service_id: str, one: Unknown) -> UsageProblem:
    """A counter that went back without a restart; or more than the port carries."""
    before, after = one.before, one.after
    ways = (
        (before.out_octets, after.out_octets),
        (before.in_octets, after.in_octets),
    )
    narrow = all(max(way) < _WORD for way in ways)
    back = one.quality == "reset"
    why = "more than the port can carry" if not back else "the counter went back"
    if back and narrow:
        why += ": it may be one of 32 bits presented as one of 64"
    return UsageProblem(
        kind="counter" if back else "impossible",
        source=SNMP,
        record_key=f"{before.device}:{before.interface}:{instant_text(before.slot)}",
        identifier=f"{before.device} {before.interface}",
        service_id=service_id,
        since=before.slot,
        until=after.slot,
        quantity=sum(now - was if now >= was else now for was, now in ways),
        unit="byte",
        evidence={
            "why": why,
            "out": [str(number) for number in ways[0]],
            "in": [str(number) for number in ways[1]],
            "speed_mbps": after.speed_mbps,
        },
    )
