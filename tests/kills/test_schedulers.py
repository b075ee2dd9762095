"""Two recoveries at once, for good, and a recovery that sleeps through its lease.

A stopped worker that a recovery takes over, two orders and two workers at once are in
tests/orchestrator/test_workers.py.
"""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from sqlmodel import select

from lab.servers.postgres import Postgres
from orchestrator.database import reading
from orchestrator.recover import orphans
from orchestrator.rows import ChangeRow, StepRow
from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import KILLED, NEW, at_rest, one_of_two
from tests.orchestrator.field import Field
from tests.orchestrator.test_workers import (
    BNG,
    OLT,
    QUICK,
    ended,
    lease_owner,
    logged_in,
    running,
    sent_by,
    stopped,
    wait_for,
)

EDGES = {  # where the orders die, and whether they were decided
    "after line to olt-fra-1": False,
    "before decision": False,
    "after decision": True,
    "after confirm bng-fra-1": True,
}
ONE = "svc-1001"
TIER = ("service", "tier", ONE, NEW, "--yes")


def open_sets(field: Field) -> int:
    with reading(field.rig.office.engine) as session:
        return orphans(session)


def closings(field: Field) -> list[str]:
    """The changes that were closed, once for each time that somebody wrote so."""
    with reading(field.rig.office.engine) as session:
        steps = session.exec(select(StepRow).where(StepRow.kind == "closed")).all()
        return sorted(str(json.loads(step.detail)["change"]) for step in steps)


def changes(field: Field) -> list[str]:
    with reading(field.rig.office.engine) as session:
        return sorted(row.change_id for row in session.exec(select(ChangeRow)))


def watcher_ends(process: subprocess.Popen[str], number: int) -> None:
    """Stop a scheduler as its service manager would."""
    process.send_signal(number)
    result = ended(process)
    assert result.code in (0, -number), result.err
    assert "Traceback" not in result.err
    assert "bug in bandmaster" not in result.err


def test_two_schedulers_share_what_is_left_open(start_field: StartField, database_url: str) -> None:
    """Every change of the dead is closed exactly once, and neither scheduler ever fails."""
    isp = start_field(url=database_url, services=4, olts=1, save_s=0.05, settings={"watch_s": 1})
    watch = ("recover", "--watch")
    with running(isp, *watch) as first, running(isp, *watch) as second:
        for service_id, edge in zip(isp.rig.isp.ids(), EDGES, strict=True):
            killed = isp.run("service", "tier", service_id, NEW, "--yes", at=edge)
            assert killed.code == KILLED, killed.err
            wait_for(first, lambda: open_sets(isp) == 0)
        assert second.poll() is None
        watcher_ends(first, signal.SIGINT)
        watcher_ends(second, signal.SIGTERM)
    at_rest(isp)
    assert closings(isp) == changes(isp)
    for service_id, decided in zip(isp.rig.isp.ids(), EDGES.values(), strict=True):
        one_of_two(isp, service_id, decided=decided)


@pytest.mark.parametrize(
    "edge", ["after epoch", "after commit on bng-fra-1", "after confirm bng-fra-1"]
)
def test_a_recovery_that_slept_too_long_stops_itself(
    start_field: StartField, postgres_server: Postgres, postgres_database: str, edge: str
) -> None:
    """Taken over by another one it wakes, sends nothing and spoils nothing (P10, W13).

    On PostgreSQL alone: a process that is stopped while it renews its lease holds SQLite's one
    writer lock until it wakes.
    """
    isp = start_field(
        url=postgres_server.url("migrate", postgres_database),
        services=2,
        olts=1,
        save_s=0.05,
        settings={**QUICK, "watch_s": 1},
    )
    assert isp.run(*TIER, at="after decision").code == KILLED
    with running(isp, "recover", at=edge, signal="STOP") as sleeper:
        stopped(sleeper)
        slept = lease_owner(isp, BNG)
        with running(isp, "recover", "--watch") as other:
            wait_for(other, lambda: lease_owner(isp, BNG) not in ("", slept))
            since = max(isp.rig.fleet.control(name, "log")["last"] for name in (BNG, OLT))
            mine = logged_in(isp)
            sleeper.send_signal(signal.SIGCONT)
            woken = ended(sleeper)
            wait_for(other, lambda: open_sets(isp) == 0)
            watcher_ends(other, signal.SIGINT)
    assert woken.code == 6, woken.err
    assert sent_by(isp, mine, since) <= {"session ended", "logout", "close-session"}
    at_rest(isp)
    one_of_two(isp, ONE, decided=True)
