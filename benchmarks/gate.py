"""How fast everything is judged before a billing run, and how much memory that takes."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Engine, Table, insert
from sqlmodel import Session

from benchmarks.databases import DATABASES, database
from benchmarks.measure import Claim, run, working_folder
from billing_bridge import NewEvent, append, service_payload
from billing_bridge.gate_rows import OBSERVATION
from billing_bridge.usage_rows import WINDOWS
from inventory import new_id
from inventory.radius_rows import RADACCT
from inventory.rows import (
    ACCOUNT,
    LEGAL_ENTITY,
    LINE,
    PLAN,
    PLAN_TERMS,
    PRICE_TERMS,
    PRICE_VERSION,
    SERVICE,
    TIER,
)
from orchestrator.database import database_now, make_engine, writing
from orchestrator.gate import Checked, check
from orchestrator.migrate import upgrade

REACH_MB = 300
BATCH = 1_000
MONTHS = 8
ROWS = "SELECT seq, recorded_at, body, prev_hash, hash FROM billing_event ORDER BY seq"
DAY = dt.timedelta(days=1)


def measure(*, quick: bool) -> Iterator[Claim]:
    """Judge services with a device reading, a session and eight months of usage each.

    One in a hundred gives another rate than it is billed for. The second check finds the same.
    """
    count = 2_000 if quick else 100_000
    for name in DATABASES:
        with working_folder() as folder, database(name, folder) as url:
            engine = make_engine(url)
            upgrade(engine)
            with writing(engine) as session:
                now = database_now(session)
            _catalogue(engine)
            for start in range(0, count, BATCH):
                _services(engine, range(start, start + BATCH), now)
            bare = _bare(engine)
            engine.dispose()
            first, again = (_in_a_process(url) for _ in range(2))
        yield Claim(what=f"{name}: bare reading of {count:,} events", measured=f"{bare:.1f} s")
        yield Claim(
            what=f"{name}: check of {count:,} services, {first[0].found:,} findings",
            measured=f"{first[1]:.1f} s, {count / first[1]:,.0f} services/s, {first[2]} MB",
            reach=f"<= {REACH_MB} MB",
            holds=first[2] <= REACH_MB and first[0].found == count // 100,
        )
        yield Claim(
            what=f"{name}: the same again, {again[0].opened} new",
            measured=f"{again[1]:.1f} s, {again[2]} MB",
            reach="none new",
            holds=again[0].opened == 0,
        )


def _in_a_process(url: str) -> tuple[Checked, float, int]:
    """Return what a check came to, its seconds and the most memory of its process in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_check, (url,))


def _check(url: str) -> tuple[Checked, float, int]:
    engine = make_engine(url)
    begun = time.perf_counter()
    checked = check(engine, "bench", lambda _accounts: None, proved_days=90)
    took = time.perf_counter() - begun
    engine.dispose()
    return checked, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _bare(engine: Engine) -> float:
    begun = time.perf_counter()
    with engine.connect() as connection:
        for _row in connection.exec_driver_sql(ROWS):
            pass
    return time.perf_counter() - begun


def _catalogue(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            insert(LEGAL_ENTITY), [{"code": "isp", "name": "I", "address": "", "tax_id": ""}]
        )
        for code, down, price in (("t100", 100_000, 3000), ("t500", 500_000, 6000)):
            tier = {"code": code, "down_kbps": down, "up_kbps": down // 5, "used": True}
            connection.execute(insert(TIER), [tier])
            plan = {"code": code, "name": code, "tier_code": code, "currency": "EUR",
                    "exponent": 2, "period_months": 1, "bill_in": "advance", "proration": "day",
                    "price_policy": "at_period_start", "used": True}  # fmt: skip
            connection.execute(insert(PLAN), [plan])
            terms: dict[str, Any] = dict.fromkeys(
                (c.name for c in PLAN_TERMS.c if c.name not in ("plan_code", "fair_use_tier")), 0
            )
            terms |= {"plan_code": code, "fair_use_tier": "", "last_day_billed": False}
            terms |= {"suspend": "stop", "suspend_unpaid": "stop", "allowance_counts": "both"}
            connection.execute(insert(PLAN_TERMS), [terms])
            version = {"price_version_id": code, "plan_code": code, "amount_minor": price,
                       "valid_from": dt.date(2020, 1, 1)}  # fmt: skip
            connection.execute(insert(PRICE_VERSION), [version])
            costs = dict.fromkeys(("hold_minor", "block_minor", "cap_minor", "burst_minor"), 0)
            connection.execute(insert(PRICE_TERMS), [costs | {"price_version_id": code}])


def _services(engine: Engine, numbers: Sequence[int], now: dt.datetime) -> None:
    """Write some services with all that is known of them; every hundredth is upgraded by hand."""
    born = now - 365 * DAY
    tables: list[tuple[Table, list[dict[str, Any]]]] = [
        (ACCOUNT, [_account(n) for n in numbers]),
        (LINE, [_line(n) for n in numbers]),
        (SERVICE, [_service(n, born) for n in numbers]),
        (OBSERVATION, [_observation(n, now) for n in numbers]),
        (RADACCT, [_session(n, now) for n in numbers]),
        (WINDOWS, [row for n in numbers for row in _usage(n, now)]),
    ]
    with writing(engine) as session:
        _insert(session, tables)
        append(session, [_event(n, born) for n in numbers], now - 30 * DAY)


def _insert(session: Session, tables: Sequence[tuple[Table, list[dict[str, Any]]]]) -> None:
    for table, rows in tables:
        session.execute(insert(table), rows)


def _account(number: int) -> dict[str, Any]:
    return {"account_id": f"A-{number:06d}", "name": "N", "address": "", "cycle_day": 1,
            "time_zone": "Europe/Berlin", "legal_entity": "isp", "currency": "EUR"}  # fmt: skip


def _line(number: int) -> dict[str, Any]:
    return {"service_id": f"svc-{number:06d}", "account_id": f"A-{number:06d}",
            "login": f"u{number}@isp", "password_ref": "", "adopted": ""}  # fmt: skip


def _service(number: int, born: dt.datetime) -> dict[str, Any]:
    return {"service_id": f"svc-{number:06d}", "plan_code": "t100", "tier_code": "t100",
            "state": "active", "version": 1, "active_since": born,
            "billing_from": dt.date(2026, 1, 1)}  # fmt: skip


def _observation(number: int, now: dt.datetime) -> dict[str, Any]:
    down = 500_000 if number % 100 == 0 else 100_000
    return {"device": f"olt-{number // 1000}", "object": f"service_port={number}",
            "service_id": f"svc-{number:06d}", "down_kbps": down, "up_kbps": down // 5,
            "present": True, "since": now - 9 * DAY, "observed_at": now}  # fmt: skip


def _session(number: int, now: dt.datetime) -> dict[str, Any]:
    return {"acctsessionid": f"{number:x}", "acctuniqueid": f"{number:x}",
            "username": f"u{number}@isp", "nasipaddress": "192.0.2.1",
            "acctstarttime": now - 20 * DAY, "acctupdatetime": now}  # fmt: skip


def _usage(number: int, now: dt.datetime) -> Iterator[dict[str, Any]]:
    for month in range(MONTHS):
        since = now - (31 * month + 3) * DAY
        yield {"service_id": f"svc-{number:06d}", "meter": "down", "since": since,
               "until": since + DAY, "quantity": 10**9 * (90 + (number + month) % 9),
               "unit": "byte", "source": "radius", "samples": 96, "coverage_bp": -1,
               "revision": 1, "event_id": new_id(), "seq": 1, "late": False}  # fmt: skip


def _event(number: int, born: dt.datetime) -> NewEvent:
    return NewEvent(
        event_id=new_id(),
        source="bench",
        idempotency_key=f"{number}",
        type="service.adopted",
        account_id=f"A-{number:06d}",
        service_id=f"svc-{number:06d}",
        service_version=1,
        effective_at=born,
        actor="bench",
        reason_code="import",
        payload=service_payload(
            plan="t100", tier="t100", state="active", billing_from=dt.date(2026, 1, 1)
        ),
    )


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
