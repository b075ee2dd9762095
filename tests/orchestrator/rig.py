"""An office over the small emulated ISP: real store, real wires, emulated boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import SQLModel

from billing_bridge import ddl
from inventory import Device, list_devices, new_id
from lab.emulators.fleet import Fleet
from lab.small_isp import SmallIsp
from orchestrator.apply import apply_plan
from orchestrator.database import reading
from orchestrator.imports import import_files
from orchestrator.interrupt import Interrupts
from orchestrator.keys import enroll_key
from orchestrator.office import Office, open_office
from orchestrator.outcome import Outcome
from orchestrator.plan import make_plan
from orchestrator.settings import Settings
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


def create_schema(engine: Engine) -> None:
    """Make every table and guard, as the migration does."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS radius")
        SQLModel.metadata.create_all(connection)
        for statement in ddl(engine.dialect.name):
            connection.exec_driver_sql(statement)
