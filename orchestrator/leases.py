"""Leases: who may drive a device now. Rules of decisions.md D7; no wall clock is ever compared."""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, bindparam, delete, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from inventory import BandmasterError, LeaseHeld, table_of

from .clock import Clock, boot_id, pid_namespace, process_start
from .database import database_now, writing
from .rows import LeaseRow
from .settings import Settings

_LEASE = table_of(LeaseRow)
_NAMED = _LEASE.c.device.in_(bindparam("names", expanding=True))
_OURS = _LEASE.c.owner == bindparam("whose")
# in device order, so that two who want the same ones cannot wait for each other
_HELD = (
    select(LeaseRow)
    .where(col(LeaseRow.device).in_(bindparam("names", expanding=True)))
    .order_by(col(LeaseRow.device))
    .with_for_update()
)
_GONE = delete(_LEASE).where(_NAMED)
_TAKEN = insert(_LEASE)
_RENEWED = (
    update(_LEASE)
    .where(_OURS, _NAMED)
    .values(counter=_LEASE.c.counter + 1, until=bindparam("new_until"))
)
_RELEASED = delete(_LEASE).where(_OURS, _NAMED)
_RACE_S = 10  # two that take the same lease meet once or twice; for longer it is another fault


class LeaseLostError(BandmasterError):
    """The worker's lease is over: it may not send any more; recovery goes on from the journal."""

    exit_code = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process, as other workers can test whether it still lives."""

    owner: str
    host: str = field(default_factory=socket.gethostname)
    boot_id: str = field(default_factory=boot_id)
    pid_namespace: str = field(default_factory=pid_namespace)
    pid: int = field(default_factory=os.getpid)
    pid_start: str = field(default_factory=lambda: process_start(os.getpid()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A lease of somebody else as it was last seen to change, by our own CLOCK_BOOTTIME."""

    sign: tuple[str, int]  # owner and counter
    since_s: float
    moved: bool  # it has changed while we looked: whoever holds it lives


class Leases:
    """All leases of one set: taken in one transaction or not at all, renewed by a thread.

    Use as a context manager. `fence()` is called before every write to a device: it raises
    LeaseLostError once the deadline on this machine's own CLOCK_BOOTTIME has passed.
    `taken_over` names the devices whose former holder was dead: they are drained first.
    """

    def __init__(
        self, engine: Engine, clock: Clock, settings: Settings, owner: Owner, purpose: str
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._owner = owner
        self._purpose = purpose
        self._devices: tuple[str, ...] = ()
        self._deadline_s = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.taken_over: frozenset[str] = frozenset()

    def acquire(
        self,
        devices: frozenset[str],
        *,
        wait_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Take every lease in one transaction, in device order; LeaseHeld after `wait_s`.

        A holder is waited for longer than that only until it has shown whether it lives: its
        counter moves, or stands still for `takeover_s`. `check` is called while waiting and may
        raise, when a person has asked to stop.
        """
        wanted = tuple(sorted(devices))
        give_up = self._clock.boottime_s() + wait_s
        watched: dict[str, _Watched] = {}
        while True:
            before = self._clock.boottime_s()
            try:
                holder = self._try(wanted, watched)
            except IntegrityError:
                if before >= give_up + _RACE_S:
                    raise
                continue  # somebody inserted the same row at the same moment: look again
            if holder is None:
                break
            if self._clock.boottime_s() >= give_up and watched[holder.device].moved:
                raise _held(holder)
            check()
            self._clock.sleep(min(0.5, self._settings.lease_renew_s))
        self._devices = wanted
        self._deadline_s = before + self._settings.lease_ttl_s

    def _try(self, wanted: tuple[str, ...], watched: dict[str, _Watched]) -> LeaseRow | None:
        """Take all leases, or none and return one that is in the way, a living one if any is."""
        with writing(self._engine) as session:
            found = session.exec(_HELD, params={"names": wanted}).all()
            # all are watched from the first look on: their spans run side by side
            held = [
                row
                for row in found
                if row.owner != self._owner.owner and not self._dead(row, watched)
            ]
            if held:
                return max(held, key=lambda row: watched[row.device].moved)
            now = database_now(session)
            until = now + dt.timedelta(seconds=self._settings.lease_ttl_s)
            epochs = {row.device: row.epoch for row in found}
            rows = [self._row(name, epochs.get(name, 0) + 1, now, until) for name in wanted]
            if found:
                session.connection().execute(_GONE, {"names": wanted})
            if rows:  # a service may be carried by RADIUS alone
                session.connection().execute(_TAKEN, rows)
        self.taken_over = frozenset(row.device for row in found if row.owner != self._owner.owner)
        return None

    def _row(
        self, name: str, epoch: int, now: dt.datetime, until: dt.datetime
    ) -> dict[str, object]:
        return {
            "device": name,
            **asdict(self._owner),
            "epoch": epoch,
            "purpose": self._purpose,
            "counter": 0,
            "since": now,
            "until": until,
        }

    def _dead(self, row: LeaseRow, watched: dict[str, _Watched]) -> bool:
        """Say whether the holder is provably gone, or has let its counter stand still too long."""
        here = (row.host, row.boot_id, row.pid_namespace) == (
            self._owner.host,
            self._owner.boot_id,
            self._owner.pid_namespace,
        )
        if here and process_start(row.pid) != row.pid_start:
            return True
        now = self._clock.boottime_s()
        sign = (row.owner, row.counter)
        seen = watched.get(row.device)
        if seen is None or seen.sign != sign:
            watched[row.device] = _Watched(sign=sign, since_s=now, moved=seen is not None)
            return False
        return now - seen.since_s >= self._settings.takeover_s

    def start_renewing(self) -> None:
        """Renew in a thread that touches nothing else, until `release`."""
        self._thread = threading.Thread(target=self._renew_always, name="leases", daemon=True)
        self._thread.start()

    def _renew_always(self) -> None:
        while not self._stop.wait(self._settings.lease_renew_s):
            try:
                self.renew()
            except LeaseLostError:
                return  # the fence closes by itself when the deadline passes
            except BandmasterError:
                continue  # a store that is away for a moment: try again while there is time

    def renew(self) -> None:
        """Move the deadline on; LeaseLostError when a row is no longer ours."""
        before = self._clock.boottime_s()
        if before > self._deadline_s:
            # somebody may have read the counter as dead meanwhile: it must not move any more
            raise LeaseLostError("lease", "this worker slept past its deadline", "")
        with writing(self._engine) as session:
            until = database_now(session) + dt.timedelta(seconds=self._settings.lease_ttl_s)
            where = {"whose": self._owner.owner, "names": self._devices, "new_until": until}
            result = session.connection().execute(_RENEWED, where)
            if result.rowcount != len(self._devices):
                raise LeaseLostError("lease", "another worker has taken over", "")
        self._deadline_s = before + self._settings.lease_ttl_s

    def fence(self) -> None:
        """Raise LeaseLostError unless this worker may still send."""
        now = self._clock.boottime_s()
        if now >= self._deadline_s:  # also before they are taken and after they are given back
            raise LeaseLostError(
                "lease",
                "this worker's lease is over, so it sends nothing more",
                "Run: bandmaster recover",
            )

    def release(self) -> None:
        """Give all leases back; never raises for a database that is away (they expire)."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._deadline_s = 0.0
        devices, self._devices = self._devices, ()
        if not devices:
            return
        try:
            with writing(self._engine) as session:
                where = {"whose": self._owner.owner, "names": devices}
                session.connection().execute(_RELEASED, where)
        except BandmasterError:
            return  # what is left dies with this process: others see that it is gone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def list_leases(session: Session) -> tuple[LeaseRow, ...]:
    """Return all leases, by device."""
    return tuple(session.exec(select(LeaseRow).order_by(col(LeaseRow.device))))


def _held(row: LeaseRow) -> LeaseHeld:
    return LeaseHeld(
        row.device,
        f"is being driven by process {row.pid} on {row.host} for {row.purpose} "
        f"since {row.since:%H:%M:%SZ}",
        "Wait until it is done; if that process is dead, run: bandmaster recover",
    )
