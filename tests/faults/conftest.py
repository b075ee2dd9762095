"""One BNG, one OLT, and a program that does not wait long for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from orchestrator.clock import HostClock
from tests.faults.moments import Doer
from tests.orchestrator.conftest import StartRig, hasty_rig, rig, start_field, start_rig
from tests.orchestrator.moments import Hasty
from tests.orchestrator.rig import Rig
from workflows.transports import cli_session, napalm

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
def isp(hasty_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The usual small ISP, in a hurry; but a busy machine is not to be taken for a dead OLT."""
    monkeypatch.setattr(cli_session, "LINE_S", 3)
    return hasty_rig


@pytest.fixture
def patient_isp(start_rig: StartRig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The same, for what happens while a device is at work: nobody gives up before it happens."""
    rig = start_rig(services=2, olts=1, save_s=0.02, timeout_s=30)
    rig.office = replace(rig.office, clock=Hasty())
    monkeypatch.setattr(cli_session, "LINE_S", 30)
    monkeypatch.setattr(napalm, "LOCK_WAIT_S", 0)
    return rig


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
