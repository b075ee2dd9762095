"""What stands before every write: only owned lines leave, and only over a section as expected."""

from __future__ import annotations

from device_templates import Platform, gate
from workflows.observe import read_sections
from workflows.participant import Handle, Seen, Wire, classify

from .words import SaysNo

AS_PLANNED: frozenset[Seen] = frozenset({"OLD", "NEW"})
ALL_OURS: frozenset[Seen] = frozenset({"OLD", "NEW", "MIXED"})


def forward_lines(platform: Platform, handle: Handle) -> tuple[str, ...]:
    """Return the forward lines; raises inventory.Refused if one touches what is not its item's."""
    for item in handle.items:
        gate(platform, item.forward, (dict(item.objects),))
    return handle.forward


def inverse_lines(platform: Platform, handle: Handle) -> tuple[str, ...]:
    """Return the inverse lines; raises inventory.Refused if one touches what is not its item's."""
    for item in handle.items:
        gate(platform, item.inverse, (dict(item.objects),))
    return handle.inverse


def expect(wire: Wire, platform: Platform, handle: Handle, allowed: frozenset[Seen]) -> Seen:
    """Read the owned sections and return where they stand together (rule W10).

    Raises SaysNo naming the first service whose section is not in `allowed`; Unreadable and
    Unreachable as reading does.
    """
    found = read_sections(wire, platform, handle.objects()).sections
    seen: set[Seen] = set()
    for item, section in zip(handle.items, found, strict=True):
        where = classify(item.before, item.after, section)
        if where not in allowed:
            has = " ".join(f"{leaf}={value}" for leaf, value in section) or "nothing"
            raise SaysNo(
                f"owned section differs for service {item.service_id}: the device has {has}; "
                "nothing was sent"
            )
        seen.add(where)
    return seen.pop() if len(seen) == 1 else "MIXED"
