"""RADIUS authorisation rows of a change, as part of the deciding function (decisions.md D9)."""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel import Session

from device_templates import ReplyAttribute
from device_templates import platform as find_platform
from inventory import (
    SUSPENDED_TIER,
    Device,
    Service,
    Tier,
    UnknownName,
    bind_login,
    unbind_login,
    write_group,
)
from workflows import PlanItem, RadiusPart


def write_radius(session: Session, item: PlanItem, password: str, *, back: bool) -> None:
    """Bind the login of a change to its group after the change, or before it (`back`).

    The group's reply rows are written by whoever uses it first; no group = no authorisation.
    """
    for part in item.radius:
        group, reply = _wanted(part, back=back)
        if not group:
            unbind_login(session, part.login)
            continue
        tier = group.rpartition("@")[0]
        write_group(session, tier, part.platform, reply)
        bind_login(session, part.login, group, password=password)


def _wanted(part: RadiusPart, *, back: bool) -> tuple[str, tuple[ReplyAttribute, ...]]:
    return (
        (part.group_before, part.reply_before) if back else (part.group_after, part.reply_after)
    )




def bind_adopted(
    session: Session,
    service: Service,
    tiers: Mapping[str, Tier],
    devices: Mapping[str, Device],
    password: str,
) -> None:
    """Write the rows of a login that was served before us; nothing where it has no NAS of ours."""
    bng = next((place for place in service.attachments if place.role == "bng"), None)
    if not service.login or bng is None:
        return
    kind = find_platform(devices[bng.device].platform)
    if kind.radius_reply is None:
        return
    suspended = service.state == "suspended"
    code = SUSPENDED_TIER if suspended else service.tier_code
    if code not in tiers:
        raise UnknownName(code, "is not in the catalogue", "Import the tier first.")
    group = write_group(session, code, kind.name, kind.radius_reply(tiers[code].rate, suspended))
    bind_login(session, service.login, group, password=password)
