"""Statements are compiled once for a process, not once for each of a test's many small stores.

Every engine has a cache of its own, and a test's engine lives for less than a second: a fifth of
the time of many tests went into writing the same SQL again. What is compiled depends on the tables
and on the kind of the database, which are the same for all of them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from orchestrator import database

ROOM = 3000  # statements; a process of tests knows about a thousand


def share_statements() -> None:
    """Have all engines made from now on by `orchestrator.database` use one cache."""
    cache: LRUCache[Any, Any] = LRUCache(ROOM)
    make = database.create_engine

    def create_engine(*arguments: Any, **options: Any) -> Engine:
        engine = make(*arguments, **options)
        engine._compiled_cache = cache  # there is no other door to it
        return engine

    # a dialect is part of the key under which a statement is kept
    DefaultDialect.__eq__ = lambda one, other: type(one) is type(other)  # type: ignore[method-assign]
    DefaultDialect.__hash__ = lambda one: hash(type(one))  # type: ignore[method-assign]
    database.create_engine = create_engine  # type: ignore[assignment]
