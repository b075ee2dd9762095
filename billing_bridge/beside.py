"""Processes beside this one: what they are given, and walking parts of the chain in them."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .walk import Part, Place, Walked, walk

# The room without its door, which would load SQLAlchemy: that lasts as long as 50,000 events.
_MAIN = """
import sys, types
room = types.ModuleType("billing_bridge")
room.__path__ = [sys.argv[1]]
sys.modules["billing_bridge"] = room
from billing_bridge.beside import serve
serve()
"""
_ROOM = Path(__file__).parent
Helper = subprocess.Popen[bytes]  # a process beside, spoken to through its stdin and stdout
_NEEDED = re.compile(r"PG(?!PASSWORD)|LC_|LD_|SSL_|(?:PATH|HOME|LANG|TZ|TMPDIR|SYSTEMROOT)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where another process finds what this transaction sees of the ledger; "" = nowhere.

    `address` may hold a password: it goes through a pipe, never through an argument.
    """

    dialect: str
    address: str
    snapshot: str = ""


def store_of(dialect: str, bare: Any) -> Store:
    """Return the store behind a driver's connection, with the snapshot of its transaction."""
    if dialect == "sqlite":
        paths = {name: path for _, name, path in bare.execute("PRAGMA database_list")}
        return Store(dialect=dialect, address=paths["main"])
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - SQLite needs no psycopg

    exported = bare.execute("SELECT pg_export_snapshot()").fetchone()
    address = make_conninfo(bare.info.dsn, password=bare.info.password)
    return Store(dialect=dialect, address=address, snapshot=exported[0])


@contextmanager
def walking(store: Store, parts: Sequence[Part]) -> Iterator[list[Helper]]:
    """Start a process for each part; all of them are gone at the end. OSError if one cannot be."""
    with ExitStack() as stack:
        helpers = []
        for part in parts:
            helper = stack.enter_context(start_beside(_MAIN, str(_ROOM)))
            stack.callback(helper.kill)
            told = {"store": asdict(store), "part": asdict(part)}
            _send(helper, json.dumps(told, default=bytes.hex))
            helpers.append(helper)
        yield helpers


def start_beside(program: str, *words: str) -> Helper:
    """Start a program of ours in an interpreter of its own; OSError if none can be started.

    It is told what it needs through its stdin: nothing secret is in its words or environment.
    """
    return subprocess.Popen(  # noqa: S603 - this interpreter, and nothing from outside
        # -P: a file in the present directory is never taken for a module
        (sys.executable, "-P", "-c", program, *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what goes wrong there is met again here, by the caller
        env={
            # without what it has no use for: the devices' secrets may be in the environment
            **{name: os.environ[name] for name in os.environ if _NEEDED.match(name)},
            "PYTHONPATH": os.pathsep.join((str(_ROOM.parent), *filter(None, sys.path))),
        },
    )


def _send(helper: Helper, text: str) -> None:
    if helper.stdin is not None:
        helper.stdin.write(text.encode())
        helper.stdin.close()
        helper.stdin = None


def outcome(helper: Helper) -> Walked | None:
    """Wait for what a process found; None where it could not walk its part."""
    said, _ = helper.communicate()
    if helper.returncode:
        return None
    parts = json.loads(said)
    return Walked(place=_place(parts["place"]), bad_seq=parts["bad_seq"], problem=parts["problem"])


def serve() -> None:
    """Be the process: read the part from stdin, walk it, write what was found to stdout."""
    told = json.load(sys.stdin)
    store, part = Store(**told["store"]), told["part"]
    anchors = tuple((seq, bytes.fromhex(own)) for seq, own in part["anchors"])
    part |= {"start": _place(part["start"]), "anchors": anchors}
    walked = walk(store.dialect, _open(store), Part(**part))
    json.dump(asdict(walked), sys.stdout, default=bytes.hex)


def _place(parts: dict[str, Any]) -> Place:
    return Place(**parts | {"hash": bytes.fromhex(parts["hash"])})


def _open(store: Store) -> Any:
    """Open a connection whose transaction sees the snapshot; it ends with this process."""
    if store.dialect == "sqlite":
        bare = sqlite3.connect(
            f"file:{quote(store.address)}?mode=ro", uri=True, isolation_level=None
        )
        bare.execute("BEGIN")
        return bare
    import psycopg  # noqa: PLC0415 - SQLite needs no psycopg

    connection = psycopg.connect(store.address, autocommit=True)
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    snapshot = psycopg.sql.Literal(store.snapshot)
    connection.execute(psycopg.sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    return connection
