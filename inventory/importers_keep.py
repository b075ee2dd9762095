"""Writes an import batch: all of it or nothing, and nothing a second time (decisions.md D3)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Table, bindparam, insert, select, text, update
from sqlalchemy.orm import Session

from .device import Device
from .importers import ImportBatch, ServiceEntry
from .importers_check import (
    Known,
    active_instant,
    adopted_text,
    check_batch,
    load_known,
    objects_text,
)
from .rows import (
    ACCOUNT,
    ATTACHMENT,
    DEVICE,
    LEGAL_ENTITY,
    LINE,
    PLAN,
    PLAN_TERMS,
    PRICE_TERMS,
    PRICE_VERSION,
    TIER,
)
from .sql import chunks
from .store import password_refs

# what an import has checked must still be so when it writes; readers are not held up
_ONE_IMPORT = text("LOCK TABLE line IN SHARE ROW EXCLUSIVE MODE")

_Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCount:
    """What became of one kind's records in the files."""

    kind: str
    new: int
    changed: int
    unchanged: int

    def __str__(self) -> str:
        """As people read it: `tiers: 1 new, 0 changed, 2 unchanged`."""
        kind = self.kind.replace("_", " ")
        return f"{kind}: {self.new} new, {self.changed} changed, {self.unchanged} unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """A service that was live before us and is still to be adopted by the deciding function."""

    service_id: str
    plan_code: str
    state: str  # active | suspended
    active_since: dt.datetime
    billing_from: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import wrote, and what is left to decide.

    `changed_services` are known ones whose line or attachments were corrected.
    """

    counts: tuple[ImportCount, ...]
    adoptions: tuple[Adoption, ...]
    changed_services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Diff:
    table: Table
    total: int
    new: _Rows
    changed: _Rows


def keep_batch(session: Session, batch: ImportBatch) -> ImportResult:
    """Write what is new or changed; a second call writes nothing.

    Nothing is ever removed: what the files leave out stays. Services rows are not written: those
    of `adoptions` are for the deciding function, in the same transaction or a later one. Raises
    BadFile, with every problem, before the first write.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer anyway
        session.execute(_ONE_IMPORT)
    known = load_known(session, batch)
    check_batch(session, batch, known)
    adoptions = _adoptions(batch, known)
    parts: list[tuple[str, list[_Diff]]] = [
        ("legal_entities", [_diff(session, LEGAL_ENTITY, _plain(batch.legal_entities))]),
        ("accounts", [_diff(session, ACCOUNT, _plain(batch.accounts))]),
        ("tiers", [_diff(session, TIER, [_tier_row(tier) for tier in batch.tiers])]),
        ("plans", _plan_diffs(session, batch)),
        ("devices", [_diff(session, DEVICE, [_device_row(d) for d in batch.devices])]),
        ("services", _service_diffs(session, batch, known, adoptions)),
    ]
    for _kind, diffs in parts:
        for diff in diffs:
            _write(session, diff)
    counts = tuple(_count(kind, diffs) for kind, diffs in parts)
    return ImportResult(counts=counts, adoptions=adoptions, changed_services=_touched(parts[-1][1]))


def _adoptions(batch: ImportBatch, known: Known) -> tuple[Adoption, ...]:
    found: list[Adoption] = []
    for entry in batch.services:
        old = known.old_services.get(entry.service_id)
        if entry.live and (old is None or old.state == "none"):
            adoption = Adoption(
                service_id=entry.service_id,
                plan_code=entry.live.plan_code,
                state=entry.live.state,
                active_since=active_instant(entry.live, known.account_zone(entry)),
                billing_from=entry.live.billing_from,
            )
            found.append(adoption)
    return tuple(found)


def _diff(session: Session, table: Table, rows: _Rows) -> _Diff:
    """Compare rows with what is stored, by the columns that the rows have."""
    keys = [column.name for column in table.primary_key.columns]
    first = table.primary_key.columns[0]
    stored: dict[tuple[Any, ...], dict[str, Any]] = {}
    for part in chunks(sorted({row[first.name] for row in rows})):
        for found in session.execute(select(table).where(first.in_(part))).mappings():
            stored[tuple(found[key] for key in keys)] = dict(found)
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for row in rows:
        old = stored.get(tuple(row[key] for key in keys))
        if old is None:
            new.append(row)
        elif any(old[name] != value for name, value in row.items()):
            changed.append(row)
    return _Diff(table=table, total=len(rows), new=new, changed=changed)


def _write(session: Session, diff: _Diff) -> None:
    if diff.new:
        session.execute(insert(diff.table), list(diff.new))
    if not diff.changed:
        return
    keys = [column.name for column in diff.table.primary_key.columns]
    conditions = [diff.table.c[key] == bindparam(f"the_{key}") for key in keys]
    rows = [{f"the_{k}" if k in keys else k: v for k, v in row.items()} for row in diff.changed]
    if diff.table is LINE:  # two lines may swap their logins, and the index looks at each row
        ids = [{"the_service_id": row["the_service_id"]} for row in rows]
        session.execute(update(LINE).where(*conditions).values(login=""), ids)
    session.execute(update(diff.table).where(*conditions), rows)


def _plan_diffs(session: Session, batch: ImportBatch) -> list[_Diff]:
    plans = [asdict(plan) | {"plan_code": plan.code} for plan in batch.plans]
    prices = [price for plan in plans for price in plan["prices"]]
    tables = ((PLAN, plans), (PLAN_TERMS, plans), (PRICE_VERSION, prices), (PRICE_TERMS, prices))
    return [_diff(session, table, _columns(table, rows)) for table, rows in tables]


def _columns(table: Table, rows: _Rows) -> _Rows:
    names = {column.name for column in table.c}
    return [{name: row[name] for name in names & row.keys()} for row in rows]


def _service_diffs(
    session: Session, batch: ImportBatch, known: Known, adoptions: tuple[Adoption, ...]
) -> list[_Diff]:
    adopted = {adoption.service_id for adoption in adoptions}
    refs = password_refs(session, [entry.service_id for entry in batch.services])
    lines: list[dict[str, Any]] = []
    for entry in batch.services:
        old_ref = refs[entry.service_id].ref if entry.service_id in refs else ""
        lines.append(
            {
                "service_id": entry.service_id,
                "account_id": entry.account_id,
                "login": entry.login,
                "password_ref": entry.password.ref or old_ref,
                "adopted": _adopted(entry, known, adopted),
            }
        )
    attachments = [
        {
            "service_id": attachment.service_id,
            "role": attachment.role,
            "device": attachment.device,
            "objects": objects_text(attachment),
        }
        for entry in batch.services
        for attachment in entry.attachments
    ]
    return [_diff(session, LINE, lines), _diff(session, ATTACHMENT, attachments)]


def _adopted(entry: ServiceEntry, known: Known, adopted: set[str]) -> str:
    if entry.live and entry.service_id in adopted:
        return adopted_text(entry.live, known.account_zone(entry))
    return known.adopted.get(entry.service_id, "")


def _count(kind: str, diffs: Sequence[_Diff]) -> ImportCount:
    """Count records by their main table; a part that is new or changed makes its record changed."""
    main = diffs[0]
    new = {_owner(row) for row in main.new}
    changed = {_owner(row) for diff in diffs for row in (*diff.new, *diff.changed)} - new
    return ImportCount(
        kind=kind,
        new=len(new),
        changed=len(changed),
        unchanged=main.total - len(new) - len(changed),
    )


def _touched(diffs: Sequence[_Diff]) -> tuple[str, ...]:
    new = {_owner(row) for row in diffs[0].new}
    return tuple(
        sorted({_owner(row) for diff in diffs for row in (*diff.new, *diff.changed)} - new)
    )


def _owner(row: dict[str, Any]) -> str:
    """Return the id of the record that a row is of, or is a part of."""
    for name in ("plan_code", "service_id", "account_id", "code", "name"):
        if name in row:
            return str(row[name])
    if "price_version_id" in row:  # it is made of its plan and date
        return str(row["price_version_id"]).rpartition("@")[0]
    msg = f"no owner in {sorted(row)}"
    raise KeyError(msg)


def _plain(values: Sequence[Any]) -> _Rows:
    return [asdict(value) for value in values]


def _tier_row(tier: Any) -> dict[str, Any]:
    return {"code": tier.code, "down_kbps": tier.rate.down_kbps, "up_kbps": tier.rate.up_kbps}


def _device_row(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "role": device.role,
        "platform": device.platform,
        "host": device.host,
        "port": device.port,
        "site": device.site,
        "username": device.username,
        "password_ref": device.password.ref,
        "key_file": device.key_file,
        "timeout_s": device.timeout_s,
        "snmp_port": device.snmp.port,
        "snmp_version": device.snmp.version,
        "snmp_user": device.snmp.user,
        "snmp_auth_ref": device.snmp.auth.ref,
        "snmp_priv_ref": device.snmp.priv.ref,
        "snmp_community_ref": device.snmp.community.ref,
        "snmp_allow_v2c": device.snmp.allow_v2c,
        "coa_host": device.coa.host,
        "coa_port": device.coa.port,
        "coa_secret_ref": device.coa.secret.ref,
    }
