"""Records of a file: how much of a meter a service used in a window, each kept once by its key."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from inventory import digest, instant_text

from .usage import BACKDATE_DAYS, Meter, Posted, Rollup, record_usage
from .usage_due import places_of
from .usage_exceptions import UsageProblem, keep_problems
from .usage_rows import RECORDS
from .usage_store import IMPORTING, insert_new, one_at_a_time

CSV = "csv"
_CHUNK = 500
_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What a line of a file says, in the meter's own unit; `key` "" = named by what it says.

    `identifier` is what the file calls the service, `service_id` "" = nobody is called so.
    """

    line: int
    identifier: str
    service_id: str
    meter: Meter
    since: dt.datetime
    until: dt.datetime
    quantity: int
    unit: str
    key: str = ""

    @property
    def record_key(self) -> str:
        """What names the record for ever."""
        if self.key:
            return f"{self.key}:{self.meter}"
        said = [self.identifier, self.meter, instant_text(self.since), instant_text(self.until)]
        return digest([*said, str(self.quantity), self.unit])[:40]


def keep_records(
    session: Session,
    records: Sequence[FileRecord],
    now: dt.datetime,
    *,
    actor: str,
    backdate_days: int = BACKDATE_DAYS,
) -> Posted:
    """Post the records of a part of a file that were never posted; call it last.

    A record known by its key is passed over. Another quantity for a window known is a correction of
    it. Of two that differ for one window neither is counted: nobody can know which is right. Both,
    like those of nobody, become exceptions with a price.
    """
    one_at_a_time(session.connection(), IMPORTING)
    named = {record.record_key: record for record in records}
    known = _known(session, named)
    fresh = [record for key, record in named.items() if key not in known]
    changed = [
        _reused(record, known[key])
        for key, record in named.items()
        if key in known and record.key and known[key] != _said(record)
    ]
    again = len(named) - len(fresh) - len(changed)
    lost = [_problem(r, "unmatched", "no service is called so") for r in fresh if not r.service_id]
    odd: list[UsageProblem] = []
    good: list[FileRecord] = []
    for group in _by_window(record for record in fresh if record.service_id).values():
        if len({(record.quantity, record.until, record.unit) for record in group}) > 1:
            lines = ", ".join(str(record.line) for record in group)
            why = f"lines {lines} differ for one window"
            odd += [_problem(record, "impossible", why) for record in group]
        else:
            good += group[:1]
    kept = keep_problems(session, [*lost, *odd, *changed], now)
    places = places_of(session, {record.service_id for record in good})
    rollups = [_rollup(record, places[record.service_id].account_id) for record in good]
    posted = record_usage(session, rollups, now, actor=actor, backdate_days=backdate_days)
    windows = {(e.service_id, e.payload["meter"], e.effective_at) for e in posted.events}
    done = [r for r in good if (r.service_id, r.meter, r.since) in windows]
    insert_new(session.connection(), RECORDS, [_row(record, now) for record in done])
    return replace(posted, unchanged=posted.unchanged + again, exceptions=posted.exceptions + kept)


def _known(session: Session, named: Mapping[str, FileRecord]) -> dict[str, str]:
    columns = RECORDS.c
    found: dict[str, str] = {}
    keys = sorted(named)
    for start in range(0, len(keys), _CHUNK):
        query = select(RECORDS).where(
            columns.source == CSV, columns.record_key.in_(keys[start : start + _CHUNK])
        )
        for row in session.connection().execute(query):
            found[row.record_key] = f"{row.quantity} {row.unit} from {instant_text(row.since)}"
    return found


def _said(record: FileRecord) -> str:
    return f"{record.quantity} {record.unit} from {instant_text(record.since)}"


def _by_window(records: Iterable[FileRecord]) -> Mapping[tuple[str, str, dt.datetime], Any]:
    found: defaultdict[tuple[str, str, dt.datetime], list[FileRecord]] = defaultdict(list)
    for record in records:
        found[record.service_id, record.meter, record.since].append(record)
    return found


def _rollup(record: FileRecord, account_id: str) -> Rollup:
    return Rollup(
        service_id=record.service_id,
        account_id=account_id,
        meter=record.meter,
        since=record.since,
        until=record.until,
        quantity=record.quantity,
        unit=record.unit,
        source=CSV,
        record_key=record.record_key,
    )


def _row(record: FileRecord, now: dt.datetime) -> dict[str, Any]:
    return {
        "source": CSV,
        "record_key": record.record_key,
        "service_id": record.service_id,
        "meter": record.meter,
        "since": record.since,
        "until": record.until,
        "quantity": record.quantity,
        "unit": record.unit,
        "imported_at": now,
    }


def _problem(record: FileRecord, kind: Any, why: str) -> UsageProblem:
    return UsageProblem(
        kind=kind,
        source=CSV,
        record_key=record.record_key,
        identifier=record.identifier,
        service_id=record.service_id,
        since=record.since,
        until=record.until,
        quantity=record.quantity,
        unit=record.unit,
        evidence={
            "why": why,
            "line": record.line,
            "meter": record.meter,
            "quantity": str(record.quantity),
        },
    )


def _reused(record: FileRecord, before: str) -> UsageProblem:
    """A key used for something else names a record beside the one that has it."""
    problem = _problem(record, "impossible", f"its key was used for {before} before")
    return replace(problem, record_key=f"{record.record_key}:{digest(_said(record))[:8]}")
