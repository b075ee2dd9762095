"""Rows about RADIUS: the live session after the decision, whatever the NAS answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inventory import OpenChange
from orchestrator.answers import answer_exception
from orchestrator.recover import recover
from tests.faults.moments import consistent, lines_to, neighbour_is_untouched
from tests.orchestrator.moments import (
    BNG,
    NEW,
    OLD,
    ONE,
    SPEED,
    disputed,
    is_done,
    log_in_again,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, truth

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

COA, DISCONNECT = "CoA-Request", "Disconnect-Request"


def requests(rig: Rig, verb: str = COA) -> list[str]:
    """Return the requests that came to the NAS, as its log tells them."""
    return [line for line in lines_to(rig, BNG) if line.startswith(verb)]


def disputed_session(rig: Rig, words: str) -> None:
    """Billed and decided; the one exception names the session, its price, and blocks new work."""
    row = disputed(rig)
    assert (row.service_id, row.participant[:8], row.cause) == (ONE, "session:", "session")
    assert words in row.seen
    assert row.at_stake_minor == 2000
    assert truth(rig, ONE).session == SPEED[OLD]
    consistent(rig)
    neighbour_is_untouched(rig)
    with pytest.raises(OpenChange):
        rig.plan(rig.order(ONE, "fiber-1000"))


def answered(rig: Rig) -> None:
    """A person repairs the NAS and says retry: then all is one again, billed once."""
    rig.fleet.control(BNG, "clear")
    row = disputed(rig)
    assert answer_exception(rig.office, row.exception_id, "retry", "tester", "").exit_code() == 0
    is_done(rig)


# --- no reply, duplicate, late reply -------------------------------------------------------------


def test_radius_no_reply(isp: Rig) -> None:
    """The same datagram again and again, then the session itself is looked at, then a person."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_before", count=9)
    ending, outcome = upgrade(isp)
    assert outcome.exit_code() == 4, ending
    sent = requests(isp)
    assert len(sent) > 1
    assert len({line.partition(" session=")[0].removesuffix(" again") for line in sent}) == 1
    disputed_session(isp, "no answer")
    answered(isp)


def test_radius_reply_lost_effect_kept(isp: Rig) -> None:
    """Executed, and never answered: the rate that the NAS shows is what counts."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_after", count=9)
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_radius_duplicate_has_one_effect(isp: Rig) -> None:
    """The first answer is lost, the retransmission is answered: the NAS executed it once."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="hang_after", count=1)
    assert upgrade(isp)[0] == "done"
    first, *more = requests(isp)
    assert more
    assert all(line.startswith(first.partition(" user=")[0]) for line in more)
    is_done(isp)


def test_radius_late_reply(isp: Rig) -> None:
    """The answer comes when nobody waits for it any more, to a port that nobody has: no harm."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="answer_late", arg="900", count=9)
    assert upgrade(isp)[0] == "done"
    isp.fleet.control(BNG, "advance", seconds=900)
    is_done(isp)


def test_radius_late_effect(isp: Rig) -> None:
    """Executed after we gave up: recovery reads it, and there is nothing left to ask a person."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="delay", arg="900", count=9)
    assert upgrade(isp)[1].exit_code() == 4
    disputed_session(isp, "no answer")
    isp.fleet.control(BNG, "advance", seconds=900)
    assert truth(isp, ONE).session == SPEED[NEW]
    answered(isp)


# --- NAK -----------------------------------------------------------------------------------------


def test_nak_503_is_done(isp: Rig) -> None:
    """The NAS knows no such session: the next login reads the new rows."""

    def hang_up() -> None:
        isp.fleet.control(BNG, "session_close", acct_session_id="8a1001")

    isp.fleet.control(BNG, "fault", verb=COA, kind="refuse", arg="503")
    when(isp, "decision", "committed", hang_up)
    assert upgrade(isp)[0] == "done"
    assert truth(isp, ONE).session == (0, 0)
    consistent(isp)
    assert recover(isp.office).outcome.exit_code() == 0
    assert truth(isp, ONE).group == f"{NEW}@juniper_junos"


def test_nak_503_of_a_session_that_is_there(isp: Rig) -> None:
    """A NAS that denies a session which it shows: not believed, a person is asked."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="refuse", arg="503", count=9)
    assert upgrade(isp)[1].exit_code() == 4
    disputed_session(isp, "NAK")
    answered(isp)


@pytest.mark.parametrize("cause", [401, 402, 403, 404, 407, 501, 506])
def test_nak_other(isp: Rig, cause: int) -> None:
    """An exception that names the cause; nobody is disconnected whose plan did not say so."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="refuse", arg=str(cause), count=9)
    assert upgrade(isp)[1].exit_code() == 4
    disputed_session(isp, str(cause))
    once = 3 if cause == 506 else 1
    assert len(requests(isp)) in (once, 2 * once)  # after the decision, and in the closing sweep
    assert requests(isp, DISCONNECT) == []
    answered(isp)


def test_nak_506_for_a_moment(isp: Rig) -> None:
    """Resources unavailable: the NAS itself says that it may work in a moment, and it does."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="refuse", arg="506", count=2)
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_nak_other_with_leave_to_disconnect(isp: Rig) -> None:
    """Where the plan said --disconnect-if-needed: then the next login reads the new rows."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="refuse", arg="407", count=9)
    order = replace(isp.order(ONE, NEW), disconnect_if_needed=True)
    assert isp.apply(isp.plan(order)).exit_code() == 0
    assert len(requests(isp, DISCONNECT)) == 1
    assert truth(isp, ONE).session == (0, 0)
    consistent(isp)


# --- answers that must not be believed -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["wrong_secret", "no_authenticator", "replay"])
def test_forged_reply_is_never_an_ack(isp: Rig, kind: str) -> None:
    """It is dropped as if it had not come; the NAS did what it was told, so reading settles it."""
    assert isp.tier("svc-1002", NEW).exit_code() == 0  # gives `replay` an older answer to repeat
    isp.fleet.control(BNG, "fault", verb=COA, kind=kind, count=9)
    since = len(requests(isp))
    assert upgrade(isp)[0] == "done"
    assert len(requests(isp)) > since + 1  # asked again: the first answer was none
    is_done(isp)


def test_right_ack_without_effect(isp: Rig) -> None:
    """An ACK with a right signature and without effect. Only the live rate counts."""
    isp.fleet.control(BNG, "fault", verb=COA, kind="no_effect", count=9)
    assert upgrade(isp)[1].exit_code() == 4
    disputed_session(isp, "ACK, but the live rate is")
    answered(isp)


def test_wrong_secret_of_ours(isp: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NAS drops what we sign wrongly: silence, and an exception that never names the secret."""
    with monkeypatch.context() as changed:
        changed.setenv("BM_COA_SECRET", "another-secret-of-16-octets")
        assert upgrade(isp)[1].exit_code() == 4
        disputed_session(isp, "no answer")
        assert "secret" not in disputed(isp).seen
        dropped = [line for line in lines_to(isp, BNG) if line.startswith("radius dropped")]
        assert dropped
    answered(isp)


# --- login racing the decision -------------------------------------------------------------------


def test_login_racing_the_decision_is_seen_at_once(isp: Rig) -> None:
    """Access-Accept before the decision, session after it: the CoA finds it and corrects it."""
    when(isp, "decision", "committed", lambda: log_in_again(isp, OLD))
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_login_racing_the_decision_is_swept_up(isp: Rig) -> None:
    """W11: it comes up after the CoA, still with the old rows: the closing pass corrects it."""
    when(isp, "session", "", lambda: log_in_again(isp, OLD))
    assert upgrade(isp)[0] == "done"
    assert truth(isp, ONE).session == SPEED[OLD]
    assert recover(isp.office).outcome.exit_code() == 0
    assert truth(isp, ONE).session == SPEED[NEW]
    is_done(isp)


def test_login_racing_an_abort_keeps_the_old_rate(isp: Rig) -> None:
    """P9: nobody ever gets the new rate before the decision, and no CoA is sent on an abort."""
    isp.fleet.control(BNG, "knob", name="not_programmed", value=True)
    when(isp, BNG, "prepared", lambda: log_in_again(isp, OLD))
    assert upgrade(isp)[0] == "aborted"
    assert requests(isp) == []
    assert truth(isp, ONE).session == SPEED[OLD]
    assert truth(isp, ONE).group == f"{OLD}@juniper_junos"
