"""A ledger of its own for every test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from ledger_facts import make_ledger
from sqlalchemy import Engine

from tests.usage_isp import make_isp


@pytest.fixture
def engine(empty_engine: Engine) -> Engine:
    """An engine of the owner of fresh ledger tables with their guards."""
    make_ledger(empty_engine)
    return empty_engine


@pytest.fixture
def isp(empty_engine: Engine) -> Engine:
    """An engine of the owner of all tables, with three services in them."""
    make_isp(empty_engine)
    return empty_engine
