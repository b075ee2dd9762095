"""The emulated ISP in a process of its own, and an office that has imported it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inventory import new_id
from lab.emulators.control import ControlClient
from lab.small_isp import SmallIsp
from orchestrator.apply import apply_plan
from orchestrator.imports import import_files
from orchestrator.interrupt import Interrupts
from orchestrator.keys import enroll_key
from orchestrator.migrate import upgrade
from orchestrator.office import Office, open_office
from orchestrator.outcome import Outcome
from orchestrator.plan import make_plan
from orchestrator.settings import Settings
from workflows import ChangePlan, Order

START_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An office, the ISP it runs, and the hand behind its devices."""

    office: Office
    isp: SmallIsp
    control: ControlClient

    def plan(self, service_ids: tuple[str, ...], plan_code: str) -> ChangePlan:
        """Plan a tier change for each service."""
        orders = tuple(_order(service_id, plan_code) for service_id in service_ids)
        return make_plan(self.office, orders, skip=False)

    def apply(self, plan: ChangePlan, *, set_max: int = 0) -> Outcome:
        """Apply a plan; RuntimeError unless every service is done."""
        outcome = apply_plan(self.office, Interrupts(), plan.plan_id, set_max=set_max)
        if outcome.exit_code():
            message = f"not everything was done: {outcome.items[0]}"
            raise RuntimeError(message)
        return outcome


@contextmanager
def running_site(folder: Path, services: int, database_url: str = "") -> Iterator[Site]:
    """Run one BNG and one OLT beside us and import them into a store: else SQLite in `folder`."""
    # addresses of this process alone: another run on this host has its own
    subnet = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250 + 1}"
    isp = SmallIsp(subnet=subnet, services=services, olts=1)
    os.environ.update(isp.secrets())
    fleet, inventory = isp.write(folder)
    settings = Settings(
        database_url=database_url or f"sqlite:///{folder / 'bandmaster.db'}",
        known_hosts=str(folder / "known_hosts"),
    )
    with _devices(fleet, folder / "state"):
        office = open_office(settings)
        upgrade(office.engine)
        import_files(office, (inventory,), "benchmark")
        for spec in isp.specs():
            enroll_key(office, spec.name, "benchmark", lambda _new, _old: True)
        yield Site(office=office, isp=isp, control=ControlClient(folder / "state"))
        office.engine.dispose()


@contextmanager
def _devices(fleet: Path, state: Path) -> Iterator[None]:
    argv = (sys.executable, "-m", "lab.emulators", "run", str(fleet), "--state", str(state))
    with subprocess.Popen((*argv, "--exit-with-pid", str(os.getpid()))) as process:
        try:
            deadline = time.monotonic() + START_S
            while not (state / "ready").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    message = "the emulated devices did not start"
                    raise RuntimeError(message)
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def _order(service_id: str, plan_code: str) -> Order:
    key = new_id()
    return Order(
        order_id=key,
        idempotency_key=key,
        kind="tier",
        service_id=service_id,
        plan_code=plan_code,
        actor="benchmark",
        reason_code="requested",
    )
