"""The office: what every act of this process is given, and what a test or a simulation replaces."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nornir.core.plugins.runners import RunnerPlugin
from sqlalchemy import Engine

from device_templates import AccessSession, ReplyAttribute
from inventory import Device
from workflows import CoaReply, Crew, CrewSettings, Fence, send_coa

from .clock import Clock, HostClock
from .database import make_engine
from .leases import Leases, Owner
from .memory import FILE, FileMemory, Memory, check_store
from .secrets import SecretStore
from .settings import Settings


class Teller(Protocol):
    """Hears progress as it happens: a participant (or "decision") and what became of it."""

    def __call__(self, participant: str, text: str) -> None:
        """Show or drop the news."""


def silence(participant: str, text: str) -> None:
    """Drop the news."""


class CoaPort(Protocol):
    """Sends one CoA-Request or Disconnect-Request to a NAS and brings back what came of it."""

    def __call__(
        self,
        device: Device,
        session: AccessSession,
        attributes: tuple[ReplyAttribute, ...],
        action: str,
    ) -> CoaReply:
        """Return ACK, NAK with its Error-Cause, or SILENCE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Store, clock, secrets and the ways to devices; ports can be replaced, rules cannot."""

    engine: Engine
    settings: Settings
    clock: Clock
    secrets: SecretStore
    crew: Callable[[tuple[Device, ...], Fence], Crew]
    coa: CoaPort
    tell: Teller = field(default=silence)
    memory: Memory | None = None  # None: the store lives no longer than this process

    def check_store(self) -> None:
        """Raise Refused where the store was put back from a copy (D16)."""
        if self.memory is not None:
            check_store(self.engine, self.memory)

    def leases(self, purpose: str) -> Leases:
        """Return leases (not yet taken) under an owner of their own.

        Whoever sends anything comes through here: Refused where the store was put back.
        """
        self.check_store()
        owner = Owner(owner=uuid.uuid4().hex)
        return Leases(self.engine, self.clock, self.settings, owner, purpose)


def open_office(
    settings: Settings, *, tell: Teller = silence, runner: RunnerPlugin | None = None
) -> Office:
    """Return the office of this host by its settings; opens no connection yet."""
    base = Path(settings.path).parent if settings.path else Path()
    secrets = SecretStore(base)
    crew_settings = CrewSettings(
        resolve=secrets, known_hosts=settings.known_hosts, workers=settings.workers
    )

    def crew(devices: tuple[Device, ...], fence: Fence) -> Crew:
        return Crew(devices, crew_settings, fence=fence, runner=runner)

    def coa(
        device: Device,
        session: AccessSession,
        attributes: tuple[ReplyAttribute, ...],
        action: str,
    ) -> CoaReply:
        return send_coa(device, secrets(device.coa.secret), session, attributes, action)

    return Office(
        engine=make_engine(settings.database_url),
        settings=settings,
        clock=HostClock(),
        secrets=secrets,
        crew=crew,
        coa=coa,
        tell=tell,
        memory=FileMemory(Path(settings.known_hosts).with_name(FILE)),
    )
