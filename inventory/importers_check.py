"""What an import may not do: name what is unknown, or change what a service already stands on."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from .catalog import SUSPENDED_TIER, Plan, Tier
from .catalog_store import list_plans, list_tiers
from .device import Device
from .importers import ImportBatch, Live, ServiceEntry
from .importers_fields import Problems
from .importers_tree import Place
from .rows import ATTACHMENT, LEGAL_ENTITY, LINE, PLAN, SERVICE, TIER
from .sql import chunks
from .store import accounts_known, list_devices, services_known
from .subscriber import Account, Attachment, Service
from .units import canonical_json, instant_text, local_date, zone

_MONEY = (
    *("tier_code", "currency", "exponent", "period_months", "bill_in", "proration", "month_days"),
    *("last_day_billed", "min_billable_days", "suspend", "suspend_unpaid"),
    *("allowance_bytes", "allowance_counts", "block_bytes", "commit_kbps"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is stored (`old_`), and what there is with the batch on top."""

    old_tiers: Mapping[str, Tier]
    old_plans: Mapping[str, Plan]
    old_accounts: Mapping[str, Account]
    old_devices: Mapping[str, Device]
    old_services: Mapping[str, Service]
    adopted: Mapping[str, str]
    legal_entities: frozenset[str]
    tiers: Mapping[str, Tier]
    plans: Mapping[str, Plan]
    accounts: Mapping[str, Account]
    devices: Mapping[str, Device]

    def account_zone(self, entry: ServiceEntry) -> str:
        """The time zone of the entry's account; UTC where that account is a problem already."""
        account = self.accounts.get(entry.account_id)
        return account.time_zone if account else "UTC"


def load_known(session: Session, batch: ImportBatch) -> Known:
    """Read what the batch is compared with."""
    old_tiers = {tier.code: tier for tier in list_tiers(session)}
    old_plans = {plan.code: plan for plan in list_plans(session)}
    old_devices = {device.name: device for device in list_devices(session)}
    named = {entry.account_id for entry in batch.services}
    own = {account.account_id: account for account in batch.accounts}
    old_accounts = accounts_known(session, named | set(own))
    ids = [entry.service_id for entry in batch.services]
    entities = session.execute(select(LEGAL_ENTITY.c.code)).scalars()
    return Known(
        old_tiers=old_tiers,
        old_plans=old_plans,
        old_accounts=old_accounts,
        old_devices=old_devices,
        old_services=services_known(session, ids),
        adopted=_adopted(session, ids),
        legal_entities=frozenset({*entities, *(entity.code for entity in batch.legal_entities)}),
        tiers={**old_tiers, **{tier.code: tier for tier in batch.tiers}},
        plans={**old_plans, **{p.code: _with_prices(p, old_plans) for p in batch.plans}},
        accounts={**old_accounts, **own},
        devices={**old_devices, **{device.name: device for device in batch.devices}},
    )


def adopted_text(live: Live, zone_name: str) -> str:
    """Return the canonical text of what a file says is live."""
    return canonical_json(
        {
            "plan": live.plan_code,
            "state": live.state,
            "active_since": instant_text(active_instant(live, zone_name)),
            "billing_from": live.billing_from.isoformat(),
        }
    )


def active_instant(live: Live, zone_name: str) -> dt.datetime:
    """Return the instant a service is active since; a bare date begins at its local midnight."""
    since = live.active_since
    if isinstance(since, dt.datetime):
        return since
    return dt.datetime(since.year, since.month, since.day, tzinfo=zone(zone_name)).astimezone(
        dt.UTC
    )


def check_batch(session: Session, batch: ImportBatch, known: Known) -> None:
    """Raise BadFile with everything that stands in the way."""
    checks = _Checks(batch, known)
    checks.sold(session)
    checks.accounts(session)
    checks.devices(session)
    for entry in batch.services:
        checks.service(entry)
    checks.logins(session)
    checks.objects(session)
    checks.problems.stop_if_any()


class _Checks:
    """The checks, one method per kind, over one batch."""

    def __init__(self, batch: ImportBatch, known: Known) -> None:
        self._batch = batch
        self._known = known
        self.problems = Problems()

    def sold(self, session: Session) -> None:
        """Tiers and plans: rates and prices stand still once a service has used them (D9)."""
        known = self._known
        used_tiers = set(session.execute(select(TIER.c.code).where(TIER.c.used)).scalars())
        used_plans = set(session.execute(select(PLAN.c.code).where(PLAN.c.used)).scalars())
        for tier in self._batch.tiers:
            old = known.old_tiers.get(tier.code, tier)
            if old.rate != tier.rate and tier.code in used_tiers:
                text = f"tier {tier.code} is {old.rate} for services that use it: name a new tier"
                self._bad("tiers", tier.code, "", text)
        for plan in self._batch.plans:
            if plan.tier_code not in known.tiers:
                self._bad("plans", plan.code, "tier", f"there is no tier {plan.tier_code}")
            if plan.fair_use_tier and plan.fair_use_tier not in known.tiers:
                text = f"there is no tier {plan.fair_use_tier}"
                self._bad("plans", plan.code, "fair_use.tier", text)
            stored = known.old_plans.get(plan.code, plan)
            if plan.code in used_plans:
                changed = [name for name in _MONEY if getattr(plan, name) != getattr(stored, name)]
                if changed:
                    names = ", ".join(name.removesuffix("_code") for name in changed)
                    text = f"{names} cannot change while services use the plan: name a new plan"
                    self._bad("plans", plan.code, "", text)
            self._prices(plan, stored, used=plan.code in used_plans)

    def accounts(self, session: Session) -> None:
        """Accounts: what money is counted by stands still once there is a service."""
        serving: set[str] = set()
        for part in chunks(sorted(self._known.old_accounts)):
            joined = LINE.join(SERVICE, SERVICE.c.service_id == LINE.c.service_id)
            query = select(LINE.c.account_id).select_from(joined).distinct()
            serving |= set(session.execute(query.where(LINE.c.account_id.in_(part))).scalars())
        for account in self._batch.accounts:
            name = account.account_id
            if account.legal_entity not in self._known.legal_entities:
                text = f"there is no legal entity {account.legal_entity}"
                self._bad("accounts", name, "legal_entity", text)
            old = self._known.old_accounts.get(name, account)
            for field in ("time_zone", "cycle_day", "currency", "legal_entity"):
                if name in serving and getattr(old, field) != getattr(account, field):
                    text = f"is {getattr(old, field)}, and services are billed by it"
                    self._bad("accounts", name, field, text)

    def devices(self, session: Session) -> None:
        """Devices: what they are stands still once something is attached to them."""
        attached = set(session.execute(select(ATTACHMENT.c.device).distinct()).scalars())
        for device in self._batch.devices:
            old = self._known.old_devices.get(device.name, device)
            for field in ("role", "platform"):
                if device.name in attached and getattr(old, field) != getattr(device, field):
                    text = f"is {getattr(old, field)}, and services are attached to it"
                    self._bad("devices", device.name, field, text)

    def service(self, entry: ServiceEntry) -> None:
        """One service: what it names exists, and a living one is not moved by a file."""
        known = self._known
        name = entry.service_id
        if entry.account_id not in known.accounts:
            self._bad("services", name, "account", f"there is no account {entry.account_id}")
        attached = merged(entry, known.old_services.get(name))
        for attachment in attached.values():
            if attachment.device not in known.devices:
                text = f"there is no device {attachment.device}"
                self._bad("services", name, attachment.role, text)
        if not attached:
            self._bad("services", name, "attachments", "is missing: no device carries it")
        elif entry.login and "bng" not in attached:
            text = "a login needs a bng: its platform says how RADIUS gives the rate"
            self._bad("services", name, "attachments", text)
        old = known.old_services.get(name)
        if old and old.state in ("active", "suspended"):
            self._living(entry, old)
        if entry.live:
            self._live(entry, entry.live, old)

    def logins(self, session: Session) -> None:
        """Each login is one service's, and so of one RADIUS dialect (D9)."""
        holders: dict[str, list[str]] = defaultdict(list)
        ours = {entry.service_id for entry in self._batch.services}
        for entry in self._batch.services:
            holders[entry.login].append(entry.service_id)
        holders.pop("", None)
        others: dict[str, str] = {}
        for part in chunks(sorted(holders)):
            query = select(LINE.c.login, LINE.c.service_id).where(LINE.c.login.in_(part))
            others |= {r.login: r.service_id for r in session.execute(query)}
        elsewhere = services_known(session, set(others.values()) - ours)
        entries = {entry.service_id: entry for entry in self._batch.services}
        for login, names in holders.items():
            stored = others.get(login, "")
            first = stored if stored in elsewhere else names[0]
            other = elsewhere.get(first)
            dialect = self._dialect(entries.get(first), other)
            for name in names:
                if name == first:
                    continue
                text = f"{login} is the login of service {first}"
                own = self._dialect(entries[name], self._known.old_services.get(name))
                if own != dialect:
                    text += f"; it would need two RADIUS dialects, {dialect} and {own}"
                self._bad("services", name, "login", text)

    def objects(self, session: Session) -> None:
        """No two services own the same object of a device, unless the first is terminated."""
        holders: dict[tuple[str, str], str] = {}
        ours = {entry.service_id for entry in self._batch.services}
        wanted = [
            (entry.service_id, a) for entry in self._batch.services for a in entry.attachments
        ]
        joined = ATTACHMENT.outerjoin(SERVICE, SERVICE.c.service_id == ATTACHMENT.c.service_id)
        query = select(ATTACHMENT, SERVICE.c.state).select_from(joined)
        for part in chunks(sorted({objects_text(a) for _name, a in wanted if a.objects})):
            for row in session.execute(query.where(ATTACHMENT.c.objects.in_(part))):
                if row.state != "terminated" and row.service_id not in ours:
                    holders[row.device, row.objects] = row.service_id
        for name, attachment in wanted:
            if attachment.objects:
                key = (attachment.device, objects_text(attachment))
                holder = holders.setdefault(key, name)
                if holder != name:
                    text = f"service {holder} has the same place on {attachment.device}"
                    self._bad("services", name, attachment.role, text)

    def _prices(self, plan: Plan, stored: Plan, *, used: bool) -> None:
        old = {price.valid_from: price for price in stored.prices}
        if stored is plan:
            return
        for price in plan.prices:
            before = old.get(price.valid_from)
            if before is not None and before != price:
                text = f"the price from {price.valid_from} is known and never changes"
                self._bad("plans", plan.code, "prices", text)
            if used and old and before is None and price.valid_from < max(old):
                text = f"a price from {price.valid_from} would change what is already priced"
                self._bad("plans", plan.code, "prices", text)

    def _living(self, entry: ServiceEntry, old: Service) -> None:
        for field, label in (("account_id", "account"), ("login", "login")):
            if getattr(entry, field) != getattr(old, field):
                text = f"the service is {old.state}: an import cannot change its {label}"
                self._bad("services", entry.service_id, label, text)
        was, now = self._dialect(None, old), self._dialect(entry, old)
        if old.login and was != now:
            text = f"{old.login} is served in the RADIUS dialect of {was} and would need {now}"
            self._bad("services", entry.service_id, "bng", text)

    def _live(self, entry: ServiceEntry, live: Live, old: Service | None) -> None:
        known, name = self._known, entry.service_id
        plan, account = known.plans.get(live.plan_code), known.accounts.get(entry.account_id)
        if plan is None:
            self._bad("services", name, "plan", f"there is no plan {live.plan_code}")
            return
        if account and account.currency != plan.currency:
            text = f"{plan.code} is in {plan.currency}, the account in {account.currency}"
            self._bad("services", name, "plan", text)
        zone_name = known.account_zone(entry)
        if live.billing_from < local_date(active_instant(live, zone_name), zone_name):
            self._bad("services", name, "billing_from", "is before active_since")
        if live.state == "suspended" and SUSPENDED_TIER not in known.tiers:
            self._bad("services", name, "state", f"there is no tier {SUSPENDED_TIER}")
        if not plan.prices or plan.prices[0].valid_from > live.billing_from:
            text = f"plan {plan.code} has no price on {live.billing_from}"
            self._bad("services", name, "billing_from", text)
        if old and old.state != "none":
            self._not_adopted_again(entry, live, old)

    def _not_adopted_again(self, entry: ServiceEntry, live: Live, old: Service) -> None:
        name = entry.service_id
        zone_name = self._known.account_zone(entry)
        if adopted_text(live, zone_name) == self._known.adopted.get(name):
            return
        if live.plan_code != old.plan_code:
            text = f"the service has {old.plan_code}: use `bandmaster service tier {name}`"
            self._bad("services", name, "plan", text)
        elif live.state != old.state:
            text = (
                f"the service is {old.state}: an import does not change that, "
                "`bandmaster service tier|suspend|resume|activate` do"
            )
            self._bad("services", name, "state", text)
        elif (active_instant(live, zone_name), live.billing_from) != (
            old.active_since,
            old.billing_from,
        ):
            text = f"the service is billed from {old.billing_from}; leave plan and dates out"
            self._bad("services", name, "billing_from", text)

    def _dialect(self, entry: ServiceEntry | None, old: Service | None) -> str:
        """Return the platform of the bng that the service has, with the entry on top."""
        attached = merged(entry, old).get("bng")
        device = self._known.devices.get(attached.device) if attached else None
        return device.platform if device else "none"

    def _bad(self, kind: str, name: str, field: str, text: str) -> None:
        place = self._batch.places.get((kind, name), Place(file=f"{kind} {name}"))
        self.problems.add(replace(place, field=field or name), text)


def merged(entry: ServiceEntry | None, old: Service | None) -> dict[str, Attachment]:
    """Return a service's attachments by role: the stored ones, the entry's on top."""
    stored = old.attachments if old else ()
    return {a.role: a for a in (*stored, *(entry.attachments if entry else ()))}


def objects_text(attachment: Attachment) -> str:
    """Return an attachment's objects as they are stored."""
    return canonical_json(dict(attachment.objects))


def _with_prices(plan: Plan, stored: Mapping[str, Plan]) -> Plan:
    old = stored[plan.code].prices if plan.code in stored else ()
    prices = {price.valid_from: price for price in (*old, *plan.prices)}
    return replace(plan, prices=tuple(prices[date] for date in sorted(prices)))


def _adopted(session: Session, service_ids: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in chunks(service_ids):
        query = select(LINE.c.service_id, LINE.c.adopted).where(LINE.c.service_id.in_(part))
        found |= {row.service_id: row.adopted for row in session.execute(query)}
    return found
