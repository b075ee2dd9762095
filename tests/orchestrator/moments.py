"""Acting at the very moment when the program says something, and a clock that waits for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.clock import HostClock
from tests.orchestrator.rig import Rig


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
