"""Reading stored events: the body speaks, its typed copies only help to find it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import JSON, Column, ColumnElement, Connection, Select, Table, func, literal, select

from .event import LedgerEvent, read_event
from .rows import BillingEvent, ConsumerCursor, LedgerHead

_CHUNK = 1000  # numbers in one IN list
EVENTS: Table = BillingEvent.__table__  # type: ignore[attr-defined]
HEAD: Table = LedgerHead.__table__  # type: ignore[attr-defined]
CURSORS: Table = ConsumerCursor.__table__  # type: ignore[attr-defined]


def stored_rows() -> Select[Any]:
    """Return the query for whole events in the order of the chain; narrow it with `where`."""
    columns = EVENTS.c
    return select(
        columns.seq, columns.recorded_at, columns.body, columns.prev_hash, columns.hash
    ).order_by(columns.seq)


def read_rows(connection: Connection, query: Select[Any]) -> Iterator[LedgerEvent]:
    """Yield the events of a query made from `stored_rows`."""
    return (read_event(*row) for row in connection.execute(query))


def seqs_named(
    connection: Connection, column: Column[str], names: Iterable[str], also: ColumnElement[bool]
) -> list[int]:
    """Return each distinct name's newest seq, ascending; names that the column lacks drop out.

    `also` narrows the rows, to those that a partial index holds. Every name is one index look-up,
    whatever the planner knows: a list of names in an IN makes a PostgreSQL without fresh
    statistics read the whole chain.
    """
    distinct = sorted(set(names))
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(distinct)).table_valued("value", name="named")
    else:
        listed = func.json_array_elements_text(literal(distinct, JSON)).table_valued(
            "value", name="named"
        )
    matching = select(func.max(EVENTS.c.seq)).where(column == listed.c.value, also)
    found = connection.execute(select(matching.scalar_subquery()).select_from(listed)).scalars()
    return sorted(seq for seq in found if seq is not None)


def events_at(connection: Connection, seqs: Iterable[int]) -> Iterator[LedgerEvent]:
    """Yield the events at these places, in the order given by ascending seq."""
    ordered = sorted(seqs)
    for start in range(0, len(ordered), _CHUNK):
        part = ordered[start : start + _CHUNK]
        yield from read_rows(connection, stored_rows().where(EVENTS.c.seq.in_(part)))


def events_by_service(
    connection: Connection, service_ids: Iterable[str]
) -> dict[str, tuple[LedgerEvent, ...]]:
    """Return each service's versioned events in order; a service without any has none."""
    lists: dict[str, list[LedgerEvent]] = {service_id: [] for service_id in service_ids}
    ordered = sorted(lists)
    for start in range(0, len(ordered), _CHUNK):
        part = ordered[start : start + _CHUNK]
        query = stored_rows().where(EVENTS.c.service_id.in_(part), EVENTS.c.service_version > 0)
        for event in read_rows(connection, query):
            lists[event.service_id].append(event)
    return {service_id: tuple(events) for service_id, events in lists.items()}
