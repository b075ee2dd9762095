"""The deciding transaction, for one change and for a thousand, durable, on both databases."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from sqlalchemy import text, update
from sqlmodel import col

from benchmarks.databases import DATABASES, database
from benchmarks.fleet import Site, running_site
from benchmarks.measure import Claim, p99, run, working_folder
from billing_bridge import Evidence
from device_templates import section_rate
from inventory import new_id, services_many
from orchestrator.coordinator import _intend, make_handles
from orchestrator.database import database_now, reading, writing
from orchestrator.decide import commit_set
from orchestrator.journal import OpenSet, load_set
from orchestrator.rows import ChangeRow
from workflows import PlanItem

REACH_ONE_MS, REACH_MANY_MS = 20, 1000
GOAL = "fiber-500"


def measure(*, quick: bool) -> Iterator[Claim]:
    """Each database in turn; the plans are real ones, taken forth and back."""
    many = 50 if quick else 1000
    for name in DATABASES:
        with (
            working_folder() as folder,
            database(name, folder) as url,
            running_site(folder, many, url) as site,
        ):
            desk = _Desk(site=site, items=site.plan(site.isp.ids(), GOAL).items)
            bare = desk.bare(20 if quick else 500)
            ones = desk.decide(20 if quick else 500, size=1)
            sets = desk.decide(2 if quick else 12, size=many)
        yield Claim(what=f"{name}: bare UPDATE and INSERT", measured=_times(bare))
        yield Claim(
            what=f"{name}: decision for 1 change",
            measured=_times(ones),
            reach=f"p99 <= {REACH_ONE_MS} ms",
            holds=p99(ones) * 1000 <= REACH_ONE_MS,
        )
        yield Claim(
            what=f"{name}: decision for {many} changes",
            measured=_times(sets),
            reach=f"p99 <= {REACH_MANY_MS} ms",
            holds=p99(sets) * 1000 <= REACH_MANY_MS,
        )


@dataclass(slots=True, kw_only=True)
class _Desk:
    site: Site
    items: tuple[PlanItem, ...]  # each from where its service stands now

    def decide(self, count: int, *, size: int) -> list[float]:
        """Decide `count` sets of `size` changes; return the seconds of each transaction."""
        times = []
        for number in range(count):
            at = number * size % len(self.items)
            opened = self._intend(self.items[at : at + size])
            times.append(self._commit(opened))
            self._close(opened.set_id)
            turned = tuple(_back(item) for item in self.items[at : at + size])
            self.items = (*self.items[:at], *turned, *self.items[at + size :])
        return times

    def bare(self, count: int) -> list[float]:
        """What the database itself takes: one row changed and one of an event's size added."""
        engine = self.site.office.engine
        with writing(engine) as session:
            session.execute(text("CREATE TABLE bare_state (id integer PRIMARY KEY, n integer)"))
            session.execute(text("CREATE TABLE bare_event (seq integer PRIMARY KEY, body text)"))
            session.execute(text("INSERT INTO bare_state VALUES (1, 0)"))
        times = []
        for number in range(count):
            begun = time.perf_counter()
            with writing(engine) as session:
                session.execute(text("UPDATE bare_state SET n = n + 1 WHERE id = 1"))
                row = {"seq": number, "body": "x" * 1000}
                session.execute(text("INSERT INTO bare_event VALUES (:seq, :body)"), row)
            times.append(time.perf_counter() - begun)
        return times

    def _intend(self, items: tuple[PlanItem, ...]) -> OpenSet:
        engine, set_id = self.site.office.engine, new_id()
        with reading(engine) as session:
            services = services_many(session, [item.order.service_id for item in items])
        fresh = tuple(
            replace(item, service_version=service.version)
            for item, service in zip(items, services, strict=True)
        )
        handles = make_handles(fresh, f"{set_id}.1", 300)
        with writing(engine) as session:
            _intend(session, set_id, new_id(), 1, fresh, handles)
        with reading(engine) as session:
            return load_set(session, set_id)

    def _commit(self, opened: OpenSet) -> float:
        evidence = {
            item.order.service_id: _evidence(item, opened) for item in opened.items.values()
        }
        begun = time.perf_counter()
        with writing(self.site.office.engine) as session:
            commit_set(session, opened, evidence, {})
        return time.perf_counter() - begun

    def _close(self, set_id: str) -> None:
        with writing(self.site.office.engine) as session:
            now = database_now(session)
            session.execute(
                update(ChangeRow)
                .where(col(ChangeRow.set_id) == set_id)
                .values(state="CLOSED", outcome="done", applied_at=now, closed_at=now)
            )


def _evidence(item: PlanItem, opened: OpenSet) -> Sequence[Evidence]:
    created_at = opened.changes[0].created_at
    return tuple(
        Evidence(
            device=part.device,
            object=" ".join(f"{name}={value}" for name, value in part.item.objects),
            down_kbps=section_rate(part.item.after).down_kbps,
            up_kbps=section_rate(part.item.after).up_kbps,
            digest=part.item.new_hash,
            observed_at=created_at,
        )
        for part in item.devices
    )


def _back(item: PlanItem) -> PlanItem:
    """The change that leads back to where this one started."""
    key = new_id()
    order = replace(item.order, order_id=key, idempotency_key=key, plan_code=item.before.plan_code)
    devices = tuple(
        replace(
            part,
            item=replace(
                part.item,
                before=part.item.after,
                after=part.item.before,
                forward=part.item.inverse,
                inverse=part.item.forward,
            ),
        )
        for part in item.devices
    )
    radius = tuple(
        replace(
            part,
            group_before=part.group_after,
            group_after=part.group_before,
            reply_before=part.reply_after,
            reply_after=part.reply_before,
        )
        for part in item.radius
    )
    return replace(
        item, order=order, before=item.after, after=item.before, devices=devices, radius=radius
    )


def _times(times_s: Sequence[float]) -> str:
    return f"p50 {median(times_s) * 1000:.1f}, p99 {p99(times_s) * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
