"""The first tables: inventory, RADIUS, ledger and journal."""

from __future__ import annotations

from alembic import op

from billing_bridge import ddl
from orchestrator.migrate import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.execute("CREATE SCHEMA IF NOT EXISTS radius")
    metadata().create_all(connection)
    for statement in ddl(connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    msg = "the first revision is never taken back"
    raise NotImplementedError(msg)
