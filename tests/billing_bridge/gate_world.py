"""A small ISP in a store, without devices: its past is written, then the gate looks at it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger_facts import event
from sqlalchemy import Engine, insert, text
from sqlmodel import Session

from billing_bridge import (
    Doubt,
    Facts,
    Found,
    Shown,
    Tally,
    account_pages,
    append,
    chain_facts,
    ground,
    judge,
    keep_findings,
    keep_observations,
    ledger_head,
    missing_facts,
    page_facts,
    rule_numbers,
    service_payload,
)
from billing_bridge.invoice_rows import INVOICE
from billing_bridge.invoice_rows import LINE as INVOICE_LINE
from billing_bridge.payload import usage_payload
from billing_bridge.usage_rows import EXCEPTIONS, WINDOWS
from inventory import Rate, ServiceState, new_id
from inventory.radius_rows import RADACCT
from inventory.rows import (
    ACCOUNT,
    ATTACHMENT,
    DEVICE,
    LEGAL_ENTITY,
    LINE,
    PLAN,
    PLAN_TERMS,
    PRICE_TERMS,
    PRICE_VERSION,
    SERVICE,
    TIER,
)
from tests.schema import create_schema

NOW = dt.datetime(2026, 6, 20, 12, 0, tzinfo=dt.UTC)
BORN = dt.datetime(2026, 1, 1, 9, 0, tzinfo=dt.UTC)
GB = 1_000_000_000
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
TIERS = {
    "t100": (100_000, 20_000),
    "t500": (500_000, 100_000),
    "t1000": (1_000_000, 200_000),
    "suspended": (1_000, 1_000),
}
PLANS = {"fiber-100": ("t100", 3000), "fiber-500": ("t500", 6000), "fiber-1000": ("t1000", 9000)}
ENDS: dict[str, ServiceState] = {
    "service.adopted": "active",
    "tier.changed": "active",
    "service.suspended": "suspended",
    "service.resumed": "active",
    "service.terminated": "terminated",
}


def days(count: float) -> dt.datetime:
    """The instant so many days before NOW."""
    return NOW - count * DAY


@dataclass(slots=True)
class World:
    """A store with accounts A-1.., services svc-1.. with logins u1@isp.., a BNG and an OLT."""

    engine: Engine
    versions: dict[str, int] = field(default_factory=dict)
    began: dict[str, tuple[dt.datetime, dt.date]] = field(default_factory=dict)
    recorded: dt.datetime = BORN

    def open(self, count: int = 4, *, currency: str = "EUR", plan: str = "fiber-100") -> World:
        """Create the schema, a catalogue and services that are live since BORN."""
        create_schema(self.engine)
        with self.engine.begin() as connection:
            connection.execute(
                insert(LEGAL_ENTITY), [{"code": "isp", "name": "I", "address": "", "tax_id": ""}]
            )
            connection.execute(
                insert(TIER),
                [{"code": c, "down_kbps": d, "up_kbps": u, "used": False}
                 for c, (d, u) in TIERS.items()],
            )  # fmt: skip
            connection.execute(insert(DEVICE), [_device("bng-1", "bng"), _device("olt-1", "olt")])
        for code, (tier, price) in PLANS.items():
            self.sell(code, tier, price)
        for number in range(1, count + 1):
            self.line(number, currency=currency)
            self.post("service.adopted", f"svc-{number}", plan, BORN, billing_from="2026-01-01")
        return self

    def sell(self, code: str, tier: str, price: int, **terms: Any) -> None:
        """Put a plan into the catalogue, at one price since 2025."""
        plan = {"code": code, "name": code, "tier_code": tier, "currency": "EUR", "exponent": 2,
                "period_months": 1, "bill_in": "advance", "proration": "day",
                "price_policy": "at_period_start", "used": False}  # fmt: skip
        beside = {"plan_code": code, "month_days": 0, "last_day_billed": False,
                  "min_billable_days": 0, "suspend": "stop", "suspend_unpaid": "stop",
                  "allowance_bytes": 0, "allowance_counts": "both", "block_bytes": 0,
                  "fair_use_bytes": 0, "fair_use_tier": "", "commit_kbps": 0}  # fmt: skip
        costs = {"hold_minor": 0, "block_minor": 0, "cap_minor": 0, "burst_minor": 0}
        plan |= {name: terms[name] for name in terms.keys() & plan.keys()}
        beside |= {name: terms[name] for name in terms.keys() & beside.keys()}
        costs |= {name: terms[name] for name in terms.keys() & costs.keys()}
        version = f"{code}@2025-01-01"
        with self.engine.begin() as connection:
            connection.execute(insert(PLAN), [plan])
            connection.execute(insert(PLAN_TERMS), [beside])
            connection.execute(
                insert(PRICE_VERSION),
                [{"price_version_id": version, "plan_code": code,
                  "valid_from": dt.date(2025, 1, 1), "amount_minor": price}],
            )  # fmt: skip
            connection.execute(insert(PRICE_TERMS), [{"price_version_id": version, **costs}])

    def line(self, number: int, *, currency: str = "EUR", zone: str = "Europe/Berlin") -> None:
        """Put an account and its line into the inventory; nothing is sold yet."""
        account, service = f"A-{number}", f"svc-{number}"
        with self.engine.begin() as connection:
            connection.execute(
                insert(ACCOUNT),
                [{"account_id": account, "name": "N", "address": "", "time_zone": zone,
                  "cycle_day": 1, "legal_entity": "isp", "currency": currency}],
            )  # fmt: skip
            connection.execute(
                insert(LINE),
                [{"service_id": service, "account_id": account, "login": f"u{number}@isp",
                  "password_ref": "", "adopted": ""}],
            )  # fmt: skip
            connection.execute(
                insert(ATTACHMENT),
                [{"service_id": service, "role": "olt", "device": "olt-1",
                  "objects": f'{{"service_port":{number}}}'}],
            )  # fmt: skip

    def post(self, kind: str, service_id: str, plan: str, at: dt.datetime, **payload: str) -> str:
        """Post a lifecycle event and write the row that it makes; return the event's id."""
        version = self.versions[service_id] = self.versions.get(service_id, 0) + 1
        tier = PLANS.get(plan, (self.tier_of(plan), 0))[0]
        state = ENDS[kind]
        made = event(
            kind,
            service_id,
            account_id=f"A-{service_id.rpartition('-')[2]}",
            service_version=version,
            effective_at=at,
            change_id="" if kind == "service.adopted" else new_id(),
            payload=service_payload(plan=plan, tier=tier, state=state) | payload,
        )
        if kind == "service.adopted":
            self.began[service_id] = (at, dt.date.fromisoformat(payload["billing_from"]))
        active_since, billing_from = self.began[service_id]
        row = {"service_id": service_id, "plan_code": plan, "tier_code": tier, "state": state,
               "version": version, "active_since": active_since,
               "billing_from": billing_from}  # fmt: skip
        self.recorded = max(self.recorded, at)
        with Session(self.engine) as session, session.begin():
            if version == 1:
                session.execute(insert(SERVICE), [row])
            else:
                mine = SERVICE.c.service_id == service_id
                session.execute(SERVICE.update().where(mine).values(row))
            append(session, [made], self.recorded)
        return made.event_id

    def tier_of(self, plan: str) -> str:
        """The tier of a plan of the catalogue."""
        with self.engine.connect() as connection:
            return str(connection.scalar(PLAN.select().with_only_columns(PLAN.c.tier_code)
                                         .where(PLAN.c.code == plan)))  # fmt: skip

    def show(
        self, service: str, tier: str, at: dt.datetime, device: str = "olt-1", *, on: bool = True,
        obj: str = "",
    ) -> None:  # fmt: skip
        """Let a device show a tier's rate for a service."""
        down, up = TIERS.get(tier, (0, 0))
        self.show_rate(service, Rate(down_kbps=down, up_kbps=up), at, device, on=on, obj=obj)

    def show_rate(
        self, service: str, rate: Rate, at: dt.datetime, device: str = "olt-1", *, on: bool = True,
        obj: str = "",
    ) -> None:  # fmt: skip
        """Let a device show any rate for a service."""
        shown = Shown(
            device=device, object=obj or service, service_id=service, rate=rate, present=on
        )
        with Session(self.engine) as session, session.begin():
            keep_observations(session, (), [shown], at)

    def online(
        self, number: int, start: dt.datetime, seen: dt.datetime, *, stop: bool = False,
        port: str = "p1", interim: int = 600, station: str = "",
    ) -> None:  # fmt: skip
        """Write a RADIUS session, open unless it was stopped."""
        key = new_id()
        row = {"acctsessionid": key[-6:], "acctuniqueid": key, "username": f"u{number}@isp",
               "nasipaddress": "192.0.2.1", "nasportid": port, "acctstarttime": start,
               "callingstationid": station,
               "acctupdatetime": seen, "acctstoptime": seen if stop else None,
               "acctinterval": interim}  # fmt: skip
        with Session(self.engine) as session, session.begin():
            session.execute(insert(RADACCT), [row])

    def used(
        self, service: str, since: dt.datetime, until: dt.datetime, quantity: int,
        meter: str = "down", coverage_bp: int = -1,
    ) -> None:  # fmt: skip
        """Write what the ledger has of a meter in a window."""
        unit = "bit_per_s" if meter == "p95" else "byte"
        row = {"service_id": service, "meter": meter, "since": since, "until": until,
               "quantity": quantity, "unit": unit, "source": "radius", "samples": 12,
               "coverage_bp": coverage_bp, "revision": 1, "event_id": new_id(), "seq": 1,
               "late": False}  # fmt: skip
        with Session(self.engine) as session, session.begin():
            session.execute(insert(WINDOWS), [row])

    def counted(self, until: dt.datetime) -> None:
        """Let the ledger have counted somebody's usage until then."""
        payload = usage_payload(
            meter="down", revision=1, source="radius", samples=1, coverage_bp=-1, late=False
        )
        made = event(
            "usage.recorded", "svc-8", effective_at=until - HOUR, effective_until=until,
            quantity=1, unit="byte", reason_code="metered", payload=payload,
        )  # fmt: skip
        self.recorded = max(self.recorded, until)
        with Session(self.engine) as session, session.begin():
            append(session, [made], self.recorded)

    def months(self, service: str, *gigabytes: float, meter: str = "down") -> None:
        """Write a day's usage for each month up to May 2026, the newest one last."""
        for back, amount in enumerate(reversed(gigabytes)):
            month = 2026 * 12 + 4 - back
            since = dt.datetime(month // 12, month % 12 + 1, 10, tzinfo=dt.UTC)
            self.used(service, since, since + DAY, int(amount * GB), meter)

    def stray(self, kind: str, service: str = "", name: str = "nobody@isp", **more: Any) -> None:
        """Write a usage record that could not be counted."""
        row = {"exception_id": new_id(), "kind": kind, "source": "csv", "record_key": new_id(),
               "identifier": name, "service_id": service, "seen_at": days(3), "since": days(4),
               "until": days(3), "quantity": 5, "unit": "byte", "evidence": "{}",
               "amount_minor": 250, "currency": "EUR", "exponent": 2, "status": "open",
               "decided_by": "", "reason": ""}  # fmt: skip
        with Session(self.engine) as session, session.begin():
            session.execute(insert(EXCEPTIONS), [row | more])

    def bill(
        self, account: str, closes_on: dt.date, *lines: tuple[str, int, int],
        state: str = "final", credit: int = 0, period: dt.date | None = None,
    ) -> str:  # fmt: skip
        """Write a bill in advance with lines (service, whole price, amount); return its id."""
        invoice_id = new_id()
        net = sum(amount for _service, _full, amount in lines) + credit
        final = state != "draft"
        start = period or closes_on
        row = {"invoice_id": invoice_id, "run_id": "r", "kind": "invoice", "legal_entity": "isp",
               "account_id": account, "currency": "EUR", "exponent": 2, "closes_on": closes_on,
               "open_from": closes_on, "state": "draft", "number": "",
               "net_minor": net, "tax_minor": 0, "total_minor": net, "known_seq": self.head(),
               "drafted_at": days(5), "issued_at": None, "event_id": "", "cancels": "",
               "document": ""}  # fmt: skip
        until = (start.replace(day=1) + 32 * DAY).replace(day=1)
        kinds = [("recurring", *line) for line in lines]
        kinds += [("credit", "", 0, credit)] if credit else []
        written = [
            {"invoice_id": invoice_id, "line_no": number, "service_id": service, "kind": kind,
             "plan_code": "fiber-100", "charge": "service", "price_version_id": str(full),
             "period_from": start, "period_until": until, "from_date": start,
             "until_date": until, "numerator": 1, "denominator": 1, "unit": "day",
             "full_amount_minor": full, "quantity": 0, "amount_minor": amount, "event_ids": "[]",
             "late": False, "finding_id": ""}
            for number, (kind, service, full, amount) in enumerate(kinds, start=1)
        ]  # fmt: skip
        with Session(self.engine) as session, session.begin():
            session.execute(insert(INVOICE), [row])
            session.execute(insert(INVOICE_LINE), written)
            mine = INVOICE.update().where(INVOICE.c.invoice_id == invoice_id)
            if final:
                said = {"state": "final", "number": invoice_id, "issued_at": days(5)}
                session.execute(mine.values(**said, event_id=new_id(), document="{}"))
            if state == "void":
                session.execute(mine.values(state="void"))
        return invoice_id

    def head(self) -> int:
        """The newest event's place."""
        with Session(self.engine) as session:
            return ledger_head(session).seq

    def facts(self, now: dt.datetime = NOW, doubts: Sequence[Doubt] = ()) -> list[Facts]:
        """What is known at a time, with the chain and what belongs to nobody last."""
        with Session(self.engine) as session:
            base = ground(session, now)
            found = []
            for page in account_pages(session, 3):
                names = {account.account_id for account in page}
                mine = [doubt for doubt in doubts if doubt.account_id in names]
                found.append(page_facts(session, base, page, mine))
            born = sum(bool(each.event_id) for facts in found for each in facts.services)
            return [*found, chain_facts(session, base), missing_facts(session, base, born)]

    def judged(
        self, rule: str = "", now: dt.datetime = NOW, doubts: Sequence[Doubt] = ()
    ) -> list[Found]:
        """What the rules find at a time; of one of them where it is named."""
        found = [one for facts in self.facts(now, doubts) for one in judge(facts)]
        return [one for one in found if rule in ("", one.rule)]

    def check(self, now: dt.datetime = NOW, doubts: Sequence[Doubt] = ()) -> Tally:
        """Judge and keep what is found at a time."""
        found = self.judged("", now, doubts)
        with self.engine.connect() as connection:
            names = list(connection.execute(text("SELECT account_id FROM account")).scalars())
        with Session(self.engine) as session, session.begin():
            return keep_findings(session, ["", *names], found, seen_at=now, judged=rule_numbers())


def _device(name: str, role: str) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("username", "password_ref", "key_file", "snmp_version", "snmp_user", "snmp_auth_ref",
         "snmp_priv_ref", "snmp_community_ref", "coa_host", "coa_secret_ref"), "",
    )  # fmt: skip
    return empty | {"name": name, "role": role, "platform": "lab", "host": "192.0.2.9",
                    "port": 22, "site": "fra", "timeout_s": 5, "snmp_port": 0,
                    "snmp_allow_v2c": False, "coa_port": 0}  # fmt: skip
