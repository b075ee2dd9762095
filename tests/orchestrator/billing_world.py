"""Accounts, plans and lives of services in a store, and short words for billing them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Engine, insert, select

from billing_bridge import (
    Filters,
    Found,
    Invoice,
    InvoiceLine,
    LedgerEvent,
    NewEvent,
    Rollup,
    account_pages,
    append,
    find_lines,
    flat_tax,
    ground,
    judge,
    keep_findings,
    list_findings,
    list_invoices,
    page_facts,
    record_usage,
    service_payload,
)
from inventory import Account, Plan, PriceVersion, new_id, rows
from orchestrator.bills import Bills
from orchestrator.database import database_now, reading, writing
from orchestrator.gate import decide
from orchestrator.invoicing import FinalOutcome, draft_run, finalise
from tests.schema import create_schema

VAT = 2000
ROWLESS = "ledger and services' table differ"  # services have no rows here
MARCH = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
BILLS = Bills(grace_hours=24, backdate_days=90, tax=flat_tax("VAT", VAT))


def sold(code: str, price: int, since: dt.date = dt.date(2020, 1, 1), **given: Any) -> Plan:
    """A plan with one price, from a date on."""
    terms = {
        name: given.pop(name)
        for name in ("block_minor", "cap_minor", "burst_minor")
        if name in given
    }
    price_version = PriceVersion(
        price_version_id=f"{code}@1",
        plan_code=code,
        valid_from=since,
        amount_minor=price,
        **terms,
    )
    filled: dict[str, Any] = {"name": code, "tier_code": code, "currency": "EUR", "exponent": 2}
    return Plan(code=code, prices=(price_version,), **filled | given)


@dataclass(slots=True)
class World:
    """A store with an issuer `isp`; services are billed, nothing else is there of them."""

    engine: Engine
    plans: dict[str, Plan] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def sell(self, *plans: Plan) -> None:
        """Put plans into the catalogue."""
        with self.engine.begin() as connection:
            for plan in plans:
                self.plans[plan.code] = plan
                values = {each.name: getattr(plan, each.name) for each in fields(plan)}
                tier = {"code": plan.tier_code, "down_kbps": 1, "up_kbps": 1, "used": True}
                if not connection.execute(select(rows.TIER).filter_by(code=plan.tier_code)).first():
                    connection.execute(insert(rows.TIER).values(tier))
                connection.execute(
                    insert(rows.PLAN).values(_of(rows.PLAN, values) | {"used": True})
                )
                terms = _of(rows.PLAN_TERMS, values | {"plan_code": plan.code})
                connection.execute(insert(rows.PLAN_TERMS).values(terms))
                for price in plan.prices:
                    paid = {each.name: getattr(price, each.name) for each in fields(price)}
                    connection.execute(
                        insert(rows.PRICE_VERSION).values(_of(rows.PRICE_VERSION, paid))
                    )
                    connection.execute(insert(rows.PRICE_TERMS).values(_of(rows.PRICE_TERMS, paid)))

    def account(
        self, name: str = "A-1", zone: str = "UTC", cycle_day: int = 1, currency: str = "EUR"
    ) -> Account:
        """Let somebody pay."""
        made = Account(
            account_id=name,
            name=f"{name} Ltd",
            address="Elm Street 4",
            time_zone=zone,
            cycle_day=cycle_day,
            legal_entity="isp",
            currency=currency,
        )
        with self.engine.begin() as connection:
            values = {each.name: getattr(made, each.name) for each in fields(made)}
            connection.execute(insert(rows.ACCOUNT).values(values))
        return made

    def lines(self, *pairs: tuple[str, str], login: str = "") -> None:
        """Let services (service_id, account_id) be known; one may have a login."""
        with self.engine.begin() as connection:
            connection.execute(
                insert(rows.LINE),
                [
                    {
                        "service_id": s,
                        "account_id": a,
                        "login": login,
                        "password_ref": "",
                        "adopted": "",
                    }
                    for s, a in pairs
                ],
            )

    def does(
        self, service_id: str, kind: str, plan: str, at: str, account: str = "A-1", **more: Any
    ) -> LedgerEvent:
        """Post one event of a service; `at` is when it took effect and was recorded."""
        state = {"service.suspended": "suspended", "service.terminated": "terminated"}.get(
            kind, "active"
        )
        version = self.versions.get(service_id, 0) + 1
        self.versions[service_id] = version
        first = {"billing_from": dt.date.fromisoformat(at[:10])} if version == 1 else {}
        since = dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC)
        event = NewEvent(
            effective_at=since,
            event_id=new_id(),
            source="test",
            idempotency_key=new_id(),
            type=kind,
            account_id=account,
            service_id=service_id,
            service_version=version,
            change_id=new_id(),
            actor="test",
            reason_code="requested",
            payload=service_payload(plan=plan, tier=plan, state=state, **first),  # type: ignore[arg-type]
            **more,
        )
        return self.post([event], since)[0]

    def starts(
        self, service_id: str, plan: str, at: str, account: str = "A-1", *, login: str = ""
    ) -> LedgerEvent:
        """Activate a service that was not known before."""
        self.lines((service_id, account), login=login)
        return self.does(service_id, "service.activated", plan, at, account)

    def gives(self, kind: str, amount_minor: int, service_id: str = "") -> LedgerEvent:
        """Give a credit or charge something, to the account or one of its services."""
        word = kind.partition(".")[0]
        event = NewEvent(
            event_id=new_id(),
            source="test",
            idempotency_key=new_id(),
            type=kind,
            account_id="A-1",
            service_id=service_id,
            actor="anna",
            reason_code="requested",
            amount_minor=amount_minor,
            currency="EUR",
            exponent=2,
            payload={f"{word}_id": new_id()},
        )
        return self.post([event], MARCH)[0]

    def costs(
        self, service_id: str, plan: str, price_minor: int, since: str, until: str = ""
    ) -> LedgerEvent:
        """Let a plan cost a service something else on some dates."""
        event = NewEvent(
            event_id=new_id(),
            source="test",
            idempotency_key=new_id(),
            type="price.overridden",
            account_id="A-1",
            service_id=service_id,
            actor="anna",
            reason_code="requested",
            payload={
                "credit_id": new_id(),
                "plan": plan,
                "price_minor": price_minor,
                "currency": "EUR",
                "exponent": 2,
                "from": since,
                **({"until": until} if until else {}),
            },
        )
        return self.post([event], MARCH)[0]

    def takes_back(self, event: LedgerEvent) -> LedgerEvent:
        """Reverse a credit, a charge or a price."""
        back = NewEvent(
            event_id=new_id(),
            source="test",
            idempotency_key=new_id(),
            type="event.reversed",
            account_id=event.account_id,
            service_id=event.service_id,
            actor="anna",
            reason_code="corrected",
            amount_minor=-event.amount_minor,
            currency=event.currency,
            exponent=event.exponent,
            reverses_event_id=event.event_id,
        )
        return self.post([back], MARCH)[0]

    def uses(self, service_id: str, meter: str, on: str, quantity: int, days: int = 1) -> None:
        """Record usage of some UTC days."""
        since = dt.datetime.fromisoformat(on).replace(tzinfo=dt.UTC)
        rollup = Rollup(
            service_id=service_id,
            account_id="A-1",
            meter=meter,  # type: ignore[arg-type]
            since=since,
            until=since + dt.timedelta(days=days),
            quantity=quantity,
            unit="bit_per_s" if meter == "p95" else "byte",
            source="snmp" if meter == "p95" else "radius",
            samples=1,
            coverage_bp=10_000,
        )
        with writing(self.engine) as session:
            now = database_now(session)
            posted = record_usage(session, [rollup], now, actor="test", backdate_days=100_000)
        assert (len(posted.events), posted.exceptions) == (1, 0)

    def holds(self, service_id: str, scope: str = "line") -> str:
        """Let a finding hold lines; return its id."""
        accounts = {"A-1", ""}
        found = Found(
            rule="R-13" if scope == "run" else "R-12",
            subject=new_id(),
            what="something is wrong",
            since=MARCH,
            sides=(),
            command="",
            scope=scope,  # type: ignore[arg-type]
            blocks=True,
            service_id=service_id,
            account_id="" if scope == "run" else "A-1",
        )
        with writing(self.engine) as session:
            now = database_now(session)
            keep_findings(session, accounts, [found], seen_at=now, judged={found.rule})
            (found_row,) = list_findings(session, Filters(), 0)
            return str(found_row.finding_id)

    def frees(self, finding_id: str) -> None:
        """Let a finding hold nothing any more."""
        decide(self.engine, finding_id, "override", actor="anna", reason="agreed", until=None)

    def post(self, events: Sequence[NewEvent], at: dt.datetime) -> tuple[LedgerEvent, ...]:
        """Append events as recorded at a time."""
        with writing(self.engine) as session:
            return append(session, events, at)

    def run(self, on: str, bills: Bills = BILLS) -> FinalOutcome:
        """Draft and issue everything that is due on a date; what stands is what is owed (L12)."""
        drafted = draft_run(self.engine, bills, "isp", dt.date.fromisoformat(on), "test", quiet)
        assert drafted.left_out == ()
        outcome = finalise(self.engine, bills, drafted.run.run_id, "test", quiet, early=True)
        assert self.unlike_ledger(on, bills) == []
        return outcome

    def unlike_ledger(self, on: str, bills: Bills = BILLS, rule: str = "R-13") -> list[Found]:
        """What the gate finds on a date of bills that are not what the ledger says."""
        now = dt.datetime.fromisoformat(on).replace(hour=12, tzinfo=dt.UTC)
        with reading(self.engine) as session:
            base = ground(session, now, bills.backdate_days)
            pages = account_pages(session, 2)
            found = [one for page in pages for one in judge(page_facts(session, base, page))]
        return [one for one in found if one.rule == rule and one.what != ROWLESS]

    def invoices(self, account: str = "", state: str = "") -> tuple[Invoice, ...]:
        """What there is, oldest first."""
        with reading(self.engine) as session:
            return list_invoices(session, account_id=account, state=state)

    def billed(
        self, account: str = "", state: str = ""
    ) -> list[tuple[Invoice, tuple[InvoiceLine, ...]]]:
        """What there is, with its lines."""
        invoices = self.invoices(account, state)
        with reading(self.engine) as session:
            lines = find_lines(session, [one.invoice_id for one in invoices])
        return [(one, lines[one.invoice_id]) for one in invoices]


def quiet(done: int, total: int) -> None:
    """Hear how far it is."""
    assert 0 <= done <= total


def make_world(engine: Engine) -> World:
    """A world with nobody in it."""
    create_schema(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(rows.LEGAL_ENTITY).values(
                code="isp", name="ISP GmbH", address="Main Street 1", tax_id="DE1"
            )
        )
    return World(engine)


def said(lines: Iterable[InvoiceLine]) -> list[tuple[str, str, str, str, int]]:
    """What a person would compare: kind, plan, dates, amount."""
    return [
        (line.kind, line.plan_code, str(line.from_date), str(line.until_date), line.amount_minor)
        for line in lines
    ]


def _of(table: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {c.name: values[c.name] for c in table.columns if c.name in values}
