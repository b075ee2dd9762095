"""The database server is killed inside a transaction; a COMMIT arrives when nobody expects it.

A server that is stopped in order, connections that are ended, a COMMIT or its answer that is lost,
and a disk without room are in tests/orchestrator/test_store_faults.py.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from lab.servers.postgres import Postgres
from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import NEW, at_rest, one_of_two, recover
from tests.orchestrator.field import PATIENCE_S, Field
from tests.orchestrator.relay import Relay
from tests.orchestrator.test_workers import ended, running, stopped

ONE = "svc-1001"
TIER = ("service", "tier", ONE, NEW, "--yes")
# no renewal commits while the test holds a COMMIT back, and no lease ends on a busy machine
PATIENT = {"lease_renew_s": 100, "lease_ttl_s": 200, "takeover_s": 300}
TRIES = 10


# --- the server dies -----------------------------------------------------------------------------


@pytest.fixture
def server(postgres_server: Postgres, tmp_path: Path) -> Iterator[Postgres]:
    """A server of this test's own that keeps what it has acknowledged."""
    assert postgres_server.port  # where there is none the tests are skipped, with the reason
    made = Postgres(tmp_path / "postgres")
    made.start()
    yield made
    made.remove()


def crash(server: Postgres) -> None:
    """Kill every process of the server at once, and start it anew on what the disk holds."""
    first = server.daemon.pid
    os.kill(first, signal.SIGSTOP)  # it must not see its children die one by one, nor start more
    with ExitStack() as stack:
        dying = [_handle(stack, pid) for pid in (*children(first), first)]
        for handle in dying:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        for handle in dying:  # one that still holds the shared memory would stop the next server
            assert select.select([handle], [], [], PATIENCE_S)[0]
    server.stop()
    server.start()


def _handle(stack: ExitStack, pid: int) -> int:
    handle = os.pidfd_open(pid)
    stack.callback(os.close, handle)
    return handle


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("edge", "decided"),
    [
        ("before intent", False),
        ("before decision", False),
        ("after decision", True),
        ("before applied", True),
    ],
)
def test_a_server_that_is_killed_and_restarted(
    start_field: StartField, server: Postgres, edge: str, *, decided: bool
) -> None:
    """The transaction in flight is gone with its server, what was acknowledged is not."""
    isp = start_field(url=server.url("migrate"), services=2, olts=1, save_s=0.05, settings=PATIENT)
    with running(isp, *TIER, at=edge, signal="STOP") as worker:
        stopped(worker)
        crash(server)
        worker.send_signal(signal.SIGCONT)
        result = ended(worker)
    assert result.code in (0, 1, 6), result.err
    assert "Traceback" not in result.err
    recover(isp)
    one_of_two(isp, ONE, decided=decided)
    isp.rig.office.engine.dispose()


@pytest.mark.parametrize("edge", ["after epoch", "before close"])
def test_a_server_that_is_killed_under_recovery(
    start_field: StartField, server: Postgres, edge: str
) -> None:
    isp = start_field(url=server.url("migrate"), services=2, olts=1, save_s=0.05, settings=PATIENT)
    assert isp.run(*TIER, at="after decision").code == -signal.SIGKILL
    with running(isp, "recover", at=edge, signal="STOP") as worker:
        stopped(worker)
        crash(server)
        worker.send_signal(signal.SIGCONT)
        result = ended(worker)
    assert "Traceback" not in result.err
    recover(isp)
    one_of_two(isp, ONE, decided=True)
    isp.rig.office.engine.dispose()


# --- a COMMIT on its way while its process is dead -----------------------------------------------


@pytest.fixture
def relay(postgres_server: Postgres) -> Iterator[Relay]:
    """A relay before the tests' server."""
    made = Relay((postgres_server.address, postgres_server.port))
    made.patient = True
    yield made
    made.close()


@pytest.fixture
def behind_relay(
    start_field: StartField, relay: Relay, postgres_server: Postgres, postgres_database: str
) -> Field:
    """A field whose every word with the database goes through the relay."""
    url = make_url(postgres_server.url("migrate", postgres_database)).set(port=relay.port)
    text = url.render_as_string(hide_password=False)
    return start_field(url=text, services=2, olts=1, save_s=0.05, settings=PATIENT)


def kill_with_commit_held(isp: Field, relay: Relay, until: Callable[[], object]) -> None:
    """Kill a worker whose COMMIT of the decision is on its way; it arrives when `until` returns."""
    arrived = threading.Event()

    def wait() -> None:
        arrived.set()
        until()

    with running(isp, *TIER, at="before decision", signal="STOP") as worker:
        stopped(worker)
        relay.wait, relay.lose = wait, "late"
        worker.send_signal(signal.SIGCONT)
        assert arrived.wait(PATIENCE_S)


def recover_again_and_again(isp: Field) -> None:
    """Recover, as a scheduler does, until nothing is left; every failure is told in words."""
    for _ in range(TRIES):
        found = isp.run("recover")
        assert "Traceback" not in found.err
        assert "bug in bandmaster" not in found.err
        if found.code == 0:
            return
    pytest.fail(found.err)


def test_a_commit_that_lands_while_recovery_waits_for_it(
    behind_relay: Field, relay: Relay, postgres_server: Postgres, postgres_database: str
) -> None:
    """W8: recovery meets the rows of a transaction of the dead, and takes its decision over."""

    def until_somebody_waits() -> None:
        info = postgres_server.conninfo("postgres", postgres_database)
        with psycopg.connect(info, autocommit=True) as other:
            while other.execute(WAITING, (postgres_database,)).fetchone() == (0,):
                pass

    kill_with_commit_held(behind_relay, relay, until_somebody_waits)
    recover_again_and_again(behind_relay)
    at_rest(behind_relay)
    one_of_two(behind_relay, ONE, decided=True)


WAITING = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"


def test_a_commit_that_lands_after_recovery_has_aborted(
    behind_relay: Field, relay: Relay, postgres_server: Postgres, postgres_database: str
) -> None:
    """The server gives up the transaction of the dead; its COMMIT comes to nothing."""
    settled = threading.Event()
    kill_with_commit_held(behind_relay, relay, settled.wait)
    try:
        end_sleepers(postgres_server, postgres_database)
        recover_again_and_again(behind_relay)
    finally:
        settled.set()
    recover(behind_relay)
    one_of_two(behind_relay, ONE, decided=False)


def end_sleepers(server: Postgres, database: str) -> None:
    """Do what the server does by itself ten seconds later, without the ten seconds."""
    sleepers = (
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
        " where datname = %s and state = 'idle in transaction'"
    )
    with psycopg.connect(server.conninfo("postgres", "postgres"), autocommit=True) as connection:
        assert connection.execute(sleepers, (database,)).fetchall() == [(True,)]
