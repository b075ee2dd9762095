"""The private PostgreSQL: kept between runs, closed to strangers, its roles as decided."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lab.servers.daemon import LabError
from lab.servers.postgres import ROLES, Postgres, binaries, remove_cluster
from tests.required import missing


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whatever cluster it got is removed afterwards."""
    try:
        binaries()
    except LabError as error:
        missing(str(error))
    yield tmp_path
    remove_cluster(tmp_path)


def test_data_and_passwords_last_over_a_restart(state: Path) -> None:
    """Goal: `start` finds what was there. Method: one row, two servers one after the other."""
    with Postgres(state, durable=False) as first, psycopg.connect(first.conninfo("migrate")) as was:
        was.execute("create table kept as select 42 as answer")
        was.commit()
        was.close()
        password = first.conninfo("app").split("@")[0]
    with Postgres(state, durable=False) as second:
        with psycopg.connect(second.conninfo("migrate")) as again:
            assert again.execute("select answer from kept").fetchone() == (42,)
        assert second.conninfo("app").split("@")[0] == password


def test_each_role_is_what_it_is_for(state: Path) -> None:
    """Goal: only migrate makes tables; FreeRADIUS's role looks in radius. Method: try it."""
    with Postgres(state, durable=False) as server:
        server.create_database("other")
        for role in ROLES:
            with psycopg.connect(server.conninfo(role, "other")) as login:
                path = login.execute("show search_path").fetchone()
                assert path == (("radius",) if role == "radius" else ('"$user", public',))
                if role == "migrate":
                    login.execute("create schema radius")
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    login.execute("create table public.t (i integer)")
        server.drop_database("other")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(server.conninfo("app", "other"))


def test_the_command_prints_a_url_and_ends_on_sigterm(state: Path) -> None:
    """Goal: usable from a shell. Method: connect to what it prints, then SIGTERM."""
    command = (sys.executable, "-m", "lab", "postgres", "--state", str(state))
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            assert connection.execute("select current_user").fetchone() == ("migrate",)
        process.terminate()
    assert process.returncode == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_a_wrong_password_is_refused_and_none_is_logged(state: Path) -> None:
    """Goal: passwords are asked for and never written to the log. Method: a login, the log."""
    with Postgres(state, durable=False) as server:
        right = server.conninfo("app")
        secret = right.split(":")[2].split("@")[0]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(right.replace(secret, "wrong"))
        assert secret not in server.address_url("app")
        assert server.url_file("app").stat().st_mode & 0o777 == 0o600
    assert secret not in server.daemon.log.read_text()
