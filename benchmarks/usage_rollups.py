"""Usage rollups into the chain, in batches, durable, on both databases; against bare inserts."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, Text, insert

from benchmarks.databases import DATABASES, database
from benchmarks.measure import Claim, run, working_folder
from billing_bridge import Rollup, record_usage, verify
from inventory import new_id
from orchestrator.database import database_now, make_engine, reading, writing
from orchestrator.migrate import upgrade

BATCH = 1_000
REACH = 10_000
HOUR = dt.timedelta(hours=1)
BARE = Table(
    "bare_usage",
    MetaData(),
    Column("event_id", Text, primary_key=True),
    Column("service_id", Text),
    Column("meter", Text),
    Column("since", Text),
    Column("quantity", BigInteger),
)


def measure(*, quick: bool) -> Iterator[Claim]:
    """Hours of many services, recorded once; then all of them again, which posts nothing."""
    batches = 3 if quick else 60
    for name in DATABASES:
        with working_folder() as folder, database(name, folder) as url:
            engine = make_engine(url)
            upgrade(engine)
            BARE.metadata.create_all(engine)
            with reading(engine) as session:
                until = database_now(session).replace(minute=0, second=0, microsecond=0)
            # made when it is their turn: nobody holds a month of hours in memory
            bare = sum(_bare(engine, _batch(number, until)) for number in range(batches))
            first = sum(_record(engine, _batch(number, until)) for number in range(batches))
            again = sum(_record(engine, _batch(number, until)) for number in range(batches))
            with reading(engine) as session:
                events = verify(session).events
            engine.dispose()
        if events != batches * BATCH:
            message = f"{events} events of {batches * BATCH}"
            raise RuntimeError(message)
        rate = batches * BATCH / first
        judged = name == "PostgreSQL"
        yield Claim(what=f"{name}: bare inserts", measured=f"{batches * BATCH / bare:,.0f}/s")
        yield Claim(
            what=f"{name}: chained usage rollups in batches of {BATCH}",
            measured=f"{rate:,.0f}/s (x {first / bare:.1f} of bare)",
            reach=f">= {REACH:,}/s" if judged else "",
            holds=rate >= REACH or not judged,
        )
        yield Claim(
            what=f"{name}: the same again, which posts nothing",
            measured=f"{batches * BATCH / again:,.0f}/s",
        )


def _batch(number: int, until: dt.datetime) -> list[Rollup]:
    """An hour of half a thousand services, down and up."""
    since = until - (number + 1) * HOUR
    return [
        Rollup(
            service_id=f"svc-{service}",
            account_id=f"A-{service // 3}",
            meter=meter,
            since=since,
            until=since + HOUR,
            quantity=service * 1_000_003 + number,
            unit="byte",
            source="radius",
            samples=4,
        )
        for service in range(BATCH // 2)
        for meter in ("down", "up")
    ]  # fmt: skip


def _record(engine: Engine, rollups: Sequence[Rollup]) -> float:
    begun = time.perf_counter()
    with writing(engine) as session:
        record_usage(session, rollups, database_now(session), actor="benchmark")
    return time.perf_counter() - begun


def _bare(engine: Engine, rollups: Sequence[Rollup]) -> float:
    begun = time.perf_counter()
    rows: list[dict[str, Any]] = [
        {
            "event_id": new_id(),
            "service_id": rollup.service_id,
            "meter": rollup.meter,
            "since": rollup.since.isoformat(),
            "quantity": rollup.quantity,
        }
        for rollup in rollups
    ]
    with engine.begin() as connection:
        connection.execute(insert(BARE), rows)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
