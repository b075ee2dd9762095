"""One change after another on real wires: done, refused, stale, held, undone, taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlmodel import select

from billing_bridge import find_by_service, replay_check
from inventory import (
    KeyConflict,
    NotNewest,
    OnHold,
    OpenChange,
    ProfileMissing,
    Refused,
    StalePlan,
    Unreachable,
    WrongUse,
    find_service,
    list_services,
    new_id,
)
from inventory.radius_rows import RADCHECK
from inventory.rows import AccountRow
from orchestrator.answers import answer_exception
from orchestrator.apply import apply_plan, cancel_plan
from orchestrator.database import reading, writing
from orchestrator.exceptions import list_open
from orchestrator.holds import hold, release
from orchestrator.interrupt import Interrupts
from orchestrator.plan import known_outcome, make_plan
from orchestrator.recover import orphans, recover
from orchestrator.rollback import Undo, plan_rollback
from orchestrator.rows import ChangeRow, DecisionRow, PlanRow
from tests.orchestrator.conftest import StartRig
from tests.orchestrator.rig import Rig, at_tier, truth
from workflows import ChangeKind, item_from_json

ONE = "svc-1001"  # on the first OLT
TWO = "svc-1002"  # on the second OLT


def endings(outcome: Any) -> dict[str, str]:
    return {item.service_id: item.ending for item in outcome.items}


def test_upgrade_is_applied_posted_and_closed(rig: Rig) -> None:
    at_tier(rig, ONE, "fiber-100")
    outcome = rig.tier(ONE, "fiber-500")
    assert outcome.exit_code() == 0
    at_tier(rig, ONE, "fiber-500")
    at_tier(rig, TWO, "fiber-100")
    assert truth(rig, ONE).events == ("service.adopted", "tier.changed")
    assert recover(rig.office).outcome.exit_code() == 0
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
        (change,) = session.exec(select(ChangeRow)).all()
    assert (change.state, change.outcome) == ("CLOSED", "done")


def test_refusal_by_the_olt_puts_everything_back(rig: Rig) -> None:
    rig.fleet.control("olt-fra-1", "fault", verb="service-port*", kind="refuse", arg="busy")
    outcome = rig.tier(ONE, "fiber-500")
    assert endings(outcome) == {ONE: "aborted"}
    assert outcome.exit_code() == 1
    assert "olt-fra-1" in outcome.items[0].reason
    at_tier(rig, ONE, "fiber-100")
    assert truth(rig, ONE).events == ("service.adopted",)
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
        assert [row.verdict for row in session.exec(select(DecisionRow))] == ["ABORT"]
    assert rig.tier(ONE, "fiber-500").exit_code() == 0
    at_tier(rig, ONE, "fiber-500")


def test_refusal_by_the_bng_leaves_the_olt_alone(rig: Rig) -> None:
    rig.fleet.control(rig.isp.bng, "fault", verb="commit-configuration", kind="refuse", arg="no")
    before = len(rig.fleet.control("olt-fra-1", "log")["entries"])
    outcome = rig.tier(ONE, "fiber-500")
    assert endings(outcome) == {ONE: "aborted"}
    at_tier(rig, ONE, "fiber-100")
    sent = [e["text"] for e in rig.fleet.control("olt-fra-1", "log")["entries"][before:]]
    assert not [line for line in sent if line.startswith("service-port")]


@pytest.mark.parametrize("verb", ["edit on the device", "the service moved", "midnight"])
def test_a_plan_is_stale_when_the_world_moved(rig: Rig, verb: str) -> None:
    plan = rig.plan(rig.order(ONE, "fiber-500"))
    if verb == "the service moved":
        assert rig.tier(ONE, "fiber-1000").exit_code() == 0
    elif verb == "midnight":  # its price is that of a date which has passed where the payer lives
        tomorrow = update(AccountRow).values(time_zone="Pacific/Kiritimati")
        if rig.isp.time_zone.startswith("Etc/GMT-"):
            tomorrow = update(AccountRow).values(time_zone="Etc/GMT+12")
        with writing(rig.office.engine) as session:
            session.execute(tomorrow)
    else:
        unit = "set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-1000M"
        rig.fleet.control(rig.isp.bng, "edit", lines=[unit])
    with pytest.raises(StalePlan) as caught:
        rig.apply(plan)
    assert caught.value.exit_code == 5
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
    assert "tier.changed" not in truth(rig, ONE).events[2:]
    if verb == "midnight":
        assert "passed" in str(caught.value)
        sent = [e["text"] for e in rig.fleet.control(rig.isp.bng, "log")["entries"]]
        assert not [line for line in sent if "load-configuration" in line]


def test_a_drifted_line_is_not_planned(rig: Rig) -> None:
    unit = "set interfaces ge-0/0/1 unit 1001 family inet policer output DOWN-1000M"
    rig.fleet.control(rig.isp.bng, "edit", lines=[unit])
    with pytest.raises(Refused, match="the ledger says 100/20"):
        rig.plan(rig.order(ONE, "fiber-500"))


def test_a_missing_profile_is_refused_before_anything_is_sent(rig: Rig) -> None:
    rig.fleet.control(rig.isp.bng, "edit", lines=["delete firewall policer DOWN-500M"])
    with pytest.raises(ProfileMissing, match=r"bng-fra-1: .*500000 kbit/s"):
        rig.plan(rig.order(ONE, "fiber-500"))


def test_an_altered_plan_is_refused(rig: Rig) -> None:
    """S15: apply takes what was shown and nothing else."""
    plan = rig.plan(rig.order(ONE, "fiber-500"))
    with writing(rig.office.engine) as session:
        row = session.get_one(PlanRow, plan.plan_id)
        row.body = row.body.replace("fiber-500", "fiber-1000")
    with pytest.raises(StalePlan, match="not what was shown"):
        rig.apply(plan)


def test_a_cancelled_or_expired_plan_is_refused(rig: Rig) -> None:
    plan = rig.plan(rig.order(ONE, "fiber-500"))
    cancel_plan(rig.office, plan.plan_id)
    with pytest.raises(StalePlan, match="cancelled"):
        rig.apply(plan)
    other = rig.plan(rig.order(ONE, "fiber-500"))
    with writing(rig.office.engine) as session:
        session.get_one(PlanRow, other.plan_id).expires_at = other.created_at
    with pytest.raises(StalePlan, match="expired"):
        rig.apply(other)


def test_a_hold_stops_new_work_and_nothing_else(rig: Rig) -> None:
    plan = rig.plan(rig.order(ONE, "fiber-500"))
    hold(rig.office, "olt-fra-1", "card swap", "tester")
    with pytest.raises(OnHold, match="card swap"):
        rig.apply(plan)
    assert rig.tier(TWO, "fiber-500").exit_code() == 0
    release(rig.office, "olt-fra-1", "tester")
    with pytest.raises(WrongUse, match="not on hold"):
        release(rig.office, "olt-fra-1", "tester")
    assert rig.tier(ONE, "fiber-500").exit_code() == 0


def test_the_same_key_gives_the_stored_outcome(rig: Rig) -> None:
    """P14: the same idempotency key twice is one change; another payload is a conflict."""
    order = replace(rig.order(ONE, "fiber-500"), idempotency_key="ticket-1")
    assert known_outcome(rig.office, order) == ()
    rig.apply(rig.plan(order))
    again = replace(rig.order(ONE, "fiber-500"), idempotency_key="ticket-1")
    (stored,) = known_outcome(rig.office, again)
    assert stored.ending == "done"
    other = replace(rig.order(ONE, "fiber-1000"), idempotency_key="ticket-1")
    with pytest.raises(KeyConflict):
        known_outcome(rig.office, other)
    assert truth(rig, ONE).events == ("service.adopted", "tier.changed")


def test_an_aborted_order_may_be_tried_again_under_its_key(rig: Rig) -> None:
    order = replace(rig.order(ONE, "fiber-500"), idempotency_key="ticket-2")
    rig.fleet.control("olt-fra-1", "fault", verb="service-port*", kind="refuse", arg="busy")
    plan = rig.plan(order)
    assert endings(rig.apply(plan)) == {ONE: "aborted"}
    assert known_outcome(rig.office, order) == ()
    assert endings(rig.apply(plan)) == {ONE: "done"}
    at_tier(rig, ONE, "fiber-500")
    assert truth(rig, ONE).events == ("service.adopted", "tier.changed")


def test_one_refused_service_of_a_set_does_not_stop_the_others(start_rig: StartRig) -> None:
    rig = start_rig(services=6)
    rig.fleet.control(
        "olt-fra-1", "fault", verb="service-port 1003 *", kind="refuse", arg="no", count=9
    )
    orders = [rig.order(service_id, "fiber-500") for service_id in rig.isp.ids()]
    outcome = rig.apply(rig.plan(*orders))
    assert outcome.exit_code() == 4
    assert endings(outcome) == {
        name: "aborted" if name == "svc-1003" else "done" for name in rig.isp.ids()
    }
    for name in rig.isp.ids():
        at_tier(rig, name, "fiber-100" if name == "svc-1003" else "fiber-500")


def test_all_or_nothing_is_nothing_when_one_refuses(rig: Rig) -> None:
    rig.fleet.control("olt-fra-2", "fault", verb="service-port*", kind="refuse", arg="no")
    orders = tuple(rig.order(name, "fiber-500") for name in rig.isp.ids())
    plan = make_plan(rig.office, orders, skip=False, all_or_nothing=True)
    assert set(endings(rig.apply(plan)).values()) == {"aborted"}
    for name in rig.isp.ids():
        at_tier(rig, name, "fiber-100")


def test_rollback_bills_and_as_never_sums_to_zero(rig: Rig) -> None:
    change = rig.tier(ONE, "fiber-500").items[0].change_id
    back = plan_rollback(rig.office, change, Undo(actor="tester"))
    assert rig.apply(back).exit_code() == 0
    at_tier(rig, ONE, "fiber-100")
    assert truth(rig, ONE).events[-2:] == ("tier.changed", "tier.changed")
    with pytest.raises(NotNewest):
        plan_rollback(rig.office, change, Undo(actor="tester"))

    change = rig.tier(TWO, "fiber-500").items[0].change_id
    undo = Undo(actor="tester", as_never=True, reason="wrong customer")
    back = plan_rollback(rig.office, change, undo)
    assert back.items[0].money.net_minor == -_net_of_upgrade(rig, TWO)
    assert rig.apply(back).exit_code() == 0
    at_tier(rig, TWO, "fiber-100")
    assert truth(rig, TWO).events[-2:] == ("tier.changed", "event.reversed")


def _net_of_upgrade(rig: Rig, service_id: str) -> int:
    """What the newest upgrade of a service was going to cost, by its own stored plan."""
    with reading(rig.office.engine) as session:
        rows = session.exec(select(ChangeRow).where(ChangeRow.service_id == service_id)).all()
    return item_from_json(rows[-1].item).money.net_minor


@pytest.mark.parametrize("kinds", [("terminate",), ("suspend",), ("terminate", "activate")])
def test_what_counts_as_never_leaves_no_trace_in_the_fold(
    rig: Rig, kinds: tuple[ChangeKind, ...]
) -> None:
    """The service row after the undo is the fold of a ledger without the event (L9)."""
    set_password(rig, "user1001@isp")
    for kind in kinds:
        plan = rig.plan(rig.order(ONE, "fiber-500" if kind == "activate" else "", kind=kind))
        change = rig.apply(plan).items[0].change_id
    undo = Undo(actor="tester", as_never=True, reason="wrong line")
    assert rig.apply(plan_rollback(rig.office, change, undo)).exit_code() == 0
    with reading(rig.office.engine) as session:
        services = list_services(session)
        assert replay_check(session, services) == ()
        assert orphans(session) in (0, 1)
        service = find_service(session, ONE)
    assert service.state == ("terminated" if len(kinds) > 1 else "active")


def test_as_never_needs_a_reason(rig: Rig) -> None:
    change = rig.tier(ONE, "fiber-500").items[0].change_id
    with pytest.raises(WrongUse, match="reason"):
        plan_rollback(rig.office, change, Undo(actor="tester", as_never=True))


def test_the_life_of_a_service(rig: Rig) -> None:
    """Suspend, resume, terminate, activate: devices, rows, session and ledger agree each time."""
    rig.apply(rig.plan(rig.order(ONE, kind="suspend")))
    seen = truth(rig, ONE)
    assert (seen.bng, seen.olt) == (("DOWN-1M", "UP-1M"), (1_000, 1_000))
    assert (seen.group, seen.session) == ("suspended@juniper_junos", (0, 0))
    assert seen.state == "suspended"
    rig.apply(rig.plan(rig.order(ONE, kind="resume")))
    rig.fleet.control(
        rig.isp.bng,
        "session_open",
        user="user1001@isp",
        acct_session_id="new1",
        service="bandmaster(100000k,20000k)",
    )
    at_tier(rig, ONE, "fiber-100")
    rig.apply(rig.plan(rig.order(ONE, kind="terminate")))
    seen = truth(rig, ONE)
    assert (seen.olt, seen.group, seen.session, seen.state) == ((0, 0), "", (0, 0), "terminated")
    with pytest.raises(Refused, match="no password"):
        rig.plan(rig.order(ONE, "fiber-500", kind="activate"))
    set_password(rig, "user1001@isp")
    rig.apply(rig.plan(rig.order(ONE, "fiber-500", kind="activate")))
    seen = truth(rig, ONE)
    assert (seen.bng, seen.olt) == (("DOWN-500M", "UP-100M"), (500_000, 100_000))
    assert (seen.group, seen.state) == ("fiber-500@juniper_junos", "active")
    assert seen.events == (
        "service.adopted",
        "service.suspended",
        "service.resumed",
        "service.terminated",
        "service.activated",
    )


def set_password(rig: Rig, login: str) -> None:
    """Give a login the password that an adopted one brings along from the RADIUS before us."""
    row = {"username": login, "attribute": "Cleartext-Password", "op": ":=", "value": "pw-of-login"}
    with writing(rig.office.engine) as session:
        session.execute(insert(RADCHECK), [row])


def test_wrong_orders_are_wrong_use(rig: Rig) -> None:
    for order in (
        rig.order(ONE, "fiber-100"),
        rig.order(ONE, "no-such-plan"),
        rig.order("svc-9", "fiber-500"),
        rig.order(ONE, kind="resume"),
        rig.order(ONE, "fiber-500", kind="activate"),
    ):
        with pytest.raises(WrongUse):
            rig.plan(order)
    with pytest.raises(WrongUse, match="twice"):
        rig.plan(rig.order(ONE, "fiber-500"), rig.order(ONE, "fiber-1000"))


def test_an_unreachable_device_stops_the_plan(rig: Rig) -> None:
    rig.fleet.control("olt-fra-1", "die")
    with pytest.raises(Unreachable, match="olt-fra-1"):
        rig.plan(rig.order(ONE, "fiber-500"))
    plan = make_plan(
        rig.office,
        (rig.order(ONE, "fiber-500"), rig.order(TWO, "fiber-500")),
        skip=True,
    )
    assert [item.order.service_id for item in plan.items] == [TWO]
    assert dict(plan.skipped)[ONE].startswith("olt-fra-1")


@pytest.mark.parametrize(
    ("kind", "arg"), [("refuse", 401), ("no_effect", None), ("hang_before", None)]
)
def test_a_session_that_does_not_follow_is_an_exception(
    rig: Rig, kind: str, arg: int | None
) -> None:
    """ACK without effect, NAK and silence are different stories with the same end (D9)."""
    more = {} if arg is None else {"arg": arg}
    rig.fleet.control(rig.isp.bng, "fault", verb="CoA-Request", kind=kind, count=9, **more)
    outcome = rig.tier(ONE, "fiber-500")
    assert outcome.exit_code() == 4
    with reading(rig.office.engine) as session:
        (row,) = list_open(session)
    assert (row.service_id, row.cause) == (ONE, "session")
    assert row.at_stake_minor == 2000
    with pytest.raises(OpenChange):
        rig.plan(rig.order(ONE, "fiber-1000"))
    rig.fleet.control(rig.isp.bng, "clear")
    answered = answer_exception(rig.office, row.exception_id, "retry", "tester", "")
    assert answered.exit_code() == 0
    at_tier(rig, ONE, "fiber-500")
    assert truth(rig, ONE).events == ("service.adopted", "tier.changed")


def test_nobody_online_is_done(rig: Rig) -> None:
    rig.fleet.control(rig.isp.bng, "session_close", acct_session_id="8a1001")
    assert rig.tier(ONE, "fiber-500").exit_code() == 0
    assert truth(rig, ONE).group == "fiber-500@juniper_junos"


def test_a_first_interrupt_before_the_decision_undoes(rig: Rig) -> None:
    plan = rig.plan(rig.order(ONE, "fiber-500"))
    interrupts = Interrupts()
    heard: list[str] = []

    def tell(participant: str, text: str) -> None:
        heard.append(f"{participant} {text}")
        interrupts.requested = interrupts.requested or text == "prepared"

    outcome = apply_plan(replace(rig.office, tell=tell), interrupts, plan.plan_id)
    assert endings(outcome) == {ONE: "aborted"}
    assert outcome.exit_code() == 1
    at_tier(rig, ONE, "fiber-100")


def test_events_carry_what_was_read_back(rig: Rig) -> None:
    rig.tier(ONE, "fiber-500")
    with reading(rig.office.engine) as session:
        event = find_by_service(session, ONE)[-1]
        service = find_service(session, ONE)
    found = {line["device"]: line for line in event.payload["evidence"]}
    assert found.keys() == {rig.isp.bng, "olt-fra-1"}
    assert {line["down_kbps"] for line in found.values()} == {500_000}
    assert service.version == event.service_version == 2
    assert new_id() > event.event_id


def test_the_closing_pass_leaves_a_suspended_login_alone(rig: Rig) -> None:
    """Who logs in again at the suspended rate is where the ledger says, and stays online."""
    rig.apply(rig.plan(rig.order(ONE, kind="suspend")))
    rig.fleet.control(
        rig.isp.bng,
        "session_open",
        user="user1001@isp",
        acct_session_id="again",
        service="bandmaster(1000k,1000k)",
    )
    assert recover(rig.office).outcome.exit_code() == 0
    assert truth(rig, ONE).session == (1_000, 1_000)
    with reading(rig.office.engine) as session:
        assert orphans(session) == 0
