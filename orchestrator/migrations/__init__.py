"""Alembic's revisions of the store's tables; run by orchestrator.migrate."""
