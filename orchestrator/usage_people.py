"""What a person says of usage that could not be counted, and one service's usage on one screen."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import cast

from sqlalchemy import Engine
from sqlmodel import Session

from billing_bridge import (
    RADIUS,
    Meter,
    Rollup,
    UsageException,
    UsedWindow,
    counted_bytes,
    decide_problem,
    find_problem,
    give_session,
    list_problems,
    midnight,
    period_holding,
    places_of,
    record_usage,
    slowed_down,
    used,
)
from inventory import (
    Account,
    Refused,
    Service,
    WrongUse,
    find_account,
    find_plan,
    find_service,
    local_date,
    services_of_logins,
)

from .audit import audit
from .database import database_now, reading, writing

ACTIONS = ("record", "ignore", "ack")
_NO_LIMIT_DAYS = 36_500  # a person has looked at it: no time is too long ago


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodUsage:
    """Bytes of the present period that the plan counts, and what it says of them (0 = nothing).

    With `slowed` fair use is over: the line may be slowed down to `fair_use_tier`, at no cost.
    """

    plan_code: str
    since: dt.date
    until: dt.date
    counted_bytes: int
    allowance_bytes: int
    fair_use_bytes: int
    fair_use_tier: str
    slowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageView:
    """A service's usage as the ledger has it, and what of it waits for a person.

    `dates` has a local date's bytes, down and up, by date; `counted` is None where the plan
    neither counts bytes nor ends a fair use of them.
    """

    service_id: str
    time_zone: str
    since: dt.datetime
    windows: tuple[UsedWindow, ...]
    dates: dict[dt.date, tuple[int, int]]
    exceptions: tuple[UsageException, ...]
    counted: PeriodUsage | None


def usage_view(engine: Engine, service_id: str, days: int) -> UsageView:
    """Return what a service used in the last days; UnknownName if there is no such service."""
    with reading(engine) as session:
        service = find_service(session, service_id)
        account = find_account(session, service.account_id)
        zone_name = account.time_zone
        now = database_now(session)
        since = now - dt.timedelta(days=days)
        windows = used(session, (service_id,), since, now)[service_id]
        exceptions = list_problems(session, service_id=service_id)
        counted = _counted(session, service, account, now)
    dates: dict[dt.date, tuple[int, int]] = {}
    for window in windows:
        if window.unit == "byte":
            date = local_date(window.since, zone_name)
            down, up = dates.get(date, (0, 0))
            more = window.quantity
            dates[date] = (down + more, up) if window.meter == "down" else (down, up + more)
    return UsageView(
        service_id=service_id,
        time_zone=zone_name,
        since=since,
        windows=windows,
        dates=dates,
        exceptions=exceptions,
        counted=counted,
    )


def _counted(
    session: Session, service: Service, account: Account, now: dt.datetime
) -> PeriodUsage | None:
    if not service.plan_code:
        return None
    plan = find_plan(session, service.plan_code)
    if not plan.block_bytes and not plan.fair_use_bytes:
        return None
    period = period_holding(
        local_date(now, account.time_zone), account.cycle_day, plan.period_months
    )
    windows = used(session, (service.service_id,), midnight(period.start, account.time_zone), now)[
        service.service_id
    ]
    down, up = (
        sum(w.quantity for w in windows if w.unit == "byte" and w.meter == meter)
        for meter in ("down", "up")
    )
    return PeriodUsage(
        plan_code=plan.code,
        since=period.start,
        until=period.until,
        counted_bytes=counted_bytes(plan, down, up),
        allowance_bytes=plan.allowance_bytes,
        fair_use_bytes=plan.fair_use_bytes,
        fair_use_tier=plan.fair_use_tier,
        slowed=slowed_down(plan, down, up),
    )


def answer_problem(
    engine: Engine, exception_id: str, action: str, service_id: str, actor: str, reason: str
) -> UsageException:
    """Do what a person decided about usage that could not be counted; return how it stands.

    `record` counts it, of the service named or whose login it is; `ignore` leaves it out for good;
    `ack` says that somebody looks after it. Raises WrongUse, Refused where it cannot be counted.
    """
    if action not in ACTIONS:
        raise WrongUse(action, "is none of the answers", f"Answers are: {', '.join(ACTIONS)}")
    if action == "ignore" and not reason.strip():
        raise WrongUse("ignore", "needs a reason", 'Say why: --reason "test line of our own"')
    with writing(engine) as session:
        problem = find_problem(session, exception_id)
        status = {"record": "resolved", "ignore": "ignored", "ack": "ack"}[action]
        decide_problem(session, problem, status, actor, reason)  # type: ignore[arg-type]  # one of three
        audit(session, actor, f"usage exception {action}", exception_id, reason)
        if action == "record":
            _record(session, problem, service_id, actor)
        return find_problem(session, exception_id)


def _record(session: Session, problem: UsageException, service_id: str, actor: str) -> None:
    thing = f"usage exception {problem.exception_id}"
    owner = service_id or problem.service_id
    if not owner:
        owner = services_of_logins(session, [problem.identifier]).get(problem.identifier, "")
    if not owner:
        raise Refused(
            thing,
            f"is usage of {problem.identifier}, which is nobody's login",
            "Say whose it is: --service SERVICE",
        )
    find_service(session, owner)
    if problem.kind == "unmatched" and problem.source == RADIUS:
        if not give_session(session, problem.record_key, owner):
            raise Refused(thing, "is of a session that is somebody's by now")
        return
    if problem.kind not in ("unmatched", "late", "future") or problem.until is None:
        raise Refused(
            thing,
            f"is {problem.kind}: there is nothing that could be counted",
            "Correct it where it was measured and bring it in again, or ignore it with a reason.",
        )
    rollup = _rollup(session, problem, owner)
    now = database_now(session)
    posted = record_usage(session, [rollup], now, actor=actor, backdate_days=_NO_LIMIT_DAYS)
    if not posted.events and not posted.unchanged:
        raise Refused(thing, "still cannot be counted", "Look at it: bandmaster usage exceptions")


def _rollup(session: Session, problem: UsageException, owner: str) -> Rollup:
    told = problem.evidence
    rollup = Rollup(
        service_id=owner,
        account_id=places_of(session, {owner})[owner].account_id,
        meter=cast("Meter", told["meter"]),
        since=cast("dt.datetime", problem.since),
        until=cast("dt.datetime", problem.until),
        quantity=int(told["quantity"]),
        unit=problem.unit,
        source=problem.source,
        samples=int(told.get("samples", 0)),
        coverage_bp=int(told.get("coverage_bp", -1)),
    )
    # named as the record was, where it was not the window that named it
    return (
        rollup
        if rollup.key == problem.record_key
        else replace(rollup, record_key=problem.record_key)
    )
