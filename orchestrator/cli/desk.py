"""What a command works with: settings, the store or the whole office, and who is asking."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .output import paint, say

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from orchestrator.office import Office, Teller
    from orchestrator.settings import Settings

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._@:+/-]")
_maskers: list[Callable[[str], str]] = []


@contextmanager
def store(*, notices: bool = True) -> Iterator[tuple[Settings, Engine]]:
    """Open the settings in force and the store, for a command that only reads the store.

    Raises BadSettings, and DatabaseProblem where the tables are missing or of another version.
    """
    from orchestrator.database import make_engine
    from orchestrator.settings import load

    settings = load()
    remember_url(settings.database_url)
    engine = make_engine(settings.database_url)
    try:
        _greet(engine, notices=notices)
        yield settings, engine
    finally:
        engine.dispose()


@contextmanager
def office(
    tell: Teller | None = None, *, notices: bool = True, greet: bool = True
) -> Iterator[Office]:
    """Open the whole office, for a command that talks to devices.

    `greet` looks at the tables' version first; without it that is the command's own affair.
    """
    from orchestrator.office import open_office, silence
    from orchestrator.settings import load

    settings = load()
    remember_url(settings.database_url)
    found = open_office(settings, tell=tell or silence)
    _maskers.append(found.secrets.mask)
    try:
        if greet:
            _greet(found.engine, notices=notices)
        yield found
    finally:
        found.engine.dispose()


def actor() -> str:
    """Return who is asking: the login name, of the person behind sudo where there is one.

    Spelled as the ledger allows it; anything else in a name becomes an underscore.
    """
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid{uid}"
    if uid == 0:
        name = os.environ.get("SUDO_USER") or name
    return _NOT_IN_NAMES.sub("_", name).lstrip("._@:+/-") or f"uid{uid}"


def mask(text: str) -> str:
    """Return text without any secret this process has been given."""
    for masker in _maskers:
        text = masker(text)
    return text


def remember_url(url: str) -> None:
    """Mask the password of a database URL from now on."""
    _, at, _ = url.rpartition("@")
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    if at and user and password:
        _maskers.append(lambda text: text.replace(password, "***"))


def _greet(engine: Engine, *, notices: bool) -> None:
    """Refuse tables of another version; say in one line that changes wait for recovery (D7)."""
    from orchestrator.database import reading
    from orchestrator.migrate import check_schema
    from orchestrator.views import unsettled

    with reading(engine) as session:
        check_schema(session)
        count = unsettled(session) if notices else 0
    if count:
        sets = "1 change set is" if count == 1 else f"{count} change sets are"
        say(paint(f"{sets} not settled yet. See and settle: bandmaster recover", "warn"))
