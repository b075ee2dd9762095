"""What exists: subscribers, services, plans, tiers, devices and where they meet."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .catalog import SUSPENDED_TIER, Plan, PriceVersion, Tier
from .device import CoaTarget, Device, SecretRef, SnmpTarget
from .errors import (
    BadField,
    BadSettings,
    BandmasterError,
    DatabaseProblem,
    DeviceProblem,
    HostKeyChanged,
    HostKeyUnknown,
    KeyConflict,
    LeaseHeld,
    LedgerBroken,
    LoginRefused,
    NotNewest,
    OnHold,
    OpenChange,
    ProfileMissing,
    Refused,
    StalePlan,
    Undecided,
    UnknownName,
    Unreachable,
    Unreadable,
    WrongUse,
)
from .ids import new_id
from .subscriber import Account, Attachment, LegalEntity, Service, ServiceState
from .units import (
    MAX_KBPS,
    UNKNOWN_RATE,
    Rate,
    canonical_json,
    check_code,
    check_kbps,
    digest,
    instant_text,
    local_date,
    money_text,
    parse_instant,
    zone,
)

if TYPE_CHECKING:
    from .columns import UtcInstant
    from .nornir_plugin import BandmasterInventory, nornir_inventory
    from .store import (
        accounts_many,
        find_account,
        find_device,
        find_legal_entity,
        find_plan,
        find_service,
        find_tier,
        keep_services,
        list_devices,
        list_plans,
        list_services,
        list_tiers,
        password_refs,
        services_many,
    )

__all__ = [
    "MAX_KBPS",
    "SUSPENDED_TIER",
    "UNKNOWN_RATE",
    "Account",
    "Attachment",
    "BadField",
    "BadSettings",
    "BandmasterError",
    "BandmasterInventory",
    "CoaTarget",
    "DatabaseProblem",
    "Device",
    "DeviceProblem",
    "HostKeyChanged",
    "HostKeyUnknown",
    "KeyConflict",
    "LeaseHeld",
    "LedgerBroken",
    "LegalEntity",
    "LoginRefused",
    "NotNewest",
    "OnHold",
    "OpenChange",
    "Plan",
    "PriceVersion",
    "ProfileMissing",
    "Rate",
    "Refused",
    "SecretRef",
    "Service",
    "ServiceState",
    "SnmpTarget",
    "StalePlan",
    "Tier",
    "Undecided",
    "UnknownName",
    "Unreachable",
    "Unreadable",
    "UtcInstant",
    "WrongUse",
    "accounts_many",
    "canonical_json",
    "check_code",
    "check_kbps",
    "digest",
    "find_account",
    "find_device",
    "find_legal_entity",
    "find_plan",
    "find_service",
    "find_tier",
    "instant_text",
    "keep_services",
    "list_devices",
    "list_plans",
    "list_services",
    "list_tiers",
    "local_date",
    "money_text",
    "new_id",
    "nornir_inventory",
    "parse_instant",
    "password_refs",
    "services_many",
    "zone",
]

# loaded at first use, because a command line's `--help` must not wait for SQLAlchemy or Nornir
_LATER = {
    "columns": ("UtcInstant",),
    "nornir_plugin": (
        "BandmasterInventory",
        "nornir_inventory",
    ),
    "store": (
        "accounts_many",
        "find_account",
        "find_device",
        "find_legal_entity",
        "find_plan",
        "find_service",
        "find_tier",
        "keep_services",
        "list_devices",
        "list_plans",
        "list_services",
        "list_tiers",
        "password_refs",
        "services_many",
    ),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` (PEP 562)."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
