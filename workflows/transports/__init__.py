"""How devices are reached: one module per wire mechanism, found by a platform's `transport`."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from types import ModuleType

from device_templates import Platform
from inventory import BadSettings
from workflows.participant import Wire, WireContext

from .hostkeys import HostKey, enroll, enrolled, scan
from .radius import CoaReply, send_coa
from .snmp import SnmpEvidence, read_evidence
from .snmp_poll import InterfaceCounters, Polled, PollTarget, poll_devices
from .webhook import HookReply, HookTarget, HookUrl, parse_hook_url, send_hook

__all__ = [
    "CoaReply",
    "HookReply",
    "HookTarget",
    "HookUrl",
    "HostKey",
    "InterfaceCounters",
    "PollTarget",
    "Polled",
    "SnmpEvidence",
    "connect",
    "enroll",
    "enrolled",
    "parse_hook_url",
    "poll_devices",
    "preload",
    "read_evidence",
    "scan",
    "send_coa",
    "send_hook",
]

GROUP = "bandmaster.transports"


def connect(context: WireContext, platform: Platform) -> Wire:
    """Return a wire to the device, not yet open, over the platform's own transport.

    The libraries behind a transport are imported here and not before. Raises BadSettings when no
    module of that name exists.
    """
    wire: Wire = _module(platform.transport).connect(context, platform)
    return wire


def preload(platforms: Iterable[Platform]) -> None:
    """Import the libraries behind these platforms, in the calling thread.

    PyEZ walks through all loaded modules while it is imported; another thread that imports
    something at that moment would break it.
    """
    for name in sorted({platform.transport for platform in platforms}):
        _module(name)


def _module(name: str) -> ModuleType:
    if re.fullmatch(r"[a-z][a-z0-9_]*", name):
        if importlib.util.find_spec(f"{__name__}.{name}"):
            return importlib.import_module(f"{__name__}.{name}")
        for entry in entry_points(group=GROUP, name=name):
            module: ModuleType = entry.load()
            return module
    raise BadSettings(
        f"transport {name!r}",
        "there is no such transport",
        f"Add a module to workflows/transports or offer one in the entry point group {GROUP}.",
    )
