"""One BNG, one OLT, and a program that does not wait long for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from orchestrator.clock import HostClock
from tests.faults.moments import Doer
from tests.orchestrator.conftest import hasty_rig, rig, start_field, start_rig
from tests.orchestrator.rig import Rig

__all__ = ["hasty_rig", "rig", "start_field", "start_rig"]


class Moved(HostClock):
    """The machine's clock, which a test can put forward; it never sleeps."""

    ahead_s = 0.0

    def boottime_s(self) -> float:
        """Seconds since boot, and those that the test let pass."""
        return super().boottime_s() + self.ahead_s

    def sleep(self, seconds: float) -> None:
        """Let them pass at once."""
        self.ahead_s += seconds


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """The usual small ISP, in a hurry."""
    return hasty_rig


@pytest.fixture
def clock(isp: Rig) -> Moved:
    """The clock of that ISP's office; its leases are long, so that minutes may pass."""
    moved = Moved()
    settings = replace(isp.office.settings, lease_ttl_s=3600, takeover_s=7200)
    isp.office = replace(isp.office, clock=moved, settings=settings)
    return moved


@pytest.fixture
def during(isp: Rig) -> Iterator[Callable[..., None]]:
    """A function: when the device meets this fault, do that; see `Doer`. Every one must happen."""
    doers: list[Doer] = []

    def arm(
        device: str, verb: str, act: Callable[[], object], *, kind: str = "hang_before"
    ) -> None:
        doers.append(Doer(isp, device, verb, kind, act))

    yield arm
    for doer in doers:
        doer.join()
