"""What the ledger says a service is: a pure fold of its events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from inventory import LedgerBroken, Refused, ServiceState, parse_instant

from .event import LedgerEvent, check_transition

_STARTS = ("service.adopted", "service.activated")
_NOT_ACTS = ("service.effect_shifted", "event.reversed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From `since` on the service was this; `event_id` is the event that says so."""

    since: dt.datetime
    plan_code: str
    tier_code: str
    state: ServiceState
    event_id: str
    price_version_id: str = ""  # set where the price policy is `pinned`
    billing_from: dt.date | None = None  # the first local date we bill, said by what starts it
    price_policy: str = ""  # "pinned" where the event says so
    reason_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTerms:
    """What a whole period of a plan is to cost on local dates in [since, until); None = no end."""

    plan_code: str
    price_minor: int
    since: dt.date
    until: dt.date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override(PriceTerms):
    """Such terms as the ledger holds them for a service."""

    event_id: str

    def on(self, date: dt.date) -> bool:
        """Whether it is in force on a local date."""
        return self.since <= date and (self.until is None or date < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedService:
    """A service as the ledger knows it; `history` ascends by the time each step took effect.

    After a termination plan, tier, active_since and billing_from stay as they last were. Of two
    `overrides` of one date the later one counts.
    """

    service_id: str
    account_id: str = ""
    plan_code: str = ""
    tier_code: str = ""
    state: ServiceState = "none"
    version: int = 0
    active_since: dt.datetime | None = None
    billing_from: dt.date | None = None
    history: tuple[Step, ...] = ()
    overrides: tuple[Override, ...] = ()


def alive(events: Sequence[LedgerEvent]) -> tuple[LedgerEvent, ...]:
    """Return the events (ascending seq) that no living reversal takes back.

    A reversal that is itself reversed takes back nothing. The shift of a dead event moves nothing.
    """
    dead: set[str] = set()
    for event in reversed(events):
        if event.event_id not in dead and event.type == "event.reversed":
            dead.add(event.reverses_event_id)
    return tuple(event for event in events if event.event_id not in dead)


def acts(events: Sequence[LedgerEvent]) -> tuple[LedgerEvent, ...]:
    """Return the living events that make a service what it is: no shifts, no reversals."""
    return tuple(
        event for event in alive(events) if event.service_version and event.type not in _NOT_ACTS
    )


def fold_service(service_id: str, events: Iterable[LedgerEvent]) -> FoldedService:
    """Return the service that its events (ascending seq) make.

    What it says of active_since follows shifts: it is when the service's start took effect (D4).

    Of events without a service version only overridden prices count. Raises LedgerBroken where
    versions have a gap, a transition is illegal, or the newest event does not say what the events
    lead to.
    """
    told = tuple(events)
    versioned = tuple(event for event in told if event.service_version)
    for number, event in enumerate(versioned, start=1):
        if event.service_version != number:
            found = f"seq {event.seq} has version {event.service_version}, expected {number}"
            raise LedgerBroken(service_id, found)
    folded = _with_overrides(_fold(service_id, versioned, alive(versioned)), told)
    if versioned:
        _check_said(folded, versioned[-1])
    return folded


def fold_without(service_id: str, events: Iterable[LedgerEvent], event_id: str) -> FoldedService:
    """Return the service as it will be when `event_id` is reversed; its version is the next one.

    What the event.reversed has to say, and what the service's row has to become: an activation
    taken back leaves no plan and no date, a termination taken back leaves the old ones.
    """
    told = tuple(events)
    versioned = tuple(event for event in told if event.service_version)
    left = tuple(event for event in alive(versioned) if event.event_id != event_id)
    folded = _with_overrides(_fold(service_id, versioned, left), told)
    return replace(folded, version=folded.version + 1)


def with_step(service: FoldedService, step: Step) -> FoldedService:
    """Return the service as it is after one more step."""
    return replace(
        service,
        plan_code=step.plan_code,
        tier_code=step.tier_code,
        state=step.state,
        history=_by_time((*service.history, step)),
    )


def _with_overrides(service: FoldedService, told: Sequence[LedgerEvent]) -> FoldedService:
    if all(event.type != "price.overridden" for event in told):
        return service
    plain = [event for event in told if not event.service_version]
    prices = [event for event in alive(plain) if event.type == "price.overridden"]
    return replace(service, overrides=tuple(_override(event) for event in prices))


def _override(event: LedgerEvent) -> Override:
    payload = event.payload
    ends = payload.get("until")
    return Override(
        event_id=event.event_id,
        plan_code=payload["plan"],
        price_minor=payload["price_minor"],
        since=dt.date.fromisoformat(payload["from"]),
        until=dt.date.fromisoformat(ends) if ends else None,
    )


def _fold(
    service_id: str, versioned: Sequence[LedgerEvent], living: Sequence[LedgerEvent]
) -> FoldedService:
    shifts = {
        event.payload["shifts"]: parse_instant(event.payload["to"])
        for event in living
        if event.type == "service.effect_shifted"
    }
    steps: list[Step] = []
    state, active_since, billing_from = "none", None, None
    for event in living:
        if event.type in _NOT_ACTS:
            continue
        try:
            check_transition(event.service_id, event.type, state, event.payload["state"])
        except Refused as error:
            raise LedgerBroken(event.service_id, f"seq {event.seq}: {error.problem}") from error
        step = _step(event, shifts)
        steps.append(step)
        state = step.state
        if event.type in _STARTS:
            active_since, billing_from = step.since, step.billing_from
    if not steps:
        return FoldedService(service_id=service_id, version=len(versioned))
    last = steps[-1]
    return FoldedService(
        service_id=service_id,
        account_id=next(e.account_id for e in reversed(living) if e.type not in _NOT_ACTS),
        plan_code=last.plan_code,
        tier_code=last.tier_code,
        state=last.state,
        version=len(versioned),
        active_since=active_since,
        billing_from=billing_from,
        history=_by_time(steps),
    )


def _step(event: LedgerEvent, shifts: Mapping[str, dt.datetime]) -> Step:
    payload = event.payload
    first = payload.get("billing_from")
    return Step(
        since=shifts.get(event.event_id, event.effective_at),
        plan_code=payload["plan"],
        tier_code=payload["tier"],
        state=payload["state"],
        event_id=event.event_id,
        price_version_id=event.price_version_id,
        billing_from=dt.date.fromisoformat(first) if first else None,
        price_policy=payload.get("price_policy", ""),
        reason_code=event.reason_code,
    )


def _by_time(steps: Iterable[Step]) -> tuple[Step, ...]:
    # stable: of two steps at one instant the one recorded later comes later
    return tuple(sorted(steps, key=lambda each: each.since))


def _check_said(folded: FoldedService, newest: LedgerEvent) -> None:
    said = tuple(newest.payload[name] for name in ("plan", "tier", "state"))
    led_to = (folded.plan_code, folded.tier_code, folded.state)
    if said != led_to:
        raise LedgerBroken(
            folded.service_id,
            f"seq {newest.seq} says {'/'.join(said)}, the events lead to {'/'.join(led_to)}",
        )
