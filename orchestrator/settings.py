"""Settings: one TOML file, found in a fixed order; the environment wins for the database."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

from inventory import BadSettings

from .secrets import refuse_open_file

FILE = "bandmaster.toml"
_WORDS = {str: "text in quotes", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a site can set; spans in seconds."""

    database_url: str = field(default="sqlite:///bandmaster.db", repr=False)  # may hold a password
    known_hosts: str = "known_hosts"
    set_max: int = 200  # services decided together at most
    workers: int = 50  # devices driven at once
    revert_after_s: int = 300  # whole minutes: a confirm timer counts in them
    confirm_budget_s: int = 30
    lease_ttl_s: int = 15
    lease_renew_s: int = 5
    lease_wait_s: int = 60
    takeover_s: int = 20  # a counter that stands still for so long belongs to a dead worker
    settle_s: int = 30  # longest time a login may take that still reads the old rows
    coa_window_s: int = 300  # a NAS drops a CoA that is older (RFC 5176 section 6.3)
    watch_s: int = 10
    retries: int = 3  # after the decision, before a refusal becomes a reversal
    plan_hours: int = 24
    usage_wait_s: int = 900  # from a window's end to its counting: an interim may be under way
    snmp_in_flight: int = 20  # devices asked for their counters at once
    snmp_timeout_s: int = 30  # for all counters of a device
    require_ticket: bool = False
    credit_limit_minor: int = 5000  # above it a second person agrees; minor units of any currency
    invoice_grace_hours: int = 24  # after a period's end its late usage is waited for
    backdate_days: int = 90  # how far back what was billed is still corrected
    tax_name: str = ""  # one tax on everything; "" = none
    tax_rate_bp: int = 0  # hundredths of a percent
    tax_hook: str = ""  # "module:function" that says the taxes instead (billing_bridge.TaxHook)
    webhook_attempts: int = 15  # then a delivery is a dead letter, after a day at most
    webhook_timeout_s: int = 10
    path: str = ""  # the file these came from; "" = none, all defaults


def find_file() -> Path | None:
    """Return the settings file in force: ./, then /etc/bandmaster/, then the user's own."""
    config = Path(os.environ.get("XDG_CONFIG_HOME", "") or Path.home() / ".config")
    for place in (Path(FILE), Path("/etc/bandmaster") / FILE, config / "bandmaster" / FILE):
        if place.is_file():
            return place
    return None


def load(path: Path | None = None) -> Settings:
    """Read the settings; BadSettings names the key. BANDMASTER_DATABASE_URL wins (D14)."""
    place = path or find_file()
    values: dict[str, object] = {}
    if place is not None:
        values = _read(place)
        values["path"] = str(place)
        for name in ("known_hosts",):
            values[name] = str(place.parent / str(values.get(name, name)))
    url = os.environ.get("BANDMASTER_DATABASE_URL")
    if url:
        values["database_url"] = url
    settings = Settings(**values)  # type: ignore[arg-type]  # checked against the fields below
    _check_leases(settings)
    return settings


def _read(place: Path) -> dict[str, object]:
    try:
        found = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(str(place), f"cannot be read: {error}", "Correct the file.") from error
    if "@" in str(found.get("database_url", "")):
        refuse_open_file(place, f"settings file {place} (its database_url may hold a password)")
    known = {found.name: found.default for found in fields(Settings) if found.name != "path"}
    for name, value in found.items():
        if name not in known:
            raise BadSettings(
                f"{place}: {name}", "is not a setting", f"Settings are: {', '.join(known)}."
            )
        if type(value) is not type(known[name]):
            # the value is not shown: a database_url of any shape may hold a password
            kind = _WORDS[type(known[name])]
            raise BadSettings(f"{place}: {name}", f"must be {kind}", "Correct the file.")
        if isinstance(value, int) and value < 0:
            raise BadSettings(f"{place}: {name}", f"must be 0 or more, got {value}")
    _check(place, found)
    return found


def _check(place: Path, found: dict[str, object]) -> None:
    revert = found.get("revert_after_s", 60)
    if not isinstance(revert, int) or revert < 60 or revert % 60:  # noqa: PLR2004
        raise BadSettings(
            f"{place}: revert_after_s",
            f"must be a positive multiple of 60, got {revert!r}",
            "A timer of 0 would keep what is sent for good, before the decision.",
        )
    least_one = ("set_max", "workers", "lease_ttl_s", "lease_renew_s", "plan_hours", "retries")
    of_others = ("webhook_attempts", "webhook_timeout_s", "snmp_in_flight", "snmp_timeout_s")
    for name in (*least_one, *of_others):
        if found.get(name, 1) == 0:
            raise BadSettings(f"{place}: {name}", "must be at least 1")


def _check_leases(found: Settings) -> None:
    """A taker must wait longer than a worker believes in its lease: else both would send."""
    if found.lease_renew_s < found.lease_ttl_s < found.takeover_s:
        return
    raise BadSettings(
        f"{found.path}: lease_renew_s, lease_ttl_s, takeover_s",
        f"must rise, got {found.lease_renew_s}, {found.lease_ttl_s}, {found.takeover_s}",
        "A lease is renewed before it ends, and taken over only after that.",
    )
