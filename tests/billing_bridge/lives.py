"""Random lives of one service: its events, the row it should have, and what it should be charged.

The row and the charges are told day by day from what was done, without the code under test.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from billing_bridge import EMPTY_HASH, LedgerEvent, service_payload, shift_payload
from inventory import Account, Plan, PriceVersion, Service, ServiceState, local_date

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland",
         "America/Havana", "Asia/Beirut")  # fmt: skip
BORN = dt.datetime(2026, 1, 9, 22, 30, tzinfo=dt.UTC)
MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
KINDS = {
    "activate": "service.activated",
    "tier": "tier.changed",
    "suspend": "service.suspended",
    "resume": "service.resumed",
    "terminate": "service.terminated",
}
ENDS: dict[str, ServiceState] = {
    "activate": "active",
    "tier": "active",
    "suspend": "suspended",
    "resume": "active",
    "terminate": "terminated",
}
# what may be done in a state; reversing and shifting take back or move what was done last
MAY = {
    "none": ("activate",),
    "terminated": ("activate", "reverse"),
    "active": ("tier", "suspend", "terminate", "tier", "suspend", "reverse", "shift"),
    "suspended": ("resume", "terminate", "resume", "reverse", "shift"),
}
Terms = tuple[str, str, str]  # plan, price version ("" = the period's), charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that was done and not taken back."""

    event_id: str
    kind: str
    since: dt.datetime
    plan_code: str
    version: str
    reason: str
    billing_from: dt.date | None

    @property
    def state(self) -> ServiceState:
        return ENDS[self.kind]


@dataclass(slots=True, kw_only=True)
class Life:
    """What happened to a service, as events and as the acts that are left of them."""

    account: Account
    plans: dict[str, Plan]
    events: list[LedgerEvent] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    prices: dict[str, tuple[str, int, dt.date, dt.date | None]] = field(default_factory=dict)
    now: dt.datetime = BORN

    @property
    def state(self) -> ServiceState:
        return self.acts[-1].state if self.acts else "none"

    @property
    def versions(self) -> int:
        return sum(event.service_version > 0 for event in self.events)

    def costs(self, code: str, price: int, since: dt.date, until: dt.date | None) -> None:
        """Let a plan cost something else on some dates."""
        number = len(self.events) + 1
        self.prices[f"e-{number}"] = (code, price, since, until)
        payload = {"credit_id": f"m-{number}", "plan": code, "price_minor": price,
                   "currency": "EUR", "exponent": 2, "from": since.isoformat()}  # fmt: skip
        self._record("price.overridden", payload | ({"until": until.isoformat()} if until else {}))

    def takes_price_back(self) -> None:
        """Let the oldest price that stands never have been."""
        gone = next(iter(self.prices))
        del self.prices[gone]
        self._record("event.reversed", {}, reverses_event_id=gone)

    def price_on(self, code: str, date: dt.date) -> int | None:
        """What a plan costs instead of the catalogue's price; None = it costs that."""
        found = [
            price
            for plan_code, price, since, until in self.prices.values()
            if plan_code == code and since <= date and (until is None or date < until)
        ]
        return found[-1] if found else None

    def row(self) -> Service:
        """The row that the services' table should have."""
        last = self.acts[-1] if self.acts else None
        starts = [act for act in self.acts if act.kind == "activate"]
        return Service(
            service_id="svc-1",
            account_id="A-1",
            login="",
            plan_code=last.plan_code if last else "",
            tier_code=last.plan_code if last else "",
            state=self.state,
            version=self.versions,
            active_since=starts[-1].since if starts else None,
            billing_from=starts[-1].billing_from if starts else None,
        )

    def does(self, kind: str, plan_code: str, reason: str, free_days: int = 0) -> None:
        """Do it now, and post it; what begins is billed from `free_days` later on."""
        if kind == "reverse":
            gone = self.acts.pop()
            self._post("event.reversed", reverses_event_id=gone.event_id)
        elif kind == "shift":
            moved = self.acts[-1]
            self.acts[-1] = replace(moved, since=self.now)
            self._post("service.effect_shifted", shifted=moved)
        else:
            last = self.acts[-1] if self.acts else None
            new = kind in ("activate", "tier") or last is None
            used = plan_code if new else last.plan_code
            plan = self.plans[used]
            today = local_date(self.now, self.account.time_zone)
            pinned = new and plan.price_policy == "pinned"
            act = Act(
                event_id=f"e-{len(self.events) + 1}",
                kind=kind,
                since=self.now,
                plan_code=used,
                version=plan.price_on(today).price_version_id if pinned else "",
                reason=reason,
                billing_from=today + free_days * DAY if kind == "activate" else None,
            )
            self.acts.append(act)
            self._post(KINDS[kind], act=act)

    def _post(
        self, kind: str, *, act: Act | None = None, shifted: Act | None = None, **more: Any
    ) -> None:
        last = self.acts[-1] if self.acts else None
        payload = service_payload(
            plan=last.plan_code if last else "",
            tier=last.plan_code if last else "",
            state=self.state,
            price_policy=self.plans[last.plan_code].price_policy if last else "",
            billing_from=act.billing_from if act else None,
        )
        if shifted:
            payload = shift_payload(
                payload, shifts=shifted.event_id, was=shifted.since, to=self.now
            )
        self._record(
            kind,
            payload,
            service_version=self.versions + 1,
            price_version_id=act.version if act else "",
            reason_code=act.reason if act else "undone",
            **more,
        )

    def _record(self, kind: str, payload: dict[str, Any], **more: Any) -> None:
        number = len(self.events) + 1
        self.events.append(
            LedgerEvent(
                event_id=f"e-{number}",
                source="test",
                idempotency_key=f"{number}",
                type=kind,
                account_id="A-1",
                service_id="svc-1",
                effective_at=self.now,
                actor="test",
                payload=payload,
                seq=number,
                recorded_at=self.now,
                prev_hash=EMPTY_HASH,
                hash=EMPTY_HASH,
                body="",
                **{"reason_code": "requested"} | more,
            )
        )

    def charged(self) -> list[tuple[dt.datetime, Act, Terms | None]]:
        """What each act makes of the charges, and when; nothing before the first date billed."""
        told: list[tuple[dt.datetime, Act, Terms | None]] = []
        used, version = "", ""
        first = dt.datetime.min.replace(tzinfo=dt.UTC)
        for act in self.acts:
            if act.billing_from:
                clock = dt.datetime.combine(
                    act.billing_from, dt.time(), ZoneInfo(self.account.time_zone)
                )
                first = clock.astimezone(dt.UTC)
            plan = self.plans[act.plan_code]
            terms: Terms | None = None
            policy = plan.suspend_unpaid if act.reason == "non_payment" else plan.suspend
            if act.state == "active" or (act.state == "suspended" and policy != "stop"):
                version = act.version or (version if act.plan_code == used else "")
                used = act.plan_code
                hold = act.state == "suspended" and policy == "hold_fee"
                terms = (used, version, "hold" if hold else "service")
            if act.since < first:  # not billed yet: only what it has become by then counts
                told = [each for each in told if each[0] < first]
            since = max(act.since, first)
            told = [each for each in told if each[0] <= since]  # it never came to that
            told.append((since, act, terms))
        return told

    def dates_charged(self) -> dict[dt.date, Terms]:
        """Which plan each local date is charged by, told one date after the other."""
        found: dict[dt.date, Terms] = {}
        zone = self.account.time_zone
        told: dict[dt.date, list[tuple[dt.datetime, Act, Terms | None]]] = {}
        for each in self.charged():
            told.setdefault(local_date(each[0], zone), []).append(each)
        running: Terms | None = None
        date = min(told, default=dt.date.max)
        while date <= local_date(self.now, zone) + 40 * DAY:
            stopped: tuple[Terms, Act] | None = None
            for since, act, terms in told.get(date, ()):
                if terms is not None:
                    stopped = None
                elif running is not None and act.since == since:
                    stopped = (running, act)
                running = terms
            today = running
            if stopped is not None:
                terms, act = stopped
                plan = self.plans[terms[0]]
                whole = act.kind == "terminate" and plan.last_day_billed
                begun = plan.min_billable_days and terms != found.get(date - DAY)
                today = terms if whole or begun else None
            if today is not None:
                found[date] = today
            date += DAY
        return found

    def seconds_charged(self, until: int) -> list[tuple[int, int, Terms]]:
        """Where each plan is charged, in seconds of the epoch, neighbours joined."""
        joined: list[tuple[int, Terms | None]] = []
        for since, _, terms in self.charged():
            second = int(since.timestamp())
            if joined and joined[-1][0] == second:
                joined.pop()
            if not joined or joined[-1][1] != terms:
                joined.append((second, terms))
        joined.append((until, None))
        return [(a, b, terms) for (a, terms), (b, _) in pairwise(joined) if terms and a < b]


def plan(code: str, prices: list[int], **given: Any) -> Plan:
    """A plan whose prices change in the middle of a month."""
    dates = (dt.date(2020, 1, 1), dt.date(2026, 2, 14), dt.date(2026, 6, 15))
    return Plan(
        code=code,
        name=code,
        tier_code=code,
        currency="EUR",
        exponent=2,
        prices=tuple(
            PriceVersion(
                price_version_id=f"{code}@{date}",
                plan_code=code,
                valid_from=date,
                amount_minor=price,
                hold_minor=price // 7,
            )
            for date, price in zip(dates, prices, strict=False)
        ),
        **given,
    )


def account(zone_name: str = "UTC", cycle_day: int = 1) -> Account:
    return Account(
        account_id="A-1",
        name="",
        address="",
        time_zone=zone_name,
        cycle_day=cycle_day,
        legal_entity="isp",
        currency="EUR",
    )


PRICES = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=3)
POLICIES = st.sampled_from(["stop", "continue", "hold_fee"])
GAPS = st.one_of(
    st.integers(0, 600), st.integers(600, 3_000), st.integers(0, 45_000), st.sampled_from([0, 1440])
)
MOVES = st.lists(
    st.tuples(GAPS, st.integers(0, 41), st.sampled_from("abc"), st.booleans()), max_size=9
)

DATES = st.tuples(st.integers(-40, 60), st.sampled_from([0, 1, 7, 31, 45, 90]))
# prices for one service: after which move, of which plan, how much, from when how long (0 = on)
SPECIALS = st.one_of(
    st.just([]),
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from("abc"), st.integers(5_000, 900_000), DATES),
        min_size=1,
        max_size=3,
    ),
)


@st.composite
def lives(draw: st.DrawFn, units: tuple[str, ...] = ("day", "day", "second")) -> Life:
    """A service's life in any zone and cycle; its plans share a unit unless it is `mixed`."""
    unit = draw(st.sampled_from(units))
    month_days = draw(st.sampled_from([0, 0, 0, 30, 28])) if unit == "day" else 0
    plans = {}
    for code in "abc":
        own = draw(st.sampled_from(["day", "second"])) if unit == "mixed" else unit
        by_day = own == "day"
        plans[code] = plan(
            code,
            draw(PRICES),
            proration=own,
            month_days=month_days,
            price_policy=draw(st.sampled_from(["at_period_start", "at_period_start", "pinned"])),
            last_day_billed=by_day and draw(st.booleans()),
            min_billable_days=int(by_day and draw(st.booleans())),
            suspend=draw(POLICIES),
            suspend_unpaid=draw(POLICIES),
        )
    life = Life(
        account=account(draw(st.sampled_from(ZONES)), draw(st.integers(1, 31))), plans=plans
    )
    specials = draw(SPECIALS)
    for number, (gap, choice, code, unpaid) in enumerate(draw(MOVES)):
        life.now += gap * MINUTE
        options = MAY[life.state]
        kind = options[choice % len(options)]
        reason = "non_payment" if unpaid and kind == "suspend" else "requested"
        life.does(kind, code, reason, free_days=choice if choice < 9 else 0)
        for _, plan_code, price, (gap_days, days) in (one for one in specials if one[0] == number):
            if price % 5 == 0 and life.prices:
                life.takes_price_back()
            since = local_date(life.now, life.account.time_zone) + gap_days * DAY
            life.costs(plan_code, price, since, since + days * DAY if days else None)
    return life
