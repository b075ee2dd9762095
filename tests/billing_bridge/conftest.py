"""A ledger of its own for every test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from ledger_facts import make_ledger
from sqlalchemy import Engine
from usage_facts import fill

from orchestrator.migrate import metadata
from tests.orchestrator.rig import create_schema


@pytest.fixture
def engine(empty_engine: Engine) -> Engine:
    """An engine of the owner of fresh ledger tables with their guards."""
    make_ledger(empty_engine)
    return empty_engine


@pytest.fixture
def isp(empty_engine: Engine) -> Engine:
    """An engine of the owner of all tables, with three services in them."""
    metadata()
    create_schema(empty_engine)
    fill(empty_engine)
    return empty_engine
