"""What each role may do on PostgreSQL, where the roles exist; SQLite has none."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# written once or many times by the app, never taken away
KEPT = (
    "legal_entity",
    "account",
    "tier",
    "plan",
    "device",
    "line",
    "attachment",
    "service",
    "change_plan",
    "service_order",
    "change_set",
    "change",
    "participant",
    "exception_item",
)
# written once and for ever: what was decided, what happened, who did it
ADDED = ("price_version", "radius_group", "decision", "journal_step", "audit")
FREE = ("lease", "hold")
AUTHORISATION = (
    "radcheck",
    "radreply",
    "radgroupcheck",
    "radgroupreply",
    "radusergroup",
    "nas",
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for role, grants in _grants().items():
        lines = "\n".join(f"    {grant} TO {role};" for grant in grants)
        connection.exec_driver_sql(
            f"DO $$ BEGIN\n"  # noqa: S608  # no word in it comes from outside
            f"  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN\n{lines}\n"
            f"  END IF;\nEND $$"
        )


def _grants() -> dict[str, tuple[str, ...]]:
    authorisation = _listed("radius", AUTHORISATION)
    return {
        "app": (
            "GRANT USAGE ON SCHEMA public, radius",
            "GRANT SELECT ON public.alembic_version",
            f"GRANT SELECT, INSERT, UPDATE ON {_listed('public', KEPT)}",
            f"GRANT SELECT, INSERT ON {_listed('public', ADDED)}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_listed('public', FREE)}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {authorisation}",
            "GRANT SELECT ON radius.radacct, radius.radpostauth, radius.nasreload",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA radius",
        ),
        "radius": (
            "GRANT USAGE ON SCHEMA radius",
            f"GRANT SELECT ON {authorisation}",
            "GRANT SELECT, INSERT, UPDATE ON radius.radacct, radius.nasreload",
            "GRANT SELECT, INSERT ON radius.radpostauth",
            "GRANT USAGE ON SEQUENCE radius.radacct_radacctid_seq, radius.radpostauth_id_seq",
        ),
        "report": ("GRANT USAGE ON SCHEMA public",),
    }


def _listed(schema: str, tables: tuple[str, ...]) -> str:
    return ", ".join(f"{schema}.{table}" for table in tables)


def downgrade() -> None:
    msg = "the first tables are never taken back"
    raise NotImplementedError(msg)
