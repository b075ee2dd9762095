"""What a decision makes of rows and ledger: dates, policies, reasons, and from when it counts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from sqlmodel import select

from billing_bridge import LedgerEvent, find_by_service, ledger_head, replay_check, verify
from inventory import (
    Adoption,
    Service,
    StalePlan,
    WrongUse,
    find_service,
    list_services,
    local_date,
)
from lab.small_isp import midday_zone
from orchestrator.database import _BEGUN, database_now, reading, writing
from orchestrator.decide import (
    _effective,
    _refuse_future,
    abort_set,
    commit_set,
    reverse_changes,
    shift_effect,
)
from orchestrator.imports import import_files
from orchestrator.journal import list_changes, load_set
from orchestrator.office import open_office
from orchestrator.rows import ChangeRow, DecisionRow
from orchestrator.settings import Settings
from tests.orchestrator.paper_items import begin, item, point, upgrade_of
from tests.schema import create_schema
from workflows import PlanItem, ServicePoint

ZONE = midday_zone()
ISP = f"""
legal_entities:
- {{code: nordnetz, name: Nordnetz GmbH, address: "Hafenstrasse 12, 20457 Hamburg"}}
accounts:
- {{id: A-EUR, name: Jansen, address: Deichweg 3, time_zone: {ZONE}, cycle_day: 1,
   legal_entity: nordnetz, currency: EUR}}
tiers:
- {{code: t100, down_mbps: 100, up_mbps: 20}}
- {{code: t500, down_mbps: 500, up_mbps: 100}}
plans:
- {{code: day-t100, name: Day 100, tier: t100, currency: EUR, price_policy: pinned,
   prices: [{{from: 2025-01-01, amount: "29.99"}}]}}
- {{code: day-t500, name: Day 500, tier: t500, currency: EUR,
   prices: [{{from: 2025-01-01, amount: "49.99"}}]}}
- {{code: second-t100, name: Second 100, tier: t100, currency: EUR, proration: second,
   prices: [{{from: 2025-01-01, amount: "29.99"}}]}}
- {{code: second-t500, name: Second 500, tier: t500, currency: EUR, proration: second,
   prices: [{{from: 2025-01-01, amount: "49.99"}}]}}
devices:
- {{name: bng-1, role: bng, platform: juniper_junos, host: 192.0.2.11, port: 830, username: noc,
   password: env:BM_NOBODY_ASKS}}
services:
- {{id: svc-day, account: A-EUR, plan: day-t100, active_since: 2026-01-15,
   billing_from: 2026-02-01,
   attachments: [{{role: bng, device: bng-1, interface: ge-0/0/1, unit: 1}}]}}
- {{id: svc-second, account: A-EUR, plan: second-t100, active_since: 2026-01-15,
   billing_from: 2026-02-01,
   attachments: [{{role: bng, device: bng-1, interface: ge-0/0/1, unit: 2}}]}}
- {{id: svc-new, account: A-EUR,
   attachments: [{{role: bng, device: bng-1, interface: ge-0/0/1, unit: 3}}]}}
"""
NOTHING = ServicePoint(plan_code="", tier_code="", state="none", rate=point("").rate)


@dataclass(frozen=True, slots=True)
class Books:
    """A store with two services that are live and one that never was, and what is decided there."""

    engine: Engine

    def today(self) -> dt.date:
        """The local date of who pays, by the store's clock."""
        with reading(self.engine) as session:
            return local_date(database_now(session), ZONE)

    def commit(self, *items: PlanItem) -> tuple[str, tuple[LedgerEvent, ...]]:
        """Decide COMMIT for a set of these; its changes are closed at once."""
        set_id = begin(self.engine, items)
        with writing(self.engine) as session:
            events = commit_set(session, load_set(session, set_id), {}, {})
        with writing(self.engine) as session:
            session.execute(update(ChangeRow).values(state="CLOSED", outcome="done"))
        return set_id, events

    def service(self, service_id: str) -> Service:
        """The service's row, once it is what the ledger's events make of it (L9)."""
        with reading(self.engine) as session:
            assert replay_check(session, list_services(session)) == ()
            assert verify(session, deep=True).problem == ""
            return find_service(session, service_id)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """An office's store on SQLite, with that ISP imported."""
    url = f"sqlite:///{tmp_path / 'bandmaster.db'}"
    office = open_office(Settings(database_url=url, known_hosts=str(tmp_path / "known_hosts")))
    create_schema(office.engine)
    file = tmp_path / "isp.yaml"
    file.write_text(ISP, encoding="utf-8")
    import_files(office, (file,), "tester")
    yield Books(engine=office.engine)
    office.engine.dispose()


def move(service_id: str, before: str, after: str, today: dt.date) -> PlanItem:
    """From one plan to another."""
    return item(service_id, point(before), point(after), today=today)


# --- COMMIT --------------------------------------------------------------------------------------


def test_what_was_priced_for_another_date_is_not_committed(books: Books) -> None:
    """D11: the price shown was that of a day which is over; nothing of the set is decided."""
    today = books.today()
    stale = move("svc-second", "second-t100", "second-t500", today - dt.timedelta(days=1))
    set_id = begin(books.engine, [upgrade_of("svc-day", today=today), stale])
    with reading(books.engine) as session:
        before = ledger_head(session)
    with pytest.raises(StalePlan, match="svc-second: was priced for"):
        _commit(books, set_id)
    with reading(books.engine) as session:
        assert ledger_head(session) == before
        assert session.exec(select(DecisionRow)).all() == []
    assert books.service("svc-day").plan_code == "day-t100"


def _commit(books: Books, set_id: str) -> None:
    with writing(books.engine) as session:
        commit_set(session, load_set(session, set_id), {}, {})


def test_a_service_is_billed_from_the_day_of_its_activation(books: Books) -> None:
    """The event that starts it says so, later ones do not, and a second life has its own dates."""
    today = books.today()
    start = item("svc-new", NOTHING, point("day-t100"), "activate", version=0, today=today)
    _, (born,) = books.commit(start)
    assert (born.type, born.payload["billing_from"]) == ("service.activated", today.isoformat())
    assert born.payload["price_policy"] == "pinned"
    first = books.service("svc-new")
    assert (first.active_since, first.billing_from) == (born.effective_at, today)

    _, (tier,) = books.commit(item("svc-new", point("day-t100"), point("day-t500"), today=today))
    ended = point("day-t500", "terminated")
    over = item("svc-new", point("day-t500"), ended, "terminate", version=2, today=today)
    _, (end,) = books.commit(over)
    for event, policy in ((tier, "at_period_start"), (end, "at_period_start")):
        assert "billing_from" not in event.payload
        assert event.payload["price_policy"] == policy
    last = books.service("svc-new")
    assert (last.state, last.version) == ("terminated", 3)
    assert (last.active_since, last.billing_from) == (first.active_since, today)

    anew = item("svc-new", ended, point("day-t100"), "activate", version=3, today=today)
    _, (again,) = books.commit(anew)
    assert again.payload["billing_from"] == today.isoformat()
    second = books.service("svc-new")
    assert second.active_since == again.effective_at
    assert (second.plan_code, second.state, second.version) == ("day-t100", "active", 4)


def test_a_change_of_a_live_service_leaves_its_dates(books: Books) -> None:
    before = books.service("svc-day")
    _, (event,) = books.commit(upgrade_of("svc-day", today=books.today()))
    after = books.service("svc-day")
    assert (after.active_since, after.billing_from) == (before.active_since, before.billing_from)
    assert (after.plan_code, after.tier_code, after.version) == ("day-t500", "t500", 2)
    assert event.payload == {
        "plan": "day-t500",
        "tier": "t500",
        "state": "active",
        "price_policy": "at_period_start",
    }


@pytest.mark.parametrize("back", ["terminate", "activate"])
def test_what_counts_as_never_gives_the_old_dates_back(books: Books, back: str) -> None:
    """D5: an activation taken back leaves none, a termination taken back leaves the old ones."""
    today = books.today()
    if back == "terminate":
        name, here, gone, version = "svc-new", point("day-t100"), NOTHING, 0
        act = item(name, gone, here, "activate", version=version, today=today)
    else:
        name, here, gone, version = "svc-day", point("day-t100", "terminated"), point("day-t100"), 1
        act = item(name, gone, here, "terminate", version=version, today=today)
    before = books.service(name)
    _, (event,) = books.commit(act)
    undo = item(
        name,
        here,
        gone,
        "terminate" if back == "terminate" else "activate",
        version=version + 1,
        today=today,
        reverses=event.event_id,
    )
    _, (undone,) = books.commit(undo)
    assert (undone.type, undone.reverses_event_id) == ("event.reversed", event.event_id)
    assert "billing_from" not in undone.payload
    after = books.service(name)
    assert (after.state, after.version) == (before.state, version + 2)
    assert (after.active_since, after.billing_from) == (before.active_since, before.billing_from)


def test_a_cut_billed_by_the_second_counts_from_its_first_line(books: Books) -> None:
    """D4: everything else counts from the decision."""
    today = books.today()
    _, (up,) = books.commit(move("svc-second", "second-t100", "second-t500", today))
    down = item("svc-second", point("second-t500"), point("second-t100"), version=2, today=today)
    by_day = upgrade_of("svc-day", today=today)
    set_id = begin(books.engine, [by_day, down])
    with writing(books.engine) as session:
        opened = load_set(session, set_id)
        assert opened.first_write_at is not None
        while database_now(session) <= opened.first_write_at:
            pass
        day, cut = commit_set(session, opened, {}, {})
    assert up.effective_at == up.recorded_at
    assert day.effective_at == day.recorded_at > opened.first_write_at
    assert cut.effective_at == opened.first_write_at


def test_a_cut_billed_by_the_day_counts_from_the_decision() -> None:
    now = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    down = item("svc-day", point("day-t500"), point("day-t100"))
    assert _effective({}, down, now, now - dt.timedelta(hours=1)) == now


# --- ABORT and reversal --------------------------------------------------------------------------


def test_who_stood_in_the_way_is_told_why_and_the_others_went_with_it(books: Books) -> None:
    today = books.today()
    items = [upgrade_of("svc-day", today=today), upgrade_of("svc-second", today=today)]
    set_id = begin(books.engine, [*items, upgrade_of("svc-new", today=today)])
    with writing(books.engine) as session:
        refusals = {"svc-second": "olt-1: no profile", "svc-new": "olt-2: busy"}
        abort_set(session, load_set(session, set_id), refusals)
    with reading(books.engine) as session:
        rows = list_changes(session, set_id)
        verdicts = [row.verdict for row in session.exec(select(DecisionRow))]
    assert verdicts == ["ABORT"] * 3
    assert {row.service_id: (row.state, row.refusal) for row in rows} == {
        "svc-day": ("ABORTED", "undone with its set"),
        "svc-second": ("ABORTED", "olt-1: no profile"),
        "svc-new": ("ABORTED", "olt-2: busy"),
    }


def test_an_activation_that_a_device_refused_leaves_no_dates(books: Books) -> None:
    """D5: the events leave the fold and sum to nothing; the set's other change stands."""
    today = books.today()
    start = item("svc-new", NOTHING, point("day-t100"), "activate", version=0, today=today)
    set_id = begin(books.engine, [start, upgrade_of("svc-day", today=today)])
    with writing(books.engine) as session:
        opened = load_set(session, set_id)
        commit_set(session, opened, {}, {})
    mine = tuple(row.change_id for row in opened.changes if row.service_id == "svc-new")
    with writing(books.engine) as session:
        (event,) = reverse_changes(session, load_set(session, set_id), mine, "bng-1: full", {})
    assert (event.type, event.service_id) == ("event.reversed", "svc-new")
    after = books.service("svc-new")
    assert (after.state, after.plan_code) == ("none", "")
    assert (after.active_since, after.billing_from) == (None, None)
    assert books.service("svc-day").plan_code == "day-t500"


# --- an effect later than decided ----------------------------------------------------------------

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
MOMENT = dt.timedelta(milliseconds=1)


def _shift(books: Books, set_id: str, late: dt.timedelta) -> tuple[LedgerEvent, ...]:
    """Let the set have been decided about noon of an earlier day, and its device be `late`."""
    with writing(books.engine) as session:
        opened = load_set(session, set_id)
        noon = database_now(session) - 5 * DAY
        session.execute(update(DecisionRow).values(decided_at=noon))
        return shift_effect(session, opened, opened.changes[0], noon + late)


@pytest.mark.parametrize(
    ("plan", "late", "posted"),
    [
        ("day", dt.timedelta(), False),
        ("day", HOUR, False),  # the same local date is the same money
        ("day", DAY, True),
        ("second", dt.timedelta(), False),
        ("second", MOMENT, True),
        ("second", -MOMENT, False),
    ],
)
def test_an_upgrade_that_took_effect_later_is_charged_from_then(
    books: Books, plan: str, late: dt.timedelta, *, posted: bool
) -> None:
    """D4: by the day or by the instant, as its plan is billed; the service began when it did."""
    service_id = f"svc-{plan}"
    before = books.service(service_id)
    set_id, _ = books.commit(move(service_id, f"{plan}-t100", f"{plan}-t500", books.today()))
    found = _shift(books, set_id, late)
    assert [event.type for event in found] == ["service.effect_shifted"] * posted
    after = books.service(service_id)
    assert after.version == (3 if posted else 2)
    assert after.active_since == before.active_since


@pytest.mark.parametrize("plan", ["day", "second"])
def test_a_late_cut_is_not_charged_to_who_waited_for_it(books: Books, plan: str) -> None:
    """D4: the subscriber asked for less, and did not have to wait for it."""
    today, service_id = books.today(), f"svc-{plan}"
    books.commit(move(service_id, f"{plan}-t100", f"{plan}-t500", today))
    down = item(service_id, point(f"{plan}-t500"), point(f"{plan}-t100"), version=2, today=today)
    set_id, _ = books.commit(down)
    assert _shift(books, set_id, DAY) == ()
    assert books.service(service_id).version == 3


def test_what_counts_as_never_takes_no_effect_later(books: Books) -> None:
    """D5: taking back a cut gives more, but what it takes back has never been."""
    today = books.today()
    up, down = point("day-t500"), point("day-t100")
    books.commit(upgrade_of("svc-day", today=today))
    _, (cut,) = books.commit(item("svc-day", up, down, version=2, today=today))
    undo = item("svc-day", down, up, version=3, today=today, reverses=cut.event_id)
    set_id, _ = books.commit(undo)
    assert _shift(books, set_id, DAY) == ()
    assert books.service("svc-day").version == 4


def test_a_late_activation_began_when_the_line_worked(books: Books) -> None:
    """D4: row and ledger say the same instant, and the story names both."""
    start = item("svc-new", NOTHING, point("day-t100"), "activate", version=0, today=books.today())
    set_id, (born,) = books.commit(start)
    with writing(books.engine) as session:
        opened = load_set(session, set_id)
        began = database_now(session) + 2 * DAY
        (shift,) = shift_effect(session, opened, opened.changes[0], began)
    assert shift.payload["shifts"] == born.event_id
    with reading(books.engine) as session:
        assert [event.type for event in find_by_service(session, "svc-new")] == [
            "service.activated",
            "service.effect_shifted",
        ]
    after = books.service("svc-new")
    assert (after.active_since, after.version) == (began, 2)


# --- adoption ------------------------------------------------------------------------------------


def test_what_is_live_at_this_moment_is_adopted_and_no_later_one(books: Books) -> None:
    """D3: nothing is effective in the future."""
    now = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)

    def adoption(since: dt.datetime) -> Adoption:
        return Adoption(
            service_id="svc-new",
            plan_code="day-t100",
            state="active",
            active_since=since,
            billing_from=now.date(),
        )

    with reading(books.engine) as session:
        session.info[_BEGUN] = now  # the clock of a transaction
        _refuse_future(session, [adoption(now), adoption(now - DAY)])
        with pytest.raises(WrongUse, match="active since 2026-06-01: not yet"):
            _refuse_future(session, [adoption(now - DAY), adoption(now + MOMENT)])
