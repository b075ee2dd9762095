"""Billing 100,000 services in one run: how long, in how much memory, beside bare inserts."""

from __future__ import annotations

import datetime as dt
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, insert, text

from benchmarks.databases import DATABASES, database
from benchmarks.measure import Claim, run, working_folder
from billing_bridge import NewEvent, append, flat_tax, list_runs, service_payload
from inventory import new_id, rows
from orchestrator.ahead import PROCESSES
from orchestrator.bills import Bills
from orchestrator.database import make_engine, reading, writing
from orchestrator.heap import collect_less
from orchestrator.invoicing import draft_run, finalise
from orchestrator.migrate import upgrade

REACH_S, REACH_MB = 20, 300
BORN = dt.datetime(2025, 2, 3, 9, tzinfo=dt.UTC)
MONTHS = (dt.date(2025, 4, 1), dt.date(2025, 5, 1))
BILLS = Bills(grace_hours=24, backdate_days=90, tax=flat_tax("VAT", 1900))
_BATCH = 1000
_CHILD = "import sys; from benchmarks.invoice_run import child; child(*sys.argv[1:])"


def measure(*, quick: bool) -> Iterator[Claim]:
    """On each database: a first run, its bills issued, a second run; each in a new process."""
    count = 2_000 if quick else 100_000
    for name in DATABASES:
        with working_folder() as folder, database(name, folder) as url:
            engine = make_engine(url)
            upgrade(engine)
            _fill(engine, count)
            bare_s = _bare(engine, count)
            yield Claim(
                what=f"{name}: bare inserts of {count:,} bills and {2 * count:,} lines",
                measured=f"{bare_s:.1f} s",
            )
            for number, month in enumerate(MONTHS):
                told = _told(url, "run", month)
                yield Claim(
                    what=f"{name}: run {number + 1} of {count:,} services, {told['made']:,} bills",
                    measured=f"{told['s']:.1f} s, {told['mb']:.0f} MB (bare x "
                    f"{told['s'] / bare_s:.1f})",
                    reach=f"<= {REACH_S} s, <= {REACH_MB} MB",
                    holds=told["s"] <= REACH_S and told["mb"] <= REACH_MB,
                )
                told = _told(url, "finalise", month)
                yield Claim(
                    what=f"{name}: issuing the {told['made']:,} bills, ledger events and all",
                    measured=f"{told['s']:.1f} s, {told['mb']:.0f} MB",
                )
            engine.dispose()


def child(url: str, what: str, month: str) -> None:
    """Bill in a process of its own, and say how long that took and how much memory."""
    collect_less()
    engine = make_engine(url)
    with reading(engine) as session:
        last = list_runs(session)[-1:]
    begun = time.perf_counter()
    if what == "run":
        made = draft_run(engine, BILLS, "isp", dt.date.fromisoformat(month), "bench", _quiet)
        count = made.run.drafts
    else:
        count = finalise(engine, BILLS, last[0].run_id, "bench", _quiet, early=True).issued
    spent = time.perf_counter() - begun
    # its own peak, and for each process that it may start beside that of the largest
    own, beside = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak_mb = (own.ru_maxrss + PROCESSES * beside.ru_maxrss) / 1024
    print(json.dumps({"s": spent, "mb": peak_mb, "made": count}))


def _told(url: str, what: str, month: dt.date) -> dict[str, Any]:
    words = (sys.executable, "-c", _CHILD, url, what, month.isoformat())
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _quiet(done: int, total: int) -> None:
    del done, total


def _fill(engine: Engine, count: int) -> None:
    """One service an account; one in ten has changed its plan, one in forty is suspended."""
    with engine.begin() as connection:
        connection.execute(
            insert(rows.LEGAL_ENTITY), {"code": "isp", "name": "", "address": "", "tax_id": ""}
        )
        for code, price in (("f100", 2999), ("f500", 4999)):
            _sell(connection, code, price)
    for start in range(0, count, _BATCH):
        numbers = range(start, min(count, start + _BATCH))
        with engine.begin() as connection:
            connection.execute(insert(rows.ACCOUNT), [_account(number) for number in numbers])
            connection.execute(insert(rows.LINE), [_line(number) for number in numbers])
        events = [event for number in numbers for event in _life(number)]
        with writing(engine) as session:
            append(session, events, BORN + dt.timedelta(days=80))


def _sell(connection: Any, code: str, price: int) -> None:
    connection.execute(
        insert(rows.TIER), {"code": code, "down_kbps": 1, "up_kbps": 1, "used": True}
    )
    plan = {
        "code": code,
        "name": code,
        "tier_code": code,
        "currency": "EUR",
        "exponent": 2,
        "period_months": 1,
        "bill_in": "advance",
        "proration": "day",
        "price_policy": "at_period_start",
        "used": True,
    }
    connection.execute(insert(rows.PLAN), plan)
    terms = {
        "plan_code": code,
        "month_days": 0,
        "last_day_billed": False,
        "min_billable_days": 0,
        "suspend": "stop",
        "suspend_unpaid": "stop",
        "allowance_bytes": 0,
        "allowance_counts": "both",
        "block_bytes": 0,
        "fair_use_bytes": 0,
        "fair_use_tier": "",
        "commit_kbps": 0,
    }
    connection.execute(insert(rows.PLAN_TERMS), terms)
    version = {
        "price_version_id": f"{code}@1",
        "plan_code": code,
        "valid_from": dt.date(2020, 1, 1),
        "amount_minor": price,
    }
    connection.execute(insert(rows.PRICE_VERSION), version)
    zeros = dict.fromkeys(("hold_minor", "block_minor", "cap_minor", "burst_minor"), 0)
    connection.execute(
        insert(rows.PRICE_TERMS), {"price_version_id": version["price_version_id"], **zeros}
    )


def _account(number: int) -> dict[str, Any]:
    return {
        "account_id": f"A-{number:06d}",
        "name": f"Customer {number}",
        "address": "Elm Street 4",
        "time_zone": "Europe/Berlin",
        "cycle_day": 1,
        "legal_entity": "isp",
        "currency": "EUR",
    }


def _line(number: int) -> dict[str, Any]:
    empty = dict.fromkeys(("login", "password_ref", "adopted"), "")
    return {"service_id": f"svc-{number:06d}", "account_id": f"A-{number:06d}", **empty}


def _life(number: int) -> list[NewEvent]:
    began = BORN + dt.timedelta(days=number % 40)
    events = [_event(number, 1, "service.activated", "f100", "active", began)]
    if number % 10 == 3:
        later = began + dt.timedelta(days=20)
        events.append(_event(number, 2, "tier.changed", "f500", "active", later))
    elif number % 40 == 7:
        later = began + dt.timedelta(days=30)
        events.append(_event(number, 2, "service.suspended", "f100", "suspended", later))
    return events


def _event(
    number: int, version: int, kind: str, plan: str, state: Any, since: dt.datetime
) -> NewEvent:
    first = since.date() if version == 1 else None
    return NewEvent(
        event_id=new_id(),
        source="bench",
        idempotency_key=f"{number}:{version}",
        type=kind,
        account_id=f"A-{number:06d}",
        service_id=f"svc-{number:06d}",
        service_version=version,
        change_id=new_id(),
        effective_at=since,
        actor="bench",
        reason_code="requested",
        payload=service_payload(plan=plan, tier=plan, state=state, billing_from=first),
    )


def _bare(engine: Engine, count: int) -> float:
    """Return the seconds for rows of the same size in tables with a primary key and no more."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE bare_bill (id text PRIMARY KEY, body text)"))
        connection.execute(
            text("CREATE TABLE bare_line (id text, no integer, body text, PRIMARY KEY (id, no))")
        )
    begun = time.perf_counter()
    for start in range(0, count, _BATCH):
        ids = [new_id() for _ in range(min(_BATCH, count - start))]
        with writing(engine) as session:
            session.execute(
                text("INSERT INTO bare_bill VALUES (:id, :body)"),
                [{"id": one, "body": "x" * 200} for one in ids],
            )
            session.execute(
                text("INSERT INTO bare_line VALUES (:id, :no, :body)"),
                [{"id": one, "no": no, "body": "x" * 250} for one in ids for no in (1, 2)],
            )
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
