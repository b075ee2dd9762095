"""Importing inventory files, and adopting the services that are live already (D3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from device_templates import Objects, platforms, typed_objects
from inventory import Device, ImportResult, keep_batch, list_devices, parse_files

from .apply import blocked
from .audit import audit
from .database import reading, writing
from .decide import adopt
from .office import Office


def import_files(office: Office, paths: Sequence[Path], actor: str) -> ImportResult:
    """Read the files and keep what they say, all or nothing; adopt what is live already.

    Idempotent: what is known and equal does nothing. Nothing is sent to any device. Raises
    BadFile naming file, line and field; Refused where a known service would be changed.
    """
    office.check_store()
    with reading(office.engine) as session:
        known = list_devices(session)
    batch = parse_files(
        paths, check_attachment, known_devices=known, platforms=frozenset(platforms())
    )
    refs = {entry.service_id: entry.password for entry in batch.services}
    with writing(office.engine) as session:
        result = keep_batch(session, batch)
        for service_id in result.changed_services:
            problem = blocked(session, service_id)
            if problem is not None:
                raise problem
        passwords = {
            adoption.service_id: office.secrets(refs[adoption.service_id])
            for adoption in result.adoptions
        }
        adopt(session, result.adoptions, passwords, actor)
        counted = ", ".join(str(count) for count in result.counts)
        audit(session, actor, "import", ", ".join(path.name for path in paths), counted)
    return result


def check_attachment(device: Device, objects: Mapping[str, object]) -> Objects:
    """Return an attachment's objects typed by the device's platform; BadField otherwise."""
    return typed_objects(platforms()[device.platform], device.name, objects)
