"""Runs revisions on the connection that orchestrator.migrate gives, in its transaction."""

from __future__ import annotations

from alembic import context

from orchestrator.migrate import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata(),
    include_schemas=True,
)
context.run_migrations()
