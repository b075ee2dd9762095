"""Invoice runs, invoices, their lines, taxes and numbers, with what their database forbids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from billing_bridge import invoice_ddl

INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _invoice_run()
    _invoice()
    _invoice_indexes()
    _invoice_line()
    _invoice_tax()
    _invoice_counter()
    where = sa.text("currency <> ''")
    op.create_index(
        "billing_event_amount",
        "billing_event",
        ["account_id"],
        sqlite_where=where,
        postgresql_where=where,
    )
    connection = op.get_bind()
    for statement in invoice_ddl(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _invoice_run() -> None:
    op.create_table(
        "invoice_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("legal_entity", sa.Text(), nullable=False),
        sa.Column("on_date", sa.Date(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("known_seq", sa.BigInteger(), nullable=False),
        sa.Column("after_account", sa.Text(), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("drafts", sa.Integer(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'drafted', 'done')", name="invoice_run_state"),
        sa.ForeignKeyConstraint(["legal_entity"], ["legal_entity.code"]),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _unique("invoice_run_open", "invoice_run", ["legal_entity"], "state = 'open'")


def _invoice() -> None:
    op.create_table(
        "invoice",
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("legal_entity", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exponent", sa.Integer(), nullable=False),
        sa.Column("closes_on", sa.Date(), nullable=False),
        sa.Column("open_from", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("known_seq", sa.BigInteger(), nullable=False),
        sa.Column("drafted_at", INSTANT, nullable=False),
        sa.Column("issued_at", INSTANT, nullable=True),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("cancels", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('invoice', 'credit_note')", name="invoice_kind"),
        sa.CheckConstraint("state IN ('draft', 'final', 'void')", name="invoice_state"),
        sa.CheckConstraint("(state = 'draft') = (number = '')", name="invoice_numbered"),
        sa.CheckConstraint("net_minor + tax_minor = total_minor", name="invoice_adds_up"),
        sa.ForeignKeyConstraint(["legal_entity"], ["legal_entity.code"]),
        sa.ForeignKeyConstraint(["account_id"], ["account.account_id"]),
        sa.PrimaryKeyConstraint("invoice_id"),
    )


def _invoice_indexes() -> None:
    _unique("invoice_number", "invoice", ["legal_entity", "kind", "number"], "number <> ''")
    _unique(
        "invoice_living",
        "invoice",
        ["account_id", "currency", "closes_on"],
        "kind = 'invoice' AND state <> 'void'",
    )
    _unique(
        "invoice_draft",
        "invoice",
        ["account_id", "currency"],
        "kind = 'invoice' AND state = 'draft'",
    )
    _unique("invoice_cancels", "invoice", ["cancels"], "cancels <> ''")
    op.create_index("invoice_of_run", "invoice", ["run_id", "account_id"])
    op.create_index("invoice_of_account", "invoice", ["account_id", "closes_on"])


def _invoice_line() -> None:
    op.create_table(
        "invoice_line",
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("line_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("plan_code", sa.Text(), nullable=False),
        sa.Column("charge", sa.Text(), nullable=False),
        sa.Column("price_version_id", sa.Text(), nullable=False),
        sa.Column("period_from", sa.Date(), nullable=False),
        sa.Column("period_until", sa.Date(), nullable=False),
        sa.Column("from_date", sa.Date(), nullable=False),
        sa.Column("until_date", sa.Date(), nullable=False),
        sa.Column("numerator", sa.BigInteger(), nullable=False),
        sa.Column("denominator", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("full_amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("event_ids", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("finding_id", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('recurring', 'correction', 'usage', 'burst', 'charge', 'credit')",
            name="invoice_line_kind",
        ),
        sa.PrimaryKeyConstraint("invoice_id", "line_no"),
    )


def _invoice_tax() -> None:
    op.create_table(
        "invoice_tax",
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("tax_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rate_bp", sa.Integer(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("invoice_id", "tax_no"),
    )


def _invoice_counter() -> None:
    op.create_table(
        "invoice_counter",
        sa.Column("legal_entity", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('invoice', 'credit_note')", name="invoice_counter_kind"),
        sa.ForeignKeyConstraint(["legal_entity"], ["legal_entity.code"]),
        sa.PrimaryKeyConstraint("legal_entity", "kind"),
    )


def _unique(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    msg = "what was billed is never taken back"
    raise NotImplementedError(msg)
