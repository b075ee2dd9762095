"""The clocks of this process: a monotonic one for deadlines, and sleeping; both injectable."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Money and order are told by the database; this clock only measures spans."""

    def boottime_s(self) -> float:
        """Seconds since boot, running on through suspend; never set by anybody."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class HostClock:
    """The machine's own clocks."""

    def boottime_s(self) -> float:
        """CLOCK_BOOTTIME where there is one: a suspended machine must find its lease over."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


def boot_id() -> str:
    """Return what tells one boot of this machine from the next ("" where the system has none)."""
    return _read("/proc/sys/kernel/random/boot_id")


def pid_namespace() -> str:
    """Return the name of this process's pid namespace ("" where there is none)."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """Return when a process started, as the kernel counts; "" when it is gone."""
    stat = _read(f"/proc/{pid}/stat")
    if stat:
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    if Path("/proc").is_dir():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    return "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
