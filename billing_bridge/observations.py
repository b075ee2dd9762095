"""What devices showed when they were last read: kept for the rules that hold it to the ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, case, delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from inventory import Rate

from .gate_rows import OBSERVATION

_CHUNK = 500
_GONE = delete(OBSERVATION).where(
    OBSERVATION.c.device.in_(bindparam("devices", expanding=True)),
    OBSERVATION.c.observed_at < bindparam("now", type_=OBSERVATION.c.observed_at.type),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A line of a service as a device shows it; `present` = it is there and switched on."""

    device: str
    object: str
    service_id: str
    rate: Rate
    present: bool


def keep_observations(
    session: Session, devices: Collection[str], shown: Sequence[Shown], now: dt.datetime
) -> None:
    """Keep everything that these devices showed at one reading of all lines of ours on them.

    A line that shows what it showed before keeps the time since when it does; a line that is ours
    no longer is forgotten.
    """
    rows = [_row(one, now) for one in sorted(shown, key=lambda one: (one.device, one.object))]
    statement = _upsert(session.get_bind().dialect.name)
    for start in range(0, len(rows), _CHUNK):
        session.execute(statement, rows[start : start + _CHUNK])
    if devices:
        session.execute(_GONE, {"devices": sorted(devices), "now": now})


def _row(one: Shown, now: dt.datetime) -> dict[str, Any]:
    return {
        "device": one.device,
        "object": one.object,
        "service_id": one.service_id,
        "down_kbps": one.rate.down_kbps,
        "up_kbps": one.rate.up_kbps,
        "present": one.present,
        "since": now,
        "observed_at": now,
    }


@cache
def _upsert(dialect: str) -> Any:
    made: Any = (postgresql if dialect == "postgresql" else sqlite).insert(OBSERVATION)
    new, old = made.excluded, OBSERVATION.c
    said = ("service_id", "down_kbps", "up_kbps", "present")
    same = and_(*(old[name] == new[name] for name in said))
    return made.on_conflict_do_update(
        index_elements=["device", "object"],
        set_={name: new[name] for name in (*said, "observed_at")}
        | {"since": case((same, old.since), else_=new.since)},
    )
