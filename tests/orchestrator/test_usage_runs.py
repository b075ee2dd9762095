"""Usage on its way into the ledger: FreeRADIUS's rows, runs that are killed, runs side by side."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text, update

from billing_bridge import list_problems, tail, usage_check
from inventory.radius_rows import RADACCT
from orchestrator.database import database_now, reading
from orchestrator.settings import Settings
from orchestrator.usage import Counted, read_radacct, roll_up
from tests.usage_isp import make_isp

SETTINGS = Settings(usage_wait_s=0)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def isp(empty_engine: Engine) -> Engine:
    make_isp(empty_engine)
    return empty_engine


@pytest.fixture
def noon(isp: Engine) -> dt.datetime:
    """A full hour, five hours ago by the database's clock."""
    with reading(isp) as session:
        now = database_now(session)
    return now.replace(minute=0, second=0, microsecond=0) - 5 * 60 * MINUTE


def starts(engine: Engine, noon: dt.datetime, *logins: str) -> None:
    """FreeRADIUS inserts a row for each session."""
    rows = [
        {
            "acctsessionid": f"8a{number}", "acctuniqueid": f"{login}{number}", "username": login,
            "nasipaddress": "10.0.0.1", "acctstarttime": noon, "acctupdatetime": noon,
            "acctsessiontime": 0, "acctinputoctets": 0, "acctoutputoctets": 0,
        }
        for number, login in enumerate(logins)
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(RADACCT), rows)


def tells(engine: Engine, noon: dt.datetime, minutes: int, down: int, **given: Any) -> None:
    """FreeRADIUS overwrites every open row with what an interim says."""
    values = {
        "acctupdatetime": noon + minutes * MINUTE, "acctsessiontime": minutes * 60,
        "acctoutputoctets": down, "acctinputoctets": down // 10,
    }  # fmt: skip
    with engine.begin() as connection:
        statement = update(RADACCT).where(RADACCT.c.acctstoptime.is_(None))
        connection.execute(statement.values(**(values | given)))


def read_and_roll(engine: Engine) -> Counted:
    """In batches of two, so that there is something between them."""
    read_radacct(engine, batch=2)
    return roll_up(engine, SETTINGS, "noc", batch=2)


def bytes_of(engine: Engine) -> dict[str, int]:
    """What the ledger has of each service, down; every window held to its events."""
    found: dict[str, int] = {}
    with reading(engine) as session:
        assert usage_check(session) == ()
        for each in tail(session, 0, 1000):
            if each.payload["meter"] == "down":
                found[each.service_id] = found.get(each.service_id, 0) + each.quantity
    return found


def test_radacct_is_read_again_as_long_as_a_session_is_open(isp: Engine, noon: dt.datetime) -> None:
    """Goal: each interim counts, an overwritten one that was older lowers nothing (trap 10)."""
    starts(isp, noon, "ada@isp", "bob@isp", "eve@isp")
    read_and_roll(isp)
    for minutes, down in ((30, 1_000), (75, 9_000), (60, 5_000), (90, 9_500)):
        tells(isp, noon, minutes, down)
        read_and_roll(isp)
    assert bytes_of(isp) == {"svc-1": 9_500, "svc-2": 9_500}
    tells(isp, noon, 150, 20_000, acctstoptime=noon + 150 * MINUTE)
    read_and_roll(isp)
    assert bytes_of(isp) == {"svc-1": 20_000, "svc-2": 20_000}
    assert read_and_roll(isp) == Counted()
    with reading(isp) as session:
        (lost,) = list_problems(session)
        hours = {(e.service_id, e.effective_at) for e in tail(session, 0, 99)}
    assert (lost.kind, lost.identifier, lost.quantity) == ("unmatched", "eve@isp", 22_000)
    assert {at for name, at in hours if name == "svc-1"} == {
        noon + hour * 60 * MINUTE for hour in range(3)
    }


@pytest.mark.parametrize("moment", ["begin", "commit"])
def test_a_run_that_is_killed_anywhere_is_gone_on_with(
    isp: Engine, noon: dt.datetime, moment: str
) -> None:
    """Goal: the same ledger. Method: the process dies at the n-th such moment, for every n."""
    starts(isp, noon, *["ada@isp"] * 2, *["bob@isp"] * 2)
    tells(isp, noon, 90, 700)
    left = [0]

    def die(_connection: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    event.listen(isp, moment, die)
    deaths = 0
    for number in range(1, 30):
        left[0] = number
        try:
            done = read_and_roll(isp)
        except KeyboardInterrupt:
            deaths += 1
            continue
        break
    event.remove(isp, moment, die)
    assert (deaths > 5, done) == (True, Counted())
    assert bytes_of(isp) == {"svc-1": 1_400, "svc-2": 1_400}


def test_two_runs_at_once_count_everything_once(isp: Engine, noon: dt.datetime) -> None:
    """Method: both read and count while sessions grow; what is said twice is not counted twice."""
    starts(isp, noon, *["ada@isp"] * 3, *["bob@isp"] * 3)
    for minutes in range(40, 240, 50):
        tells(isp, noon, minutes, minutes * 10)
        with ThreadPoolExecutor(max_workers=2) as both:
            list(both.map(read_and_roll, [isp, isp]))
    read_and_roll(isp)
    assert bytes_of(isp) == {"svc-1": 3 * 1_900, "svc-2": 3 * 1_900}
    with isp.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM usage_due")).scalar() == 0
