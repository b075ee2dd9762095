"""Draining a router: the older session of ours that keeps the lock is ended, nobody else's (W4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transport_rig import USER, Rig

from workflows.transports import napalm

StartBng = Callable[..., Rig]
UNIT: dict[str, str | int] = {"interface": "ge-0/0/1", "unit": 1042}


@pytest.fixture
def bng(start_bng: StartBng, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A router whose clock stands still; an older session is given no time to end by itself."""
    monkeypatch.setattr(napalm, "YIELD_S", 0)
    return start_bng()


def test_an_older_session_of_ours_is_ended(bng: Rig) -> None:
    """Goal: whoever slept with the lock in its hand can send nothing when it wakes."""
    asleep = bng.open()
    handle = bng.handle(asleep, UNIT)
    assert asleep.prepare(handle).verdict == "SENT"
    ours = bng.open()
    assert ours.drain(handle).verdict == "SENT"
    assert bng.seen().count("kill-session") == 1
    # a router takes back what a killed session has left unconfirmed: the reading says so
    seen = bng.observed(handle)
    assert (seen.running(), seen.pending) == ("OLD", "NONE")
    assert asleep.confirm(handle).verdict == "UNKNOWN"
    assert ours.prepare(handle).verdict == "SENT"
    assert ours.confirm(handle).verdict == "SENT"
    assert bng.observed(handle).running() == "NEW"


def test_nothing_is_ended_where_nobody_holds_the_lock(bng: Rig) -> None:
    other = bng.open()
    handle = bng.handle(other, UNIT)
    assert bng.open().drain(handle).verdict == "SENT"
    assert "kill-session" not in bng.seen()
    assert other.pending(handle)[0] == "NONE"  # a session without the lock goes on to live


@pytest.mark.parametrize(
    "holder",
    [
        f"{USER} terminal p0 (pid 4711) on since 2026-11-21 03:12:00 UTC",
        f"{USER} cli (pid 4711)",
        "noc terminal (pid 4711)",
        f"{USER}2 netconf (pid 4711)",
        "nobody knows",
    ],
)
def test_a_person_or_another_user_is_never_ended(
    bng: Rig, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    monkeypatch.setattr(napalm, "DRAIN_WAIT_S", 0)
    wire = bng.open()
    handle = bng.handle(wire, UNIT)
    said = f"configuration database locked by: {holder} exclusive [edit]"
    bng.fault("lock-configuration", "refuse", said, count=9)
    reply = wire.drain(handle)
    assert reply.verdict == "UNKNOWN"
    assert holder in reply.reason
    assert "kill-session" not in bng.seen()


def test_a_session_that_has_ended_by_itself_meanwhile(bng: Rig) -> None:
    """Goal: the router's word that there is no such session is no reason to give up."""
    wire = bng.open()
    handle = bng.handle(wire, UNIT)
    said = f"configuration database locked by: {USER} terminal (pid 999999) exclusive [edit]"
    bng.fault("lock-configuration", "refuse", said)
    assert wire.drain(handle).verdict == "SENT"
    assert bng.seen().count("kill-session") == 1
