"""The lab, brought up once for each module of tests that needs real parts."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from lab_rig import LOGIN, Json, RunningLab
from product_rig import Product, the_product

from lab.runner import Lab, cannot_run
from tests.required import missing

SCHEMA = Path("/etc/freeradius/3.0/mods-config/sql/main/postgresql/schema.sql")

# A module waits for its turn, and pytest counts the waiting as part of its first test.
TURN_S = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this directory the time that waiting for the one lab may take."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TURN_S))


@pytest.fixture(scope="session")
def lab_machine() -> None:
    """Skip with the reason where the lab cannot run; fail instead if the lab is required."""
    reason = cannot_run()
    if reason:
        missing(f"no lab: {reason}")


@pytest.fixture(scope="module")
def lab_turn(lab_machine: None) -> Iterator[None]:  # noqa: ARG001 - it skips or fails
    """The turn of one module: a machine has one lab, and modules may run in several processes."""
    with Path("/run/bandmaster-lab-tests.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def lab(
    lab_turn: None,  # noqa: ARG001 - it waits
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningLab]:
    """The lab of lab/isp.clab.yml, up; its database has roles and no tables."""
    whole = Lab(tmp_path_factory.mktemp("lab"))
    facts = whole.up()
    try:
        yield RunningLab(facts=facts)
    finally:
        whole.down()
        whole.clean()


@pytest.fixture
def radius_tables(lab: RunningLab) -> Iterator[psycopg.Connection]:
    """FreeRADIUS's own schema with one login on tier home-50; dropped afterwards.

    The connection is that of the tables' owner; what is not committed at the end is undone.
    """
    with lab.connect("migrate") as connection:
        connection.execute("create schema radius")
        connection.execute("set search_path = radius")
        connection.execute(SCHEMA.read_text().encode())
        connection.execute("grant usage on schema radius to radius")
        connection.execute("grant select on all tables in schema radius to radius")
        connection.execute("grant insert, update on radacct, radpostauth to radius")
        connection.execute("grant usage on all sequences in schema radius to radius")
        for tier, rates in (("home-50", "50000/10000"), ("home-100", "100000/20000")):
            connection.execute(
                "insert into radgroupreply (groupname, attribute, op, value)"
                " values (%s, 'Filter-Id', ':=', %s)",
                (f"{tier}@linux_tc", rates),
            )
        connection.execute(
            "insert into radcheck (username, attribute, op, value)"
            " values (%s, 'Cleartext-Password', ':=', %s)",
            (LOGIN, lab.password()),
        )
        connection.execute(
            "insert into radusergroup (username, groupname) values (%s, 'home-50@linux_tc')",
            (LOGIN,),
        )
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute("drop schema radius cascade")


@pytest.fixture
def online(
    lab: RunningLab,
    radius_tables: psycopg.Connection,  # noqa: ARG001 - the login's rows
) -> Iterator[Json]:
    """The dynamic subscriber logged in at 50/10 Mbit/s, logged out afterwards."""
    session = lab.session("login")
    yield session
    if lab.session("sessions")["sessions"]:
        lab.session("logout")


@pytest.fixture(scope="module")
def product(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product on the lab: its tables, its inventory, the BNG's key; for a whole module."""
    with the_product(lab, tmp_path_factory.mktemp("product")) as ready:
        yield ready
