"""Find, list and keep what exists; every function takes a session and none commits."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Subquery,
    Table,
    Update,
    bindparam,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from .catalog import SUSPENDED_TIER
from .device import CoaTarget, Device, SecretRef, SnmpTarget
from .errors import StalePlan, UnknownName
from .rows import (
    ACCOUNT,
    ATTACHMENT,
    DEVICE,
    LEGAL_ENTITY,
    LINE,
    PLAN,
    SERVICE,
    TIER,
)
from .sql import chunks, insert_new, like_pattern, one_of, select_among
from .subscriber import Account, Attachment, LegalEntity, Service

_VERSIONS = select_among(SERVICE.c.service_id, SERVICE.c.service_id, SERVICE.c.version)
_UPDATED = update(SERVICE).where(
    SERVICE.c.service_id == bindparam("the_id"), SERVICE.c.version == bindparam("was_version")
)
_UNUSED = union_all(
    *(
        select(table.c.code).where(one_of(table.c.code, names), table.c.used.is_(False))
        for table, names in ((TIER, "tiers"), (PLAN, "plans"))
    )
)
_LOOKED_AT = 2_000  # names compared with a mistyped one
_SHOWN = 64


def find_service(session: Session, service_id: str) -> Service:
    """Return the service, with its attachments; state `none` where only the line is known.

    Raises UnknownName, naming what comes near.
    """
    return services_many(session, (service_id,))[0]


def services_many(session: Session, service_ids: Sequence[str]) -> tuple[Service, ...]:
    """Return the services in the order asked for, with one query per thousand ids.

    Raises UnknownName for the first id that is not known.
    """
    found = services_known(session, service_ids)
    for service_id in service_ids:
        if service_id not in found:
            raise unknown(session, "service", LINE.c.service_id, service_id)
    return tuple(found[service_id] for service_id in service_ids)


def services_known(session: Session, service_ids: Iterable[str]) -> dict[str, Service]:
    """Return those of the services that are known, by service_id."""
    return {
        service.service_id: service
        for part in chunks(sorted(set(service_ids)))
        for service in _services(session, _BY_ID, {"names": part})
    }


def list_services(
    session: Session,
    *,
    site: str = "",
    plan: str = "",
    device: str = "",
    state: str = "",
) -> tuple[Service, ...]:
    """Return the services that meet every filter given, by service_id; none given = all.

    `site` and `device` match any attachment. Raises UnknownName where a filter names nothing.
    """
    where: list[ColumnElement[bool]] = []
    if site:
        _refuse_unknown(session, "site", DEVICE.c.site, site)
        at_site = select(DEVICE.c.name).where(DEVICE.c.site == site)
        where.append(_attached(ATTACHMENT.c.device.in_(at_site)))
    if device:
        _refuse_unknown(session, "device", DEVICE.c.name, device)
        where.append(_attached(ATTACHMENT.c.device == device))
    if plan:
        _refuse_unknown(session, "plan", PLAN.c.code, plan)
        where += [SERVICE.c.plan_code == plan, SERVICE.c.state != "none"]
    if state:
        where.append(func.coalesce(SERVICE.c.state, "none") == state)
    return _services(session, _service_query(*where), {})


def services_of(session: Session, account_ids: Iterable[str]) -> tuple[Service, ...]:
    """Return the services of some accounts, one query per thousand accounts."""
    parts = chunks(sorted(set(account_ids)))
    found = (_services(session, _BY_ACCOUNT, {"names": part}) for part in parts)
    return tuple(service for part in found for service in part)


def active_rates() -> Subquery:
    """Return the active services as something to join: service_id, tier_code and its rates."""
    return (
        select(SERVICE.c.service_id, SERVICE.c.tier_code, TIER.c.down_kbps, TIER.c.up_kbps)
        .join(TIER, TIER.c.code == SERVICE.c.tier_code)
        .where(SERVICE.c.state == "active")
        .subquery("active")
    )


def password_refs(session: Session, service_ids: Sequence[str]) -> dict[str, SecretRef]:
    """Return where each line's password is kept, by service_id; unknown ids are left out."""
    refs: dict[str, SecretRef] = {}
    for part in chunks(service_ids):
        query = select(LINE.c.service_id, LINE.c.password_ref).where(
            one_of(LINE.c.service_id, part)
        )
        for service_id, ref in session.execute(query):
            refs[service_id] = SecretRef(ref=ref)
    return refs


def find_account(session: Session, account_id: str) -> Account:
    """Return the account; UnknownName if there is none."""
    return accounts_many(session, (account_id,))[account_id]


def lock_account(session: Session, account_id: str) -> Account:
    """Return the account and keep other writers that ask so away from it until the commit."""
    session.execute(
        select(ACCOUNT.c.account_id).where(ACCOUNT.c.account_id == account_id).with_for_update()
    )
    return find_account(session, account_id)


def accounts_many(session: Session, account_ids: Iterable[str]) -> dict[str, Account]:
    """Return the accounts by id, one query per thousand; UnknownName for one not known."""
    wanted = sorted(set(account_ids))
    found = accounts_known(session, wanted)
    for account_id in wanted:
        if account_id not in found:
            raise unknown(session, "account", ACCOUNT.c.account_id, account_id)
    return found


def accounts_known(session: Session, account_ids: Iterable[str]) -> dict[str, Account]:
    """Return those of the accounts that are known, by id."""
    found: dict[str, Account] = {}
    for part in chunks(sorted(set(account_ids))):
        rows = session.execute(select_among(ACCOUNT.c.account_id, ACCOUNT), {"names": part})
        found |= {row["account_id"]: Account(**row) for row in rows.mappings()}
    return found


def find_legal_entity(session: Session, code: str) -> LegalEntity:
    """Return the legal entity; UnknownName if there is none."""
    query = select(LEGAL_ENTITY).where(LEGAL_ENTITY.c.code == code)
    row = session.execute(query).mappings().first()
    if row is None:
        raise unknown(session, "legal entity", LEGAL_ENTITY.c.code, code)
    return LegalEntity(**row)


def find_device(session: Session, name: str) -> Device:
    """Return the device; UnknownName if there is none."""
    return devices_many(session, (name,))[name]


def devices_many(session: Session, names: Iterable[str]) -> dict[str, Device]:
    """Return the devices by name, in its order; UnknownName for one that is not known."""
    wanted = sorted(set(names))
    found: dict[str, Device] = {}
    for part in chunks(wanted):
        rows = session.execute(select_among(DEVICE.c.name, DEVICE), {"names": part})
        found |= {row.name: device_value(row) for row in rows}
    for name in wanted:
        if name not in found:
            raise unknown(session, "device", DEVICE.c.name, name)
    return {name: found[name] for name in wanted}


def list_devices(session: Session) -> tuple[Device, ...]:
    """Return all devices by name."""
    return tuple(device_value(row) for row in session.execute(select(DEVICE).order_by("name")))


def keep_services(session: Session, moves: Sequence[tuple[Service, Service]]) -> None:
    """Write each (before, after): for the deciding function alone.

    StalePlan if a service no longer has `before.version`; nothing may be kept then (the caller
    rolls back). Constant number of statements. Tiers and plans become used.
    """
    ordered = sorted(moves, key=lambda move: move[0].service_id)  # all lock in one order
    born = [_service_row(after) for before, after in ordered if before.version == 0]
    inserted = insert_new(session, SERVICE, born)
    for row in born:
        if row["service_id"] not in inserted:  # somebody else activated it meanwhile
            raise _stale(row["service_id"])
    _update_services(session, [move for move in ordered if move[0].version > 0])
    _mark_used(session, [after for _before, after in ordered])


def unknown(session: Session, kind: str, column: ColumnElement[Any], name: str) -> UnknownName:
    """Return the error for `name`, with the known names that come near it."""
    start = select(column).where(column.like(like_pattern(name[:2])[1:], escape="\\"))
    names = list(session.execute(start.distinct().limit(_LOOKED_AT)).scalars())
    if not names:
        names = list(session.execute(select(column).distinct().limit(_LOOKED_AT)).scalars())
    near = difflib.get_close_matches(name[:_SHOWN], names, n=3, cutoff=0.6)
    # what was typed may hold anything: shown escaped, so that it cannot steer the terminal
    shown = name if name.isprintable() and len(name) <= _SHOWN else ascii(name[:_SHOWN])
    remedy = f"Did you mean {' or '.join(near)}?" if near else "See: bandmaster find TEXT"
    return UnknownName(f"{kind} {shown}", "is not in the inventory", remedy)


def device_value(row: Row[Any]) -> Device:
    """Return the Device of a row of the device table."""
    snmp = SnmpTarget(
        port=row.snmp_port,
        version=row.snmp_version,
        user=row.snmp_user,
        auth=SecretRef(ref=row.snmp_auth_ref),
        priv=SecretRef(ref=row.snmp_priv_ref),
        community=SecretRef(ref=row.snmp_community_ref),
        allow_v2c=row.snmp_allow_v2c,
    )
    return Device(
        name=row.name,
        role=row.role,
        platform=row.platform,
        host=row.host,
        port=row.port,
        site=row.site,
        username=row.username,
        password=SecretRef(ref=row.password_ref),
        key_file=row.key_file,
        timeout_s=row.timeout_s,
        snmp=snmp,
        coa=CoaTarget(
            host=row.coa_host, port=row.coa_port, secret=SecretRef(ref=row.coa_secret_ref)
        ),
    )


def objects_value(text: str) -> tuple[tuple[str, str | int], ...]:
    """Return an attachment's objects from their canonical JSON, sorted by name."""
    return tuple(sorted(json.loads(text).items()))


def _attached(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return LINE.c.service_id.in_(select(ATTACHMENT.c.service_id).where(condition))


def _service_query(*where: ColumnElement[bool]) -> Select[Any]:
    """Return the query for some services: a row for each attachment, or one without."""
    joined = LINE.outerjoin(SERVICE, SERVICE.c.service_id == LINE.c.service_id).outerjoin(
        ATTACHMENT, ATTACHMENT.c.service_id == LINE.c.service_id
    )
    state = (SERVICE.c.plan_code, SERVICE.c.tier_code, SERVICE.c.state, SERVICE.c.version)
    place = (ATTACHMENT.c.role, ATTACHMENT.c.device, ATTACHMENT.c.objects)
    query = select(LINE, *state, SERVICE.c.active_since, SERVICE.c.billing_from, *place)
    ordered = query.select_from(joined).order_by(LINE.c.service_id, ATTACHMENT.c.role)
    return ordered.where(*where)


_BY_ID = _service_query(one_of(LINE.c.service_id, "names"))
_BY_ACCOUNT = _service_query(one_of(LINE.c.account_id, "names"))


def _services(
    session: Session, query: Select[Any], parameters: Mapping[str, Any]
) -> tuple[Service, ...]:
    rows: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(query, parameters):
        rows[row.service_id].append(row)
    return tuple(_service(places[0], _attachments(places)) for places in rows.values())


def _attachments(rows: Sequence[Row[Any]]) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(
            service_id=row.service_id,
            role=row.role,
            device=row.device,
            objects=objects_value(row.objects),
        )
        for row in rows
        if row.role is not None
    )


def _service(row: Row[Any], attachments: tuple[Attachment, ...]) -> Service:
    living = row.state not in (None, "none")
    return Service(
        service_id=row.service_id,
        account_id=row.account_id,
        login=row.login,
        plan_code=row.plan_code if living else "",
        tier_code=row.tier_code if living else "",
        state=row.state or "none",
        version=row.version or 0,
        active_since=row.active_since if living else None,
        billing_from=row.billing_from if living else None,
        attachments=attachments,
    )


def _service_row(service: Service) -> dict[str, Any]:
    return {
        "service_id": service.service_id,
        "plan_code": service.plan_code,
        "tier_code": service.tier_code,
        "state": service.state,
        "version": service.version,
        "active_since": service.active_since,
        "billing_from": service.billing_from,
    }


def _update_services(session: Session, moves: Sequence[tuple[Service, Service]]) -> None:
    rows: list[dict[str, Any]] = []
    for before, after in moves:
        # without a state the row keeps what it was: the version must not be lost
        kept = replace(before, state="none", version=after.version)
        row = _service_row(kept if after.state == "none" else after)
        row |= {"the_id": row.pop("service_id"), "was_version": before.version}
        rows.append(row)
    if rows and session.connection().execute(_UPDATED, rows).rowcount != len(rows):
        raise _stale(_moved_on(session, [before for before, _after in moves]))


def _moved_on(session: Session, services: Sequence[Service]) -> str:
    """Return the service that has another version by now; those just written are one ahead."""
    stored: dict[str, int] = {}
    for part in chunks([service.service_id for service in services]):
        found = session.execute(_VERSIONS, {"names": part})
        stored |= {row.service_id: row.version for row in found}
    ahead = (s for s in services if stored.get(s.service_id, 0) != s.version + 1)
    return next((service.service_id for service in ahead), services[0].service_id)


def _mark_used(session: Session, services: Sequence[Service]) -> None:
    living = [service for service in services if service.state != "none"]
    tiers = {service.tier_code for service in living}
    if any(service.state == "suspended" for service in living):
        tiers.add(SUSPENDED_TIER)
    named = {"tiers": sorted(tiers), "plans": sorted({service.plan_code for service in living})}
    if session.execute(_UNUSED, named).first() is not None:  # rare: once for each
        for table, codes in ((TIER, named["tiers"]), (PLAN, named["plans"])):
            session.execute(_first_use(table), {"names": codes})


@cache
def _first_use(table: Table) -> Update:
    named = one_of(table.c.code, "names")
    return update(table).where(named, table.c.used.is_(False)).values(used=True)


def _stale(service_id: str) -> StalePlan:
    return StalePlan(
        f"service {service_id}", "has changed since the plan was made", "Plan it again."
    )


def _refuse_unknown(session: Session, kind: str, column: ColumnElement[Any], name: str) -> None:
    if session.execute(select(column).where(column == name).limit(1)).first() is None:
        raise unknown(session, kind, column, name)
