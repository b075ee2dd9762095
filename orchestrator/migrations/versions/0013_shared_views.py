"""What is billed, measured and found, as other systems may read it."""

from __future__ import annotations

from alembic import op

from billing_bridge import view_ddl

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in view_ddl(connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    msg = "what others read by is never taken away"
    raise NotImplementedError(msg)
