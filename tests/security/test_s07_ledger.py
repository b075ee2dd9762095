"""S7: the ledger is append-only as far as the database goes, and what goes further is found.

Every statement as every role: tests/billing_bridge/test_guards.py, test_attack_statements.py;
1,000 edits by an owner, cut tails, anchors: test_attack_edits.py, test_attack_anchors.py.
Here it is done to what the commands themselves have made, and a person's command finds it.
"""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.desk import tier

from .conftest import Guarded

REWRITES = (
    "UPDATE billing_event SET amount_minor = 0",
    "UPDATE billing_event SET body = body WHERE seq = 1",
    "DELETE FROM billing_event",
    "DELETE FROM billing_event WHERE seq = (SELECT max(seq) FROM billing_event)",
)
# what an owner can do: the guards go, a price changes, the guards could come back
SQLITE_OWNER = (
    "SELECT 'DROP TRIGGER ' || name FROM sqlite_master"
    " WHERE type = 'trigger' AND tbl_name = 'billing_event'"
)
CHEAPER = "UPDATE billing_event SET body = replace(body, 'fiber-500', 'fiber-100')"


def test_a_rewrite_is_refused_and_a_forced_one_is_found(guarded: Guarded) -> None:
    """Goal: S7 for what the program made. Method: as the owner, with and without the guards."""
    desk = guarded.desk
    desk.good(*tier("svc-1001"))
    desk.good("ledger", "verify", "--deep")
    before = desk.world()[0]["billing_event"]
    for statement in REWRITES:
        with pytest.raises(DBAPIError), desk.engine.begin() as connection:
            connection.execute(text(statement))
    if desk.engine.dialect.name == "postgresql":
        with pytest.raises(DBAPIError), desk.engine.begin() as connection:
            connection.execute(text("TRUNCATE billing_event CASCADE"))
    assert desk.world()[0]["billing_event"] == before
    with desk.engine.begin() as connection:
        if desk.engine.dialect.name == "sqlite":
            for (drop,) in connection.execute(text(SQLITE_OWNER)).all():
                connection.execute(text(drop))
        else:
            connection.execute(text("ALTER TABLE billing_event DISABLE TRIGGER USER"))
        assert connection.execute(text(CHEAPER)).rowcount > 0
    told = desk.run("ledger", "verify", "--deep")
    assert told.code == 1, told.text
    assert "Traceback" not in told.text
    assert desk.run("ledger", "export").code != 0  # nothing is billed from it
