"""Acting at the very moment when the program says something, and what must be true afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lab.small_isp import TIERS
from orchestrator.clock import HostClock
from orchestrator.database import reading
from orchestrator.exceptions import list_open
from orchestrator.outcome import Outcome
from orchestrator.recover import orphans, recover
from orchestrator.rows import ExceptionRow
from tests.orchestrator.rig import Rig, at_tier, truth

ONE = "svc-1001"
OLD, NEW = "fiber-100", "fiber-500"
SPEED = {plan: TIERS[plan][:2] for plan in (OLD, NEW)}  # down and up, kbit/s
OLT, BNG = "olt-fra-1", "bng-fra-1"
ARM, PLAIN, LINE = "commit-configuration confirmed", "commit-configuration plain", "service-port*"


class Hasty(HostClock):
    """Waits for nothing: what would be waited for has been arranged."""

    def sleep(self, seconds: float) -> None:
        """Do not."""


def when(rig: Rig, who: str, text: str, act: Callable[[], object]) -> None:
    """Act once, at the moment when the program says this."""
    left = [act]
    tell = rig.office.tell

    def heard(participant: str, news: str) -> None:
        tell(participant, news)
        if left and participant == who and news.startswith(text):
            left.pop()()

    rig.office = replace(rig.office, tell=heard)


def upgrade(rig: Rig) -> tuple[str, Outcome]:
    """Order the upgrade; return what became of the service, and the whole outcome."""
    outcome = rig.tier(ONE, NEW)
    (item,) = outcome.items
    return item.ending, outcome


def log_in_again(rig: Rig, plan: str = OLD) -> None:
    """The subscriber's router dials in with what RADIUS had told it: the rate of that plan."""
    rig.fleet.control(BNG, "session_close", acct_session_id="8a1001")
    come_online(rig, plan)


def come_online(rig: Rig, plan: str) -> None:
    """A session that was taken down comes up again by the rows: at the rate of that plan."""
    down, up = SPEED[plan]
    rig.fleet.control(
        BNG,
        "session_open",
        user="user1001@isp",
        acct_session_id="again",
        service=f"bandmaster({down}k,{up}k)",
    )


def is_done(rig: Rig) -> None:
    """Everything is at the new tier, billed once, and one recovery leaves nothing."""
    at_tier(rig, ONE, NEW)
    assert truth(rig, ONE).events == ("service.adopted", "tier.changed")
    assert recover(rig.office).outcome.exit_code() == 0
    nothing_left(rig)


def is_as_before(rig: Rig, *more: str) -> None:
    """Everything is at the old tier, before and after one recovery; `more` events were posted."""
    at_tier(rig, ONE, OLD)
    assert truth(rig, ONE).events == ("service.adopted", *more)
    recover(rig.office)
    nothing_left(rig)
    at_tier(rig, ONE, OLD)


def nothing_left(rig: Rig) -> None:
    """No set is open and nobody is asked anything."""
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
        assert list_open(session) == ()


def disputed(rig: Rig) -> ExceptionRow:
    """Return the one open exception."""
    with reading(rig.office.engine) as session:
        (row,) = list_open(session)
    return row
