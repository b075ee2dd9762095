"""What a scenario does to the world: a list of acts, each at a numbered edge; drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .places import ORDERS, PLACES

EDGES = ("sql", "commit", "device", "radius")
DEVICE_FAULTS = ("lost", "unanswered", "late", "refused", "sent+kill", "late+kill")
RADIUS_FAULTS = (
    *("lost", "unanswered", "late", "refused", "refused 503", "refused 506"),
    *("sent+kill", "late+kill"),
)
COMMIT_FAULTS = ("lost", "landed", "full", "late", "vanish", "late+kill", "vanish+kill")
WORLD_FAULTS = (
    "box away",
    "box refuses",
    "database away",
    "statement lost",
    "reload",
    "human edit",
    "human edit beside",
    "human commit",
    "human confirmed",
    "human lock",
    "relogin",
)
WORKERS = ("recover", "recover elsewhere", "apply again", "apply elsewhere", "interrupt", "answer")
ANSWERS = ("retry", "accept", "reverse")
MIDNIGHT_S = 18 * 3600.0  # of the accounts' time zone, from the plan on


@dataclass(frozen=True, slots=True, order=True)
class Act:
    """Something that happens at the `at`-th edge of a kind ("any" counts all of them)."""

    edge: str
    at: int
    what: str
    value: float = 0.0
    target: int = 0

    def text(self) -> str:
        """One line of a story."""
        more = f" ({self.value:g} s, target {self.target})" if self.value or self.target else ""
        return f"{self.edge} edge {self.at}: {self.what}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run: what is ordered where, who works beside, and what goes wrong."""

    seed: int
    place: str
    order: str
    quantum: int = 1_000_000
    elsewhere: bool = False  # recovery runs on another host: it cannot see whether a worker lives
    watcher: str = ""  # "", "same host" or "elsewhere": somebody runs recovery all the time
    acts: tuple[Act, ...] = ()
    again: bool = False  # afterwards another order, and then the first one once more, same key
    undo: str = ""  # "rollback" or "as never": what is done is taken back afterwards
    starts_s: float = 0.0  # after the plan was made; MIDNIGHT_S less a little crosses a midnight
    proration: str = "day"  # of every plan; the other one is "second"
    answer: str = ""  # what a person says to exceptions, where that is offered; else "accept"

    def text(self) -> str:
        """The scenario for people."""
        head = f"seed {self.seed}: {self.order} at {self.place}, quantum {self.quantum}"
        head += ", billed by the second" if self.proration == "second" else ""
        head += ", recovery elsewhere" if self.elsewhere else ""
        head += ", ordered again" if self.again else ""
        head += f", then {self.undo}" if self.undo else ""
        head += f", {self.starts_s:.0f} s after it was planned" if self.starts_s else ""
        head += f", exceptions answered with {self.answer}" if self.answer else ""
        return "\n  ".join([head + (f", watcher {self.watcher}" if self.watcher else ""),
                            *(act.text() for act in self.acts)])  # fmt: skip


# about as many edges of each kind as a change with its recovery passes
SPAN = {"sql": 600, "commit": 100, "device": 140, "radius": 6}
INTENT = {"sql": 90, "commit": 5, "device": 8, "radius": 1}  # little can go wrong before these
WEIGHTS = {"junos": 4, "static": 4, "token": 3, "inverse": 5, "deadman": 5, "both": 3}
WEIGHTS |= {"mixed": 2, "set3": 1}


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    rng = random.Random(seed)  # noqa: S311 - a story, not a secret
    place = rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
    count = rng.choices((1, 2, 3, 4, 5, 7), (2, 4, 4, 3, 2, 1))[0]
    acts = tuple(sorted(_act(rng, PLACES[place].logins) for _ in range(count)))
    return Scenario(
        seed=seed,
        place=place,
        order=rng.choices(ORDERS, (12, 6, 2, 2, 3, 3))[0],
        proration=rng.choices(("day", "second"), (5, 1))[0],
        quantum=rng.choice((1, 3, 10, 40, 1_000_000)),
        elsewhere=rng.random() < 0.25,
        watcher=rng.choices(("", "same host", "elsewhere"), (6, 1, 2))[0],
        acts=acts,
        again=rng.random() < 0.05,
        answer=rng.choice(("", *ANSWERS)),
        undo=rng.choices(("", "rollback", "as never"), (30, 1, 1))[0],
        starts_s=MIDNIGHT_S - rng.uniform(0, 40) if rng.random() < 0.1 else 0.0,
    )


def _act(rng: random.Random, logins: bool) -> Act:
    group = rng.choices(
        ("kill", "stop", "device", "radius", "commit", "world", "worker"),
        (28, 8, 24, 6 if logins else 0, 14, 14, 8),
    )[0]
    edge = rng.choices(EDGES, (2, 3, 5, 1 if logins else 0))[0]
    value, target = 0.0, rng.randrange(6)
    if group in ("device", "radius", "commit"):
        faults = {"device": DEVICE_FAULTS, "radius": RADIUS_FAULTS, "commit": COMMIT_FAULTS}
        edge, what = group, rng.choice(faults[group])
        value = rng.choice((1.0, 5.0, 20.0, 45.0, 90.0))
        # a request can only meet a fault on its way: an edge before it
    elif group == "world":
        what = rng.choice(WORLD_FAULTS)
        value = rng.choice((3.0, 10.0, 40.0, 120.0, 400.0))
        if what == "relogin":
            value = rng.choice((0.5, 5.0, 19.0))
    elif group == "worker":
        what = rng.choice(WORKERS)
    else:
        what = group
        value = (
            rng.choice((0.0, 0.0, 30.0)) if what == "kill" else rng.choice((8.0, 25.0, 90.0, 400.0))
        )
    low, high = INTENT[edge], SPAN[edge]
    shape = rng.random()
    if shape < 0.1:
        low = 1
    if shape < 0.7:
        high = (low + high) // 2
    return Act(edge=edge, at=rng.randint(low, high), what=what, value=value, target=target)
