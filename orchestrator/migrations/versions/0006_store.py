"""Which store this is, and how often it was put back from a copy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from inventory import new_id

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "store",
        sa.Column("store_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("read_epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("store_id"),
    )
    connection = op.get_bind()
    connection.execute(
        sa.text("INSERT INTO store (store_id, epoch, read_epoch) VALUES (:store_id, 1, 1)"),
        {"store_id": new_id()},
    )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, UPDATE ON public.store TO app;\n"
            "  END IF;\nEND $$"
        )


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)
