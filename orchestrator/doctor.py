"""What is missing on this host, and how to get it."""

from __future__ import annotations

import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlmodel import Session

from inventory import (
    SUSPENDED_TIER,
    BandmasterError,
    Device,
    SecretRef,
    list_devices,
    list_tiers,
)
from workflows import enrolled

from .database import reading
from .migrate import check_schema
from .office import Office
from .views import unsettled

Word = Literal["ok", "missing", "note"]
PYTHON = (3, 11)
COA_OCTETS = 16  # RFC 2865 section 3: RADIUS is signed with nothing but the secret
LAB_PROGRAMS = ("freeradius", "postgres", "snmpd", "sshd", "iperf3", "vtysh", "ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; a `note` is worth knowing and no fault."""

    word: Word
    thing: str
    text: str
    remedy: str = ""


def examine(office: Office) -> tuple[Finding, ...]:
    """Look at everything; no device is spoken to and no secret is shown."""
    findings = [_python(), *_settings(office), *_database(office)]
    if all(finding.word != "missing" for finding in findings if finding.thing == "database"):
        with reading(office.engine) as session:
            findings += [*_store(session), *_devices(office, list_devices(session))]
        findings += _restored(office)
    return (*findings, *_known_hosts(office), _lab())


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < PYTHON:
        return Finding(word="missing", thing="python", text=found, remedy="Install Python 3.11.")
    return Finding(word="ok", thing="python", text=found)


def _settings(office: Office) -> Iterator[Finding]:
    path = office.settings.path
    if not path:
        yield Finding(
            word="note",
            thing="settings",
            text="no file, everything as built in",
            remedy="Write ./bandmaster.toml: bandmaster init",
        )
        return
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    yield Finding(word="ok", thing="settings", text=f"{Path(path).resolve()}, mode {mode:04o}")


def _database(office: Office) -> Iterator[Finding]:
    url = office.engine.url.render_as_string(hide_password=True)
    try:
        with reading(office.engine) as session:
            check_schema(session)
    except BandmasterError as problem:
        text = f"{url}: {problem.problem}"
        yield Finding(word="missing", thing="database", text=text, remedy=problem.remedy)
        return
    yield Finding(word="ok", thing="database", text=url)
    if office.engine.dialect.name == "sqlite":
        yield Finding(
            word="note",
            thing="RADIUS",
            text="on SQLite the RADIUS rows are kept, but no FreeRADIUS can serve them",
            remedy="For FreeRADIUS: bandmaster init --database postgresql://...",
        )
        if "sqlite:////" not in url and not office.settings.path.startswith("bandmaster"):
            yield Finding(
                word="note",
                thing="database",
                text="a relative SQLite path depends on the directory the command runs in",
                remedy="Write sqlite:////ABSOLUTE/PATH in the settings file.",
            )


def _restored(office: Office) -> Iterator[Finding]:
    try:
        office.check_store()
    except BandmasterError as problem:
        text = f"{problem.thing} {problem.problem}"
        yield Finding(word="missing", thing="store", text=text, remedy=problem.remedy)


def _store(session: Session) -> Iterator[Finding]:
    count = unsettled(session)
    if count:
        yield Finding(
            word="missing",
            thing="changes",
            text=f"{count} change sets are not settled",
            remedy="Settle them: bandmaster recover",
        )
    if SUSPENDED_TIER in {tier.code for tier in list_tiers(session)}:
        yield Finding(word="ok", thing="tiers", text=f"tier {SUSPENDED_TIER} is in the catalogue")
    else:
        yield Finding(
            word="missing",
            thing="tiers",
            text=f"no tier {SUSPENDED_TIER}: no service can be suspended",
            remedy=f"Import a tier with the code {SUSPENDED_TIER}.",
        )


def _devices(office: Office, devices: tuple[Device, ...]) -> Iterator[Finding]:
    if not devices:
        yield Finding(
            word="missing",
            thing="devices",
            text="none in the inventory",
            remedy="Import them: bandmaster inventory import FILE...",
        )
    known_hosts = office.settings.known_hosts
    for device in devices:
        if device.role != "radius" and not enrolled(known_hosts, device.host, device.port):
            yield Finding(
                word="missing",
                thing=device.name,
                text="no host key is enrolled, so nothing is sent to it",
                remedy=f"bandmaster device enroll-key {device.name}",
            )
        for what, ref in _references(device):
            yield from _secret(office.secrets, device, what, ref)
    yield Finding(word="ok", thing="devices", text=f"{len(devices)} in the inventory")


def _references(device: Device) -> Iterator[tuple[str, SecretRef]]:
    yield "password", device.password
    if device.snmp.port:
        yield "SNMP authentication", device.snmp.auth
        yield "SNMP privacy", device.snmp.priv
        yield "SNMP community", device.snmp.community
    if device.coa.port:
        yield "CoA secret", device.coa.secret


def _secret(
    resolve: Callable[[SecretRef], str], device: Device, what: str, ref: SecretRef
) -> Iterator[Finding]:
    try:
        secret = resolve(ref)
    except BandmasterError as problem:
        yield Finding(
            word="missing",
            thing=device.name,
            text=f"{what}: {problem.thing} {problem.problem}",
            remedy=problem.remedy,
        )
        return
    if ref == device.coa.secret and 0 < len(secret.encode()) < COA_OCTETS:
        yield Finding(
            word="note",
            thing=device.name,
            text=f"{what}: shorter than {COA_OCTETS} octets: it can be guessed from what it signs",
            remedy="Give the NAS and the inventory a random one of 16 octets or more.",
        )


def _known_hosts(office: Office) -> Iterator[Finding]:
    path = Path(office.settings.known_hosts)
    if not path.exists():
        yield Finding(word="note", thing="host keys", text=f"{path} is written by the first one")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        yield Finding(
            word="missing",
            thing="host keys",
            text=f"{path}: others can write it (mode {mode:04o})",
            remedy=f"chmod 600 {path}",
        )
    else:
        yield Finding(word="ok", thing="host keys", text=f"{path.resolve()}, mode {mode:04o}")


def _lab() -> Finding:
    found = {name for name in LAB_PROGRAMS if shutil.which(name, path=_search_path())}
    found |= {"postgres"} if list(Path("/usr/lib/postgresql").glob("*/bin/postgres")) else set()
    absent = [name for name in LAB_PROGRAMS if name not in found]
    if not absent:
        return Finding(word="ok", thing="lab", text="all of its servers are installed")
    return Finding(
        word="note",
        thing="lab",
        text=f"not installed: {', '.join(absent)} (only the lab and its tests need them)",
        remedy="On Debian, as root: make test installs them.",
    )


def _search_path() -> str:
    return "/usr/sbin:/usr/local/sbin:/sbin:/usr/lib/frr:/usr/local/bin:/usr/bin:/bin"
