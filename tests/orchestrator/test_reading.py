"""Reading on PostgreSQL: it writes nothing, and leaves what the driver has prepared."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from orchestrator.database import reading

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ENOUGH = 20  # times: the driver prepares what it has been given more than five times


def test_a_read_can_write_nothing(empty_engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="read-only"), reading(empty_engine) as session:
        session.execute(text("CREATE TABLE never (n integer)"))


def test_what_is_prepared_outlives_a_read(empty_engine: Engine) -> None:
    """Each rollback would make the driver drop it, and every statement is planned anew then."""
    for _ in range(ENOUGH):
        with reading(empty_engine) as session:
            session.execute(text("SELECT 41 + 1"))
    with reading(empty_engine) as session:
        kept = session.execute(text("SELECT statement FROM pg_prepared_statements")).scalars()
        assert "SELECT 41 + 1" in set(kept)
