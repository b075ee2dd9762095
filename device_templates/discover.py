"""Finds the platforms: every folder beside this file, and what other packages offer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

import device_templates
from inventory import UnknownName

from .platform import Platform

GROUP = "bandmaster.platforms"


@cache
def platforms() -> Mapping[str, Platform]:
    """Return every platform by name: a folder here, or an entry point of `bandmaster.platforms`.

    A folder holds `PLATFORM`; an entry point loads a Platform. Raises ValueError where a name is
    taken twice or differs from its folder's: the name is stored with devices for ever.
    """
    found: dict[str, Platform] = {}
    for module in pkgutil.iter_modules(device_templates.__path__):
        if module.ispkg:
            folder = importlib.import_module(f"{device_templates.__name__}.{module.name}")
            _add(found, module.name, folder.PLATFORM)
    for entry in entry_points(group=GROUP):
        _add(found, entry.name, entry.load())
    return MappingProxyType(dict(sorted(found.items())))


def platform(name: str) -> Platform:
    """Return the platform called `name`; UnknownName with the known ones if there is none."""
    known = platforms()
    if name not in known:
        problem = "is no platform that is known here, so no device of it can be driven"
        raise UnknownName(repr(name)[:40], problem, f"Known platforms: {', '.join(known)}.")
    return known[name]


def _add(found: dict[str, Platform], name: str, offered: object) -> None:
    if not isinstance(offered, Platform) or offered.name != name or name in found:
        msg = f"platform {name}: not a Platform, of another name, or there twice"
        raise ValueError(msg)
    found[name] = offered
