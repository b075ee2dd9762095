"""Who is served: accounts, services and where a service meets a device."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

ServiceState = Literal["none", "active", "suspended", "terminated"]
# "none" = known to the inventory, never activated or adopted
Scalar = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalEntity:
    """Who issues the invoices of an account: the seller named on them."""

    code: str
    name: str
    address: str
    tax_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who pays: a billing account with its zone, cycle day and issuer."""

    account_id: str
    name: str
    address: str
    time_zone: str  # IANA
    cycle_day: int  # 1..31, clamped to the month's end
    legal_entity: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Where a service meets a device; `objects` are the platform's typed fields.

    Empty `objects` mean that the device carries the service by RADIUS alone (a dynamic line):
    it is the NAS of the service's sessions, but no line of its configuration is ours.
    """

    service_id: str
    role: Literal["bng", "olt"]
    device: str
    objects: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A subscriber's use of a plan. `version` counts its lifecycle events, from 1; 0 = none yet."""

    service_id: str
    account_id: str
    login: str  # RADIUS User-Name; "" = no login, no session
    plan_code: str  # "" while state is "none"
    tier_code: str  # what the plan gives, or SUSPENDED_TIER's while suspended is shown by state
    state: ServiceState
    version: int
    active_since: dt.datetime | None
    billing_from: dt.date | None  # first local date we bill (D3)
    attachments: tuple[Attachment, ...] = ()
