"""The store's schema: which version it has, which one this program needs, and the way there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlmodel import Session, SQLModel

from inventory import DatabaseProblem, Refused

from .database import named_problems, reading
from .recover import orphans

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0015"  # the newest revision under migrations/versions
_LOCK = 0x62616E64  # any number, the same in every copy of this program


def metadata() -> MetaData:
    """Return the tables of all rooms."""
    # tables come into the metadata by importing the modules that declare them
    import billing_bridge.credit_rows  # noqa: PLC0415
    import billing_bridge.gate_rows  # noqa: PLC0415
    import billing_bridge.invoice_rows  # noqa: PLC0415
    import billing_bridge.rows  # noqa: PLC0415
    import billing_bridge.usage_rows  # noqa: PLC0415
    import billing_bridge.webhook_rows  # noqa: PLC0415
    import inventory.radius_rows  # noqa: PLC0415
    import inventory.rows  # noqa: PLC0415
    import orchestrator.rows  # noqa: PLC0415

    _ = billing_bridge.rows, inventory.radius_rows, inventory.rows, orchestrator.rows
    _ = billing_bridge.credit_rows, billing_bridge.invoice_rows, billing_bridge.usage_rows
    _ = billing_bridge.gate_rows, billing_bridge.webhook_rows
    return SQLModel.metadata


def current(connection: Connection) -> str:
    """Return the revision of the tables; "" where there are none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return str(row[0]) if row else ""


def check_schema(session: Session) -> None:
    """Raise DatabaseProblem unless the tables are those this program was written for."""
    found = current(session.connection())
    if found == HEAD:
        return
    if not found:
        raise DatabaseProblem("database", "has no tables yet", "Create them: bandmaster init")
    if found > HEAD:
        raise DatabaseProblem(
            "database",
            f"has tables of revision {found}, this program knows {HEAD}",
            "Install the newer program that upgraded it.",
        )
    raise DatabaseProblem(
        "database",
        f"has tables of revision {found}, this program needs {HEAD}",
        "Bring it up to date: bandmaster db upgrade",
    )


def upgrade(engine: Engine) -> tuple[str, str]:
    """Bring the tables to HEAD in one transaction; return the revisions before and after.

    Raises Refused while changes are open: an older program may be in the middle of them.
    """
    from alembic import command  # noqa: PLC0415  # 0.1 s that only this act needs

    with named_problems(), engine.connect() as connection:
        before = current(connection)
    if before == HEAD:
        return before, before
    if before:
        _refuse_open(engine)
    with named_problems(), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    return before, HEAD


def _refuse_open(engine: Engine) -> None:
    with reading(engine) as session:
        count = orphans(session)
    if count:
        raise Refused(
            "database",
            f"cannot be upgraded while {count} change sets are open",
            "Settle them first, with the program that began them: bandmaster recover",
        )


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
