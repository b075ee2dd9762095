"""RADIUS rows: ours are written once, those of other makers are left alone (decisions.md D9)."""

from __future__ import annotations

import datetime as dt
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from inventory_rig import statements, together, wait_for_waiter
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import DBAPIError

from inventory import (
    DatabaseProblem,
    RadiusAttribute,
    RadiusBinding,
    Refused,
    bind_login,
    bind_many,
    group_name,
    open_sessions,
    open_sessions_many,
    read_groups,
    read_login,
    read_logins,
    unbind_login,
    unbind_many,
    write_group,
    write_groups,
)
from inventory.radius_rows import (
    RADACCT,
    RADCHECK,
    RADGROUPCHECK,
    RADGROUPREPLY,
    RADIUS_GROUP,
    RADREPLY,
    RADUSERGROUP,
)
from orchestrator.database import reading, writing
from tests.required import missing

T100 = (RadiusAttribute(name="Filter-Id", op=":=", value="100000/20000"),)
T500 = (
    RadiusAttribute(name="ERX-Service-Activate:1", op=":=", value="bandmaster(500000k,100000k)"),
    RadiusAttribute(name="Session-Timeout", op=":=", value="86400"),
)
SCHEMA_FILE = Path("/etc/freeradius/3.0/mods-config/sql/main/postgresql/schema.sql")


def given(engine: Engine, table: object, **row: object) -> None:
    with writing(engine) as session:
        session.execute(insert(table), [row])  # type: ignore[call-overload]


def bound(engine: Engine, login: str = "anna", tier: str = "t100", password: str = "") -> None:
    with writing(engine) as session:
        bind_login(session, login, write_group(session, tier, "linux_tc", T100), password)


def count(engine: Engine, table: object) -> int:
    with reading(engine) as session:
        query = select(func.count()).select_from(table)  # type: ignore[arg-type]
        return int(session.execute(query).scalar_one())


def checks(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return set(session.execute(select(RADCHECK.c.attribute)).scalars())


def test_a_login_gets_its_tier_and_leaves_again(engine: Engine) -> None:
    with reading(engine) as session:
        assert read_login(session, "anna").group == ""
    bound(engine, password="correct horse")
    with writing(engine) as session:
        login = read_login(session, "anna")
        assert login.group == group_name("t100", "linux_tc") == "t100@linux_tc"
        assert login.has_password
        assert login.attributes == T100
        bind_login(session, "anna", write_group(session, "t500", "linux_tc", T500))
    with writing(engine) as session:
        assert read_login(session, "anna").attributes == T500
        unbind_login(session, "anna")
    assert count(engine, RADUSERGROUP) == 0
    assert checks(engine) == {"Cleartext-Password", "Auth-Type"}
    assert count(engine, RADGROUPREPLY) == 3  # groups stay for the others
    bound(engine)  # taken back, without anybody giving the password again
    assert checks(engine) == {"Cleartext-Password"}


def test_a_rejection_that_somebody_else_wrote_outlives_a_tier_change(engine: Engine) -> None:
    bound(engine, password="pw")
    given(engine, RADCHECK, username="anna", attribute="Auth-Type", op=":=", value="Reject")
    bound(engine, tier="t500")
    assert checks(engine) == {"Cleartext-Password", "Auth-Type"}


def test_a_password_is_replaced_and_never_read_or_shown(engine: Engine) -> None:
    bound(engine, password="first secret")
    with statements(engine) as seen:
        bound(engine)  # a tier change brings none along
        with reading(engine) as session:
            shown = repr(read_login(session, "anna"))
    assert "secret" not in shown
    assert not [one for one in seen if one.startswith("SELECT") and "radcheck.value" in one]
    bound(engine, password="second secret")
    assert "secret" not in repr(RadiusBinding(login="a", group="g", password="top secret"))
    with reading(engine) as session:
        rows = session.execute(select(RADCHECK)).all()
    assert [(row.attribute, row.op, row.value) for row in rows] == [
        ("Cleartext-Password", ":=", "second secret")
    ]


def test_a_failing_statement_does_not_repeat_the_password(engine: Engine) -> None:
    bound(engine, password="first secret")
    with engine.begin() as connection:
        RADCHECK.drop(connection)
        if engine.dialect.name == "sqlite":  # a table of the same name that takes no new value
            connection.exec_driver_sql("CREATE TABLE radcheck (username, attribute, value)")
        else:
            connection.exec_driver_sql(
                "CREATE TABLE radius.radcheck (username text, attribute text, value text)"
            )
    with pytest.raises((DBAPIError, DatabaseProblem)) as caught:
        bound(engine, "berta", password="second secret")
    assert "radcheck" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nothing_shows_before_the_commit(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as session:
            bind_login(session, "anna", write_group(session, "t100", "linux_tc", T100), "pw")
            message = "the decision fails"
            raise LookupError(message)

    with pytest.raises(LookupError):
        fail()
    for table in (RADUSERGROUP, RADCHECK, RADGROUPREPLY, RADIUS_GROUP):
        assert count(engine, table) == 0


def test_a_group_is_written_once_by_whoever_comes_first(engine: Engine) -> None:
    """Several transactions want two groups, in opposite orders: no deadlock, one set of rows."""
    groups = {("t100", "linux_tc"): T100, ("t500", "linux_tc"): T500}
    backwards = dict(reversed(groups.items()))

    def act(wanted: dict[tuple[str, str], tuple[RadiusAttribute, ...]]) -> None:
        with writing(engine) as session:
            write_groups(session, wanted)

    outcomes = together(*(lambda wanted=w: act(wanted) for w in (groups, backwards) * 3))
    assert outcomes == [None] * 6
    with reading(engine) as session:
        assert read_groups(session, ["t100@linux_tc", "t500@linux_tc"]) == {
            "t100@linux_tc": T100,
            "t500@linux_tc": tuple(sorted(T500)),
        }


def test_group_writers_never_wait_for_each_other(postgres: Engine) -> None:
    """One has t100 and is about to take t500; the other, who wants both, must begin with t100."""
    both = {("t500", "linux_tc"): T500, ("t100", "linux_tc"): T100}
    with ThreadPoolExecutor(1) as pool:
        with writing(postgres) as session:
            write_group(session, "t100", "linux_tc", T100)

            def act() -> None:
                with writing(postgres) as other:
                    write_groups(other, both)

            second = pool.submit(act)
            wait_for_waiter(postgres)
            write_group(session, "t500", "linux_tc", T500)
        second.result()
    assert count(postgres, RADGROUPREPLY) == 3


def test_a_group_that_somebody_else_made_or_edited_is_refused(engine: Engine) -> None:
    given(
        engine,
        RADGROUPREPLY,
        groupname="t100@linux_tc",
        attribute="Filter-Id",
        op=":=",
        value="1/1",
    )
    with pytest.raises(Refused, match="t100@linux_tc: gives Filter-Id 1/1"):
        bound(engine)
    with reading(engine) as session:
        assert read_groups(session, ["t100@linux_tc"])["t100@linux_tc"][0].value == "1/1"


def test_a_group_must_be_written_before_a_login_is_put_into_it(engine: Engine) -> None:
    given(engine, RADGROUPREPLY, groupname="gold", attribute="Filter-Id", op=":=", value="1/1")
    with pytest.raises(ValueError, match="gold"), writing(engine) as session:
        bind_login(session, "anna", "gold")


@pytest.mark.parametrize(
    ("table", "attribute", "value", "shown"),
    [
        (RADGROUPREPLY, "Filter-Id", "50000/10000", "50000/10000"),  # another rate
        (RADGROUPREPLY, "Framed-Pool", "homes", "homes"),  # would be lost
        (RADGROUPCHECK, "Simultaneous-Use", "1", "1"),
        (RADGROUPCHECK, "Cleartext-Password", "hunter2", "***"),
    ],
)
def test_a_foreign_group_with_more_or_other_than_the_tier_refuses(
    engine: Engine, table: object, attribute: str, value: str, shown: str
) -> None:
    same = {"attribute": "Filter-Id", "op": "=", "value": "100000/20000"}
    if attribute != "Filter-Id":
        given(engine, RADGROUPREPLY, groupname="gold", **same)
    given(engine, table, groupname="gold", attribute=attribute, op=":=", value=value)
    given(engine, RADUSERGROUP, username="anna", groupname="gold", priority=1)
    with pytest.raises(Refused, match=r"login anna: is in RADIUS group gold") as caught:
        bound(engine)
    assert f"{attribute} {shown}" in caught.value.problem
    assert "hunter2" not in str(caught.value)
    with reading(engine) as session:
        assert read_login(session, "anna").group == "gold"


def test_a_foreign_group_with_the_same_rates_is_left_for_ours(engine: Engine) -> None:
    given(
        engine,
        RADGROUPREPLY,
        groupname="gold",
        attribute="Filter-Id",
        op="=",
        value="100000/20000",
    )
    given(engine, RADUSERGROUP, username="anna", groupname="gold", priority=1)
    given(engine, RADUSERGROUP, username="berta", groupname="gold", priority=1)
    bound(engine)
    with reading(engine) as session:
        logins = read_logins(session, ["anna", "berta"])
    assert (logins["anna"].group, logins["berta"].group) == ("t100@linux_tc", "gold")
    assert count(engine, RADGROUPREPLY) == 2  # the foreign group is untouched


def test_a_reply_row_of_the_login_that_competes_with_the_tier_refuses(engine: Engine) -> None:
    given(engine, RADREPLY, username="anna", attribute="Framed-IP-Address", value="192.0.2.9")
    bound(engine)
    given(engine, RADREPLY, username="anna", attribute="Filter-Id", value="1/1")
    with pytest.raises(Refused, match=r"login anna: has a Filter-Id of its own"):
        bound(engine)


def test_a_thousand_logins_take_a_few_statements(engine: Engine) -> None:
    logins = [f"user{number}" for number in range(1000)]
    with writing(engine) as session, statements(engine) as seen:
        group = write_group(session, "t100", "linux_tc", T100)
        bindings = [RadiusBinding(login=one, group=group, password="pw") for one in logins]
        bind_many(session, bindings)
        assert len(seen) <= 11
    with writing(engine) as session, statements(engine) as seen:
        group = write_group(session, "t500", "linux_tc", T500)
        bind_many(session, [RadiusBinding(login=one, group=group) for one in logins])
        assert len(seen) <= 8
    with writing(engine) as session, statements(engine) as seen:
        found = read_logins(session, logins)
        open_sessions_many(session, logins)
        assert len(seen) == 4
        assert {one.group for one in found.values()} == {"t500@linux_tc"}
        assert all(one.has_password for one in found.values())
        unbind_many(session, logins)
    assert count(engine, RADUSERGROUP) == 0


def test_open_sessions_are_those_without_a_stop(engine: Engine) -> None:
    start = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)
    base = {"username": "anna", "nasipaddress": "192.0.2.11", "acctstarttime": start}
    with writing(engine) as session:
        for row in (
            {**base, "acctsessionid": "s2", "acctuniqueid": "u2", "acctoutputoctets": 1 << 40},
            {**base, "acctsessionid": "s1", "acctuniqueid": "u1", "acctstoptime": start},
            {**base, "acctsessionid": "s3", "acctuniqueid": "u3", "username": "berta"},
            {
                **base,
                "acctsessionid": "s0",
                "acctuniqueid": "u0",
                "acctstarttime": start - dt.timedelta(hours=1),
                "framedipaddress": "198.51.100.7",
            },
        ):
            session.execute(insert(RADACCT), [row])
    with reading(engine) as session:
        found = open_sessions(session, "anna")
        assert [one.acct_session_id for one in found] == ["s0", "s2"]
        assert (found[0].framed_address, found[0].nas_address) == ("198.51.100.7", "192.0.2.11")
        assert (found[1].framed_address, found[1].output_octets) == ("", 1 << 40)
        assert found[1].started_at == start
        assert open_sessions(session, "nobody") == ()


@pytest.mark.usefixtures("postgres")
def test_the_tables_have_the_columns_of_freeradius(postgres_url: str) -> None:
    """Load the schema that FreeRADIUS ships beside ours and compare what its queries rely on."""
    if not SCHEMA_FILE.exists():
        missing("FreeRADIUS's SQL schema is not installed: apt-get install freeradius")
    shipped = re.sub(r"/\*.*?\*/", "", SCHEMA_FILE.read_text(), flags=re.DOTALL)
    info = postgres_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(info) as connection:
        connection.execute("CREATE SCHEMA shipped")
        connection.execute("SET search_path = shipped")
        connection.execute(shipped.encode())
        columns = """SELECT table_name, column_name, data_type, is_nullable
                     FROM information_schema.columns WHERE table_schema = %s"""
        theirs = set(connection.execute(columns, ["shipped"]))
        ours = set(connection.execute(columns, ["radius"]))
    assert len(theirs) > 60
    assert theirs - ours == set()
    assert {row[0] for row in ours - theirs} == set()
