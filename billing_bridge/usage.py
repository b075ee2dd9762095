"""Usage in the ledger: one event for each service, meter and window, and deltas after it."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from sqlalchemy import Connection, Select, bindparam, select, update
from sqlalchemy.orm import Session

from inventory import instant_text, new_id, one_of

from .bulk import insert_rows
from .event import LedgerEvent, NewEvent
from .ledger import append, lock_head
from .payload import METER_UNITS, usage_payload
from .usage_exceptions import ProblemKind, UsageProblem, keep_problems, settle_problems
from .usage_rows import WINDOWS

Meter = Literal["down", "up", "p95"]
SOURCE = "usage"  # of the ledger's events
GRACE = dt.timedelta(hours=24)  # what is recorded later than that is late
BACKDATE_DAYS = 90  # what is older waits for a person
_CHUNK = 500
_MOST = (1 << 63) - 1
_BUT_SEQ = tuple(column.name for column in WINDOWS.columns if column.name != "seq")
_COLUMNS = (*_BUT_SEQ, "seq")
_all_but_seq = attrgetter(*_BUT_SEQ)
_STORED = select(WINDOWS).where(
    one_of(WINDOWS.c.service_id, "names"),
    WINDOWS.c.since < bindparam("before"),
    WINDOWS.c.until > bindparam("after"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """How much of a meter a service used in a window, as counted now: all of it, not what is new.

    `source` says who measured: radius, snmp or csv. `coverage_bp` is the hundredth of a percent of
    the expected measurements that `samples` are; -1 = there is no such number. `record_key` is
    that of a record which stands for the window alone, "" = the window's own.
    """

    service_id: str
    account_id: str
    meter: Meter
    since: dt.datetime
    until: dt.datetime
    quantity: int
    unit: str
    source: str
    samples: int = 0
    coverage_bp: int = -1
    record_key: str = ""

    @property
    def key(self) -> str:
        """What names it in the exception queue."""
        return self.record_key or f"{self.service_id}:{self.meter}:{_short(self.since)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedWindow:
    """What the ledger has of a meter in a window; `seq` is its newest event's."""

    service_id: str
    meter: str
    since: dt.datetime
    until: dt.datetime
    quantity: int
    unit: str
    source: str
    samples: int
    coverage_bp: int
    revision: int
    event_id: str
    seq: int
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of the rollups: new events, windows that stand as they were, new exceptions."""

    events: tuple[LedgerEvent, ...] = ()
    unchanged: int = 0
    exceptions: int = 0


def record_usage(
    session: Session,
    rollups: Sequence[Rollup],
    recorded_at: dt.datetime,
    *,
    actor: str,
    backdate_days: int = BACKDATE_DAYS,
) -> Posted:
    """Post what the rollups say that the ledger does not: call it last in the transaction.

    A window's first event is usage.recorded; another quantity later is a usage.corrected with the
    difference and the next revision; the same quantity is nothing. `recorded_at` is the database's
    clock. What cannot be (a window not over, another unit, a quantity below 0, two sources or
    windows for one time) and what is older than `backdate_days` becomes an exception with a price.
    """
    # the head first: of two who count one window, the second sees what the first has posted
    lock_head(session)
    stored = _stored(session.connection(), rollups)
    fresh: list[tuple[UsedWindow, NewEvent]] = []
    problems: list[UsageProblem] = []
    counted: list[Rollup] = []
    oldest = recorded_at - dt.timedelta(days=backdate_days)
    for rollup in rollups:
        windows = stored[rollup.service_id, rollup.meter]
        found = _problem(rollup, windows, recorded_at, oldest)
        if found:
            problems.append(_as_problem(rollup, *found))
            continue
        counted.append(rollup)
        window = next((one for one in windows if one.since == rollup.since), None)
        if window is None or window.quantity != rollup.quantity:
            event = _event(rollup, window, recorded_at, actor)
            fresh.append((_window(rollup, window, event), event))
            windows.append(fresh[-1][0])
            if window is not None:
                windows.remove(window)
    kept = keep_problems(session, problems, recorded_at)
    _settle(session, counted)
    events = append(session, [event for _, event in fresh], recorded_at) if fresh else ()
    _keep_windows(session.connection(), [window for window, _ in fresh], events)
    return Posted(events=events, unchanged=len(counted) - len(fresh), exceptions=kept)


def used(
    session: Session, service_ids: Collection[str], since: dt.datetime, until: dt.datetime
) -> Mapping[str, tuple[UsedWindow, ...]]:
    """Return each service's windows that begin in [since, until), by time and then by meter.

    Windows never reach over local midnight of the service's account, so a billing period's windows
    are its usage exactly.
    """
    found: dict[str, list[UsedWindow]] = {service_id: [] for service_id in service_ids}
    columns = WINDOWS.c
    query = (
        select(WINDOWS)
        .where(one_of(columns.service_id, "names"), columns.since >= since, columns.since < until)
        .order_by(columns.since, columns.meter)
    )
    for window in _windows(session.connection(), query, found, {}):
        found[window.service_id].append(window)
    return {service_id: tuple(windows) for service_id, windows in found.items()}


def _windows(
    connection: Connection, query: Select[Any], names: Iterable[str], more: Mapping[str, Any]
) -> Iterator[UsedWindow]:
    ordered = sorted(set(names))
    for start in range(0, len(ordered), _CHUNK):
        part = {"names": ordered[start : start + _CHUNK], **more}
        for row in connection.execute(query, part):
            yield UsedWindow(**(row._asdict() | {"late": bool(row.late)}))


def _stored(
    connection: Connection, rollups: Sequence[Rollup]
) -> defaultdict[tuple[str, str], list[UsedWindow]]:
    """Return the ledger's windows that touch the time of the rollups, by service and meter."""
    found: defaultdict[tuple[str, str], list[UsedWindow]] = defaultdict(list)
    if rollups:
        span = {
            "before": max(rollup.until for rollup in rollups),
            "after": min(rollup.since for rollup in rollups),
        }
        names = {rollup.service_id for rollup in rollups}
        for window in _windows(connection, _STORED, names, span):
            found[window.service_id, window.meter].append(window)
    return found


def _problem(
    rollup: Rollup, windows: Sequence[UsedWindow], now: dt.datetime, oldest: dt.datetime
) -> tuple[ProblemKind, str] | None:
    """Return why a rollup cannot be counted, None where it can."""
    if METER_UNITS.get(rollup.meter) != rollup.unit:
        return "unknown_unit", f"{rollup.meter} is counted in {METER_UNITS.get(rollup.meter)}"
    if rollup.since >= rollup.until:
        return "impossible", "the window ends before it begins"
    if rollup.until > now:
        return "future", f"the window is not over at {_short(now)}"
    if not 0 <= rollup.quantity <= _MOST:
        return "impossible", f"nobody uses {rollup.quantity}"
    touching = [w for w in windows if w.since < rollup.until and rollup.since < w.until]
    for window in touching:
        if (window.since, window.until) != (rollup.since, rollup.until):
            return "impossible", f"counted by {window.source} from {_short(window.since)}"
        if window.source != rollup.source:
            return "impossible", f"counted by {window.source} already: {window.quantity}"
    known = any(window.quantity == rollup.quantity for window in touching)
    if rollup.until < oldest and not known:
        return "late", f"older than the {(now - oldest).days} days that are counted anew"
    return None


def _as_problem(rollup: Rollup, kind: ProblemKind, why: str) -> UsageProblem:
    return UsageProblem(
        kind=kind,
        source=rollup.source,
        record_key=rollup.key,
        identifier=rollup.service_id,
        service_id=rollup.service_id,
        since=rollup.since,
        until=rollup.until,
        quantity=rollup.quantity,
        unit=rollup.unit,
        evidence={
            "why": why,
            "meter": rollup.meter,
            "account": rollup.account_id,
            "quantity": str(rollup.quantity),
            "samples": rollup.samples,
            "coverage_bp": rollup.coverage_bp,
        },
    )


def _event(rollup: Rollup, window: UsedWindow | None, now: dt.datetime, actor: str) -> NewEvent:
    revision = window.revision + 1 if window else 1
    return NewEvent(
        event_id=new_id(),
        source=SOURCE,
        idempotency_key=(f"{rollup.service_id}:{rollup.meter}:{_short(rollup.since)}:{revision}"),
        type="usage.corrected" if window else "usage.recorded",
        account_id=rollup.account_id,
        service_id=rollup.service_id,
        actor=actor,
        reason_code="corrected" if window else "metered",
        effective_at=rollup.since,
        effective_until=rollup.until,
        quantity=rollup.quantity - (window.quantity if window else 0),
        unit=rollup.unit,
        payload=usage_payload(
            meter=rollup.meter,
            revision=revision,
            source=rollup.source,
            samples=rollup.samples,
            coverage_bp=rollup.coverage_bp,
            late=_is_late(rollup, now),
        ),
    )


def _is_late(rollup: Rollup, now: dt.datetime) -> bool:
    return now - rollup.until > GRACE


def _window(rollup: Rollup, window: UsedWindow | None, event: NewEvent) -> UsedWindow:
    """Return the window that the event makes; its seq is not known yet."""
    return UsedWindow(
        service_id=rollup.service_id,
        meter=rollup.meter,
        since=rollup.since,
        until=rollup.until,
        quantity=rollup.quantity,
        unit=rollup.unit,
        source=rollup.source,
        samples=rollup.samples,
        coverage_bp=rollup.coverage_bp,
        revision=window.revision + 1 if window else 1,
        event_id=event.event_id,
        seq=0,
        late="late" in event.payload,
    )


def _keep_windows(
    connection: Connection, windows: Sequence[UsedWindow], events: Sequence[LedgerEvent]
) -> None:
    new: list[tuple[Any, ...]] = []
    changed: list[dict[str, Any]] = []
    for window, event in zip(windows, events, strict=True):
        values = (*_all_but_seq(window), event.seq)
        if window.revision == 1:
            new.append(values)
        else:
            row: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
            keys = {f"the_{name}": row.pop(name) for name in ("service_id", "meter", "since")}
            changed.append(row | keys)
    if new:
        insert_rows(connection, WINDOWS, _COLUMNS, new)
    if changed:
        columns = WINDOWS.c
        same = (
            columns.service_id == bindparam("the_service_id"),
            columns.meter == bindparam("the_meter"),
            columns.since == bindparam("the_since"),
        )
        connection.execute(update(WINDOWS).where(*same), changed)


def _settle(session: Session, counted: Sequence[Rollup]) -> None:
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    for rollup in counted:
        by_source[rollup.source].append(rollup.key)
    for source, keys in by_source.items():
        settle_problems(session, source, keys)


@lru_cache(maxsize=256)  # a batch's windows share theirs
def _short(instant: dt.datetime) -> str:
    return instant_text(instant).replace(".000000Z", "Z")
