"""The commit core where nothing else leads: what the store refuses, what moves meanwhile."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import event, text, update
from sqlmodel import select

from billing_bridge import find_by_service, fold_service, ledger_head, verify
from inventory import (
    Adoption,
    Device,
    OpenChange,
    Undecided,
    WrongUse,
    find_service,
    local_date,
)
from orchestrator.clock import HostClock
from orchestrator.coordinator import run_set
from orchestrator.database import database_now, reading, writing
from orchestrator.decide import accept_as_is, adopt
from orchestrator.interrupt import Interrupts
from orchestrator.journal import EpochLostError, bump_epoch, list_open_sets, list_steps
from orchestrator.leases import LeaseLostError, list_leases
from orchestrator.recover import recover, watch
from orchestrator.rows import ChangeRow, DecisionRow, LeaseRow
from tests.orchestrator.moments import (
    ARM,
    BNG,
    NEW,
    OLT,
    ONE,
    disputed,
    is_as_before,
    is_done,
    nothing_left,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, at_tier, truth
from workflows import Crew, Fence, Reply

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def isp(hasty_rig: Rig) -> Rig:
    """One BNG, one OLT, and a program that does not wait long."""
    return hasty_rig


def _do(isp: Rig, *statements: str) -> None:
    """Do something to the store from outside."""
    with isp.office.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _refuse(table: str) -> str:
    """Let the store refuse rows of a table as it refuses a key that is there already."""
    return (
        f"CREATE TRIGGER refuses BEFORE INSERT ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'UNIQUE constraint failed'); END"
    )


# --- before the intent ---------------------------------------------------------------------------


def test_who_loses_the_race_for_the_intent_sends_nothing(isp: Rig) -> None:
    """W12: the partial unique index is the last word on one open change per service."""
    plan = isp.plan(isp.order(ONE, NEW))
    _do(isp, _refuse("change"))
    with pytest.raises(OpenChange, match="meanwhile"):
        isp.apply(plan)
    _do(isp, "DROP TRIGGER refuses")
    is_as_before(isp)


def test_a_change_that_was_opened_meanwhile_is_named(isp: Rig) -> None:
    """W12: what another worker has written is seen in the intent's own transaction."""
    plan, other = isp.plan(isp.order(ONE, NEW)), isp.plan(isp.order(ONE, NEW))
    real = isp.office.crew

    def dying(devices: tuple[Device, ...], fence: Fence) -> Crew:
        crew = real(devices, fence)
        crew.verb = _die  # type: ignore[assignment,method-assign]
        return crew

    # a worker dies with its intent written and nothing sent: nothing shows on the devices
    isp.office = replace(isp.office, crew=dying)
    with pytest.raises(KeyboardInterrupt):
        isp.apply(plan)
    isp.office = replace(isp.office, crew=real)
    with pytest.raises(OpenChange, match="not closed yet"):
        run_set(isp.office, Interrupts(), other.plan_id, other.items, 1)
    recover(isp.office)
    is_as_before(isp)


def test_what_is_not_applied_yet_is_recovered_first(isp: Rig) -> None:
    """What it has left armed would look like somebody else's to the closing pass of another set."""
    isp.office = replace(isp.office, settings=replace(isp.office.settings, settle_s=600))
    older = isp.tier(ONE, NEW).items[0].change_id
    newer = isp.plan(isp.order("svc-1002", NEW))
    real = isp.office.crew

    def dying(devices: tuple[Device, ...], fence: Fence) -> Crew:
        crew = real(devices, fence)
        crew.verb = _die  # type: ignore[assignment,method-assign]
        return crew

    isp.office = replace(isp.office, crew=dying)
    with pytest.raises(KeyboardInterrupt):
        isp.apply(newer)
    with reading(isp.office.engine) as session:
        first, second = list_open_sets(session)
        changes = session.exec(select(ChangeRow)).all()
    assert first > second
    assert {row.change_id: row.set_id for row in changes}[older] == second


def _die(_verb: str, _handles: object) -> dict[str, Reply]:
    raise KeyboardInterrupt


# --- at the decision -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "back", "why"),
    [
        (
            "UPDATE service SET version = version + 1 WHERE service_id = 'svc-1001'",
            "UPDATE service SET version = version - 1 WHERE service_id = 'svc-1001'",
            "moved on",
        ),
        (
            "UPDATE tier SET down_kbps = down_kbps + 1 WHERE code = 'fiber-500'",
            "UPDATE tier SET down_kbps = down_kbps - 1 WHERE code = 'fiber-500'",
            "other rates",
        ),
    ],
)
def test_what_moved_under_a_prepared_change_aborts_it(
    isp: Rig, statement: str, back: str, why: str
) -> None:
    """Everything is compared once more in the decision's own transaction."""
    when(isp, OLT, "prepared", lambda: _do(isp, statement))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert why in outcome.items[0].reason
    _do(isp, back)
    is_as_before(isp)


def test_a_day_that_ends_under_a_prepared_change_aborts_it(isp: Rig) -> None:
    """D11: what was priced for another local date is not decided."""
    now, zone = dt.datetime.now(dt.UTC), isp.isp.time_zone
    # one of the two outermost time zones has another date than any third one
    moves = {
        "Etc/GMT+12": "UPDATE account SET time_zone = 'Etc/GMT+12'",
        "Etc/GMT-14": "UPDATE account SET time_zone = 'Etc/GMT-14'",
    }
    move = next(moves[end] for end in moves if local_date(now, end) != local_date(now, zone))
    when(isp, OLT, "prepared", lambda: _do(isp, move))
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "that date has passed" in outcome.items[0].reason
    is_as_before(isp)


def test_a_worker_whose_epoch_is_over_decides_nothing(isp: Rig) -> None:
    """W7: whoever recovers has shut it out; it stops, and does not abort either."""

    def take_over(_connection: object, _record: object) -> None:
        if armed:  # what is to be decided has been read
            armed.clear()
            with writing(isp.office.engine) as session:
                (set_id,) = list_open_sets(session)
                bump_epoch(session, set_id)

    armed: list[bool] = []
    event.listen(isp.office.engine, "checkin", take_over)
    when(isp, OLT, "read back", lambda: armed.append(True))
    with pytest.raises(EpochLostError) as caught:
        upgrade(isp)
    assert caught.value.exit_code == 6
    assert recover(isp.office).outcome.items[0].ending == "aborted"
    is_as_before(isp)


def test_a_verdict_that_the_store_refuses_is_left_to_recovery(isp: Rig) -> None:
    """Neither row can be written: nothing is claimed, nothing is driven."""
    when(isp, OLT, "prepared", lambda: _do(isp, _refuse("decision")))
    with pytest.raises(Undecided, match="no decision"):
        upgrade(isp)
    _do(isp, "DROP TRIGGER refuses")
    assert recover(isp.office).outcome.items[0].ending == "aborted"
    is_as_before(isp)


# --- timers --------------------------------------------------------------------------------------


def _slow(isp: Rig) -> None:
    """Every timer might fire before the confirm: it is started anew before the decision."""
    settings = replace(isp.office.settings, confirm_budget_s=isp.office.settings.revert_after_s)
    isp.office = replace(isp.office, settings=settings)


def test_a_timer_that_might_fire_is_started_anew(isp: Rig) -> None:
    _slow(isp)
    assert upgrade(isp)[0] == "done"
    entries = isp.fleet.control(BNG, "log")["entries"]
    commits = [entry for entry in entries if entry["what"].startswith("commit-configuration")]
    # prepared, started anew, confirmed
    assert ["confirmed" in each["what"] + each["text"] for each in commits] == [True, True, False]
    is_done(isp)


def test_a_timer_that_cannot_be_started_anew_aborts(isp: Rig) -> None:
    _slow(isp)
    isp.fleet.control(BNG, "fault", verb=ARM, kind="refuse", arg="no", skip=1)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "could not be extended" in outcome.items[0].reason
    is_as_before(isp)


def test_a_timer_that_somebody_ended_aborts(isp: Rig) -> None:
    """Our session is lost, and a person's commit check has made ours permanent."""

    def confirm() -> None:
        isp.fleet.control(BNG, "cut")
        isp.fleet.control(BNG, "commit_check")

    when(isp, OLT, "prepared", confirm)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "revert timer reads none" in outcome.items[0].reason
    is_as_before(isp)


# --- after the decision --------------------------------------------------------------------------


def test_the_last_look_may_find_it_done(isp: Rig) -> None:
    """Two saves are lost, and the third one's answer: it is read, and nothing is reversed."""
    isp.fleet.control(OLT, "fault", verb="save", kind="drop_before", count=2)
    isp.fleet.control(OLT, "fault", verb="save", kind="drop_after")
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_a_window_of_somebody_else_is_left_to_run_out(isp: Rig) -> None:
    """Ours is confirmed, the session is lost, and a person begins a commit confirmed at once."""

    def begin() -> None:
        isp.fleet.control(BNG, "cut")
        lines = ["set system host-name other"]
        isp.fleet.control(BNG, "edit", lines=lines, confirm_min=5)

    when(isp, BNG, "confirmed", begin)
    assert upgrade(isp)[1].exit_code() == 4
    assert (disputed(isp).participant, disputed(isp).cause) == (BNG, "foreign confirm")
    isp.fleet.control(BNG, "expire")
    recover(isp.office)
    is_done(isp)


def test_an_upgrade_that_took_effect_on_a_later_day_is_billed_from_then(isp: Rig) -> None:
    """D4: the router was away for two days after the decision; one event says so, once."""
    when(isp, "decision", "committed", lambda: isp.fleet.control(BNG, "die"))
    assert upgrade(isp)[0] == "in doubt"
    with writing(isp.office.engine) as session:
        row = session.exec(select(DecisionRow)).one()
        row.decided_at -= dt.timedelta(days=2)
        session.add(row)
    isp.fleet.control(BNG, "revive")
    assert recover(isp.office).outcome.exit_code() == 0
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed", "service.effect_shifted")
    recover(isp.office)
    at_tier(isp, ONE, NEW)
    nothing_left(isp)
    with reading(isp.office.engine) as session:
        assert verify(session, deep=True).problem == ""


def test_accepting_a_service_that_never_began_posts_nothing(isp: Rig) -> None:
    """A reversed activation leaves the state `none`: nothing is owed, whatever a device has."""
    assert upgrade(isp)[0] == "done"
    with writing(isp.office.engine) as session:
        change = session.exec(select(ChangeRow)).one()
        none = text("UPDATE service SET state = 'none' WHERE service_id = 'svc-1001'")
        session.connection().execute(none)
        assert accept_as_is(session, change, "tester", "x-1") == ()
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed")


def test_accepting_a_device_as_it_is_leaves_what_is_owed(isp: Rig) -> None:
    """One event for each exception that was accepted, and the service's version counts on."""
    assert upgrade(isp)[0] == "done"
    with writing(isp.office.engine) as session:
        change = session.exec(select(ChangeRow)).one()
        before = fold_service(ONE, find_by_service(session, ONE))
        (posted,) = accept_as_is(session, change, "tester", "x-1")
    with reading(isp.office.engine) as session:
        after = fold_service(ONE, find_by_service(session, ONE))
        assert find_service(session, ONE).version == after.version == before.version + 1
    assert (posted.type, posted.actor, posted.reason_code) == (
        "reconciliation.adopted",
        "tester",
        "accepted",
    )
    assert posted.idempotency_key == "x-1:reconciliation.adopted"
    assert (after.plan_code, after.tier_code, after.state) == (NEW, NEW, "active")


def test_only_what_is_live_by_now_is_adopted(isp: Rig) -> None:
    """D3, D4: nothing is effective in the future, and nothing to adopt posts nothing."""
    with reading(isp.office.engine) as session:
        now = database_now(session)
        seen = ledger_head(session)
    later = Adoption(
        service_id=ONE,
        plan_code=NEW,
        state="active",
        active_since=now + dt.timedelta(hours=1),
        billing_from=now.date(),
    )
    with pytest.raises(WrongUse, match="not yet"), writing(isp.office.engine) as session:
        adopt(session, [later], {}, "tester")
    with writing(isp.office.engine) as session:
        assert adopt(session, [], {}, "tester") == ()
        assert ledger_head(session) == seen


def test_the_story_of_a_set_is_told_in_order(isp: Rig) -> None:
    """Who reads it later sees what was known when it was decided."""
    assert upgrade(isp)[0] == "done"
    with reading(isp.office.engine) as session:
        (set_id,) = list_open_sets(session)
        steps = list_steps(session, set_id)
    assert [(each.kind, each.participant) for each in steps if each.kind != "snmp"] == [
        ("intent", ""),
        ("prepare", BNG),
        ("prepare", OLT),
        ("observed", BNG),
        ("observed", OLT),
        ("decision", ""),
        ("confirm", BNG),
        ("save", OLT),
        ("observed", BNG),
        ("observed", OLT),
        ("coa", BNG),
        ("session", BNG),
    ]
    assert json.loads(steps[0].detail) == {"devices": [BNG, OLT], "services": 1}


def test_recovery_that_waits_drives_first_and_then_waits(isp: Rig) -> None:
    """Timers run on devices: nobody sleeps for logins before they are confirmed (D6)."""
    settings = replace(isp.office.settings, settle_s=600)
    isp.office = replace(isp.office, settings=settings)
    when(isp, "decision", "committed", lambda: isp.fleet.control(BNG, "die"))
    assert upgrade(isp)[0] == "in doubt"
    # not driven: there is nothing to wait for yet
    slept = _Rounds(acts=[])
    isp.office = replace(isp.office, clock=slept)
    assert "can be closed in 600 s" in recover(isp.office, wait_settle=True).waiting[0]
    isp.fleet.control(BNG, "revive")
    seen: list[str] = []

    def over() -> None:
        seen.extend(truth(isp, ONE).bng_startup)
        with writing(isp.office.engine) as session:
            change = session.exec(select(ChangeRow)).one()
            assert change.applied_at is not None
            change.applied_at -= dt.timedelta(seconds=601)
            session.add(change)

    slept.acts.append(over)
    found = recover(isp.office, wait_settle=True)
    assert (found.waiting, found.outcome.items[0].ending) == ((), "done")
    assert seen == ["DOWN-500M", "UP-100M"]  # it was confirmed before anybody slept
    is_done(isp)


def test_what_never_reads_back_as_told_is_given_up(isp: Rig) -> None:
    """W5: a router that says OK each time and programs nothing is not billed for."""

    def stop_programming() -> None:
        isp.fleet.control(BNG, "knob", name="not_programmed", value=True)
        isp.fleet.control(BNG, "expire")

    when(isp, "decision", "committed", stop_programming)
    ending, _ = upgrade(isp)
    assert ending == "reversed"
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed", "event.reversed")
    isp.fleet.control(BNG, "knob", name="not_programmed", value=False)
    isp.fleet.control(BNG, "program")
    recover(isp.office)
    is_as_before(isp, "tier.changed", "event.reversed")


def test_a_set_may_hold_lines_of_several_rates(isp: Rig) -> None:
    orders = (isp.order(ONE, NEW), isp.order("svc-1002", kind="suspend"))
    outcome = isp.apply(isp.plan(*orders))
    assert [item.ending for item in outcome.items] == ["done", "done"]
    assert (BNG, "keeps 2 lines") in isp.said
    recover(isp.office)
    nothing_left(isp)


# --- leases, and recovery that watches -----------------------------------------------------------


def test_a_lease_that_is_somebody_elses_by_now_is_not_renewed(isp: Rig) -> None:
    with isp.office.leases("a test") as leases:
        leases.acquire(frozenset({BNG}), wait_s=0)
        with writing(isp.office.engine) as session:
            session.execute(update(LeaseRow).values(owner="another"))
        with pytest.raises(LeaseLostError, match="taken over"):
            leases.renew()


def test_two_who_take_a_lease_at_the_same_moment(isp: Rig) -> None:
    """The store refuses the second row: who meets that looks again, and here finds it free."""
    _do(isp, _refuse("lease"))
    refused: list[bool] = []
    left = ["DROP TRIGGER refuses"]

    def give_way(_connection: object, _record: object) -> None:
        if refused and left:
            _do(isp, left.pop())

    event.listen(isp.office.engine, "handle_error", lambda _context: refused.append(True))
    event.listen(isp.office.engine, "checkin", give_way)
    with isp.office.leases("a test") as leases:
        leases.acquire(frozenset({BNG}), wait_s=0)
        assert refused == [True]
        leases.fence()
        with reading(isp.office.engine) as session:
            assert [row.device for row in list_leases(session)] == [BNG]


class _Ended(BaseException):
    """A person has stopped the watching."""


@dataclass(slots=True)
class _Rounds(HostClock):
    """Does one thing for each round, and then ends it."""

    acts: list[Callable[[], None]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Do the next thing."""
        _ = seconds
        if not self.acts:
            raise _Ended
        self.acts.pop(0)()


def test_watching_goes_on_while_the_store_is_away(isp: Rig) -> None:
    """What waits is told in each round, and so is what is wrong with the store."""
    isp.office = replace(isp.office, settings=replace(isp.office.settings, settle_s=600))
    assert upgrade(isp)[0] == "done"
    hidden = lambda: _do(isp, "ALTER TABLE change RENAME TO hidden")  # noqa: E731
    back = lambda: _do(isp, "ALTER TABLE hidden RENAME TO change")  # noqa: E731
    isp.office = replace(isp.office, clock=_Rounds(acts=[hidden, back]))
    isp.said.clear()
    with pytest.raises(_Ended):
        watch(isp.office)
    told = [text for who, text in isp.said if who == "recover"]
    assert ["can be closed in" in text for text in told] == [True, False, True]
    assert "no such table" in told[1]
