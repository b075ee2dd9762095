"""Orders, and the frozen, hashed change plan that an operator looks at before anything is sent."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from billing_bridge import MoneyPreview
from device_templates import ReplyAttribute
from inventory import UNKNOWN_RATE, Rate, digest

from .participant import HandleItem

ChangeKind = Literal["activate", "tier", "suspend", "resume", "terminate"]
SessionAction = Literal["coa", "disconnect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for one service, by whom, under the caller's key (TMF641 order item)."""

    order_id: str
    idempotency_key: str
    kind: ChangeKind
    service_id: str
    plan_code: str  # the plan to reach; "" where the kind does not change it
    actor: str
    reason_code: str  # from the ledger's closed list
    reason: str = ""  # free text of a person: kept beside the change, never in the ledger
    ticket: str = ""
    disconnect_if_needed: bool = False
    rolls_back: str = ""  # event_id that a `change rollback` names
    reverses: str = ""  # event_id that a rollback "as never" takes out of the fold

    def payload_hash(self) -> str:
        """Digest of what was asked; the same key with another payload is a conflict (P14)."""
        return digest(
            {
                "kind": self.kind,
                "service": self.service_id,
                "plan": self.plan_code,
                "rolls_back": self.rolls_back,
                "reverses": self.reverses,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePoint:
    """Where a service stands: what the ledger's fold says before or after the change."""

    plan_code: str
    tier_code: str
    state: str
    rate: Rate  # what the line may do in that state (the suspended tier's while suspended)


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePart:
    """One device's share: the lines there and back, built from what was observed."""

    device: str
    platform: str
    mechanism: str
    note: str
    item: HandleItem


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusPart:
    """The service's RADIUS authorisation rows before and after; "" = no row."""

    login: str
    platform: str
    group_before: str
    group_after: str
    reply_before: tuple[ReplyAttribute, ...]
    reply_after: tuple[ReplyAttribute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPart:
    """What will be sent to the NAS after the decision, if a session is live then.

    `acct_session_id`, `rate` and `since` are what was seen when planning ("" = none was live);
    the session is looked up again after the decision.
    """

    device: str
    platform: str
    login: str
    action: SessionAction
    attributes: tuple[ReplyAttribute, ...]
    acct_session_id: str = ""
    rate_seen: Rate = UNKNOWN_RATE
    since: str = ""
    disconnect_if_needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanItem:
    """One service from before to after: lines, RADIUS rows, live session and money."""

    order: Order
    account_id: str
    address: str
    service_version: int
    before: ServicePoint
    after: ServicePoint
    devices: tuple[DevicePart, ...]
    radius: tuple[RadiusPart, ...]  # none or one
    session: tuple[SessionPart, ...]  # none or one
    money: MoneyPreview
    monthly_delta_minor: int  # what a full period costs after, less what it cost before
    price_version_id: str  # only where the plan's price policy is `pinned` (D11)
    priced_for_date: dt.date

    def gives_more(self) -> bool:
        """Say whether the subscriber gets more after it than before: an upgrade or a start."""
        if self.after.state != "active":
            return False
        return self.before.state != "active" or self.after.rate > self.before.rate

    def item_hash(self) -> str:
        """Digest of everything in the item; re-runs prove by it that they are a subset (D2)."""
        return digest(_ITEM.dump_python(self, mode="json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePlan:
    """Frozen items; blocks nothing, expires after a day (decisions.md D2)."""

    plan_id: str
    created_at: dt.datetime
    expires_at: dt.datetime
    items: tuple[PlanItem, ...]
    skipped: tuple[tuple[str, str], ...] = ()  # (service_id, why) left out of a filter or file
    all_or_nothing: bool = False

    def plan_hash(self) -> str:
        """Digest over the items' hashes and over what else decides how they are applied."""
        return digest(
            {
                "items": [item.item_hash() for item in self.items],
                "skipped": self.skipped,
                "all_or_nothing": self.all_or_nothing,
                "expires_at": self.expires_at.isoformat(),
            }
        )


_ITEM: TypeAdapter[PlanItem] = TypeAdapter(PlanItem)
_PLAN: TypeAdapter[ChangePlan] = TypeAdapter(ChangePlan)


def plan_json(plan: ChangePlan) -> dict[str, Any]:
    """Return the plan as JSON values."""
    value: dict[str, Any] = _PLAN.dump_python(plan, mode="json")
    return value


def plan_from_json(value: dict[str, Any]) -> ChangePlan:
    """Return the plan that `plan_json` wrote."""
    return _PLAN.validate_python(value)


def item_json(item: PlanItem) -> str:
    """Return one item as JSON text."""
    return _ITEM.dump_json(item).decode()


def item_from_json(text: str) -> PlanItem:
    """Return the item that `item_json` wrote."""
    return _ITEM.validate_json(text)
