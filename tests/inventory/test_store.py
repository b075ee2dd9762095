"""The store finds what an import has kept, and keeps what a decision says."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from inventory_rig import EXAMPLE, load, statements, together, wait_for_waiter
from sqlalchemy import Engine, func, insert, select

from inventory import (
    Attachment,
    Rate,
    SecretRef,
    Service,
    StalePlan,
    UnknownName,
    accounts_many,
    find_account,
    find_device,
    find_legal_entity,
    find_plan,
    find_service,
    find_tier,
    keep_services,
    list_devices,
    list_plans,
    list_services,
    list_tiers,
    password_refs,
    services_many,
)
from inventory.rows import LINE, PLAN, SERVICE, TIER
from orchestrator.database import reading, writing

SINCE = dt.datetime(2026, 3, 1, 9, 30, 15, 123456, tzinfo=dt.UTC)


def active(service: Service, plan: str = "fiber-100", tier: str = "t100") -> Service:
    return replace(
        service,
        plan_code=plan,
        tier_code=tier,
        state="active",
        version=service.version + 1,
        active_since=SINCE,
        billing_from=dt.date(2026, 3, 1),
    )


def activate(engine: Engine, service_id: str) -> Service:
    with writing(engine) as session:
        before = find_service(session, service_id)
        keep_services(session, [(before, active(before))])
        return find_service(session, service_id)


def test_what_was_imported_is_found(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session:
        service = find_service(session, "svc-1001")
        assert (service.state, service.version, service.plan_code) == ("none", 0, "")
        assert service.attachments == (
            Attachment(
                service_id="svc-1001",
                role="bng",
                device="bng-1",
                objects=(("interface", "ge-0/0/1"), ("unit", 1042)),
            ),
            Attachment(
                service_id="svc-1001",
                role="olt",
                device="olt-1",
                objects=(("service_port", 17),),
            ),
        )
        assert find_service(session, "svc-1002").attachments[0].objects == ()
        assert find_account(session, "acc-1002").cycle_day == 31
        assert find_legal_entity(session, "nordnetz").tax_id == "DE811234567"
        assert find_tier(session, "t500").rate == Rate(down_kbps=500_000, up_kbps=100_000)
        assert len(list_tiers(session)) == 3
        plan = find_plan(session, "fiber-100")
        assert [price.amount_minor for price in plan.prices] == [2999, 3199]
        assert plan.price_on(dt.date(2025, 12, 31)).price_version_id == "fiber-100@2025-01-01"
        assert [one.code for one in list_plans(session)] == ["fiber-100", "fiber-500"]
        device = find_device(session, "bng-1")
        assert device.password == SecretRef(ref="env:BNG1_PASSWORD")
        assert (device.snmp.port, device.coa.port, device.timeout_s) == (161, 3799, 20)
        assert list_devices(session)[2].name == "olt-1"
        refs = password_refs(session, ["svc-1001", "svc-1002", "nobody"])
        assert refs["svc-1001"].ref == "env:PW_JANSEN"
        assert refs["svc-1002"].ref == ""
        assert "nobody" not in refs


def test_an_unknown_name_is_answered_with_what_comes_near(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session:
        with pytest.raises(UnknownName, match="service svc-101: is not in") as caught:
            find_service(session, "svc-101")
        assert "svc-1001" in caught.value.remedy
        with pytest.raises(UnknownName) as caught:
            find_device(session, "ont-1")
        assert "olt-1" in caught.value.remedy
        for find in (find_plan, find_tier, find_account, find_legal_entity):
            with pytest.raises(UnknownName, match="nothing-like-it"):
                find(session, "nothing-like-it")
        with pytest.raises(UnknownName, match="acc-9"):
            accounts_many(session, ["acc-1001", "acc-9"])


def test_an_unknown_name_cannot_steer_the_terminal(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session, pytest.raises(UnknownName) as caught:
        find_service(session, "svc\x1b[2J%_\n")
    assert str(caught.value).isprintable()


def test_filters_meet(engine: Engine) -> None:
    load(engine, EXAMPLE)
    activate(engine, "svc-1001")

    def ids(**filters: str) -> list[str]:
        with reading(engine) as session:
            return [service.service_id for service in list_services(session, **filters)]

    assert ids() == ["svc-1001", "svc-1002"]
    assert ids(site="HAM1") == ["svc-1001", "svc-1002"]
    assert ids(site="HAM2") == ["svc-1002"]
    assert ids(device="bng-1") == ["svc-1001"]
    assert ids(plan="fiber-100") == ["svc-1001"]
    assert ids(plan="fiber-500") == []
    assert ids(state="active") == ["svc-1001"]
    assert ids(state="none") == ["svc-1002"]
    assert ids(site="HAM1", device="olt-1", plan="fiber-100", state="active") == ["svc-1001"]
    for name in ("site", "device", "plan"):
        with pytest.raises(UnknownName, match=name):
            ids(**{name: "nowhere"})


def test_services_come_in_the_order_asked_for(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session:
        wanted = ("svc-1002", "svc-1001", "svc-1002")
        assert tuple(one.service_id for one in services_many(session, wanted)) == wanted
        with pytest.raises(UnknownName, match="svc-9"):
            services_many(session, ("svc-1001", "svc-9"))


def test_a_decision_moves_a_thousand_services_in_a_few_statements(engine: Engine) -> None:
    load(engine, EXAMPLE)
    ids = [f"bulk-{number:04}" for number in range(1000)]
    with writing(engine) as session:
        line = {"account_id": "acc-1001", "login": "", "password_ref": "", "adopted": ""}
        session.execute(insert(LINE), [{"service_id": one, **line} for one in ids])
    with writing(engine) as session, statements(engine) as seen:
        services = services_many(session, ids)
        assert len(seen) == 1
        keep_services(session, [(service, active(service)) for service in services])
        assert len(seen) <= 6
    with writing(engine) as session, statements(engine) as seen:
        services = services_many(session, ids)
        keep_services(session, [(one, replace(active(one), state="suspended")) for one in services])
        assert len(seen) <= 6
    with reading(engine) as session:
        found = list_services(session, state="suspended")
        assert {service.version for service in found} == {2}
        assert len(found) == 1000
        assert found[0].active_since == SINCE


def test_a_service_that_moved_is_not_overwritten(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session:
        before = find_service(session, "svc-1001")
        other = find_service(session, "svc-1002")
    activate(engine, "svc-1001")
    with pytest.raises(StalePlan, match="svc-1001"), writing(engine) as session:
        keep_services(session, [(other, active(other)), (before, active(before))])
    with reading(engine) as session:
        assert find_service(session, "svc-1002").state == "none"


def test_two_activations_at_once_are_one(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session:
        before = find_service(session, "svc-1001")

    def act() -> None:
        with writing(engine) as session:
            keep_services(session, [(before, active(before))])

    outcomes = together(act, act, act)
    assert sorted(type(one).__name__ for one in outcomes) == ["NoneType", "StalePlan", "StalePlan"]


def test_an_activation_that_waited_for_another_is_stale(postgres: Engine) -> None:
    """The second one has seen no row, and meets the first one's only when it inserts."""
    load(postgres, EXAMPLE)
    with ThreadPoolExecutor(1) as pool:
        with writing(postgres) as session:
            before = find_service(session, "svc-1001")
            keep_services(session, [(before, active(before))])

            def act() -> None:
                with writing(postgres) as other:
                    keep_services(other, [(before, active(before))])

            second = pool.submit(act)
            wait_for_waiter(postgres)
        with pytest.raises(StalePlan, match="svc-1001"):
            second.result()


def test_a_reversed_activation_keeps_its_count(engine: Engine) -> None:
    load(engine, EXAMPLE)
    first = activate(engine, "svc-1001")
    gone = replace(
        first,
        state="none",
        version=2,
        plan_code="",
        tier_code="",
        active_since=None,
        billing_from=None,
    )
    with writing(engine) as session:
        keep_services(session, [(first, gone)])
        assert find_service(session, "svc-1001") == gone
        assert list_services(session, plan="fiber-100") == ()
    again = activate(engine, "svc-1001")
    assert (again.state, again.version) == ("active", 3)


def test_tiers_and_plans_become_used_and_stay_so(engine: Engine) -> None:
    load(engine, EXAMPLE)

    def used() -> set[str]:
        with reading(engine) as session:
            return {
                code
                for table in (TIER, PLAN)
                for code in session.execute(select(table.c.code).where(table.c.used)).scalars()
            }

    assert used() == set()
    first = activate(engine, "svc-1001")
    assert used() == {"t100", "fiber-100"}
    with writing(engine) as session:
        keep_services(session, [(first, replace(first, state="suspended", version=2))])
    assert used() == {"t100", "fiber-100", "suspended"}
    with writing(engine) as session:
        second = find_service(session, "svc-1001")
        moved = replace(active(second), plan_code="fiber-500", tier_code="t500")
        keep_services(session, [(second, moved)])
    assert used() == {"t100", "t500", "fiber-100", "fiber-500", "suspended"}


def test_nothing_is_kept_without_the_callers_commit(engine: Engine) -> None:
    load(engine, EXAMPLE)

    def fail() -> None:
        with writing(engine) as session:
            before = find_service(session, "svc-1001")
            keep_services(session, [(before, active(before))])
            message = "the ledger refuses"
            raise LookupError(message)

    with pytest.raises(LookupError):
        fail()
    with reading(engine) as session:
        assert session.execute(select(func.count()).select_from(SERVICE)).scalar_one() == 0
