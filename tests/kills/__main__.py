"""`python -m tests.kills --kills 300 --seed S`: kill real processes, look from the outside, count.

The seed decides every story; `--only N` tells one of them again in a fresh lane. Ends with 0 when
nothing was ever wrong and at least as many processes were killed as asked.
"""

from __future__ import annotations

import argparse
import queue
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lab.servers.daemon import LabError
from lab.servers.postgres import Postgres, binaries
from tests.kills.lanes import Lane, Told, free_subnets, good, lane
from tests.kills.stories import BEGINNINGS, Spans, Story, make_stories
from tests.orchestrator.cuts import list_edges

LANES = 4  # even ones on SQLite, odd ones on PostgreSQL
SPARE = 24  # services of a lane beyond what its share of the stories should need
SHARED_MEMORY = Path("/dev/shm")  # a kill does not depend on the disk, the time does
MORE = 1.2  # some cuts come after the end of their process: so many more are planned


@dataclass(slots=True)
class Report:
    """What all stories came to."""

    seed: int
    asked: int
    began: float
    told: list[Told] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, told: Told) -> None:
        """Note the end of a story, and say it at once where it is a bad one."""
        with self.lock:
            self.told.append(told)
            if told.problem:
                _say(f"\nBROKEN {told.story}\n{told.problem}")
                _say(f"again: --seed {self.seed} --kills {self.asked} --only {told.story.number}")
            elif len(self.told) % 20 == 0:
                _say(f"{self.kills} kills, {time.monotonic() - self.began:.0f} s")

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(len(told.hits) for told in self.told)

    def lines(self) -> list[str]:
        """The report, for people."""
        hits = Counter(hit for told in self.told for hit in told.hits)
        lines = ["where they hit (+ = at a random moment after it):"]
        lines += [f"{number:6} {name}" for name, number in hits.most_common()]
        by_kind: dict[str, Counter[str]] = {}
        for told in self.told:
            ending = told.ending if not told.problem else "BROKEN"
            by_kind.setdefault(told.story.kind, Counter())[ending] += 1
        lines.append("how the orders ended:")
        for kind, endings in sorted(by_kind.items()):
            words = ", ".join(f"{number} {ending}" for ending, number in endings.most_common())
            lines.append(f"{kind:>12}  {words}")
        inside = sum(max(0, len(told.hits) - 1) for told in self.told)
        more = sum(max(0, told.recoveries - 1) for told in self.told)
        lines.append(
            f"{len(self.told)} stories, {inside} kills inside a recovery, "
            f"{sum(told.missed for told in self.told)} cuts came too late, "
            f"{more} recoveries had to be repeated"
        )
        broken = sum(bool(told.problem) for told in self.told)
        lines.append(
            f"kills: {self.kills} killed, {broken} broken, seed {self.seed}, "
            f"{time.monotonic() - self.began:.0f} s"
        )
        return lines


def main() -> int:
    """Tell all stories, or one, and print what came of them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), metavar="S")
    parser.add_argument("--only", type=int, default=0, metavar="N", help="one story, by its number")
    parser.add_argument("--sqlite", action="store_true", help="SQLite alone")
    given = parser.parse_args()
    report = Report(seed=given.seed, asked=given.kills, began=time.monotonic())
    _say(f"seed {given.seed}, {given.kills} kills")
    with ExitStack() as stack:
        server = None if given.sqlite else _server(stack)
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place)))
        # a story needs one and a half services, and has one and a half cuts
        lanes = _open_lanes(stack, base, given.kills // LANES + SPARE, server)
        stories = make_stories(given.seed, int(given.kills * MORE), _measure(lanes))
        if given.only:
            chosen = [story for story in stories if story.number == given.only]
            place_ = given.only % len(lanes)
            _walk(lanes[place_], chosen, report)
        else:
            _walk_all(lanes, stories, report)
    _say("\n".join(report.lines()))
    enough = report.kills >= given.kills or bool(given.only)
    return 0 if enough and not any(told.problem for told in report.told) else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _server(stack: ExitStack) -> Postgres:
    try:
        binaries()
    except LabError as missing:
        raise SystemExit(f"{missing}\nor give --sqlite") from missing
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = Postgres(folder, durable=False)
    server.start()
    stack.callback(server.remove)
    return server


def _open_lanes(stack: ExitStack, base: Path, services: int, server: Postgres | None) -> list[Lane]:
    def opened(number: int, subnet: str) -> Lane:
        folder = base / f"lane-{number}"
        folder.mkdir()
        ours = server if number % 2 else None
        return kept[number].enter_context(lane(folder, subnet, services, ours))

    kept = [stack.enter_context(ExitStack()) for _ in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        return list(pool.map(opened, range(LANES), free_subnets(LANES)))


def _measure(lanes: Sequence[Lane]) -> Spans:
    """Count the edges of a tier change and of its recovery from either side of the decision."""
    recovery: dict[str, int] = {}

    def recovered(found: Lane, at: str, beginning: str) -> None:
        words = ("service", "tier", next(found.services), "fiber-500", "--yes")
        found.field.run(*words, at=at)
        recovery[beginning] = len(list_edges(found.field, "recover"))

    with ThreadPoolExecutor(2) as pool:
        waits = [
            pool.submit(recovered, lanes[0], "after decision", BEGINNINGS[0]),
            pool.submit(recovered, lanes[1], "before decision", BEGINNINGS[1]),
        ]
        words = ("service", "tier", next(lanes[2].services), "fiber-500", "--yes")
        edges = list_edges(lanes[2].field, *words)
        good(lanes[2].field, "recover")
        for wait in waits:
            wait.result()
    for found in lanes:
        found.look()
    return Spans(first=edges.index("before intent") + 1, tier=len(edges), recovery=recovery)


def _walk_all(lanes: Sequence[Lane], stories: Sequence[Story], report: Report) -> None:
    """Tell every story in a lane of its database, as soon as one is free."""
    left: list[queue.SimpleQueue[Story]] = [queue.SimpleQueue(), queue.SimpleQueue()]
    for story in stories:
        left[story.number % 2].put(story)

    def always(number: int) -> None:
        found = lanes[number]
        while report.kills < report.asked:
            try:
                story = left[number % 2].get_nowait()
            except queue.Empty:
                break
            if not found.has_room(story):
                left[number % 2].put(story)
                break
            if not _walk(found, [story], report):
                return
        good(found.field, "ledger", "verify", "--deep")
        good(found.field, "ledger", "replay", "--check")

    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(always, range(len(lanes))))


def _walk(found: Lane, stories: Sequence[Story], report: Report) -> bool:
    """Tell stories until one is broken; say whether the lane can be used on."""
    for story in stories:
        told = found.tell(story)
        report.add(told)
        if told.problem:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
