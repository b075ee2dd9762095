"""The pure design of a change: an order and what was observed in, a frozen plan item out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from billing_bridge import MoneyPreview
from device_templates import (
    AccessSession,
    Platform,
    ProfileSeen,
    ReplyAttribute,
    Section,
    gate,
    section_rate,
)
from device_templates import platform as find_platform
from inventory import (
    SUSPENDED_TIER,
    UNKNOWN_RATE,
    Account,
    Attachment,
    ProfileMissing,
    Refused,
    Service,
    ServiceState,
    Tier,
    WrongUse,
    group_name,
)

from .change import (
    ChangeKind,
    DevicePart,
    Order,
    PlanItem,
    RadiusPart,
    ServicePoint,
    SessionPart,
)
from .participant import HandleItem

# which states a kind may start from (TMF638 words; the ledger checks the same transition again)
STARTS: Mapping[ChangeKind, tuple[str, ...]] = {
    "activate": ("none", "terminated"),
    "tier": ("active",),
    "suspend": ("active",),
    "resume": ("suspended",),
    "terminate": ("active", "suspended"),
}
ENDS: Mapping[ChangeKind, ServiceState] = {
    "activate": "active",
    "tier": "active",
    "suspend": "suspended",
    "resume": "active",
    "terminate": "terminated",
}
HINTS: Mapping[str, str] = {
    "none": "Activate it first: bandmaster service activate {} --plan PLAN",
    "active": "It is active already.",
    "suspended": "Resume it first: bandmaster service resume {}",
    "terminated": "Activate it anew: bandmaster service activate {} --plan PLAN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is known about one service when its change is designed.

    `found` holds, by device, the section and the profiles seen there a moment ago; `tier_now` and
    `tier_then` are what the plans give (`tier_now` is None before the first activation).
    """

    service: Service
    account: Account
    tier_now: Tier | None
    tier_then: Tier
    suspended: Tier | None
    plan_then: str
    state_then: str
    platforms: Mapping[str, str]  # platform by device
    found: Mapping[str, tuple[Section, tuple[ProfileSeen, ...]]]
    group_now: str
    sessions: tuple[AccessSession, ...]
    today: dt.date


def check_start(order: Order, service: Service) -> None:
    """Refuse an order that a service in this state cannot take, naming what to do instead."""
    if order.reverses:
        return  # taking an event back leads to whatever was before it
    if service.state not in STARTS[order.kind]:
        raise WrongUse(
            service.service_id,
            f"is {service.state}, so it cannot {order.kind}",
            HINTS[service.state].format(service.service_id),
        )
    if order.kind == "tier" and order.plan_code == service.plan_code:
        raise WrongUse(
            service.service_id, f"has plan {order.plan_code} already", "Nothing needs to change."
        )


def design(
    order: Order, view: View, money: MoneyPreview, monthly_delta_minor: int, pinned_price: str
) -> PlanItem:
    """Return the change of one service: device lines, RADIUS rows, live session and money.

    Raises Refused where a device lacks the object, shows another rate than the ledger, or lacks
    a profile (ProfileMissing): nothing has been sent by then.
    """
    before = _point(view, view.tier_now, view.service.plan_code, view.service.state)
    after = _point(view, view.tier_then, view.plan_then, view.state_then)
    devices = tuple(
        part
        for attachment in view.service.attachments
        if attachment.objects
        for part in _device_part(attachment, view, after)
    )
    return PlanItem(
        order=order,
        account_id=view.account.account_id,
        address=view.account.address,
        service_version=view.service.version,
        before=before,
        after=after,
        devices=devices,
        radius=_radius(view, before, after),
        session=_session(order, view, before, after),
        money=money,
        monthly_delta_minor=monthly_delta_minor,
        price_version_id=pinned_price,
        priced_for_date=view.today,
    )


def _point(view: View, tier: Tier | None, plan_code: str, state: str) -> ServicePoint:
    if tier is None or state == "none":
        return ServicePoint(plan_code="", tier_code="", state="none", rate=UNKNOWN_RATE)
    rate = UNKNOWN_RATE if state == "terminated" else tier.rate
    if state == "suspended":
        if view.suspended is None:
            raise Refused(
                SUSPENDED_TIER,
                "is not in the catalogue, so a suspended line would have no rate",
                f"Import a tier with the code {SUSPENDED_TIER!r}.",
            )
        rate = view.suspended.rate
    return ServicePoint(plan_code=plan_code, tier_code=tier.code, state=state, rate=rate)


def _device_part(attachment: Attachment, view: View, after: ServicePoint) -> tuple[DevicePart, ...]:
    """Return the device's share, or none where the device already is as it should be."""
    name = attachment.device
    kind = find_platform(view.platforms[name])
    objects = dict(attachment.objects)
    section, profiles = view.found[name]
    if not section:
        raise Refused(
            name,
            f"has no {_words(attachment)}, where {view.service.service_id} is attached",
            "Create it on the device, or correct the attachment in the inventory.",
        )
    state = "terminated" if after.state == "none" else after.state
    _refuse_drift(kind, attachment, view)
    try:
        target = kind.target(objects, state, after.rate, section, profiles)
    except ProfileMissing as missing:
        raise ProfileMissing(
            name,
            f"{missing.thing}: {missing.problem}",
            f"Make it first: bandmaster device profiles {name} --apply",
        ) from missing
    forward = kind.render(objects, section, target)
    inverse = kind.render(objects, target, section)
    if not forward:
        return ()
    for lines in (forward, inverse):
        gate(kind, lines, objects)
    item = HandleItem(
        service_id=view.service.service_id,
        objects=attachment.objects,
        before=section,
        after=target,
        forward=forward,
        inverse=inverse,
    )
    return (
        DevicePart(
            device=name, platform=kind.name, mechanism=kind.mechanism, note=kind.note, item=item
        ),
    )


def _refuse_drift(kind: Platform, attachment: Attachment, view: View) -> None:
    """Refuse to change a line that does not have what the ledger says: that is drift, not ours."""
    if view.tier_now is None or view.service.state != "active":
        return
    name, objects = attachment.device, dict(attachment.objects)
    section, profiles = view.found[name]
    seen = section_rate(section)
    on = dict(section).get("state") == "on"
    try:
        # what the device can give for the ledger's tier: boxes round rates in their own ways
        due = section_rate(kind.target(objects, "active", view.tier_now.rate, section, profiles))
    except ProfileMissing:
        due = UNKNOWN_RATE
    if not on or seen != due:
        raise Refused(
            name,
            f"shows {view.service.service_id} at {seen if on else 'switched off'}, "
            f"the ledger says {view.tier_now.rate}",
            "Find out who changed it and put it right before changing the tier.",
        )


def _words(attachment: Attachment) -> str:
    return " ".join(f"{name} {value}" for name, value in attachment.objects)


def _bng(view: View) -> tuple[str, Platform] | None:
    for attachment in view.service.attachments:
        if attachment.role == "bng":
            return attachment.device, find_platform(view.platforms[attachment.device])
    return None


def _radius(view: View, before: ServicePoint, after: ServicePoint) -> tuple[RadiusPart, ...]:
    found = _bng(view)
    if not view.service.login or found is None or found[1].radius_reply is None:
        return ()
    kind = found[1]

    def group(point: ServicePoint) -> str:
        if point.state in ("none", "terminated"):
            return ""
        tier = SUSPENDED_TIER if point.state == "suspended" else point.tier_code
        return group_name(tier, kind.name)

    def reply(point: ServicePoint) -> tuple[ReplyAttribute, ...]:
        if not group(point) or kind.radius_reply is None:
            return ()
        return kind.radius_reply(point.rate, point.state == "suspended")

    return (
        RadiusPart(
            login=view.service.login,
            platform=kind.name,
            group_before=view.group_now,
            group_after=group(after),
            reply_before=reply(before),
            reply_after=reply(after),
        ),
    )


def _session(
    order: Order, view: View, before: ServicePoint, after: ServicePoint
) -> tuple[SessionPart, ...]:
    found = _bng(view)
    if not view.service.login or found is None or found[1].coa is None:
        return ()
    name, kind = found
    if order.kind == "activate" and not order.reverses:
        return ()  # nobody can be online before there is an authorisation row
    gone = after.state in ("suspended", "terminated", "none")
    seen = view.sessions[0] if view.sessions else None
    attributes = (
        ()
        if gone or kind.coa is None
        else kind.coa(before.rate, after.rate, after.state == "suspended")
    )
    return (
        SessionPart(
            device=name,
            platform=kind.name,
            login=view.service.login,
            action="disconnect" if gone else "coa",
            attributes=attributes,
            acct_session_id=seen.acct_session_id if seen else "",
            rate_seen=seen.rate if seen else UNKNOWN_RATE,
            since=seen.started if seen else "",
            disconnect_if_needed=order.disconnect_if_needed,
        ),
    )
