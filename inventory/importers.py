"""Reads inventory files (YAML, CSV) into one batch of values; nothing is stored here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .catalog import Plan, Tier
from .device import CoaTarget, Device, SecretRef, SnmpTarget
from .errors import BadField, WrongUse
from .importers_fields import Problems, Reader
from .importers_plans import read_currency, read_kbps, read_plan
from .importers_tree import BadPlace, Place, csv_records, yaml_tree
from .subscriber import Account, Attachment, LegalEntity, Scalar
from .units import Rate, zone

CheckAttachment = Callable[[Device, Mapping[str, str]], Mapping[str, Scalar]]
"""Types and checks an attachment's fields by the device's platform, or raises BadField."""

_COLUMNS = {
    "service": "id",
    "account": "account",
    "login": "login",
    "password": "password",
    "plan": "plan",
    "active_since": "active_since",
    "billing_from": "billing_from",
    "state": "state",
}
_ROLES = ("bng", "olt")
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What a file says of a service already in use; a bare date begins at local midnight."""

    plan_code: str
    state: str
    active_since: dt.datetime | dt.date
    billing_from: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry:
    """One service of a file; `live` is None where it waits for its activation."""

    service_id: str
    account_id: str
    login: str
    password: SecretRef
    attachments: tuple[Attachment, ...]
    live: Live | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportBatch:
    """What the files say, each id once; `places` gives (kind, id) -> where it is written."""

    legal_entities: tuple[LegalEntity, ...] = ()
    accounts: tuple[Account, ...] = ()
    tiers: tuple[Tier, ...] = ()
    plans: tuple[Plan, ...] = ()
    devices: tuple[Device, ...] = ()
    services: tuple[ServiceEntry, ...] = ()
    places: Mapping[tuple[str, str], Place] = field(default_factory=lambda: MappingProxyType({}))


def parse_files(
    paths: Sequence[Path],
    check_attachment: CheckAttachment,
    *,
    known_devices: Iterable[Device] = (),
    platforms: Collection[str] = (),
) -> ImportBatch:
    """Return what the files say, in any order of files.

    `known_devices` are those already stored, `platforms` the names a device may have (all, if none
    are given). Raises BadFile with every problem found, by file, line and field.
    """
    collected = _Collected(platforms=platforms)
    for path in paths:
        try:
            collected.read(path)
        except BadPlace as error:
            collected.problems.add(error.place, error.problem)
    batch = collected.batch({device.name: device for device in known_devices}, check_attachment)
    collected.problems.stop_if_any()
    return batch


class _Collected:
    """Values by kind and id while the files are read; services last, as they name devices."""

    def __init__(self, platforms: Collection[str]) -> None:
        self.problems = Problems()
        self._platforms = platforms
        self._values: dict[str, dict[str, Any]] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._services: list[Reader] = []

    def read(self, path: Path) -> None:
        """Take one file in."""
        if path.suffix == ".csv":
            for record in csv_records(path, _COLUMNS, _ROLES):
                self._services.append(Reader(record, self.problems))
        elif path.suffix in (".yaml", ".yml"):
            root = Reader(yaml_tree(path), self.problems)
            for kind, read in (
                ("legal_entities", _legal_entity),
                ("accounts", _account),
                ("tiers", _tier),
                ("plans", read_plan),
                ("devices", self._device),
            ):
                for reader in root.items(kind):
                    self._keep(kind, reader, read(reader))
            self._services += root.items("services")
            root.done()
        else:
            raise BadPlace(Place(file=str(path)), "is neither .yaml, .yml nor .csv")

    def batch(self, known: Mapping[str, Device], check: CheckAttachment) -> ImportBatch:
        """Return all of it; the services' attachments are checked by their devices' platforms."""
        devices = {**known, **self._values.get("devices", {})}
        for reader in self._services:
            self._keep("services", reader, _service(reader, devices, check))
        values = {kind: tuple(found.values()) for kind, found in self._values.items()}
        return ImportBatch(**values, places=MappingProxyType(self._places))

    def _keep(self, kind: str, reader: Reader, named: tuple[str, Any]) -> None:
        reader.done()
        name, value = named
        if not name:
            return  # that it is missing has been noted
        first = self._places.setdefault((kind, name), reader.record.place)
        if first is not reader.record.place:
            where = f"{first.file}:{first.line}"
            self.problems.add(reader.record.place, f"{name} is given twice, first in {where}")
        self._values.setdefault(kind, {})[name] = value

    def _device(self, reader: Reader) -> tuple[str, Device]:
        return _device(reader, self._platforms)


def _legal_entity(reader: Reader) -> tuple[str, LegalEntity]:
    entity = LegalEntity(
        code=reader.code("code"),
        name=reader.text("name"),
        address=reader.text("address", ""),
        tax_id=reader.text("tax_id", ""),
    )
    return entity.code, entity


def _account(reader: Reader) -> tuple[str, Account]:
    account = Account(
        account_id=reader.code("id"),
        name=reader.text("name"),
        address=reader.text("address", ""),
        time_zone=reader.text("time_zone"),
        cycle_day=reader.integer("cycle_day", 1, 31),
        legal_entity=reader.code("legal_entity"),
        currency=read_currency(reader),
    )
    if account.time_zone:
        try:
            zone(account.time_zone)
        except BadField as error:
            reader.bad("time_zone", f"{account.time_zone!r} {error.problem}. {error.remedy}")
    return account.account_id, account


def _tier(reader: Reader) -> tuple[str, Tier]:
    code = reader.code("code")
    rate = Rate(down_kbps=read_kbps(reader, "down_"), up_kbps=read_kbps(reader, "up_"))
    return code, Tier(code=code, rate=rate)


def _device(reader: Reader, platforms: Collection[str]) -> tuple[str, Device]:
    device = Device(
        name=reader.code("name"),
        role=reader.choice("role", ("bng", "olt", "radius")),
        platform=reader.code("platform"),
        host=reader.host("host"),
        port=reader.integer("port", 1, _MAX_PORT),
        site=reader.text("site", "", limit=64),
        username=reader.user("username"),
        password=reader.secret("password"),
        key_file=reader.text("key_file", ""),
        timeout_s=reader.integer("timeout_s", 1, 600, 15),
        snmp=_snmp(reader.child("snmp")),
        coa=_coa(reader.child("coa")),
    )
    served = device.platform and device.role != "radius"  # we send nothing to a RADIUS server
    if platforms and served and device.platform not in platforms:
        known = ", ".join(sorted(platforms))
        reader.bad("platform", f"{device.platform!r} is not a platform; known are {known}")
    return device.name, device


def _snmp(reader: Reader) -> SnmpTarget:
    target = SnmpTarget(
        port=reader.integer("port", 0, _MAX_PORT, 161 if reader.record.fields else 0),
        version=reader.choice("version", ("3", "2c"), "3"),
        user=reader.user("user"),
        auth=reader.secret("auth"),
        priv=reader.secret("priv"),
        community=reader.secret("community"),
        allow_v2c=reader.flag("allow_v2c"),
    )
    if target.version == "2c" and not target.allow_v2c:
        reader.bad("version", "2c has no encryption: add `allow_v2c: true` if it must be")
    needed = ("community",) if target.version == "2c" else ("user", "auth", "priv")
    for name in needed if target.port else ():
        if not reader.has(name):
            reader.bad(name, f"is missing: SNMP version {target.version} needs it")
    reader.done()
    return target


def _coa(reader: Reader) -> CoaTarget:
    target = CoaTarget(
        host=reader.host("host", ""),
        port=reader.integer("port", 0, _MAX_PORT, 3799 if reader.record.fields else 0),
        secret=reader.secret("secret"),
    )
    if target.port and not reader.has("secret"):
        reader.bad("secret", "is missing: a NAS answers only to its secret")
    reader.done()
    return target


def _service(
    reader: Reader, devices: Mapping[str, Device], check: CheckAttachment
) -> tuple[str, ServiceEntry]:
    service_id = reader.code("id")
    login = reader.code("login", "")
    attachments: dict[str, Attachment] = {}
    for item in reader.items("attachments"):
        attachment = _attachment(item, service_id, login, devices, check)
        if attachment.role in attachments:
            item.bad("role", f"a service has one {attachment.role}, this is the second")
        attachments[attachment.role] = attachment
    entry = ServiceEntry(
        service_id=service_id,
        account_id=reader.code("account"),
        login=login,
        password=reader.secret("password"),
        attachments=tuple(attachments[role] for role in sorted(attachments)),
        live=_live(reader),
    )
    return service_id, entry


def _live(reader: Reader) -> Live | None:
    plan = reader.code("plan", "")
    if plan:
        return Live(
            plan_code=plan,
            state=reader.choice("state", ("active", "suspended"), "active"),
            active_since=reader.moment("active_since"),
            billing_from=reader.date("billing_from"),
        )
    for name in ("state", "active_since", "billing_from"):
        if reader.text(name, ""):
            reader.bad(name, "is given without a plan: a service without one is not live yet")
    return None


def _attachment(
    reader: Reader,
    service_id: str,
    login: str,
    devices: Mapping[str, Device],
    check: CheckAttachment,
) -> Attachment:
    role = reader.choice("role", _ROLES)
    name = reader.code("device")
    objects = reader.rest()
    device = devices.get(name)
    typed: Mapping[str, Scalar] = {}
    if device is None:
        if name:
            reader.bad("device", f"there is no device {name}")
    elif role and device.role != role:
        reader.bad("device", f"{name} is a {device.role}, not a {role}")
    elif not objects:
        # RADIUS alone then carries the rate, to the session that the login has on this bng
        if role == "olt" or not login:
            text = f"{name} has no fields: only the bng of a service with a login may do without"
            reader.problems.add(reader.record.place, text)
    else:
        try:
            typed = check(device, objects)
        except WrongUse as error:
            # BadField's problem begins with the field's name; the place then says which line
            named = error.problem.partition(" ")[0]
            place = reader.record.at(named) if named in objects else reader.record.place
            reader.problems.add(place, f"{error.problem} ({device.platform})")
    return Attachment(
        service_id=service_id,
        role=role,
        device=name,
        objects=tuple(sorted(typed.items())),
    )
