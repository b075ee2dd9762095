"""What one tier change costs until it is applied, against a plain script that keeps no record."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.fleet import Site, running_site
from benchmarks.measure import Claim, run, spread, working_folder
from benchmarks.plain import Plain

REACH = 1.25
GOAL = "fiber-500"


def measure(*, quick: bool) -> Iterator[Claim]:
    """Take turns: ours, the lean script, the script as its libraries come."""
    rounds = 2 if quick else 15
    with working_folder() as folder, running_site(folder, 3 * rounds + 3) as site:
        names = iter(site.isp.ids())
        lean, stock = Plain(isp=site.isp, lean=True), Plain(isp=site.isp, lean=False)
        _check_alike(site, lean, next(names), next(names))  # also warms up
        stock.change(next(names), GOAL)
        planning, applying, leanly, stockly = [], [], [], []
        for _ in range(rounds):
            begun = time.perf_counter()
            plan = site.plan((next(names),), GOAL)
            planning.append(time.perf_counter() - begun)
            applying.append(_time(lambda: site.apply(plan)))  # noqa: B023 - called at once
            leanly.append(_time(lambda: lean.change(next(names), GOAL)))
            stockly.append(_time(lambda: stock.change(next(names), GOAL)))
    ratio = median(applying) / median(leanly)
    with_plan = (median(planning) + median(applying)) / median(leanly)
    yield Claim(what="one tier change until applied", measured=spread(applying))
    yield Claim(what="  the same by a lean script", measured=spread(leanly))
    yield Claim(what="  the same, libraries as they come", measured=spread(stockly))
    yield Claim(what="  its planning before", measured=spread(planning))
    yield Claim(
        what="overhead against the lean script",
        measured=f"x {ratio:.2f}",
        reach=f"<= {REACH}",
        holds=ratio <= REACH,
    )
    yield Claim(what="  planning counted in", measured=f"x {with_plan:.2f}")
    yield Claim(
        what="  against the libraries as they come",
        measured=f"x {median(applying) / median(stockly):.2f}",
    )


def _time(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _check_alike(site: Site, lean: Plain, ours: str, theirs: str) -> None:
    """Raise unless both send the devices the same: else the comparison would mean nothing."""
    plan = site.plan((ours,), GOAL)
    asked = [
        _heard(site, lambda: site.apply(plan)),
        _heard(site, lambda: lean.change(theirs, GOAL)),
    ]
    if asked[0] != asked[1]:
        message = f"not the same operations: {asked[0] - asked[1]} against {asked[1] - asked[0]}"
        raise RuntimeError(message)


def _heard(site: Site, act: Callable[[], object]) -> Counter[tuple[str, str]]:
    """Count what the devices hear meanwhile: the calls, and each line without its numbers."""
    names = (site.isp.bng, site.isp.olt(1))
    before = {name: site.control.call(name, "log")["last"] for name in names}
    act()
    heard: Counter[tuple[str, str]] = Counter()
    for name in names:
        for entry in site.control.call(name, "log", since=before[name])["entries"]:
            if entry["what"] == "line" and entry["text"]:
                heard[name, re.sub(r"\d+", "N", entry["text"])] += 1
            elif name == site.isp.bng and "-" in entry["what"]:
                heard[name, entry["what"]] += 1
    return heard


if __name__ == "__main__":
    sys.exit(run(__doc__ or "", measure))
