"""Managed nodes, how they are reached, and references to the secrets that open them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["bng", "olt", "radius"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is kept, never the secret: `env:NAME`, `file:/path`, `keyring:service/name`.

    The empty reference means "none needed". Its repr shows the scheme only.
    """

    ref: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Show the scheme alone; a path or a name may tell more than it should."""
        scheme, _, rest = self.ref.partition(":")
        return f"{scheme}:***" if rest else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnmpTarget:
    """How SNMP evidence is read; port 0 means "not at all"; v3 authPriv by default."""

    port: int = 0
    version: Literal["3", "2c"] = "3"
    user: str = ""
    auth: SecretRef = SecretRef()
    priv: SecretRef = SecretRef()
    community: SecretRef = SecretRef()
    allow_v2c: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CoaTarget:
    """Where the NAS listens for CoA (RFC 5176); port 0 = it does not; host "" = the device's."""

    host: str = ""
    port: int = 0
    secret: SecretRef = SecretRef()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A managed node. `platform` is a folder's name under device_templates, for ever."""

    name: str
    role: Role
    platform: str
    host: str
    port: int
    site: str = ""
    username: str = ""
    password: SecretRef = SecretRef()
    key_file: str = ""  # private SSH key, mode 0600; "" = password
    timeout_s: int = 15
    snmp: SnmpTarget = SnmpTarget()
    coa: CoaTarget = CoaTarget()
