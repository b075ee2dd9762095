"""`bandmaster init` and `bandmaster db`: the settings file and the tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import command, new_group
from .output import say

if TYPE_CHECKING:
    from orchestrator.settings import Settings

Database = Annotated[
    str,
    typer.Option(
        help="sqlite:///FILE or postgresql://USER@HOST/NAME; keep a password in ~/.pgpass.",
        metavar="URL",
    ),
]
_FILE = """\
# Settings of bandmaster. All of them and what is in force: bandmaster doctor
database_url = "{url}"
known_hosts = "known_hosts"  # host keys of devices, enrolled by: bandmaster device enroll-key
"""


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    command(app, "init", "init", "init --database postgresql://app@db.example/bandmaster")(init)
    group = new_group("The store's tables.")
    command(group, "upgrade", "db upgrade")(upgrade)
    app.add_typer(group, name="db")


def init(database: Database = "sqlite:///bandmaster.db") -> None:
    """Write ./bandmaster.toml if there is none, and create or upgrade the tables.

    Where the tables belong to another role than the one that works with them, give that role's
    URL once: BANDMASTER_DATABASE_URL=postgresql://migrate@... bandmaster init --database ...
    """
    from orchestrator.database import make_engine
    from orchestrator.settings import FILE

    place = Path(FILE)
    desk.remember_url(database)
    make_engine(database).dispose()  # refuses what is not a database, before a file is written
    if place.exists():
        say(f"{place}: is there already and stays as it is")
    else:
        _write_private(place, _FILE.format(url=database.replace("\\", "\\\\").replace('"', '\\"')))
        say(f"{place}: written, mode 0600")
    _upgrade()


def upgrade() -> None:
    """Bring the tables to this program's version; refused while changes are open.

    Uses the database of the settings, or that of BANDMASTER_DATABASE_URL.
    """
    _upgrade()


def _upgrade() -> None:
    from orchestrator.database import make_engine
    from orchestrator.migrate import upgrade as run
    from orchestrator.settings import load

    settings = load()
    desk.remember_url(settings.database_url)
    engine = make_engine(settings.database_url)
    try:
        before, after = run(engine)
    finally:
        engine.dispose()
    shown = shown_url(settings)
    if before == after:
        say(f"{shown}: tables are up to date (revision {after})")
    elif before:
        say(f"{shown}: tables upgraded from revision {before} to {after}")
    else:
        say(f"{shown}: tables created (revision {after})")
        say("Next: bandmaster inventory import FILE...")


def shown_url(settings: Settings) -> str:
    """Return the database's URL, its password masked."""
    return desk.mask(settings.database_url)


def _write_private(place: Path, text: str) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
