"""What is owed: the ledger and the rules of price."""

from .event import (
    EMPTY_HASH,
    EVENT_TYPES,
    REASONS,
    SCHEMA_VERSION,
    TRANSITIONS,
    WHEN_RECORDED,
    LedgerEvent,
    NewEvent,
    check_transition,
)
from .fold import FoldedService, Step, fold_service
from .guards import ddl, undo_ddl
from .ledger import (
    Head,
    append,
    find_by_change,
    find_by_key,
    find_by_service,
    find_by_services,
    find_event,
    ledger_head,
    tail,
)
from .payload import Evidence, service_payload, shift_payload
from .rows import BillingEvent, ConsumerCursor, LedgerHead

__all__ = [
    "EMPTY_HASH",
    "EVENT_TYPES",
    "REASONS",
    "SCHEMA_VERSION",
    "TRANSITIONS",
    "WHEN_RECORDED",
    "BillingEvent",
    "ConsumerCursor",
    "Evidence",
    "FoldedService",
    "Head",
    "LedgerEvent",
    "LedgerHead",
    "NewEvent",
    "Step",
    "append",
    "check_transition",
    "ddl",
    "find_by_change",
    "find_by_key",
    "find_by_service",
    "find_by_services",
    "find_event",
    "fold_service",
    "ledger_head",
    "service_payload",
    "shift_payload",
    "tail",
    "undo_ddl",
]
