"""An import is written whole or not at all, and a second time it writes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inventory_rig import EXAMPLE, load, statements, together
from sqlalchemy import Engine, select

from inventory import (
    Adoption,
    BadFile,
    ImportResult,
    find_account,
    find_plan,
    find_service,
    find_tier,
    keep_services,
    list_devices,
    list_services,
    password_refs,
)
from inventory.rows import (
    ACCOUNT,
    ATTACHMENT,
    DEVICE,
    LEGAL_ENTITY,
    LINE,
    PLAN,
    PRICE_VERSION,
    TIER,
)
from orchestrator.database import reading, writing

TABLES = (LEGAL_ENTITY, ACCOUNT, TIER, PLAN, PRICE_VERSION, DEVICE, LINE, ATTACHMENT)
ADOPTION = Adoption(
    service_id="svc-1001",
    plan_code="fiber-100",
    state="active",
    active_since=dt.datetime(2025, 6, 14, 22, 0, tzinfo=dt.UTC),  # midnight in Berlin, summer
    billing_from=dt.date(2026, 3, 1),
)
HEADER = "service,account,login,plan,state,active_since,billing_from,bng,bng.interface,bng.unit\n"


def everything(engine: Engine) -> list[Any]:
    with reading(engine) as session:
        return [
            session.execute(select(table).order_by(*table.primary_key)).all() for table in TABLES
        ]


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """Write the example with some text replaced."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "edited.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "\n".join(rows), encoding="utf-8")
    return path


def load_table(engine: Engine, tmp_path: Path, *rows: str) -> ImportResult:
    with reading(engine) as session:
        devices = list_devices(session)
    return load(engine, table(tmp_path, *rows), known_devices=devices)


def adopt(engine: Engine, adoption: Adoption = ADOPTION, **other: Any) -> None:
    """Do what the deciding function does with an adoption."""
    with writing(engine) as session:
        before = find_service(session, adoption.service_id)
        values = {
            "plan_code": adoption.plan_code,
            "tier_code": find_plan(session, adoption.plan_code).tier_code,
            "state": adoption.state,
            "version": before.version + 1,
            "active_since": adoption.active_since,
            "billing_from": adoption.billing_from,
            **other,
        }
        after = type(before)(
            service_id=before.service_id,
            account_id=before.account_id,
            login=before.login,
            attachments=before.attachments,
            **values,
        )
        keep_services(session, [(before, after)])


def refused(engine: Engine, act: Callable[[], Any]) -> str:
    """Return what a refused import says, having seen that it wrote nothing."""
    before = everything(engine)
    with pytest.raises(BadFile) as caught:
        act()
    assert everything(engine) == before
    return "\n".join(caught.value.problems)


def test_the_first_import_writes_all_and_the_second_nothing(engine: Engine) -> None:
    first = load(engine, EXAMPLE)
    assert {count.kind: count.new for count in first.counts} == {
        "legal_entities": 1,
        "accounts": 2,
        "tiers": 3,
        "plans": 2,
        "devices": 3,
        "services": 2,
    }
    assert str(first.counts[2]) == "tiers: 3 new, 0 changed, 0 unchanged"
    assert first.adoptions == (ADOPTION,)
    assert first.changed_services == ()
    kept = everything(engine)
    with statements(engine) as seen:
        second = load(engine, EXAMPLE)
    assert not [one for one in seen if not one.startswith(("SELECT", "LOCK"))]
    assert everything(engine) == kept
    assert all((count.new, count.changed) == (0, 0) for count in second.counts)
    assert sum(count.unchanged for count in second.counts) == 13
    assert second.adoptions == (ADOPTION,)  # still to be decided


def test_what_was_adopted_is_not_adopted_again(engine: Engine) -> None:
    load(engine, EXAMPLE)
    adopt(engine)
    assert load(engine, EXAMPLE).adoptions == ()
    # the service has moved on since: the same file is still known
    adopt(engine, plan_code="fiber-500", tier_code="t500")
    assert load(engine, EXAMPLE).adoptions == ()
    with reading(engine) as session:
        assert find_service(session, "svc-1001").plan_code == "fiber-500"


def test_the_present_state_does_nothing(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    adopt(engine)
    adopt(engine, plan_code="fiber-500", tier_code="t500")
    now = edited(tmp_path, ("plan: fiber-100", "plan: fiber-500"))
    assert load(engine, now).adoptions == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "plan: fiber-100",
            "plan: fiber-500",
            "plan: the service has fiber-100: use `bandmaster service tier svc-1001`",
        ),
        (
            "plan: fiber-100",
            "plan: fiber-100\n    state: suspended",
            "state: the service is active: an import does not change that",
        ),
        (
            "billing_from: 2026-03-01",
            "billing_from: 2026-04-01",
            "billing_from: the service is billed from 2026-03-01",
        ),
        ("account: acc-1001", "account: acc-1002", "an import cannot change its account"),
        ("login: jansen@nordnetz", "login: other", "an import cannot change its login"),
        (
            "device: bng-1, interface: ge-0/0/1, unit: 1042",
            "device: bng-2, interface: sub7",
            "served in the RADIUS dialect of juniper_junos and would need linux_tc",
        ),
        ("down_mbps: 100", "down_mbps: 150", "tier t100 is 100/20 Mbit/s for services"),
        ("proration: day", "proration: second", "proration cannot change while services use"),
        (
            "proration: day",
            "proration: day\n    min_billable_days: 1",
            "min_billable_days cannot change while services use",
        ),
        ("tier: t100", "tier: t500", "tier cannot change while services use the plan"),
        ('amount: "29.99"', 'amount: "30.00"', "the price from 2025-01-01 is known"),
        (
            '- {from: 2025-01-01, amount: "29.99"}',
            '- {from: 2025-07-01, amount: "29.99"}',
            "a price from 2025-07-01 would change what is already priced",
        ),
        ("cycle_day: 1\n", "cycle_day: 5\n", "cycle_day: is 1, and services are billed by it"),
        ("platform: juniper_junos", "platform: linux_tc", "is juniper_junos, and services are"),
    ],
)
def test_what_a_living_service_stands_on_is_refused(
    engine: Engine, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    load(engine, EXAMPLE)
    adopt(engine)
    file = edited(tmp_path, (old, new))
    if "platform" in old:  # the attachment follows, or the parser would already refuse
        file = edited(tmp_path, (old, new), ("interface: ge-0/0/1, unit: 1042", "interface: sub1"))
    said = refused(engine, lambda: load(engine, file))
    assert expected in said
    assert f"{file}:" in said


def test_slips_can_be_corrected_until_a_service_uses_them(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    file = edited(
        tmp_path,
        ("down_mbps: 100", "down_mbps: 150"),
        ("cycle_day: 1\n", "cycle_day: 5\n"),
        ("proration: day", "proration: second"),
        ("service_port: 18", "service_port: 19"),
        ("host: 192.0.2.21", "host: 192.0.2.22"),
    )
    result = load(engine, file)
    assert {count.kind: count.changed for count in result.counts} == {
        "legal_entities": 0,
        "accounts": 1,
        "tiers": 1,
        "plans": 1,
        "devices": 1,
        "services": 1,
    }
    assert result.changed_services == ("svc-1002",)
    with reading(engine) as session:
        assert find_tier(session, "t100").rate.down_kbps == 150_000
        assert find_account(session, "acc-1001").cycle_day == 5
        assert find_service(session, "svc-1002").attachments[1].objects == (("service_port", 19),)


def test_prices_are_only_ever_added(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    adopt(engine)
    later = edited(
        tmp_path,
        ('      - {from: 2025-01-01, amount: "29.99"}\n', ""),
        ('amount: "31.99"}', 'amount: "31.99"}\n      - {from: 2027-01-01, amount: 33}'),
    )
    load(engine, later)
    with reading(engine) as session:
        prices = find_plan(session, "fiber-100").prices
    assert [price.amount_minor for price in prices] == [2999, 3199, 3300]


def test_what_a_file_leaves_out_stays(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    load_table(engine, tmp_path, "svc-1001,acc-1001,jansen@nordnetz,,,,,bng-1,ge-0/0/2,1042")
    with reading(engine) as session:
        service = find_service(session, "svc-1001")
        assert [one.role for one in service.attachments] == ["bng", "olt"]
        assert service.attachments[0].objects == (("interface", "ge-0/0/2"), ("unit", 1042))
        assert password_refs(session, ["svc-1001"])["svc-1001"].ref == "env:PW_JANSEN"
        assert len(list_services(session)) == 2


def test_names_that_nobody_knows_are_all_listed(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    said = refused(
        engine,
        lambda: load_table(
            engine,
            tmp_path,
            "n1,acc-9,,,,,,bng-1,ge-0/0/1,1",
            "n2,acc-1001,,gold,,2026-01-01,2026-01-01,bng-1,ge-0/0/1,2",
            "n3,acc-1001,,fiber-500,,2024-01-01,2024-01-01,bng-1,ge-0/0/1,3",
            "n4,acc-1001,,fiber-500,,2026-02-01,2026-01-01,bng-1,ge-0/0/1,4",
            "n5,acc-1001,,,,,,,,",
            "n6,acc-1001,,,,,,bng-1,ge-0/0/1,6",
        ),
    )
    lines = said.splitlines()
    assert [line.partition("rows.csv:")[2] for line in lines] == [
        "2: account: there is no account acc-9",
        "3: plan: there is no plan gold",
        "4: billing_from: plan fiber-500 has no price on 2024-01-01",
        "5: billing_from: is before active_since",
        "6: attachments: is missing: no device carries it",
    ]


def test_a_login_is_one_services_and_of_one_dialect(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    said = refused(
        engine,
        lambda: load_table(
            engine,
            tmp_path,
            "n1,acc-1001,jansen@nordnetz,,,,,bng-1,ge-0/0/1,1",
            "n2,acc-1001,new,,,,,bng-1,ge-0/0/1,2",
            "n3,acc-1001,new,,,,,bng-2,,",
        ),
    )
    dialects = "two RADIUS dialects, juniper_junos and linux_tc"
    assert [line.partition("rows.csv:")[2] for line in said.splitlines()] == [
        "2: login: jansen@nordnetz is the login of service svc-1001",
        f"4: login: new is the login of service n2; it would need {dialects}",
    ]


def test_waiting_services_may_swap_their_logins(engine: Engine, tmp_path: Path) -> None:
    first = ("n1,acc-1001,a,,,,,bng-1,ge-0/0/1,1", "n2,acc-1001,b,,,,,bng-1,ge-0/0/1,2")
    load(engine, EXAMPLE)
    load_table(engine, tmp_path, *first)
    swapped = load_table(
        engine,
        tmp_path,
        "n1,acc-1001,b,,,,,bng-1,ge-0/0/1,1",
        "n2,acc-1001,a,,,,,bng-1,ge-0/0/1,2",
    )
    assert swapped.changed_services == ("n1", "n2")
    with reading(engine) as session:
        assert [find_service(session, one).login for one in ("n1", "n2")] == ["b", "a"]


def test_two_services_never_own_the_same_object(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    taken = "n1,acc-1001,,,,,,bng-1,ge-0/0/1,1042"
    said = refused(engine, lambda: load_table(engine, tmp_path, taken))
    assert "bng: service svc-1001 has the same place on bng-1" in said
    said = refused(
        engine,
        lambda: load_table(
            engine,
            tmp_path,
            "n1,acc-1001,,,,,,bng-1,ge-0/0/1,7",
            "n2,acc-1001,,,,,,bng-1,ge-0/0/1,7",
        ),
    )
    assert "rows.csv:3: bng: service n1 has the same place on bng-1" in said
    adopt(engine)
    adopt(engine, state="terminated")
    load_table(engine, tmp_path, taken)  # the place is free again


def test_currencies_and_the_suspended_tier_are_looked_at(engine: Engine, tmp_path: Path) -> None:
    file = edited(
        tmp_path,
        ("currency: EUR\n\n", "currency: EUR\n"),
        ("    currency: EUR\n", "    currency: NOK\n"),
        ("  - {code: suspended, down_kbps: 64, up_kbps: 64}\n", ""),
        ("plan: fiber-100\n", "plan: fiber-100\n    state: suspended\n"),
    )
    said = refused(engine, lambda: load(engine, file))
    assert "plan: fiber-100 is in EUR, the account in NOK" in said
    assert "state: there is no tier suspended" in said


def test_an_unknown_tier_or_legal_entity_is_refused(engine: Engine, tmp_path: Path) -> None:
    file = edited(tmp_path, ("tier: t500", "tier: t900"), ("legal_entity: n", "legal_entity: x"))
    said = refused(engine, lambda: load(engine, file))
    assert "tier: there is no tier t900" in said
    assert "legal_entity: there is no legal entity xordnetz" in said


def test_a_thousand_lines_take_a_few_statements(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    rows = [
        f"n{n},acc-1001,l{n},fiber-100,active,2026-01-01,2026-03-01,bng-1,ge-0/0/1,{n}"
        for n in range(2000, 3000)
    ]
    with statements(engine) as seen:
        result = load_table(engine, tmp_path, *rows)
    assert len(seen) < 40
    assert len(result.adoptions) == 1000
    with statements(engine) as seen:
        load_table(engine, tmp_path, *rows)
    assert len(seen) < 40


def test_a_wrong_line_700_of_1000_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    load(engine, EXAMPLE)
    rows = [f"n{n},acc-1001,,,,,,bng-1,ge-0/0/1,{n}" for n in range(2000, 3000)]
    rows[698] = rows[698].replace("acc-1001", "acc-1O01")
    said = refused(engine, lambda: load_table(engine, tmp_path, *rows))
    assert said.endswith("rows.csv:700: account: there is no account acc-1O01")
    assert len(said.splitlines()) == 1


def test_an_adoption_that_was_not_decided_is_offered_again(engine: Engine, tmp_path: Path) -> None:
    """A crash between import and decision: the corrected file then says what is adopted."""
    load(engine, EXAMPLE)
    later = edited(tmp_path, ("billing_from: 2026-03-01", "billing_from: 2026-04-01"))
    assert load(engine, later).adoptions[0].billing_from == dt.date(2026, 4, 1)
    adopt(engine, billing_from=dt.date(2026, 4, 1))
    assert load(engine, later).adoptions == ()
    assert "billing_from" in refused(engine, lambda: load(engine, EXAMPLE))


def test_two_imports_at_once_are_one(engine: Engine) -> None:
    outcomes = together(*(lambda: load(engine, EXAMPLE) for _ in range(3)))
    new = [sum(count.new for count in outcome.counts) for outcome in outcomes]
    assert sorted(new) == [0, 0, 13]
