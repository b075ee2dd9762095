"""A thousand tier changes on one OLT and one BNG in one set, against the same done one by one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from benchmarks.fleet import running_site
from benchmarks.measure import Claim, run, spread, working_folder

REACH = 20
GOAL = "fiber-500"


def measure(*, quick: bool) -> Iterator[Claim]:
    """One by one first (a sample), then all the others in one set; planning told apart."""
    alone, together = (3, 50) if quick else (20, 1000)
    with working_folder() as folder, running_site(folder, 1 + alone + together) as site:
        warm, *names = site.isp.ids()
        site.apply(site.plan((warm,), GOAL))
        singles, plannings = [], []
        for name in names[:alone]:
            begun = time.perf_counter()
            plan = site.plan((name,), GOAL)
            planned = time.perf_counter()
            site.apply(plan)
            singles.append(time.perf_counter() - planned)
            plannings.append(planned - begun)
        begun = time.perf_counter()
        plan = site.plan(tuple(names[alone:]), GOAL)
        planned = time.perf_counter()
        site.apply(plan, set_max=together)
        applied = time.perf_counter()
    one_rate = alone / sum(singles)
    set_rate = together / (applied - planned)
    both = (together / (applied - begun)) / (alone / (sum(singles) + sum(plannings)))
    yield Claim(what="one by one", measured=f"{one_rate:.2f}/s, each {spread(singles)}")
    yield Claim(
        what=f"{together} in one set",
        measured=f"{set_rate:.1f}/s, all in {applied - planned:.1f} s",
    )
    yield Claim(what="  its planning before", measured=f"{planned - begun:.1f} s")
    yield Claim(
        what="rate in one set against one by one",
        measured=f"x {set_rate / one_rate:.1f}",
        reach=f">= {REACH}",
        holds=set_rate >= REACH * one_rate,
    )
    yield Claim(what="  planning counted in", measured=f"x {both:.1f}")


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
