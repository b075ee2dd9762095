"""One change of a set is its own devices' doing, and counts from when they had it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from sqlmodel import select

from billing_bridge import find_by_service
from inventory import list_plans
from orchestrator.database import reading, writing
from orchestrator.decide import _effective
from orchestrator.recover import recover
from orchestrator.rows import DecisionRow, ParticipantRow
from tests.orchestrator.conftest import StartRig
from tests.orchestrator.moments import NEW, OLD, ONE, Hasty, nothing_left, when
from tests.orchestrator.rig import Rig, at_tier, truth

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def isp(start_rig: StartRig) -> Rig:
    """One BNG, two OLTs, and nobody who waits between two tries."""
    rig = start_rig(services=4, olts=2, save_s=0.02)
    rig.office = replace(rig.office, clock=Hasty())
    return rig


def test_only_what_a_device_refuses_after_the_decision_is_reversed(isp: Rig) -> None:
    """W15: the other services of the set have what they pay for, and keep it."""
    ours, theirs = ONE, next(each for each in isp.isp.ids() if _olt(isp, each) != _olt(isp, ONE))

    def refuse() -> None:
        isp.fleet.control(_olt(isp, theirs), "fault", verb="save", kind="refuse", count=3)

    when(isp, "decision", "committed", refuse)
    outcome = isp.apply(isp.plan(isp.order(ours, NEW), isp.order(theirs, NEW)))
    endings = {item.service_id: item.ending for item in outcome.items}
    assert endings == {ours: "done", theirs: "reversed"}
    assert truth(isp, theirs).events == ("service.adopted", "tier.changed", "event.reversed")
    assert truth(isp, ours).events == ("service.adopted", "tier.changed")
    recover(isp.office)
    at_tier(isp, ours, NEW)
    at_tier(isp, theirs, OLD)
    nothing_left(isp)


def _olt(isp: Rig, service_id: str) -> str:
    return isp.isp.olt_of(int(service_id.rpartition("-")[2]))


def test_a_late_effect_counts_from_when_it_was_read(isp: Rig) -> None:
    """D4: not from the close, which may come days after the last device had it."""
    isp.office = replace(isp.office, settings=replace(isp.office.settings, settle_s=600))
    assert isp.tier(ONE, NEW).items[0].ending == "done"
    with writing(isp.office.engine) as session:
        decided = session.exec(select(DecisionRow)).one()
        decided.decided_at -= dt.timedelta(days=5)
        session.add(decided)
        parts = session.exec(select(ParticipantRow)).all()
        for number, part in enumerate(parts):
            assert part.at_goal_since is not None or part.role == "session"
            part.at_goal_since = decided.decided_at + dt.timedelta(days=1 + number)
            session.add(part)
        last = decided.decided_at + dt.timedelta(days=len(parts))
    isp.office = replace(isp.office, settings=replace(isp.office.settings, settle_s=0))
    recover(isp.office)
    with reading(isp.office.engine) as session:
        shift = find_by_service(session, ONE)[-1]
    assert shift.type == "service.effect_shifted"
    assert shift.payload["to"].startswith(f"{last:%Y-%m-%dT%H:%M:%S}")


def test_a_cut_billed_by_the_second_counts_from_its_first_line(isp: Rig) -> None:
    """D4: who is cut pays for the higher tier until then; everything else counts from now."""
    up = isp.plan(isp.order(ONE, NEW)).items[0]
    assert isp.apply(isp.plan(isp.order(ONE, NEW))).items[0].ending == "done"
    recover(isp.office)
    down = isp.plan(isp.order(ONE, OLD)).items[0]
    with reading(isp.office.engine) as session:
        by_day = {plan.code: plan for plan in list_plans(session)}
        policy = find_by_service(session, ONE)[-1].payload["price_policy"]
    assert policy == by_day[NEW].price_policy
    by_second = {code: replace(plan, proration="second") for code, plan in by_day.items()}
    now = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    began = now - dt.timedelta(hours=1)
    assert _effective(by_second, down, now, began) == began
    assert _effective(by_day, down, now, began) == now
    assert _effective(by_second, up, now, began) == now
