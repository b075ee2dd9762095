"""The wall clocks of the store and of this host step by an hour: only spans are ever measured.

The clock that leases and timers hang on counts from boot and is never set (`orchestrator.clock`);
what can step is the database's clock, by which money is told, and the host's, which ids and the
RADIUS Event-Timestamp are made from.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from billing_bridge import find_by_service, verify
from device_templates import AccessSession, ReplyAttribute
from inventory import Device
from orchestrator.database import database_now, reading
from orchestrator.recover import recover
from tests.orchestrator.moments import BNG, NEW, OLT, ONE, disputed, is_done, when
from tests.orchestrator.rig import Rig, at_tier, truth
from workflows import CoaReply, send_coa

HOUR = 3600
SETTLE_S = 300  # more than a busy machine takes between two steps of the test
MOMENTS = ("plan", "armed", "prepared", "committed", "close")


class Steps:
    """How far the wall clocks have been stepped, in seconds."""

    def __init__(self, engine: Engine, patch: pytest.MonkeyPatch) -> None:
        self.by_s = 0
        real_ns = time.time_ns
        # not time.time: the emulated devices live in this process, and theirs does not step
        patch.setattr(time, "time_ns", lambda: real_ns() + self.by_s * 10**9)
        self._engine = engine
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", self._own_strftime)
            engine.dispose()  # what is connected already would keep the clock it has
            return
        with engine.begin() as connection:
            for statement in _OWN_CLOCK:
                connection.exec_driver_sql(statement)
        event.listen(engine, "connect", _look_there_first)
        engine.dispose()

    def step(self, by_s: int) -> None:
        """Step all wall clocks."""
        self.by_s += by_s
        if self._engine.dialect.name == "postgresql":
            with self._engine.begin() as connection:
                connection.execute(
                    text("UPDATE stepped.step SET by_s = :by_s"), {"by_s": self.by_s}
                )

    def _own_strftime(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("strftime", 2, self._now)

    def _now(self, pattern: str, when_: str) -> str:
        assert (pattern, when_) == ("%Y-%m-%dT%H:%M:%f", "now")
        now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.by_s)
        return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}"


_OWN_CLOCK = (
    "CREATE SCHEMA stepped",
    "CREATE TABLE stepped.step (by_s integer NOT NULL)",
    "INSERT INTO stepped.step VALUES (0)",
    """CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + make_interval(secs => by_s) FROM stepped.step'""",
)


def _look_there_first(connection: Any, _record: object) -> None:
    connection.execute("SET search_path = stepped, public, pg_catalog")
    connection.commit()


@pytest.fixture
def steps(hasty_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The clocks of a rig, on either database; they do step."""
    found = Steps(hasty_rig.office.engine, monkeypatch)
    with reading(hasty_rig.office.engine) as session:
        before = database_now(session)
    found.step(2 * HOUR)
    with reading(hasty_rig.office.engine) as session:
        assert database_now(session) - before >= dt.timedelta(hours=2)
    found.step(-2 * HOUR)
    return found


@pytest.mark.parametrize("by_s", [HOUR, -HOUR], ids=["on", "back"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_clock_that_steps_changes_no_outcome(
    hasty_rig: Rig, steps: Steps, moment: str, by_s: int
) -> None:
    """Between plan, first arm, last prepare, decision and close: done once, in time's order."""
    rig = hasty_rig
    plan = rig.plan(rig.order(ONE, NEW))
    if moment == "plan":
        steps.step(by_s)
    heard = {"armed": (BNG, "prepared"), "prepared": (OLT, "prepared")}
    heard["committed"] = ("decision", "committed")
    if moment in heard:
        when(rig, *heard[moment], lambda: steps.step(by_s))
    assert rig.apply(plan).exit_code() == 0
    if moment == "close":
        steps.step(by_s)
    is_done(rig)
    with reading(rig.office.engine) as session:
        events = find_by_service(session, ONE)
        assert verify(session, deep=True).problem == ""
    assert [one.recorded_at for one in events] == sorted(one.recorded_at for one in events)
    # and the next change is not in the way of the clock either
    assert rig.tier(ONE, "fiber-1000").exit_code() == 0
    recover(rig.office)
    at_tier(rig, ONE, "fiber-1000")


def test_a_clock_set_back_does_not_hold_a_change_open(hasty_rig: Rig, steps: Steps) -> None:
    """The time that logins take is waited once more, not the hour as well."""
    rig = hasty_rig
    rig.office = replace(rig.office, settings=replace(rig.office.settings, settle_s=SETTLE_S))
    assert rig.tier(ONE, NEW).exit_code() == 0
    steps.step(-HOUR)
    assert f"can be closed in {SETTLE_S} s" in recover(rig.office).waiting[0]
    steps.step(SETTLE_S + 1)
    assert recover(rig.office).waiting == ()
    is_done(rig)


@pytest.mark.parametrize("by_s", [HOUR, -HOUR], ids=["on", "back"])
def test_a_nas_that_finds_our_clock_wrong_is_asked_again(
    hasty_rig: Rig, steps: Steps, by_s: int
) -> None:
    """It drops a request dated an hour off: billed, not live, said so; mended with the clock."""
    rig = hasty_rig

    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=steps.by_s)

    def coa(
        device: Device,
        session: AccessSession,
        attributes: tuple[ReplyAttribute, ...],
        action: str,
    ) -> CoaReply:
        secret = rig.office.secrets(device.coa.secret)
        return send_coa(device, secret, session, attributes, action, clock=now)

    rig.office = replace(rig.office, coa=coa)
    when(rig, "decision", "committed", lambda: steps.step(by_s))
    outcome = rig.tier(ONE, NEW)
    assert outcome.exit_code() == 4
    assert disputed(rig).participant.startswith("session:")
    assert truth(rig, ONE).session == (100_000, 20_000)
    steps.step(-by_s)
    assert recover(rig.office).outcome.exit_code() == 0
    is_done(rig)
