"""Reading stored events: the body speaks, its typed copies only help to find it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Select,
    any_,
    bindparam,
    func,
    select,
    text,
    true,
    union_all,
)

from inventory import one_of, table_of

from .event import LedgerEvent, read_event
from .rows import BillingEvent, ConsumerCursor, LedgerHead

_CHUNK = 1000  # numbers in one IN list
EVENTS = table_of(BillingEvent)
HEAD = table_of(LedgerHead)
CURSORS = table_of(ConsumerCursor)


def stored_rows() -> Select[Any]:
    """Return the query for whole events in the order of the chain; narrow it with `where`."""
    columns = EVENTS.c
    return select(
        columns.seq, columns.recorded_at, columns.body, columns.prev_hash, columns.hash
    ).order_by(columns.seq)


def read_rows(
    connection: Connection, query: Select[Any], given: Mapping[str, Any] | None = None
) -> Iterator[LedgerEvent]:
    """Yield the events of a query made from `stored_rows`."""
    return (read_event(*row) for row in connection.execute(query, given))


def newest_named(
    column: Column[str], also: ColumnElement[bool], names: str = "names"
) -> Mapping[str, Select[Any]]:
    """Return a query, by dialect, of the newest seq for each of the names in a JSON list.

    `also` narrows the rows, to those that a partial index holds. Every name is one index look-up,
    whatever the planner knows: a list of names in an IN makes a PostgreSQL without fresh
    statistics read the whole chain.
    """
    named = bindparam(names, type_=JSON)
    queries = {}
    for dialect, split in (
        ("sqlite", func.json_each(named)),
        ("postgresql", func.json_array_elements_text(named)),
    ):
        listed = split.table_valued("value", name=f"named_{names}")
        matching = select(func.max(EVENTS.c.seq)).where(column == listed.c.value, also)
        queries[dialect] = select(matching.scalar_subquery()).select_from(listed)
    return queries


def events_of(*newest: Mapping[str, Select[Any]]) -> Mapping[str, Select[Any]]:
    """Return the query, by dialect, of the whole events that `newest_named` queries point at.

    Made once, as making it costs more than running it.
    """
    lite = union_all(*(query["sqlite"] for query in newest))
    # an array: the seqs are found first, and then each is one look-up in the primary key
    seqs = func.array(union_all(*(query["postgresql"] for query in newest)).scalar_subquery())
    return {
        "sqlite": stored_rows().where(EVENTS.c.seq.in_(lite)),
        "postgresql": stored_rows().where(EVENTS.c.seq == any_(seqs)),
    }


def events_named(
    connection: Connection, query: Mapping[str, Select[Any]], **parameters: Any
) -> tuple[LedgerEvent, ...]:
    """Return the events that a query of `events_of` finds, by seq; unknown names drop out."""
    found = connection.execute(query[connection.dialect.name], parameters)
    return tuple(read_event(*row) for row in found)


def _by_service() -> Mapping[str, Select[Any]]:
    """Return the query, by dialect, of the versioned events of the services in a JSON list.

    Each service is one index look-up, as in `newest_named`: what is sorted is not joined otherwise.
    """
    named = bindparam("names", type_=JSON)
    columns = EVENTS.c
    counted = (columns.service_version > 0, columns.seq <= bindparam("upto"))
    lite = func.json_each(named).table_valued("value", name="named")
    split = func.json_array_elements_text(named).table_valued("value", name="named")
    told = stored_rows().where(columns.service_id == split.c.value, *counted)
    each = told.add_columns(columns.service_id).lateral("told")
    return {
        "sqlite": stored_rows()
        .add_columns(columns.service_id)
        .where(columns.service_id.in_(select(lite.c.value)), *counted),
        "postgresql": select(each).select_from(split.join(each, true())).order_by(each.c.seq),
    }


_BY_SERVICE = _by_service()
_EVER = (1 << 63) - 1
# in no order, and seq as a sum: either would make SQLite walk the chain instead of a short index
_UPTO = EVENTS.c.seq + 0 <= bindparam("upto")
_PRICES = (
    stored_rows()
    .order_by(None)
    .where(
        text("type = 'price.overridden'"),  # spelt out: a parameter hides the index from SQLite
        one_of(EVENTS.c.service_id, "names"),
        _UPTO,
    )
)
_TAKEN_BACK = (
    stored_rows()
    .order_by(None)
    .where(text("reverses_event_id <> ''"), one_of(EVENTS.c.reverses_event_id, "names"), _UPTO)
)


def events_by_service(
    connection: Connection, service_ids: Iterable[str], upto: int = 0
) -> dict[str, tuple[LedgerEvent, ...]]:
    """Return what folds each service, in order: its versioned events, its overridden prices.

    A service without any has none. `upto` is the last seq that counts: as known then; 0 = all.
    """
    lists: dict[str, list[LedgerEvent]] = {service_id: [] for service_id in service_ids}
    ordered = sorted(lists)
    query = _BY_SERVICE[connection.dialect.name]
    for start in range(0, len(ordered), _CHUNK):
        given = {"names": ordered[start : start + _CHUNK], "upto": upto or _EVER}
        # all at once: one by one they cost twice as much
        for *row, service_id in connection.execute(query, given).all():
            lists[service_id].append(read_event(*row))
        for event in _prices(connection, given):
            lists[event.service_id].append(event)
            lists[event.service_id].sort(key=lambda each: each.seq)
    return {service_id: tuple(events) for service_id, events in lists.items()}


def _prices(connection: Connection, given: Mapping[str, Any]) -> Iterator[LedgerEvent]:
    """Yield the overridden prices of some services, and what takes them back."""
    found = list(read_rows(connection, _PRICES, given))
    while found:
        yield from found
        names = {"names": [event.event_id for event in found]}
        found = list(read_rows(connection, _TAKEN_BACK, {**given, **names}))
