"""Acting while a device is at work, and what every row of the matrix asks for at rest."""

from __future__ import annotations

import threading
from collections.abc import Callable

from billing_bridge import replay_check, verify
from inventory import list_services
from orchestrator.database import reading
from orchestrator.exceptions import list_open
from tests.orchestrator.moments import BNG, NEW, OLD, OLT, ONE
from tests.orchestrator.rig import Rig, at_tier, truth

LOOK_S = 0.01
PATIENCE_S = 120


class Doer(threading.Thread):
    """Arms a fault on a device and acts, in a thread, at the moment when it is met.

    Kinds under which the device does not answer hold the program at that very line meanwhile.
    """

    def __init__(
        self, rig: Rig, device: str, verb: str, kind: str, act: Callable[[], object]
    ) -> None:
        super().__init__(daemon=True)
        self._rig, self._device, self._act = rig, device, act
        self._over = threading.Event()
        self._problem: BaseException | None = None
        rig.fleet.control(device, "fault", verb=verb, kind=kind)
        self._armed = self._left()
        self.start()

    def _left(self) -> int:
        return len(self._rig.fleet.control(self._device, "dump")["faults"])

    def run(self) -> None:
        """Wait for the fault to be met, then act."""
        while not self._over.wait(LOOK_S):
            if self._left() < self._armed:
                try:
                    self._act()
                except BaseException as problem:  # noqa: BLE001 - the test's own thread raises it
                    self._problem = problem
                return

    def join(self, timeout: float | None = None) -> None:
        """End; AssertionError where the fault was never met, and whatever the act raised."""
        met = self._left() < self._armed
        if not met:
            self._over.set()
        super().join(timeout or PATIENCE_S)
        if self._problem is not None:
            raise self._problem
        assert met, f"{self._device} never met the fault"


def consistent(rig: Rig) -> None:
    """What holds whatever became of the change: P1, P4, P5, P7 from outside, and the ledger.

    An open exception may excuse the participant that it names and nothing else.
    """
    seen = truth(rig, ONE)
    with reading(rig.office.engine) as session:
        excused = {row.participant for row in list_open(session)}
        assert verify(session, deep=True).problem == ""
        assert replay_check(session, list_services(session)) == ()
    assert seen.events in (
        ("service.adopted",),
        ("service.adopted", "tier.changed"),
        ("service.adopted", "tier.changed", "event.reversed"),
    )
    assert seen.plan == (NEW if seen.events[-1] == "tier.changed" else OLD)
    assert seen.group == f"{seen.plan}@juniper_junos"
    down, up = (500, 100) if seen.plan == NEW else (100, 20)
    if BNG not in excused:
        assert (seen.bng, seen.bng_startup) == ((f"DOWN-{down}M", f"UP-{up}M"),) * 2
    if OLT not in excused:
        assert (seen.olt, seen.olt_saved) == ((down * 1000, up * 1000),) * 2


def lines_to(rig: Rig, device: str, since: int = 0) -> list[str]:
    """Return what was typed at a device, or called there, over its wire."""
    entries = rig.fleet.control(device, "log", since=since)["entries"]
    return [f"{e['what']} {e['text']}".strip() for e in entries if e["who"] != "control"]


def neighbour_is_untouched(rig: Rig) -> None:
    """The other subscriber of the same boxes has what it always had."""
    at_tier(rig, "svc-1002", OLD)
