"""An office over the small emulated ISP: real store, real wires, emulated boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from billing_bridge import find_by_service, fold_service
from inventory import Device, find_service, list_devices, new_id, read_login
from lab.emulators.fleet import Fleet
from lab.small_isp import TIERS, SmallIsp
from orchestrator.apply import apply_plan
from orchestrator.database import reading
from orchestrator.imports import import_files
from orchestrator.interrupt import Interrupts
from orchestrator.keys import enroll_key
from orchestrator.office import Office, open_office
from orchestrator.outcome import Outcome
from orchestrator.plan import make_plan
from orchestrator.settings import Settings
from tests.schema import create_schema
from workflows import ChangeKind, ChangePlan, Order


@dataclass(slots=True)
class Rig:
    """An office with its fleet, and short words for what a person does."""

    office: Office
    fleet: Fleet
    isp: SmallIsp
    said: list[tuple[str, str]] = field(default_factory=list)

    def order(self, service_id: str, plan_code: str = "", kind: ChangeKind = "tier") -> Order:
        key = new_id()
        return Order(
            order_id=key,
            idempotency_key=key,
            kind=kind,
            service_id=service_id,
            plan_code=plan_code,
            actor="tester",
            reason_code="requested",
        )

    def plan(self, *orders: Order, skip: bool = False) -> ChangePlan:
        return make_plan(self.office, orders, skip=skip)

    def apply(self, plan: ChangePlan) -> Outcome:
        return apply_plan(self.office, Interrupts(), plan.plan_id)

    def tier(self, service_id: str, plan_code: str) -> Outcome:
        return self.apply(self.plan(self.order(service_id, plan_code)))

    def devices(self) -> tuple[Device, ...]:
        with reading(self.office.engine) as session:
            return list_devices(session)


def make_rig(
    folder: Path,
    fleet: Fleet,
    isp: SmallIsp,
    engine: Engine,
    environ: Callable[[str, str], None],
) -> Rig:
    """Create the schema, import the ISP, enrol its keys."""
    for name, value in isp.secrets().items():
        environ(name, value)
    settings = Settings(
        database_url=engine.url.render_as_string(hide_password=False),
        known_hosts=str(folder / "known_hosts"),
        settle_s=0,
        coa_window_s=0,
        lease_wait_s=2,
    )
    said: list[tuple[str, str]] = []
    office = open_office(settings, tell=lambda who, text: said.append((who, text)))
    office = replace(office, engine=engine)
    create_schema(engine)
    _, inventory = isp.write(folder)
    import_files(office, (inventory,), "tester")
    rig = Rig(office=office, fleet=fleet, isp=isp, said=said)
    for device in rig.devices():
        assert enroll_key(office, device.name, "tester", lambda _new, _old: True) is not None
    return rig


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One service from the outside: both devices in running and startup, rows, session, ledger."""

    bng: tuple[str, str]
    bng_startup: tuple[str, str]
    olt: tuple[int, int]
    olt_saved: tuple[int, int]
    group: str
    session: tuple[int, int]
    plan: str
    state: str
    events: tuple[str, ...]


def truth(rig: Rig, service_id: str) -> Truth:
    """Read everything about a service without the program under test's own reading code."""
    number = int(service_id.rpartition("-")[2])
    bng = rig.fleet.control(rig.isp.bng, "dump")
    olt = rig.fleet.control(rig.isp.olt_of(number), "dump")
    sessions = rig.fleet.control(rig.isp.bng, "sessions")["sessions"] if rig.isp.logins else []
    mine = [row for row in sessions if row["user"] == f"user{number}@isp"]
    with reading(rig.office.engine) as session:
        events = find_by_service(session, service_id)
        folded = fold_service(service_id, events)
        group = read_login(session, f"user{number}@isp").group
    return Truth(
        bng=_policers(bng["running"], number),
        bng_startup=_policers(bng["startup"], number),
        olt=_tables(olt["running"], number),
        olt_saved=_tables(olt["saved"], number),
        group=group,
        session=(mine[0]["down_kbps"], mine[0]["up_kbps"]) if mine else (0, 0),
        plan=folded.plan_code,
        state=folded.state,
        events=tuple(event.type for event in events),
    )


def _policers(config: tuple[str, ...], number: int) -> tuple[str, str]:
    unit = f"set interfaces ge-0/0/1 unit {number} "
    words = {
        line.split()[-2]: line.split()[-1]
        for line in config
        if line.startswith(unit) and " policer " in line
    }
    return words.get("output", ""), words.get("input", "")


def _tables(config: dict[str, Any], number: int) -> tuple[int, int]:
    """(down, up) in kbit/s of a service-port; 0/0 where it is switched off."""
    port = config["service_ports"][str(number)]
    if not port["enabled"]:
        return 0, 0
    rates = {index: table["cir_kbps"] for index, table in config["traffic_tables"].items()}
    return rates[str(port["outbound"])], rates[str(port["inbound"])]


def at_tier(rig: Rig, service_id: str, plan: str) -> None:
    """Assert that everything about an active service says this plan (P1, P5, P7, P9)."""
    down, up, _ = TIERS[plan]
    seen = truth(rig, service_id)
    policers = (f"DOWN-{down // 1000}M", f"UP-{up // 1000}M")
    assert (seen.bng, seen.bng_startup) == (policers, policers)
    assert (seen.olt, seen.olt_saved) == ((down, up), (down, up))
    assert (seen.plan, seen.state) == (plan, "active")
    if rig.isp.logins:
        assert seen.group == f"{plan}@juniper_junos"
        assert seen.session == (down, up)
    with reading(rig.office.engine) as session:
        service = find_service(session, service_id)
    assert (service.plan_code, service.state) == (plan, "active")
    assert rig.fleet.control(rig.isp.bng, "dump")["pending"] is False
