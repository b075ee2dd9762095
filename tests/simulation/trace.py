"""The abstract trace of one run: what a model of the protocol is held against.

`trace(scenario)` plays the scenario (see `faults.Scenario`; `quiet(place, order, *acts)` makes one
by hand) and returns its steps in order, as `Step(at_s, actor, event, details)`:

| event | actor | details |
|---|---|---|
| `db` | who committed, or "server" for a late COMMIT | `service`, `journal` (""/INTENT/COMMITTED/ABORTED/REVERSED/CLOSED), `decision` (""/COMMIT/ABORT), `ledger` and `rows` (OLD/NEW), `goal` (""/OLD/NEW: what a CLOSED change claims), `epoch`, `exceptions` (participants, comma separated) |
| `device` | who changed it: a process, "human", "timer" or "reload" | `device`, `kind` (junos/token/smartax/linux), `running`, `startup` (OLD/NEW/MIXED/OTHER), `pending` (NONE/OURS/FOREIGN) |
| `session` | a process or "subscriber" | `login`, `live` (NONE/OLD/NEW/OTHER) |
| `request`, `read` | who sent it | `device`, `what`: a request that the device executed |
| `start`, `end`, `kill`, `stop` | the process | nothing |

`db`, `device` and `session` come only when one of their details has changed. One service: details
are those of the place's first. OLD and NEW are what the plan goes from and to.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .boxes import Box
from .faults import Act, Scenario
from .judge import Judge, rates_of
from .places import BASE, SUSPENDED, TIERS, Rates, login_of
from .world import World, access_rates

NEW: dict[str, Rates] = {
    "up": (*TIERS["fiber-1000"][:2], "on"),
    "down": (*TIERS["fiber-100"][:2], "on"),
    "suspend": (*SUSPENDED, "on"),
    "terminate": (0, 0, "off"),
    "activate": (*TIERS["fiber-1000"][:2], "on"),
    "resume": (*TIERS[BASE][:2], "on"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened."""

    at_s: float
    actor: str
    event: str
    details: dict[str, str]

    def text(self) -> str:
        """One line."""
        facts = " ".join(f"{name}={value}" for name, value in self.details.items())
        return f"{self.at_s:9.3f} {self.actor:<10} {self.event:<8} {facts}"


@dataclass(slots=True)
class Recorder:
    """Looks at the world after everything that can change it, and writes down what has changed."""

    world: World
    judge: Judge
    order: str
    steps: list[Step] = field(default_factory=list)
    _last: dict[str, dict[str, str]] = field(default_factory=dict)
    turned_by: dict[str, str] = field(default_factory=dict)

    def add(self, actor: str, event: str, **details: str) -> None:
        """Write a step down."""
        self.steps.append(Step(self.world.scheduler.now_s, actor, event, details))

    def look(self) -> None:
        """Compare the world with what was written last."""
        worker = self.world.scheduler.current
        actor = worker.process.name if worker is not None else "world"
        for box in self.world.boxes.values():
            who = self.turned_by.pop(box.name, actor)
            self._changed(f"device {box.name}", who, "device", self._device(box))
        service_id = self.world.place.ids()[0]
        if self.world.place.logins:
            self._changed("session", actor, "session", self._session(login_of(service_id)))

    def committed(self, actor: str) -> None:
        """The same for the database."""
        self.look()
        self._changed("db", actor, "db", self._db(self.world.place.ids()[0]))

    def _changed(self, key: str, actor: str, event: str, found: dict[str, str]) -> None:
        if self._last.get(key) != found:
            known = key in self._last
            self._last[key] = found
            if known or event == "db":
                self.add(actor, event, **found)

    def _device(self, box: Box) -> dict[str, str]:
        service_id = self.world.place.ids()[0]
        old = rates_of(box.kind, self.world.place.config(box.name), service_id)
        new = NEW[self.order]
        token = box.pending.token if box.pending else ""
        pending = "NONE" if not token else "FOREIGN" if "human" in token else "OURS"
        return {
            "device": box.name,
            "kind": box.kind,
            "running": where(rates_of(box.kind, box.running, service_id), old, new),
            "startup": where(rates_of(box.kind, box.startup, service_id), old, new),
            "pending": pending,
        }

    def _session(self, login: str) -> dict[str, str]:
        live = self.world.online.get(login)
        if live is None:
            return {"login": login, "live": "NONE"}
        seen = (live.down, live.up, "on")
        return {"login": login, "live": where(seen, self.world.place.rates(), NEW[self.order])}

    def _db(self, service_id: str) -> dict[str, str]:
        look = self.judge.look
        row = look.execute(
            "SELECT c.change_id, c.state, c.outcome, c.epoch, d.verdict FROM change c"
            " LEFT JOIN decision d ON d.change_id = c.change_id WHERE c.service_id = ?"
            " ORDER BY c.change_id DESC",
            (service_id,),
        ).fetchone()
        exceptions = look.execute(
            "SELECT participant FROM exception_item WHERE resolved_at IS NULL AND service_id = ?",
            (service_id,),
        ).fetchall()
        old, new = self.world.place.rates(), NEW[self.order]
        answer = access_rates(look, login_of(service_id))
        rows = (*answer, "on") if answer else (0, 0, "off")
        closed = row is not None and row["state"] == "CLOSED"
        return {
            "service": service_id,
            "journal": row["state"] if row else "",
            "decision": (row["verdict"] or "") if row else "",
            "ledger": where(self.judge.folds()[service_id].rates(), old, new),
            "rows": where(rows, old, new) if self.world.place.logins else "",
            "goal": ("NEW" if row["outcome"] == "done" else "OLD") if closed else "",
            "epoch": str(row["epoch"]) if row else "",
            "exceptions": ",".join(sorted(each["participant"] for each in exceptions)),
        }


def where(seen: Rates, old: Rates, new: Rates) -> str:
    """Where a line stands between the two ends."""
    if seen[2] == "off" and new[2] == "off":
        return "NEW"
    if seen in (old, new):
        return "OLD" if seen == old else "NEW"
    ours = all(part in (early, late) for part, early, late in zip(seen, old, new, strict=True))
    return "MIXED" if ours else "OTHER"


def quiet(place: str, order: str, *acts: Act) -> Scenario:
    """A scenario made by hand."""
    return Scenario(seed=1, place=place, order=order, acts=tuple(acts))


def trace(scenario: Scenario) -> tuple[Step, ...]:
    """Play one scenario in a theatre of its own and return its steps."""
    with tracing() as play:
        return play(scenario)


@contextmanager
def tracing() -> Iterator[Callable[[Scenario], tuple[Step, ...]]]:
    """Give a function from scenario to steps, for many runs in one theatre."""
    from .run import theatre  # noqa: PLC0415 - the runner knows this module

    with theatre() as stage:

        def play(scenario: Scenario) -> tuple[Step, ...]:
            return tuple(stage.play(scenario, traced=True).steps)

        yield play
