"""The last gate before a device: only typed objects, only lines that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from inventory import BadField, Refused

from .platform import Objects, Platform


def typed_objects(platform: Platform, thing: str, values: Mapping[str, object]) -> Objects:
    """Return an attachment's fields typed by the platform, in the platform's order.

    Raises BadField naming `thing` for a field that is unknown, missing or outside its allow-list.
    """
    for name in values:
        if name not in platform.fields:
            known = ", ".join(platform.fields)
            raise BadField(thing, f"{platform.name} has no field {name!r:.40}; it has {known}")
    objects: dict[str, str | int] = {}
    for name, field in platform.fields.items():
        if name in values:
            objects[name] = field.check(thing, name, values[name])
        elif field.required:
            raise BadField(thing, f"{name} is missing: it must be {field.help}")
    return objects


def check_lines(thing: str, lines: Iterable[str]) -> tuple[str, ...]:
    """Return `lines` if each is one line of printable ASCII however it is split; else Refused."""
    checked = tuple(lines)
    for line in checked:
        # str.splitlines knows ten separators, a device at least one: none may be inside a line
        plain = line.isascii() and line.isprintable() and line.strip()
        if not plain or line.splitlines() != [line]:
            raise Refused(thing, f"{line!r:.120} is not one plain line: nothing was sent")
    return checked


def gate(
    platform: Platform, lines: Iterable[str], objects: Objects | tuple[Objects, ...]
) -> tuple[str, ...]:
    """Return `lines` if each touches nothing but these objects; else Refused naming the line.

    Given several services' objects, a line may belong to any of them. Called at plan time and
    again just before sending (commit-protocol.md S4).
    """
    services = (objects,) if isinstance(objects, Mapping) else objects
    checked = check_lines(platform.name, lines)
    for line in checked:
        if not any(platform.owned(line, one) for one in services):
            raise _outside(platform, line, "the service's own objects")
    return checked


def gate_profiles(platform: Platform, lines: Iterable[str]) -> tuple[str, ...]:
    """Return `lines` if each only makes a rate profile of ours; else Refused naming the line."""
    checked = check_lines(platform.name, lines)
    for line in checked:
        if not platform.profile_owned(line):
            raise _outside(platform, line, "rate profiles")
    return checked


def _outside(platform: Platform, line: str, limits: str) -> Refused:
    return Refused(
        platform.name,
        f"the line {line!r:.120} reaches beyond {limits}: nothing was sent",
        "Report it: the platform's template or a stored plan is wrong.",
    )
