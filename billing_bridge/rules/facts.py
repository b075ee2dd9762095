"""What the rules judge by: gathered once, frozen, both sides of everything with its time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from billing_bridge.charged import Charged
from billing_bridge.fold import FoldedService
from billing_bridge.replay import Mismatch
from inventory import Account, Rate, Service, SessionOverlap, SessionSigns

from .bill_facts import AccountBills, OffLedger, PricedOtherwise
from .prices import Prices
from .usage_facts import Cohort, Stray, UsageFacts

_NO_SIGNS, _NO_USAGE = SessionSigns(), UsageFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is worth a person's time; ledger.md section 4 gives the defaults."""

    live_after: dt.timedelta = dt.timedelta(hours=24)
    dead_after: dt.timedelta = dt.timedelta(days=7)
    doubt_after: dt.timedelta = dt.timedelta(minutes=15)
    interim: dt.timedelta = dt.timedelta(minutes=15)  # where accounting does not tell it
    tolerance_pct: int = 2  # what encapsulation may add to a rate
    unused_after: dt.timedelta = dt.timedelta(days=30)
    robust_z: Fraction = Fraction(7, 2)
    relative_pct: int = 50  # where a history does not vary at all
    usage_floor_bytes: int = 10_000_000_000
    speed_pct: int = 110
    bill_floor: int = 20  # major units
    bill_pct: int = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a device showed for a line, unbroken from `since` to `observed_at`."""

    device: str
    role: str
    object: str
    rate: Rate
    present: bool
    since: dt.datetime
    observed_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """One service by its row, its events, its devices, its sessions.

    `story` says why its events contradict each other; `folded` and `charged` are then empty.
    `event_at` is the newest lifecycle event's time: what was read before it proves nothing.
    """

    service: Service
    account: Account
    folded: FoldedService
    charged: tuple[Charged, ...] = ()
    story: str = ""
    event_id: str = ""
    last_seq: int = 0
    event_at: dt.datetime | None = None
    mismatches: tuple[Mismatch, ...] = ()
    observed: tuple[Observed, ...] = ()
    signs: SessionSigns = _NO_SIGNS
    overlaps: tuple[SessionOverlap, ...] = ()
    usage: UsageFacts = _NO_USAGE
    group_tier: str = ""  # the tier of its login's RADIUS group, "" = none that is ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A change and the ledger that do not say the same; money is what the change is about.

    `monthly_minor` is above 0 where the subscriber may have more than is billed.
    """

    change_id: str
    service_id: str
    account_id: str
    problem: str
    since: dt.datetime
    journal: str
    ledger: str
    ledger_at: dt.datetime | None
    ledger_ref: str
    command: str
    waits: bool = True  # it may still settle by itself; what it never can is told at once
    monthly_minor: int = 0
    currency: str = ""
    exponent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What walking the whole chain showed; `problem` "" = every link holds."""

    events: int
    problem: str
    bad_seq: int
    missing: tuple[str, ...] = ()  # services that the ledger knows and the table lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """How long RADIUS accounting has been kept, and when a session last began; None = never."""

    since: dt.datetime | None = None
    newest: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything about some accounts; `chain` and what belongs to no account come once a check."""

    now: dt.datetime
    looked_from: dt.datetime  # sessions that began before it are not among the facts
    prices: Prices
    services: tuple[ServiceFacts, ...] = ()
    accounting: Accounting = Accounting()
    doubts: tuple[Doubt, ...] = ()
    counted_until: dt.datetime | None = None  # until when anybody's usage is counted
    cohorts: Mapping[str, Cohort] = field(default_factory=dict)  # by tier
    strays: tuple[Stray, ...] = ()  # of no service
    bills: tuple[AccountBills, ...] = ()
    off_ledger: tuple[OffLedger, ...] = ()
    priced_otherwise: tuple[PricedOtherwise, ...] = ()
    chain: Chain | None = None
    limits: Limits = field(default_factory=Limits)

    def sound(self) -> Iterator[ServiceFacts]:
        """Yield the services whose events tell one story: of the others R-13 tells."""
        return (each for each in self.services if not each.story)
