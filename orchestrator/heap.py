"""How often Python looks for garbage in cycles."""

from __future__ import annotations

import gc

_NEW = 10_000  # new objects before one looks for it; Python's own figure is 700


def collect_less() -> None:
    """Look less often: for a process of ours, never for one that only imports us.

    Most of what a bulk command makes (rows, events) is in no cycle and goes by itself, while
    each look walks over all of it: it took an eighth of the time of posting usage.
    """
    gc.set_threshold(_NEW, *gc.get_threshold()[1:])
