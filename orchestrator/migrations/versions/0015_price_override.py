"""Prices for one service: asked for as credits are, and found in the ledger by a narrow index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from billing_bridge import view_ddl

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_OLD = "kind IN ('credit', 'charge', 'reversal')"
_NEW = "kind IN ('credit', 'charge', 'price', 'reversal')"


def upgrade() -> None:
    connection = op.get_bind()
    lite = connection.dialect.name == "sqlite"
    op.execute("DROP VIEW credit_v1" if lite else "DROP VIEW public.credit_v1")
    if lite:
        _copy_credit(connection)
    else:
        op.drop_constraint("credit_kind", "credit", type_="check")
        op.create_check_constraint("credit_kind", "credit", _NEW)
    op.create_table(
        "price_override",
        sa.Column("credit_id", sa.Text(), nullable=False),
        sa.Column("plan_code", sa.Text(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("from_date", sa.Date(), nullable=False),
        sa.Column("until_date", sa.Date(), nullable=True),
        sa.CheckConstraint("price_minor >= 0", name="price_override_price"),
        sa.CheckConstraint("until_date > from_date", name="price_override_dates"),
        sa.ForeignKeyConstraint(["credit_id"], ["credit.credit_id"]),
        sa.PrimaryKeyConstraint("credit_id"),
    )
    priced = sa.text("type = 'price.overridden'")
    op.create_index(
        "billing_event_price",
        "billing_event",
        ["service_id"],
        sqlite_where=priced,
        postgresql_where=priced,
    )
    for statement in view_ddl(connection.dialect.name):
        if "credit_v1" in statement:
            connection.exec_driver_sql(statement)
    if not lite:
        op.execute(
            "DO $$ BEGIN\n"
            "  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN\n"
            "    GRANT SELECT, INSERT ON public.price_override TO app;\n"
            "  END IF;\nEND $$"
        )


def _copy_credit(connection: sa.Connection) -> None:
    """SQLite alters no constraint: the table is made anew from its own text."""
    told = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'credit' AND sql <> '' ORDER BY rowid"
    )
    table, *indexes = told.scalars().all()
    made = table.replace(_OLD, _NEW).replace("CREATE TABLE credit ", "CREATE TABLE credit_made ")
    for statement in (
        made,
        "INSERT INTO credit_made SELECT * FROM credit",
        "DROP TABLE credit",
        "ALTER TABLE credit_made RENAME TO credit",
        *indexes,
    ):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    msg = "what was agreed to is never taken back"
    raise NotImplementedError(msg)
