"""A private PostgreSQL cluster with the roles of the application, on one address and port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from lab.servers.daemon import (
    HERE,
    Daemon,
    LabError,
    Place,
    free_port,
    kept_secret,
    run,
    write_private,
)
from lab.servers.site import Json, Site

ROLES = ("migrate", "app", "radius", "report")
DATABASE = "bandmaster"
PORT = 5432  # of the lab's node; anywhere else any free port will do
_OWNER = "migrate"
_SUPERUSER = "postgres"
_SYSTEM_USER = "postgres"
_MEMORY = Path("/dev/shm")  # noqa: S108 - the cluster gets a directory of its own there
_ROOM_BYTES = 4 << 30  # several clusters may be there beside each other


def binaries() -> Path:
    """Directory of the newest installed PostgreSQL server; LabError if there is none."""
    versions = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if versions:
        return max(versions, key=lambda path: int(path.parent.parent.name)).parent
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    reason = "PostgreSQL server is not installed: apt-get install postgresql"
    raise LabError(reason)


class Postgres:
    """A cluster below `state_dir`, kept there between runs, started and stopped by this object.

    The server ends with the thread that started it, so start it from a thread that lives on.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        place: Place = HERE,
        durable: bool = True,
    ) -> None:
        """`port` 0 takes a free one.

        `durable=False` is for throw-away clusters: no fsync, and in memory where there is room.
        """
        self._dir = state_dir.resolve() / "postgres"
        self.address = address
        self.port = port or free_port(address)
        self._place = place
        self._durable = durable
        self._daemon: Daemon | None = None
        self._superuser: psycopg.Connection | None = None  # that of create_database

    def start(self) -> str:
        """Create the cluster if needed, start it, and return the URL of role migrate.

        The database `bandmaster` and the roles exist afterwards; tables do not.
        Raises LabError if PostgreSQL is missing or does not start.
        """
        self._dir.mkdir(parents=True, exist_ok=True)
        self._make_cluster()
        self._daemon = Daemon(
            name="postgres",
            argv=self._as_user(str(binaries() / "postgres"), *self._settings()),
            log=self._dir / "postgres.log",
            ready=lambda _pid: self._answers(),
            place=self._place,
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients, leaves a clean cluster
        )
        self._daemon.start()
        self._daemon.wait_ready()
        self._make_roles()
        if DATABASE not in self._databases():
            self.create_database(DATABASE)
        return self.url(_OWNER)

    def stop(self) -> None:
        """Stop the server; the cluster stays on disk."""
        if self._superuser:
            self._superuser.close()
            self._superuser = None
        if self._daemon:
            self._daemon.stop()

    def remove(self) -> None:
        """Stop the server and delete the cluster and its credentials."""
        self.stop()
        remove_cluster(self._dir.parent)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def daemon(self) -> Daemon:
        """The server process; LabError before `start`."""
        if self._daemon is None:
            reason = "PostgreSQL was not started"
            raise LabError(reason)
        return self._daemon

    def url(self, role: str, database: str = DATABASE) -> str:
        """SQLAlchemy URL (psycopg 3) of one of ROLES, password included."""
        return f"postgresql+psycopg://{self._login(role, database)}"

    def conninfo(self, role: str, database: str = DATABASE) -> str:
        """The same as a libpq connection URI, for psycopg itself; "postgres" is the superuser."""
        return f"postgresql://{self._login(role, database)}"

    def address_url(self, role: str, database: str = DATABASE) -> str:
        """The URL without its password, fit to be shown."""
        return f"postgresql+psycopg://{role}@{self.address}:{self.port}/{database}"

    def url_file(self, role: str) -> Path:
        """A 0600 file that holds `url(role)`, written anew."""
        return write_private(self._dir / "credentials" / f"{role}.url", self.url(role) + "\n")

    def create_database(self, name: str) -> None:
        """Make an empty database owned by migrate, open to ROLES only; no tables are made."""
        database = sql.Identifier(name)
        roles = sql.SQL(", ").join(map(sql.Identifier, ROLES))
        self._run_as_superuser(
            sql.SQL("create database {} owner {} template template0").format(
                database, sql.Identifier(_OWNER)
            ),
            sql.SQL("revoke all on database {} from public").format(database),
            sql.SQL("grant connect on database {} to {}").format(database, roles),
            # FreeRADIUS's queries name their tables without a schema.
            sql.SQL("alter role radius in database {} set search_path = radius").format(database),
        )

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending its connections."""
        self._run_as_superuser(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )

    def _login(self, role: str, database: str) -> str:
        password = role_password(self._dir.parent, role)
        return f"{role}:{password}@{self.address}:{self.port}/{database}"

    def _cluster(self) -> Path:
        pointer = self._dir / "cluster"
        if not pointer.is_dir():  # none yet, or somebody cleaned up where it pointed
            pointer.unlink(missing_ok=True)
            pointer.symlink_to(_new_home(self._dir, durable=self._durable))
        return pointer.resolve()

    def _make_cluster(self) -> None:
        home = self._cluster()
        data = home / "data"
        if (data / "PG_VERSION").exists():
            return
        password = role_password(self._dir.parent, _SUPERUSER)
        handed = write_private(home / "password", password)
        _give_to_server(home)
        _give_to_server(handed)
        run(
            *self._as_user(str(binaries() / "initdb"), "-D", str(data), "-U", _SUPERUSER),
            *("-A", "scram-sha-256", "--pwfile", str(handed)),
            *("-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        handed.unlink()
        # The one address it listens on is the fence; clients may be in other namespaces.
        (data / "pg_hba.conf").write_text("host all all 0.0.0.0/0 scram-sha-256\n")

    def _settings(self) -> tuple[str, ...]:
        settings = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "log_min_error_statement": "panic",  # statements may hold what a log must not
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            settings |= {"max_wal_size": "128MB"}  # nobody recovers it: it need not be long
        pairs = (f"--{name}={value}" for name, value in settings.items())
        return ("-D", str(self._cluster() / "data"), *pairs)

    def _as_user(self, *argv: str) -> tuple[str, ...]:
        guarded: tuple[str, ...] = ("setpriv", "--pdeathsig", "INT")
        if os.geteuid() == 0:  # the server refuses to run as root
            group = str(pwd.getpwnam(_SYSTEM_USER).pw_gid)
            guarded += ("--reuid", _SYSTEM_USER, "--regid", group, "--clear-groups")
        return (*guarded, *argv)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.conninfo(_SUPERUSER, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _databases(self) -> tuple[str, ...]:
        with psycopg.connect(self.conninfo(_SUPERUSER, "postgres")) as connection:
            rows = connection.execute("select datname from pg_database").fetchall()
        return tuple(str(row[0]) for row in rows)

    def _make_roles(self) -> None:
        with psycopg.connect(self.conninfo(_SUPERUSER, "postgres")) as connection:
            there = {row[0] for row in connection.execute("select rolname from pg_roles")}
            for role in ROLES:
                verb = "alter" if role in there else "create"
                password = role_password(self._dir.parent, role)
                # Only the SCRAM verifier leaves this process, so no server log can show more.
                verifier = connection.pgconn.encrypt_password(
                    password.encode(), role.encode(), b"scram-sha-256"
                )
                connection.execute(
                    sql.SQL(verb + " role {} login password {}").format(
                        sql.Identifier(role), verifier.decode()
                    )
                )

    def _run_as_superuser(self, *statements: sql.Composed) -> None:
        if self._superuser is None:
            info = self.conninfo(_SUPERUSER, "postgres")
            self._superuser = psycopg.connect(info, autocommit=True)
        for statement in statements:
            self._superuser.execute(statement)


class PostgresNode:
    """The cluster as a server of a lab's node."""

    def __init__(self, site: Site) -> None:
        self._postgres = Postgres(
            site.state_dir, address=site.node.address, port=PORT, place=site.place
        )

    def start(self) -> None:
        """Start the cluster."""
        self._postgres.start()

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Stop the cluster; its data stay."""
        self._postgres.stop()

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """The server process."""
        return (self._postgres.daemon,)

    def describe(self) -> Json:
        """The URL of each role, and the 0600 file that holds it with its password."""
        urls = {
            role: {
                "url": self._postgres.address_url(role),
                "url_file": str(self._postgres.url_file(role)),
            }
            for role in ROLES
        }
        return {
            "address": self._postgres.address,
            "port": self._postgres.port,
            "database": DATABASE,
            "roles": urls,
        }


def make(site: Site) -> PostgresNode:
    """The PostgreSQL server of a node."""
    return PostgresNode(site)


def role_password(state_dir: Path, role: str) -> str:
    """The password of a role of the cluster in `state_dir`, made on first use."""
    return kept_secret(state_dir.resolve() / "postgres" / "credentials" / f"{role}.password")


def remove_cluster(state_dir: Path) -> None:
    """Delete the stopped cluster that `Postgres(state_dir)` made, wherever it lies."""
    home = state_dir.resolve() / "postgres"
    pointer = home / "cluster"
    if pointer.is_symlink():
        shutil.rmtree(pointer.resolve(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def _new_home(parent: Path, *, durable: bool) -> Path:
    """A directory for the cluster that the server's user can reach.

    A checkout below /root, or a test's private directory, is closed to that user. To create a
    database costs a quarter of its time where its 900 files lie in memory.
    """
    if not durable and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        return Path(tempfile.mkdtemp(prefix="bandmaster-postgres-", dir=_MEMORY))
    others_may_enter = 0o001
    closed = [
        path for path in (parent, *parent.parents) if not path.stat().st_mode & others_may_enter
    ]
    if os.geteuid() == 0 and closed:
        return Path(tempfile.mkdtemp(prefix="bandmaster-postgres-", dir="/var/tmp"))
    home = parent / "home"
    home.mkdir(exist_ok=True)
    return home


def _give_to_server(path: Path) -> None:
    if os.geteuid() == 0:
        owner = pwd.getpwnam(_SYSTEM_USER)
        os.chown(path, owner.pw_uid, owner.pw_gid)
