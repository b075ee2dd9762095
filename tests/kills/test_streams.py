"""Full disks under the words, readers that leave, terminals that are lost: the change goes on.

Closed streams, Ctrl-C and SIGTERM at each edge are in tests/orchestrator/test_interrupts.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import NEW, at_rest, one_of_two, recover
from tests.orchestrator.field import PATIENCE_S, ROOT, Field

ONE = "svc-1001"
TIER = ("service", "tier", ONE, NEW, "--yes")
MODULE = (sys.executable, "-m", "lab.cut")
FULL = Path("/dev/full")
PREPARED, DECIDED = "after prepare bng-fra-1", "after decision"


@pytest.fixture
def isp(start_field: StartField) -> Field:
    """A field on SQLite: what becomes of words has nothing to do with the store."""
    return start_field(services=2, olts=1, save_s=0.05)


@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_full_log_disk_stops_no_change(isp: Field, streams: tuple[str, ...]) -> None:
    """What cannot be written is lost; what is done is done, and the exit code says so."""
    with FULL.open("w") as full:
        given: dict[str, Any] = dict.fromkeys(streams, full)
        process = isp.start(*TIER, "--json", **given)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    if streams == ("stdout",):
        assert "what was to be written there is lost" in said
        assert "Applied in" in said
    recover(isp)
    one_of_two(isp, ONE, decided=True)


def test_a_full_log_disk_does_not_stop_recovery(isp: Field) -> None:
    assert isp.run(*TIER, at=DECIDED).code == -9
    with FULL.open("w") as full:
        process = isp.start("recover", stdout=full, stderr=full)
        process.communicate(timeout=PATIENCE_S)
    at_rest(isp)
    one_of_two(isp, ONE, decided=True)


@pytest.mark.parametrize(
    "words", [("ledger", "tail"), ("ledger", "export"), ("change", "list", "--json")]
)
def test_data_that_could_not_be_written_is_no_success(isp: Field, words: tuple[str, ...]) -> None:
    """Half an export must not be taken for a whole one."""
    with FULL.open("w") as full:
        process = isp.start(*words, stdout=full)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "No space left on device" in said
    assert "bug in bandmaster" not in said


def shell(field: Field, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose "$@" is our command line."""
    return subprocess.run(
        [*("bash", "-c", f"set -o pipefail; {script}", "bash"), *MODULE, "--", *words],
        cwd=field.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("script", ['"$@" | head -1', '"$@" 2>&1 | head -1', '"$@" |& sed 7q'])
def test_a_reader_that_leaves_in_the_middle(isp: Field, script: str) -> None:
    """The pipe breaks while the change runs: it ends as if somebody were listening."""
    ended = shell(isp, script, *TIER, "--json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    recover(isp)
    one_of_two(isp, ONE, decided=True)


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_a_signal_when_nobody_listens_any_more(isp: Field, number: str) -> None:
    """Its words go nowhere; it undoes all the same."""
    process = isp.start(*TIER, at=PREPARED, cut=("--signal", number))
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    at_rest(isp)
    one_of_two(isp, ONE, decided=False)


@pytest.mark.parametrize(("edge", "decided"), [(PREPARED, False), (DECIDED, True)])
def test_a_lost_terminal_is_a_person_who_stops(isp: Field, edge: str, *, decided: bool) -> None:
    """SIGHUP: undone before the decision, finished after it."""
    ended = isp.run(*TIER, at=edge, cut=("--signal", "HUP"))
    assert ended.code == (0 if decided else 1), ended.err
    recover(isp)
    one_of_two(isp, ONE, decided=decided)


def test_nohup_is_obeyed(isp: Field) -> None:
    """Who starts it with SIGHUP ignored wants it to go on without a terminal."""
    ended = subprocess.run(
        ["nohup", *MODULE, "--at", PREPARED, "--signal", "HUP", "--", *TIER],
        cwd=isp.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    recover(isp)
    one_of_two(isp, ONE, decided=True)
