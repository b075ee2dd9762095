"""Two processes at once, on both databases: one waits, stops or goes away; nothing is harmed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlmodel import select as query

from inventory import BadSettings
from lab.servers.postgres import Postgres
from orchestrator.database import reading, writing
from orchestrator.exceptions import list_open
from orchestrator.recover import recover as recover_now
from orchestrator.rows import LeaseRow, PlanRow
from orchestrator.settings import load
from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import NEW, at_rest, one_of_two, recover
from tests.orchestrator.field import PATIENCE_S, Ended, Field
from workflows.transports import netmiko

ONE, TWO = "svc-1001", "svc-1003"  # both on the first OLT
NEXT = "svc-1002"
OLT, BNG = "olt-fra-1", "bng-fra-1"
QUICK = {"lease_ttl_s": 10, "lease_renew_s": 1, "takeover_s": 12}
SLOW_S = 600  # device seconds, which pass when a test says so


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=PATIENCE_S)
    return Ended(code=process.returncode, out=out, err=err)


@contextmanager
def running(field: Field, *words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test; whatever is left of it at the end is killed."""
    cut = ("--signal", more["signal"]) if "signal" in more else ()
    process = field.start(*words, at=more.get("at", ""), cut=cut)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], fact: Callable[[], bool]) -> None:
    """Wait until something is true, for as long as the process lives."""
    descriptor = os.pidfd_open(process.pid)
    try:
        while not fact():
            gone, _, _ = select.select([descriptor], [], [], 0.05)
            assert not gone or fact(), ended(process).err
    finally:
        os.close(descriptor)


def lease_owner(field: Field, device: str) -> str:
    with reading(field.rig.office.engine) as session:
        row = session.get(LeaseRow, device)
        return row.owner if row else ""


def stopped(process: subprocess.Popen[str]) -> None:
    """Wait until the process has been stopped by its own signal."""
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert found is not None
    assert found.si_code == os.CLD_STOPPED, ended(process).err


@pytest.fixture
def isp(start_field: StartField, database_url: str) -> Field:
    """A field on either database, whose commands wait for leases."""
    settings = {"lease_wait_s": 60, "lease_renew_s": 1}
    return start_field(url=database_url, save_s=0.05, timeout_s=60, settings=settings)


def slow_down(field: Field) -> None:
    """Let the router take its time over the next commit, until `go_on`."""
    verb = "commit-configuration confirmed"
    field.rig.fleet.control(BNG, "fault", verb=verb, kind="delay", arg=str(SLOW_S))


def go_on(field: Field) -> None:
    """Let the router finish."""
    field.rig.fleet.control(BNG, "advance", seconds=SLOW_S)


def at_the_router(field: Field) -> Callable[[], bool]:
    """Say whether the slow commit has arrived."""

    def look() -> bool:
        entries = field.rig.fleet.control(BNG, "log")["entries"]
        return any(entry["what"] == "commit-configuration" for entry in entries)

    return look


def plans(field: Field) -> int:
    with reading(field.rig.office.engine) as session:
        return len(session.exec(query(PlanRow)).all())


def test_two_plans_of_one_service_at_once(isp: Field) -> None:
    """One wins; the other is told in words, and the subscriber is billed once."""
    plans = [isp.rig.plan(isp.rig.order(ONE, NEW)).plan_id for _ in range(2)]
    with (
        running(isp, "change", "apply", plans[0], "--yes") as first,
        running(isp, "change", "apply", plans[1], "--yes") as second,
    ):
        results = sorted((ended(first), ended(second)), key=lambda result: result.code)
    assert [result.code for result in results] == [0, 5], [result.err for result in results]
    assert ONE in results[1].err
    recover(isp)
    one_of_two(isp, ONE, decided=True)


def test_a_service_in_the_middle_of_a_change_is_refused(isp: Field) -> None:
    """The second terminal is told which change stands in the way, and touches nothing."""
    slow_down(isp)
    with running(isp, "service", "tier", ONE, NEW, "--yes") as first:
        wait_for(first, at_the_router(isp))
        second = isp.run("service", "tier", ONE, "fiber-1000", "--yes")
        go_on(isp)
        assert second.code == 5
        assert f"{ONE}: change c-" in second.err
        assert ended(first).code == 0
    recover(isp)
    one_of_two(isp, ONE, decided=True)


def test_two_services_of_one_olt_take_turns(isp: Field) -> None:
    """Both are done; the second waits for the lease, so their lines never mix."""
    slow_down(isp)
    with (
        running(isp, "service", "tier", ONE, NEW, "--yes") as first,
        running(isp, "service", "tier", TWO, NEW, "--yes") as second,
    ):
        wait_for(first, at_the_router(isp))
        wait_for(second, lambda: plans(isp) == 2)
        go_on(isp)
        results = ended(first), ended(second)
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    recover(isp)
    one_of_two(isp, ONE, decided=True)
    one_of_two(isp, TWO, decided=True)
    entries = isp.rig.fleet.control(OLT, "log")["entries"]
    sent = [e["text"] for e in entries if e["text"].startswith(("service-port", "save"))]
    words = [line.removeprefix("service-port ").partition(" ")[0] for line in sent]
    assert words in (["1001", "save", "1003", "save"], ["1003", "save", "1001", "save"])


def test_recovery_leaves_a_living_worker_alone(isp: Field) -> None:
    slow_down(isp)
    with running(isp, "service", "tier", ONE, NEW, "--yes") as worker:
        wait_for(worker, at_the_router(isp))
        found = isp.run("recover")
        go_on(isp)
        assert ended(worker).code == 0
    assert found.code == 6
    assert "is being driven by process" in found.err
    assert str(worker.pid) in found.err
    recover(isp)
    one_of_two(isp, ONE, decided=True)


@pytest.mark.parametrize(
    ("edge", "decided"),
    [("after prepare bng-fra-1", False), ("after extend nothing", False), ("after decision", True)],
)
def test_a_stopped_worker_is_taken_over_and_stops_itself(
    start_field: StartField, database_url: str, edge: str, *, decided: bool
) -> None:
    """A machine that slept too long: when it wakes it sends nothing and ends with 6 (P10, W13)."""
    isp = start_field(url=database_url, save_s=0.05, settings=QUICK)
    with running(isp, "service", "tier", ONE, NEW, "--yes", at=edge, signal="STOP") as sleeper:
        stopped(sleeper)
        slept = lease_owner(isp, BNG)
        with running(isp, "recover") as other:
            wait_for(other, lambda: lease_owner(isp, BNG) not in ("", slept))
            since = isp.rig.fleet.control(BNG, "log")["last"]
            since = max(since, isp.rig.fleet.control(OLT, "log")["last"])
            mine = logged_in(isp)
            sleeper.send_signal(signal.SIGCONT)
            woken, settled = ended(sleeper), ended(other)
    assert woken.code == 6, woken.err
    assert "bandmaster recover" in woken.err
    assert settled.code == 0, settled.err
    assert sent_by(isp, mine, since) <= {"session ended", "logout", "close-session"}
    at_rest(isp)
    one_of_two(isp, ONE, decided=decided)


@pytest.mark.parametrize(
    ("edge", "decided"), [("after line to olt-fra-1", False), ("before saving on olt-fra-1", True)]
)
def test_a_worker_that_sleeps_on_the_olt_is_not_believed_to_be_gone(
    start_field: StartField, monkeypatch: pytest.MonkeyPatch, edge: str, *, decided: bool
) -> None:
    """An OLT has no lock: while the sleeper's session stands, it is left to a person (W4, P10).

    Restarted meanwhile, recovery settles the router and names the OLT. Then the sleeper wakes
    between two lines, or before its save, sends nothing more and ends; the next run settles all.
    """
    monkeypatch.setattr(netmiko, "DRAIN_WAIT_S", 0.5)
    isp = start_field(services=2, olts=1, save_s=0.05, settings=QUICK)
    orders = [isp.rig.order(service_id, NEW) for service_id in (ONE, NEXT)]
    plan = isp.rig.plan(*orders).plan_id
    with running(isp, "change", "apply", plan, "--yes", at=edge, signal="STOP") as sleeper:
        stopped(sleeper)
        mine = logged_in(isp)
        lines = lines_to_olt(isp)
        recover_now(isp.rig.office)
        with reading(isp.rig.office.engine) as session:
            left = list_open(session)
        assert {(each.service_id, each.participant, each.cause) for each in left} == {
            (ONE, OLT, "unreachable"),
            (NEXT, OLT, "unreachable"),
        }
        assert all("older sessions of ours" in each.seen for each in left)
        assert lines_to_olt(isp) == lines
        since = max(isp.rig.fleet.control(name, "log")["last"] for name in (BNG, OLT))
        sleeper.send_signal(signal.SIGCONT)
        woken = ended(sleeper)
    assert woken.code == 6, woken.err
    assert sent_by(isp, mine, since) <= {"session ended", "logout", "close-session"}
    recover(isp)
    one_of_two(isp, ONE, decided=decided)
    one_of_two(isp, NEXT, decided=decided)


def lines_to_olt(field: Field) -> list[str]:
    """What was sent to the OLT to be done."""
    entries = field.rig.fleet.control(OLT, "log")["entries"]
    return [e["text"] for e in entries if e["text"].startswith(("service-port", "save"))]


def logged_in(field: Field) -> set[str]:
    """The sessions that are logged in now, as the devices' logs name them."""
    bng = field.rig.fleet.control(BNG, "log")["entries"]
    olt = field.rig.fleet.control(OLT, "log")["entries"]
    return {entry["who"] for entry in (*bng, *olt) if "#" in entry["who"]}


def sent_by(field: Field, sessions: set[str], since: int) -> set[str]:
    """What came from these sessions after this moment."""
    logs = [field.rig.fleet.control(name, "log", since=since)["entries"] for name in (BNG, OLT)]
    return {e["what"] for log in logs for e in log if e["who"] in sessions}


def test_a_worker_of_a_machine_that_is_gone_is_taken_over(
    start_field: StartField, database_url: str
) -> None:
    """After a power cut the lease names a boot that nobody can ask: its counter stands still."""
    isp = start_field(url=database_url, save_s=0.05, settings=QUICK)
    killed = isp.run("service", "tier", ONE, NEW, "--yes", at="after decision")
    assert killed.code == -signal.SIGKILL
    with writing(isp.rig.office.engine) as session:
        for row in session.exec(query(LeaseRow)):
            row.boot_id, row.pid = "a boot before this one", 1
    recover(isp)
    one_of_two(isp, ONE, decided=True)


def asleep(server: Postgres, database: str) -> int:
    """Count the sessions that sleep inside a transaction."""
    state = "select count(*) from pg_stat_activity where datname = %s and state = %s"
    with psycopg.connect(server.conninfo("postgres", database)) as connection:
        row = connection.execute(state, (database, "idle in transaction")).fetchone()
    assert row is not None
    return int(row[0])


def test_a_worker_stopped_inside_the_decision_stops_nobody(
    start_field: StartField, postgres_server: Postgres, postgres_database: str
) -> None:
    """PostgreSQL ends the transaction of a machine that sleeps in it; others need not wait for it.

    SQLite has no such guard: there the store's one writer lock is held until that process ends.
    """
    url = postgres_server.url("migrate", postgres_database)
    isp = start_field(url=url, save_s=0.05, settings=QUICK)
    tier = ("service", "tier", ONE, NEW, "--yes")
    with running(isp, *tier, at="before decision", signal="STOP") as sleeper:
        stopped(sleeper)
        assert asleep(postgres_server, postgres_database) == 1
        wait_for(sleeper, lambda: asleep(postgres_server, postgres_database) == 0)
        sleeper.send_signal(signal.SIGCONT)
        assert ended(sleeper).code == 6
    recover(isp)
    one_of_two(isp, ONE, decided=False)


@pytest.mark.parametrize(
    ("renew", "ttl", "takeover", "good"),
    [
        (5, 15, 20, True),
        (1, 2, 3, True),
        (15, 15, 20, False),
        (5, 15, 15, False),
        (5, 30, 20, False),
    ],
)
def test_a_lease_cannot_be_taken_over_while_it_is_believed(
    tmp_path: Path, renew: int, ttl: int, takeover: int, *, good: bool
) -> None:
    """Two workers must never both think that they may send."""
    place = tmp_path / "bandmaster.toml"
    lines = (f"lease_renew_s = {renew}", f"lease_ttl_s = {ttl}", f"takeover_s = {takeover}")
    place.write_text("\n".join(lines), "utf-8")
    if good:
        assert load(place).takeover_s == takeover
        return
    with pytest.raises(BadSettings, match="must rise") as caught:
        load(place)
    assert caught.value.exit_code == 2
