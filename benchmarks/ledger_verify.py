"""How fast the chain of the ledger is proved, plainly and with every typed copy compared."""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Callable, Iterator

from sqlalchemy import Engine
from sqlmodel import Session

from benchmarks.databases import DATABASES, database
from benchmarks.measure import Claim, run, working_folder
from billing_bridge import Evidence, NewEvent, append, service_payload, verify
from inventory import new_id
from orchestrator.database import database_now, make_engine, reading, writing
from orchestrator.migrate import upgrade

REACH, REACH_DEEP = 300_000, 60_000
BATCH = 1_000
ROWS = "SELECT seq, recorded_at, body, prev_hash, hash FROM billing_event ORDER BY seq"
TIERS = ("fiber-100", "fiber-500")


def measure(*, quick: bool) -> Iterator[Claim]:
    """Write a chain of tier changes through the ledger itself, then walk it; best of three.

    By a process for each core, as `bandmaster ledger verify` does it; by one alone to compare.
    """
    count = 5_000 if quick else 300_000
    cores = len(os.sched_getaffinity(0))
    for name in DATABASES:
        with working_folder() as folder, database(name, folder) as url:
            engine = make_engine(url)
            upgrade(engine)
            begun = time.perf_counter()
            _write(engine, count)
            wrote = count / (time.perf_counter() - begun)
            plain, alone, deep = (
                count / _best(engine, _verifying(count, deep=deep, processes=processes))
                for deep, processes in ((False, cores), (False, 1), (True, cores))
            )
            bare = count / _best(engine, _fetch)
            engine.dispose()
        yield Claim(what=f"{name}: bare reading of the rows", measured=f"{bare:,.0f}/s")
        yield Claim(
            what=f"{name}: verify {count:,} events",
            measured=f"{plain:,.0f}/s",
            reach=f">= {REACH:,}/s",
            holds=plain >= REACH,
        )
        yield Claim(what="  by one process alone", measured=f"{alone:,.0f}/s")
        yield Claim(
            what=f"{name}: verify --deep",
            measured=f"{deep:,.0f}/s",
            reach=f">= {REACH_DEEP:,}/s",
            holds=deep >= REACH_DEEP,
        )
        yield Claim(what=f"{name}: appended, {BATCH:,} at a time", measured=f"{wrote:,.0f}/s")


def _write(engine: Engine, count: int) -> None:
    for start in range(0, count, BATCH):
        with writing(engine) as session:
            now = database_now(session)
            version = 1 + start // BATCH
            append(session, [_event(place, version, now) for place in range(BATCH)], now)


def _event(place: int, version: int, now: dt.datetime) -> NewEvent:
    """The next event of one of `BATCH` services: adopted first, then tier after tier."""
    adopted = version == 1
    tier = TIERS[version % 2]
    key = new_id()
    proof = tuple(
        Evidence(
            device=device,
            object=f"interface=ge-0/0/1 unit={place}",
            down_kbps=500_000,
            up_kbps=100_000,
            digest="0" * 64,
            observed_at=now,
        )
        for device in ("bng-fra-1", "olt-fra-1")
    )
    return NewEvent(
        event_id=new_id(),
        source="bandmaster",
        idempotency_key=f"{key}:{version}",
        type="service.adopted" if adopted else "tier.changed",
        account_id=f"A-{place}",
        service_id=f"svc-{place}",
        service_version=version,
        change_id="" if adopted else key,
        actor="benchmark",
        reason_code="import" if adopted else "requested",
        payload=service_payload(
            plan=tier,
            tier=tier,
            state="active",
            price_policy="at_period_start",
            billing_from=now.date() if adopted else None,
            evidence=proof,
        ),
    )


def _verifying(count: int, *, deep: bool, processes: int) -> Callable[[Session], None]:
    def act(session: Session) -> None:
        report = verify(session, deep=deep, processes=processes)
        if report.problem or report.events != count:
            message = f"the chain does not hold: {report}"
            raise RuntimeError(message)

    return act


def _fetch(session: Session) -> None:
    cursor = session.connection().connection.cursor()
    cursor.execute(ROWS)
    while cursor.fetchmany(2_000):
        pass
    cursor.close()


def _best(engine: Engine, act: Callable[[Session], None]) -> float:
    times = []
    for _ in range(3):
        with reading(engine) as session:
            begun = time.perf_counter()
            act(session)
            times.append(time.perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
