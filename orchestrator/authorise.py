"""RADIUS authorisation rows of a change, as part of the deciding function (decisions.md D9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlmodel import Session

from device_templates import ReplyAttribute
from device_templates import platform as find_platform
from inventory import (
    SUSPENDED_TIER,
    Device,
    RadiusBinding,
    Service,
    Tier,
    UnknownName,
    bind_many,
    group_name,
    unbind_many,
    write_groups,
)
from workflows import PlanItem

Groups = dict[tuple[str, str], Iterable[ReplyAttribute]]


def write_radius(
    session: Session, items: Sequence[PlanItem], passwords: Mapping[str, str], *, back: bool
) -> None:
    """Bind each login to its group after the change, or before it (`back`), in bulk.

    A group's reply rows are written by whoever uses it first; no group = no authorisation.
    `passwords` are by service_id; a login that has one already keeps it.
    """
    groups: Groups = {}
    bindings: list[RadiusBinding] = []
    gone: list[str] = []
    for item in items:
        for part in item.radius:
            group = part.group_before if back else part.group_after
            if not group:
                gone.append(part.login)
                continue
            tier = group.rpartition("@")[0]
            groups[tier, part.platform] = part.reply_before if back else part.reply_after
            password = passwords.get(item.order.service_id, "")
            bindings.append(RadiusBinding(login=part.login, group=group, password=password))
    _write(session, groups, bindings)
    unbind_many(session, gone)


def bind_adopted(
    session: Session,
    services: Sequence[Service],
    tiers: Mapping[str, Tier],
    devices: Mapping[str, Device],
    passwords: Mapping[str, str],
) -> None:
    """Write the rows of logins that were served before us; none where no NAS of ours serves one."""
    groups: Groups = {}
    bindings: list[RadiusBinding] = []
    for service in services:
        bng = next((place for place in service.attachments if place.role == "bng"), None)
        if not service.login or bng is None:
            continue
        kind = find_platform(devices[bng.device].platform)
        if kind.radius_reply is None:
            continue
        suspended = service.state == "suspended"
        code = SUSPENDED_TIER if suspended else service.tier_code
        if code not in tiers:
            raise UnknownName(code, "is not in the catalogue", "Import the tier first.")
        groups[code, kind.name] = kind.radius_reply(tiers[code].rate, suspended)
        bindings.append(
            RadiusBinding(
                login=service.login,
                group=group_name(code, kind.name),
                password=passwords.get(service.service_id, ""),
            )
        )
    _write(session, groups, bindings)


def _write(session: Session, groups: Groups, bindings: Sequence[RadiusBinding]) -> None:
    if bindings:
        write_groups(session, groups)
        bind_many(session, bindings)
