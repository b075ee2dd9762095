"""Ctrl-C, SIGTERM, a closed pipe and nobody at the terminal: nothing is ever left half done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.database import reading
from orchestrator.views import open_plans
from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import NEW, at_rest, one_of_two, recover
from tests.orchestrator.field import PATIENCE_S, Field

ONE = "svc-1001"
TIER = ("service", "tier", ONE, NEW, "--yes")
UNDECIDED = 6


@pytest.fixture
def isp(start_field: StartField) -> Field:
    """A field on SQLite: what signals do has nothing to do with the store."""
    return start_field(save_s=0.05)


@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize(
    "edge",
    ["before intent", "after prepare bng-fra-1", "after line to olt-fra-1", "after extend nothing"],
)
def test_before_the_decision_everything_is_put_back(isp: Field, name: str, edge: str) -> None:
    ended = isp.run(*TIER, at=edge, cut=("--signal", name))
    assert ended.code == 1, ended.err
    assert "Stopping as soon as it is safe" in ended.err
    at_rest(isp)
    one_of_two(isp, ONE, decided=False)


@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("edge", ["before decision", "after decision", "before coa"])
def test_after_the_decision_it_is_finished(isp: Field, name: str, edge: str) -> None:
    """A signal inside the decision's transaction comes too late to undo, and costs nothing."""
    ended = isp.run(*TIER, at=edge, cut=("--signal", name))
    assert ended.code == 0, ended.err
    recover(isp)
    one_of_two(isp, ONE, decided=True)


@pytest.mark.parametrize(
    ("edge", "decided"), [("after prepare olt-fra-1", False), ("after confirm bng-fra-1", True)]
)
def test_a_second_signal_leaves_it_to_recovery(isp: Field, edge: str, *, decided: bool) -> None:
    ended = isp.run(*TIER, at=edge, cut=("--signal", "INT", "--times", "2"))
    assert ended.code == UNDECIDED, ended.err
    assert "bandmaster recover" in ended.err
    recover(isp)
    one_of_two(isp, ONE, decided=decided)


@pytest.mark.parametrize("edge", ["after commit", "before read bng-fra-1,olt-fra-1"])
def test_a_signal_before_anything_is_sent(isp: Field, edge: str) -> None:
    """While the plan is made and shown nothing has been touched, and nothing stays open."""
    ended = isp.run(*TIER, at=edge, cut=("--signal", "INT"))
    assert ended.code not in (0, 70), ended.err
    assert "Traceback" not in ended.err
    at_rest(isp)
    one_of_two(isp, ONE, decided=False)


@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("edge", ["after epoch", "before confirm bng-fra-1", "before close"])
def test_an_interrupted_recovery_is_taken_up_again(isp: Field, name: str, edge: str) -> None:
    assert isp.run(*TIER, at="after decision").code == -9
    ended = isp.run("recover", at=edge, cut=("--signal", name))
    assert ended.code != 70, ended.err
    assert "Traceback" not in ended.err
    recover(isp)
    one_of_two(isp, ONE, decided=True)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_nobody_reads_any_more(isp: Field, stream: str) -> None:
    """`| head -1` must not stop a change halfway: what is said is lost, what is done is done."""
    process = isp.start(*TIER, "--json")
    closed = getattr(process, stream)
    closed.close()
    setattr(process, stream, None)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    recover(isp)
    one_of_two(isp, ONE, decided=True)


def test_no_streams_at_all(isp: Field) -> None:
    """Started by something that closed all three: the same."""
    script = 'exec "$@" <&- >&- 2>&-'
    words = ["sh", "-c", script, "sh", sys.executable, "-m", "lab.cut", "--", *TIER]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        ["env", f"PYTHONPATH={root}", *words], cwd=isp.folder, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0
    recover(isp)
    one_of_two(isp, ONE, decided=True)


def test_nobody_to_ask_and_no_yes(isp: Field) -> None:
    """Without a terminal and without --yes nothing is planned, read or sent."""
    since = isp.rig.fleet.control("bng-fra-1", "log")["last"]
    ended = isp.run("service", "tier", ONE, NEW)
    assert ended.code == 5
    assert "--yes" in ended.err
    heard = isp.rig.fleet.control("bng-fra-1", "log", since=since)["entries"]
    # a session of the set-up may end late
    assert [one for one in heard if one["what"] != "disconnected"] == []
    with reading(isp.rig.office.engine) as session:
        assert open_plans(session, 10) == ()
