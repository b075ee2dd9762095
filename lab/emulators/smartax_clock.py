"""The clock of an emulated SmartAX: device seconds, faster than ours or moved by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Fixed, so that two runs print the same dates.
BOOT_TIME = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)


class Timer:
    """One thing that will happen at a device second, unless it is cancelled before."""

    def __init__(self, due_s: float, act: Callable[[], None]) -> None:
        self.due_s = due_s
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        """Never happen; harmless when it has happened already."""
        self.cancelled = True


class Clock:
    """Runs `speed` device seconds per second; speed 0 stands still until `advance`."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._moved_s = 0.0
        self._started_s = 0.0
        self._waiting: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self._running = False

    def start(self) -> None:
        """Begin to count; needs the running loop."""
        if not self._running:
            self._running = True
            self._started_s = asyncio.get_running_loop().time()
        self._wind()

    def now_s(self) -> float:
        """Device seconds since power was first given."""
        if not self._running:
            return self._moved_s
        passed_s = asyncio.get_running_loop().time() - self._started_s
        return self._moved_s + passed_s * self._speed

    def date(self) -> datetime:
        """The device's calendar."""
        return BOOT_TIME + timedelta(seconds=self.now_s())

    def later(self, delay_s: float, act: Callable[[], None]) -> Timer:
        """Call `act` in the loop after `delay_s` device seconds."""
        timer = Timer(self.now_s() + delay_s, act)
        heapq.heappush(self._waiting, (timer.due_s, next(self._order), timer))
        self._wind()
        return timer

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once; what falls due happens before this returns, in order."""
        target_s = self.now_s() + seconds
        while self._waiting and self._waiting[0][0] <= target_s:
            self._moved_s += max(0.0, self._waiting[0][0] - self.now_s())
            self._fire_first()
        self._moved_s += max(0.0, target_s - self.now_s())
        self._wind()

    def stop(self) -> None:
        """Cancel the loop's alarm; timers stay and are wound again by the next start."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _fire_first(self) -> None:
        _, _, timer = heapq.heappop(self._waiting)
        if not timer.cancelled:
            timer.act()

    def _fire_due(self) -> None:
        self._alarm = None
        while self._waiting and self._waiting[0][0] <= self.now_s():
            self._fire_first()
        self._wind()

    def _wind(self) -> None:
        self.stop()
        if self._waiting and self._speed > 0:
            # A hair late rather than early: an early alarm would find nothing due.
            wait_s = max(0.0, (self._waiting[0][0] - self.now_s()) / self._speed) + 0.0005
            self._alarm = asyncio.get_running_loop().call_later(wait_s, self._fire_due)
