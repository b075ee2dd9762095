"""What is owed: the ledger and the rules of price."""

from .anchors import Anchor, AnchorFile, agreeing, open_anchors, read_anchors
from .charged import Charge, Charged, charged_history
from .consumer import advance, read_batch
from .event import (
    EMPTY_HASH,
    EVENT_TYPES,
    REASONS,
    SCHEMA_VERSION,
    TRANSITIONS,
    WHEN_RECORDED,
    Head,
    LedgerEvent,
    NewEvent,
    check_transition,
)
from .export import export_lines, position_of
from .fold import FoldedService, Step, acts, fold_service, fold_without, with_step
from .guards import ddl, undo_ddl
from .ledger import (
    append,
    find_by_change,
    find_by_key,
    find_by_service,
    find_by_services,
    find_event,
    head_at,
    ledger_head,
    tail,
)
from .payload import Evidence, service_payload, shift_payload
from .preview import MoneyLine, MoneyPreview, preview, price_difference, settling_lines
from .proration import (
    Period,
    Scale,
    allocate,
    midnight,
    period_holding,
    prorate,
    round_half_up,
    scale,
)
from .rating import PricedLine, Rater, price_history
from .replay import Mismatch, replay_check
from .rows import BillingEvent, ConsumerCursor, LedgerHead
from .verify import VerifyReport, verify

__all__ = [
    "EMPTY_HASH",
    "EVENT_TYPES",
    "REASONS",
    "SCHEMA_VERSION",
    "TRANSITIONS",
    "WHEN_RECORDED",
    "Anchor",
    "AnchorFile",
    "BillingEvent",
    "Charge",
    "Charged",
    "ConsumerCursor",
    "Evidence",
    "FoldedService",
    "Head",
    "LedgerEvent",
    "LedgerHead",
    "Mismatch",
    "MoneyLine",
    "MoneyPreview",
    "NewEvent",
    "Period",
    "PricedLine",
    "Rater",
    "Scale",
    "Step",
    "VerifyReport",
    "acts",
    "advance",
    "agreeing",
    "allocate",
    "append",
    "charged_history",
    "check_transition",
    "ddl",
    "export_lines",
    "find_by_change",
    "find_by_key",
    "find_by_service",
    "find_by_services",
    "find_event",
    "fold_service",
    "fold_without",
    "head_at",
    "ledger_head",
    "midnight",
    "open_anchors",
    "period_holding",
    "position_of",
    "preview",
    "price_difference",
    "price_history",
    "prorate",
    "read_anchors",
    "read_batch",
    "replay_check",
    "round_half_up",
    "scale",
    "service_payload",
    "settling_lines",
    "shift_payload",
    "tail",
    "undo_ddl",
    "verify",
    "with_step",
]
