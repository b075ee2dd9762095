"""The judge: holds the invariants P1 to P14 against the world, from outside of the program.

It reads the committed rows with SQL of its own and the devices as they are. It is called after
every landed COMMIT and every change of a device, and once everything is at rest.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inventory import local_date, parse_instant

from .boxes import HUMAN, Box, Config, Login
from .places import SUSPENDED, TABLE_OF, TIERS, ZONE, Rates, line_of, login_of
from .sessions import WRITES
from .world import Online, World, access_rates

OURS_NOT = (HUMAN, "timer", "reload")
LATE = "late "  # how a sender is called whose request arrives when he has given it up
PERSON = "Z"  # processes in which a person answers exceptions
RECOVERERS = "RPWX"  # processes that talk to devices for an open change only
RATE_OF_TABLE = {index: kbps for kbps, index in TABLE_OF.items()}
WAKES_S = 1.0  # how long others may have the turn before who woke up does what he was about to
CHARGES = ("tier.changed", "service.activated", "service.resumed")


@dataclass(frozen=True, slots=True)
class Violation:
    """Which promise was broken, when, and how it shows."""

    at_s: float
    promise: str
    text: str


@dataclass(slots=True)
class Fold:
    """A service as the ledger has it."""

    plan: str = ""
    tier: str = ""
    state: str = "none"

    def rates(self) -> Rates:
        """What its line may do."""
        if self.state == "active":
            return (*TIERS[self.tier][:2], "on")
        return (*SUSPENDED, "on") if self.state == "suspended" else (0, 0, "off")


@dataclass(slots=True)
class Judge:
    """Watches one run."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    last_read_s: dict[str, float] = field(default_factory=dict)
    human_s: dict[tuple[str, str], float] = field(default_factory=dict)  # (box, line)
    turned_s: dict[tuple[str, str], float] = field(default_factory=dict)  # (box, service)
    closed_s: dict[tuple[str, str], float] = field(default_factory=dict)  # (service, box)
    closed: set[str] = field(default_factory=set)
    decisions: dict[str, str] = field(default_factory=dict)
    ledger: list[tuple[int, bytes]] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    folded: tuple[int, dict[str, Fold]] = (-1, {})  # as of so many events
    recorder: Any = None  # trace.Recorder, where a trace is wanted
    look: Any = None
    known: dict[tuple[object, ...], list[Any]] = field(default_factory=dict)  # answers of a version
    version: int = -1

    def begin(self) -> None:
        """Watch from now on."""
        world = self.world
        self.look = world.store.look()
        self._read_ledger()
        world.store.committed = self.committed
        world.heard = self.heard
        world.coa_heard = self.coa_heard
        world.coa_done = self.coa_done
        for box in world.boxes.values():
            box.changed = self.changed
            box.permanent = self.permanent

    def end(self) -> None:
        """Stop watching."""
        if self.look is not None:
            self.look.close()

    def blame(self, promise: str, text: str) -> None:
        """Write a violation down."""
        found = Violation(self.world.scheduler.now_s, promise, text)
        self.violations.append(found)
        self.world.scheduler.tell("JUDGE", f"{promise}: {text}")

    def _rows(self, query: str, *values: object) -> list[Any]:
        version = self.world.store.version
        if version != self.version:
            self.version, self.known = version, {}
        key = (query, *values)
        if key not in self.known:
            self.known[key] = self.look.execute(query, values).fetchall()
        return self.known[key]

    # --- after each landed COMMIT

    def committed(self) -> None:
        """P4, P5, P11 hold in every committed state."""
        self._read_ledger()
        folds = self.folds()
        self._same_everywhere(folds)
        for row in self._rows("SELECT change_id, verdict FROM decision"):
            known = self.decisions.setdefault(row["change_id"], row["verdict"])
            if known != row["verdict"]:
                self.blame("P4", f"the decision of {row['change_id']} turned to {row['verdict']}")
        open_ones: Counter[str] = Counter()
        for row in self._rows("SELECT change_id, service_id, state FROM change"):
            open_ones[row["service_id"]] += row["state"] != "CLOSED"
            if row["state"] == "CLOSED" and row["change_id"] not in self.closed:
                self._note_close(row["change_id"], row["service_id"])
        for service_id, count in open_ones.items():
            if count > 1:
                self.blame("P11", f"{service_id} has {count} open changes")
        if self.recorder is not None:
            worker = self.world.scheduler.current
            self.recorder.committed(worker.process.name if worker else "server")

    def _note_close(self, change_id: str, service_id: str) -> None:
        self.closed.add(change_id)
        for name in self._devices_of(service_id):
            self.closed_s[service_id, name] = self.last_read_s.get(name, 0.0)
        if change_id not in self.decisions:
            self.blame("P4", f"{change_id} is closed without a decision")

    def _read_ledger(self) -> None:
        place = len(self.ledger)
        rows = self._rows("SELECT * FROM billing_event WHERE seq >= ? ORDER BY seq", place)
        if place:
            if not rows or (rows[0]["seq"], bytes(rows[0]["hash"])) != self.ledger[-1]:
                self.blame("P4", "the ledger did not only grow")
                return
            rows = rows[1:]
        for row in rows:
            self.ledger.append((row["seq"], bytes(row["hash"])))
            self.events.append(row)
            self._well_founded(row)
            if row["change_id"]:
                same = [e for e in self.events if e["change_id"] == row["change_id"]]
                kinds = Counter("reversal" if e["reverses_event_id"] else e["type"] for e in same)
                if max(kinds.values()) > 1 or len(kinds) > 3:
                    self.blame("P4", f"change {row['change_id']} posted {dict(kinds)}")

    def _well_founded(self, row: Any) -> None:
        """P13: a charge names what each device was read to give, and that is what it bills."""
        payload = json.loads(row["body"])["payload"]
        if row["type"] not in CHARGES or not row["change_id"]:
            return
        wanted = TIERS[payload["tier"]][:2]
        for proof in payload.get("evidence", ()):
            seen = (int(proof["down_kbps"]), int(proof["up_kbps"]))
            given = rates_of(
                self.world.boxes[proof["device"]].kind,
                self.world.boxes[proof["device"]].running,
                row["service_id"],
            )
            if seen != wanted:
                self.blame("P13", f"bills {wanted} on the strength of {seen}, really {given[:2]}")

    def folds(self) -> dict[str, Fold]:
        """Every service as the ledger has it."""
        if self.folded[0] != len(self.events):
            self.folded = (len(self.events), self._fold())
        return self.folded[1]

    def _fold(self) -> dict[str, Fold]:
        folds = {service_id: Fold() for service_id in self.world.place.ids()}
        return folds | {row["service_id"]: fold for row, fold in self._standing()}

    def _standing(self) -> Iterator[tuple[Any, Fold]]:
        """What a service became by each event that nobody took back."""
        taken = {e["reverses_event_id"] for e in self.events if e["reverses_event_id"]}
        for row in self.events:
            passed = row["type"] in ("service.effect_shifted", "reconciliation.adopted")
            if row["event_id"] in taken or row["reverses_event_id"] or passed:
                continue
            found = json.loads(row["body"])["payload"]
            names = ("plan", "tier", "state")
            yield row, Fold(**{name: found[name] for name in names if name in found})

    def _same_everywhere(self, folds: dict[str, Fold]) -> None:
        """P5: services and RADIUS rows say what the ledger says, in one snapshot."""
        for row in self._rows("SELECT service_id, plan_code, tier_code, state FROM service"):
            fold = folds[row["service_id"]]
            # without a state the row is there for its version alone
            plan = row["plan_code"] if row["state"] != "none" else ""
            if (plan, row["state"]) != (fold.plan, fold.state):
                self.blame("P5", f"service row of {row['service_id']} differs from the ledger")
        if not self.world.place.logins:
            return
        for service_id, fold in folds.items():
            down, up, state = fold.rates()
            answer = access_rates(self.look, login_of(service_id))
            if answer != ((down, up) if state == "on" else None):
                self.blame("P5", f"{service_id}: RADIUS answers {answer}, the ledger says {fold}")

    # --- after each thing that reaches a device

    def heard(self, box: Box, _login: Login, what: str) -> None:
        """P10: no write of ours reaches a device on which no change of ours is open."""
        if self.recorder is not None:
            event = "request" if what.startswith(WRITES) else "read"
            self.recorder.add(self.world.sender, event, device=box.name, what=what)
        if not what.startswith(WRITES):
            self.last_read_s[box.name] = self.world.scheduler.now_s
            if self.world.sender[:1] not in RECOVERERS or (what == "lock" and self._just_woke()):
                return
        found = self._rows(
            "SELECT count(*) n, sum(c.state <> 'CLOSED') o FROM change c JOIN participant p"
            " ON p.set_id = c.set_id WHERE p.name = ?",
            box.name,
        )[0]
        if not found["n"]:
            if not what.startswith(WRITES):
                return
            self.blame("P2", f"{what} on {box.name} without a durable intent")
        elif not found["o"] and not self._asked(self.world.sender, box.name):
            self.blame("P10", f"{what} on {box.name} after every change there was closed")

    def _just_woke(self) -> bool:
        """Whether who has the turn was stopped at about this request, behind his last look.

        A lock changes nothing, and right behind it the lease is asked again: he stops there.
        """
        woke_s = self.world.scheduler.me().process.stopped_until_s
        return woke_s > 0 and self.world.scheduler.now_s - woke_s < WAKES_S

    def _asked(self, who: str, participant: str) -> bool:
        """Whether a person has to do with it: that may be on a closed change.

        Their answer is being carried out, or what arrives late was on its way to a participant that
        was away, and that they have accepted as it is since.
        """
        query = "SELECT 1 FROM exception_item WHERE resolved_at IS NULL AND participant LIKE ?"
        if who.removeprefix(LATE).startswith(PERSON) and self._rows(query, participant):
            return True
        query = "SELECT 1 FROM exception_item WHERE resolution LIKE 'accepted%' AND participant = ?"
        return who.startswith(LATE) and bool(self._rows(query, participant))

    def _service_of(self, box: Box, key: str) -> str:
        line = key.partition("/")[0]
        ids = self.world.place.ids()
        return next((each for each in ids if line_of(box.kind, each) == line), "")

    def _devices_of(self, service_id: str) -> tuple[str, ...]:
        place = self.world.place
        return place.services[place.ids().index(service_id)]

    def changed(self, box: Box, who: str, before: Config) -> None:
        """P2, P8, P10 when the running configuration changes."""
        if self.recorder is not None:
            self.recorder.turned_by[box.name] = who
        keys = before.keys() | box.running.keys()
        turned = {key for key in keys if before.get(key) != box.running.get(key)}
        for key in turned if who == HUMAN else ():
            self.human_s[box.name, key.partition("/")[0]] = self.world.scheduler.now_s
        for service_id in {self._service_of(box, key) for key in turned}:
            self.turned_s[box.name, service_id] = self.world.scheduler.now_s
        if who in OURS_NOT:
            return
        for key in sorted(turned):
            human = box.humans.get(key)
            if human is not None and before.get(key) == human:
                self.blame("P8", f"{key} on {box.name}: {human} of a person was overwritten")
        for service_id in sorted({self._service_of(box, key) for key in turned}):
            rows = self._rows(
                "SELECT c.state FROM change c JOIN participant p ON p.set_id = c.set_id"
                " WHERE p.name = ? AND c.service_id = ?",
                box.name,
                service_id,
            )
            if not rows:
                self.blame("P2", f"{service_id} changed on {box.name} without an intent")
            elif all(row["state"] == "CLOSED" for row in rows) and not self._asked(who, box.name):
                self.blame("P10", f"{service_id} changed on {box.name} after its change was closed")

    def permanent(self, box: Box, who: str) -> None:
        """P3: what a reload would bring is new only after a durable COMMIT."""
        if who == HUMAN:
            return
        for service_id in self.world.place.ids():
            if box.name not in self._devices_of(service_id):
                continue
            seen = rates_of(box.kind, box.startup, service_id)
            if seen == rates_of(box.kind, self.world.place.config(box.name), service_id):
                continue
            rows = self._rows(
                "SELECT 1 FROM decision d JOIN change c ON c.change_id = d.change_id"
                " WHERE c.service_id = ? AND d.verdict = 'COMMIT'",
                service_id,
            )
            if not rows and not self._by_human(box, service_id):
                self.blame("P3", f"{service_id} is kept at {seen} on {box.name} before a COMMIT")

    def _by_human(self, box: Box, service_id: str) -> bool:
        line = line_of(box.kind, service_id)
        return any(key.partition("/")[0] == line for key in box.humans)

    # --- RADIUS

    def coa_heard(self, login: str, sender: str) -> None:
        """P9, P10: a CoA belongs to an open, decided change."""
        service_id = login.partition("@")[0]
        rows = self._rows(
            "SELECT c.state, d.verdict FROM change c LEFT JOIN decision d"
            " ON d.change_id = c.change_id WHERE c.service_id = ?",
            service_id,
        )
        if not any(row["verdict"] == "COMMIT" for row in rows):
            self.blame("P9", f"a CoA for {login} before the decision")
        elif all(row["state"] == "CLOSED" for row in rows) and not self._asked(sender, "%"):
            self.blame("P10", f"a CoA for {login} after its change was closed")

    def coa_done(self, login: str, _live: Online | None) -> None:
        """Nothing more to say: the rates are held against the rows at rest."""

    # --- at rest

    def at_rest(self) -> None:
        """P1, P4, P6, P7, P9, P12, P14: when faults have ceased and recovery has run."""
        rows = self._rows("SELECT * FROM change")
        for row in rows:
            if row["state"] != "CLOSED":
                self.blame("P12", f"change of {row['service_id']} is still {row['state']}")
        excused = {
            (row["service_id"], row["participant"].partition(":")[0])
            for row in self._rows(
                "SELECT service_id, participant FROM exception_item"
                " WHERE resolved_at IS NULL OR resolution LIKE 'accepted%'"
            )
        }
        folds = self.folds()
        for service_id, fold in folds.items():
            for name in self._devices_of(service_id):
                if (service_id, name) not in excused:
                    self._device_agrees(service_id, self.world.boxes[name], fold)
            if self.world.place.logins and (service_id, "session") not in excused:
                self._session_agrees(service_id)
        self._charged_when_given(excused)
        for box in self.world.boxes.values():
            names = {name for _, name in excused}
            ours = box.pending is not None and "human" not in box.pending.token
            if ours and box.name not in names:
                self.blame("P6", f"a timer of ours still runs on {box.name}")
        for order in self._rows(
            "SELECT order_id, count(*) n FROM change WHERE outcome NOT IN ('aborted', 'refused')"
            " GROUP BY order_id HAVING n > 1"
        ):
            self.blame("P14", f"order {order['order_id']} has {order['n']} changes that count")

    def _charged_when_given(self, excused: set[tuple[str, str]]) -> None:
        """P13: no higher tier is charged from a date before the devices gave it for good.

        Where plans are billed by the second the instants count, and what is cut is charged no
        longer than its devices gave it. While a person is asked, the money waits for the answer.
        """
        open_ones = "SELECT DISTINCT service_id FROM exception_item WHERE resolved_at IS NULL"
        asked = {row["service_id"] for row in self._rows(open_ones)}
        shifts = {
            found["shifts"]: found["to"]
            for found in (json.loads(event["body"])["payload"] for event in self.events)
            if "shifts" in found
        }
        newest: dict[str, tuple[Any, bool]] = {}
        rates = dict.fromkeys(self.world.place.ids(), Fold().rates())
        for event, fold in self._standing():
            service_id = event["service_id"]
            newest[service_id] = event, fold.rates() > rates[service_id]
            rates[service_id] = fold.rates()
        for service_id, (event, raised) in newest.items():
            told = json.loads(event["body"])["effective_at"]
            since = parse_instant(shifts.get(event["event_id"], told))
            for name in self._devices_of(service_id) if event["change_id"] else ():
                if (name, service_id) not in self.turned_s:
                    continue
                person = (name, line_of(self.world.boxes[name].kind, service_id)) in self.human_s
                given_s = self.turned_s[name, service_id]
                given = self.world.scheduler.born + dt.timedelta(seconds=given_s)
                wrong = self._wrongly_timed(since, given, raised=raised)
                left = service_id in asked or (service_id, name) in excused
                if wrong and not person and not left:
                    self.blame("P13", f"{service_id} pays from {since}, {name} gives at {given}")

    def _wrongly_timed(self, since: dt.datetime, given: dt.datetime, *, raised: bool) -> bool:
        if self.world.place.proration == "second":
            return given > since if raised else since > given
        return raised and local_date(given, ZONE) > local_date(since, ZONE)

    def charges(self) -> int:
        """How often the ledger has charged the first service for a change."""
        service_id = self.world.place.ids()[0]
        return sum(
            event["service_id"] == service_id
            and bool(event["change_id"])
            and event["type"] not in ("event.reversed", "service.effect_shifted")
            for event in self.events
        )

    def ordered_once(self, first: int, before: int) -> None:
        """P14: the repetition of an order has not been charged once more.

        `first` is how often the order was charged, `before` what was charged in all before it was
        repeated. An order that came to nothing may be done when it is repeated, once.
        """
        more = self.charges() - before
        if more > (0 if first else 1):
            text = f"was charged {more} times by the repetition of what was charged {first} times"
            self.blame("P14", f"{self.world.place.ids()[0]} {text}")

    def _device_agrees(self, service_id: str, box: Box, fold: Fold) -> None:
        line = line_of(box.kind, service_id)
        touched = self.human_s.get((box.name, line), -1.0)
        if touched > self.closed_s.get((service_id, box.name), -0.5):
            return  # somebody turned it after it was read for the last time: the audit's affair
        wanted = fold.rates()
        for promise, config in (("P1", box.running), ("P7", box.startup)):
            seen = rates_of(box.kind, config, service_id)
            agrees = seen == wanted or (wanted[2] == "off" and seen[2] == "off")
            if not agrees:
                kind = "running" if promise == "P1" else "startup"
                self.blame(
                    promise,
                    f"{service_id} is {seen} in {box.name}'s {kind}, the ledger says {wanted}",
                )

    def _session_agrees(self, service_id: str) -> None:
        login = login_of(service_id)
        live = self.world.online.get(login)
        if live is None:
            return
        answer = access_rates(self.look, login)
        if answer != (live.down, live.up):
            self.blame("P9", f"{login} is live at {live.down}/{live.up}, its rows say {answer}")


def rates_of(kind: str, config: Config, service_id: str) -> Rates:
    """What a line can do on a device, by its own configuration alone."""
    line = line_of(kind, service_id)
    state = config.get(f"{line}/state", "on")
    if kind == "smartax":
        down = RATE_OF_TABLE.get(config[f"{line}/outbound"], -1)
        up = RATE_OF_TABLE.get(config[f"{line}/inbound"], -1)
        return down, up, state
    if kind == "linux":
        return int(config[f"{line}/down"]), int(config[f"{line}/up"]), state
    names = (config.get(f"{line}/output", "DOWN-0M"), config.get(f"{line}/input", "UP-0M"))
    down, up = (int(name.rpartition("-")[2].removesuffix("M")) * 1000 for name in names)
    return down, up, state
