"""A live session remembers when a CoA went out to it that nobody has answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("participant", sa.Column("sent_at", INSTANT, nullable=True))


def downgrade() -> None:
    op.drop_column("participant", "sent_at")
