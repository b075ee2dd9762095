"""`bandmaster usage` at the command line: what a person sees and decides of metered usage."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from inventory.radius_rows import RADACCT
from orchestrator.database import database_now, reading
from orchestrator.migrate import HEAD
from tests.orchestrator.cli.cli_rig import BOTH, Shell
from tests.usage_isp import make_isp

pytestmark = BOTH


@pytest.fixture
def store(shell: Shell, empty_engine: Engine) -> Engine:
    """The tables of three services, with settings that name them."""
    url = empty_engine.url.render_as_string(hide_password=False)
    settings = shell.folder / "bandmaster.toml"
    settings.write_text(f'database_url = "{url}"\nusage_wait_s = 0\n', encoding="utf-8")
    settings.chmod(0o600)
    make_isp(empty_engine)
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    return empty_engine


def account(engine: Engine, login: str, down: int, minutes: int = 60) -> None:
    """A session of radacct that began two hours ago and is still open."""
    with reading(engine) as session:
        now = database_now(session)
    start = now - dt.timedelta(hours=2)
    row: dict[str, Any] = {
        "acctsessionid": login, "acctuniqueid": login, "username": login,
        "nasipaddress": "10.0.0.1", "acctstarttime": start,
        "acctupdatetime": start + dt.timedelta(minutes=minutes), "acctsessiontime": minutes * 60,
        "acctinputoctets": 7, "acctoutputoctets": down,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(RADACCT), [row])


def test_accounting_becomes_usage_that_a_person_can_read(shell: Shell, store: Engine) -> None:
    account(store, "ada@isp", 123_456_789)
    shell.ok("usage", "radius")
    again = shell.ok("usage", "radius", "--json").value()
    assert again == {
        "read": {"readings": 0, "unmatched": 0, "exceptions": 0},
        "counted": {"events": 0, "unchanged": 0, "exceptions": 0},
    }
    shown = shell.ok("usage", "show", "svc-1", "--json").value()
    windows = {one["meter"]: one["quantity"] for one in shown["windows"]}
    assert windows == {"down": 123_456_789, "up": 7}
    assert "123.457 MB" in shell.ok("usage", "show", "svc-1").out
    said = shell("usage", "show", "svc-9")
    assert (said.code, "service svc-9" in said.err) == (2, True)


def test_a_person_decides_whose_usage_it_is(shell: Shell, store: Engine) -> None:
    account(store, "eve@isp", 2_500)
    said = shell.ok("usage", "radius")
    assert "usage exceptions list" in said.err
    (odd,) = shell.ok("usage", "exceptions", "list", "--json").value()
    assert (odd["kind"], odd["identifier"], odd["amount_minor"]) == ("unmatched", "eve@isp", 150)
    assert "EUR 1.50" in shell.ok("usage", "exceptions", "list").out
    name = f"u-{odd['exception_id'][-12:]}"
    answers: list[tuple[tuple[str, ...], int, str]] = [
        (("record",), 5, "nobody's login"),
        (("record", "--service", "svc-77"), 2, "svc-77"),
        (("ignore",), 2, "needs a reason"),
        (("drop",), 2, "none of the answers"),
    ]
    full = odd["exception_id"]
    for words, code, told in answers:
        said = shell("usage", "exceptions", "resolve", full, *words)
        assert (said.code, told in said.err) == (code, True), said.both
    assert shell("usage", "exceptions", "resolve", name, "ack").code == 2
    shell.ok("usage", "exceptions", "resolve", full, "ack")
    shell.ok("usage", "exceptions", "resolve", full, "record", "--service", "svc-3")
    assert "All usage is counted" in shell.ok("usage", "exceptions", "list").err
    assert shell("usage", "exceptions", "resolve", full, "ignore", "--reason", "x").code == 5
    with store.connect() as connection:
        owner = connection.execute(text("SELECT service_id FROM usage_session")).scalar()
        deeds = connection.execute(text("SELECT action FROM audit ORDER BY action")).scalars().all()
    assert owner == "svc-3"
    assert deeds == ["usage exception ack", "usage exception record"]


def test_what_a_plan_counts_of_the_period_is_shown(shell: Shell, store: Engine) -> None:
    """Its allowance, and where fair use is over, to what the line may be slowed down."""
    with store.begin() as connection:
        for what in ("allowance_bytes = 1000", "fair_use_bytes = 1", "fair_use_tier = 't100'"):
            told = f"UPDATE plan_terms SET {what} WHERE plan_code = 'metered'"  # noqa: S608 - ours
            connection.execute(text(told))
    account(store, "ada@isp", 123_456_789)
    shell.ok("usage", "radius")
    shown = shell.ok("usage", "show", "svc-1", "--json").value()
    found = shown["counted"]
    mine = [one for one in shown["windows"] if one["since"][:10] >= found["since"]]
    assert found["counted_bytes"] == sum(one["quantity"] for one in mine)
    assert found["slowed"] == bool(mine)  # none where the month is younger than the usage
    lines = shell.ok("usage", "show", "svc-1").out
    assert "counted of 1.000 kB included" in lines
    assert ("slowed down to t100" in lines) == bool(mine)
    assert shell.ok("usage", "show", "svc-2", "--json").value()["counted"] is None


def test_a_collector_without_anything_to_read_says_why(shell: Shell, store: Engine) -> None:
    with store.begin() as connection:
        connection.execute(text("UPDATE device SET snmp_port = 0"))
    told = shell.ok("usage", "collect")
    assert "0 interfaces of 0 devices" in told.out
    assert "No service without a login is on a device that has `snmp`" in told.err
