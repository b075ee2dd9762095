"""What is owed: the ledger and the rules of price."""

from .accounting import (
    AccountingRecord,
    Reading,
    SessionUsage,
    Volume,
    read_session,
    split_usage,
)
from .anchors import Anchor, AnchorFile, agreeing, open_anchors, read_anchors
from .beside import Helper, start_beside
from .charged import Charge, Charged, charged_history, last_version
from .consumer import advance, read_batch
from .corrections import Billed, billed, corrections, refuse_double, usage_period
from .counters import CounterDelta, counter_delta, joined_octets
from .credit_rows import CreditRow
from .credits import (
    CreditAsked,
    CreditKind,
    approve_credit,
    ask_credit,
    ask_reversal,
    credit_reasons,
    find_credit,
    list_credits,
    reject_credit,
)
from .drafting import Draft, Drafted, Drafter, billed_now, newest_boundaries
from .event import (
    ACCOUNT_TYPES,
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
from .fold import (
    FoldedService,
    Override,
    PriceTerms,
    Step,
    acts,
    fold_service,
    fold_without,
    with_step,
)
from .gate import Blocker, Tally, blockers, keep_findings
from .gate_acts import (
    Decision,
    Filters,
    Total,
    begin_check,
    decide_finding,
    end_check,
    find_finding,
    finding_story,
    last_check,
    list_findings,
    totals,
)
from .gate_rows import FindingRow
from .gather import (
    PAGE,
    Ground,
    account_pages,
    chain_facts,
    ground,
    missing_facts,
    page_facts,
)
from .guards import ddl, undo_ddl
from .holding import hold, mark_held
from .invoice_document import (
    DOCUMENT_VERSION,
    Beside,
    Measured,
    document_text,
    invoice_document,
    read_document,
)
from .invoice_guards import invoice_ddl
from .invoice_rows import InvoiceRow, InvoiceRunRow
from .invoices import (
    Invoice,
    InvoiceLine,
    InvoiceTax,
    find_invoice,
    find_lines,
    find_numbered,
    find_taxes,
    list_invoices,
)
from .issue import Issuer, Ready, issue, ready_drafts, void
from .ledger import (
    append,
    find_by_change,
    find_by_key,
    find_by_service,
    find_by_services,
    find_event,
    head_at,
    ledger_head,
    lock_head,
    tail,
)
from .observations import Shown, keep_observations
from .payload import METER_UNITS, Evidence, service_payload, shift_payload
from .percentile import (
    COVERAGE_FLOOR_BP,
    SLOT_S,
    CircuitRate,
    Percentile,
    PercentileMode,
    circuit_95,
    expected_slots,
    percentile_95,
)
from .preview import (
    MoneyLine,
    MoneyPreview,
    full_price,
    override_worth,
    preview,
    price_difference,
    settling_lines,
)
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
from .rules import judge, rule_numbers, rules
from .rules.base import Found, Rule, Side
from .rules.facts import Doubt, Facts
from .runs import (
    DraftRows,
    InvoiceRun,
    begin_run,
    billed_count,
    draft_rows,
    drafted_when,
    drafts_left,
    end_run,
    find_run,
    finish_run,
    keep_drafts,
    list_runs,
    lock_issuer,
    still_drafts,
)
from .shared_views import view_ddl
from .signature import check_signature, signed_headers
from .slots import SLOT, Sample, Slot, Unknown, slot_of, slots_of
from .tariffs import (
    BlockStep,
    CommitCharge,
    Overage,
    UsageStep,
    blocks_each,
    blocks_top,
    committed,
    counted_bytes,
    duration,
    graduated,
    increment,
    minimum_true_up,
    overage,
    package,
    plan_burst,
    plan_overage,
    slowed_down,
    volume,
)
from .tax import TaxHook, TaxLine, flat_tax
from .usage import BACKDATE_DAYS, Meter, Posted, Rollup, UsedWindow, record_usage, used
from .usage_check import UsageMismatch, usage_check
from .usage_due import DueWindow, Place, mark_due, places_of, take_due, window_of
from .usage_exceptions import (
    UsageException,
    UsageProblem,
    decide_problem,
    find_problem,
    keep_problems,
    list_problems,
    settle_problems,
)
from .usage_files import FileRecord, keep_records
from .usage_p95 import METHOD, Metered, metered_stretches, percentile_rollup, sampled_services
from .usage_packets import keep_packets
from .usage_radius import (
    RADIUS,
    Heard,
    Taken,
    give_session,
    heard_of,
    keep_heard,
    last_radacct,
    match_again,
    open_radacct,
)
from .usage_rows import UsageExceptionRow
from .usage_sessions import count_radius
from .usage_snmp import SNMP, ServiceSample, count_snmp, keep_samples, samples_between
from .verify import VerifyReport, verify
from .webhook_rows import DeliveryRow, WebhookRow
from .webhooks import (
    Claimed,
    HookState,
    add_webhook,
    claim,
    dead_letters,
    delay_s,
    fill_outbox,
    find_webhook,
    list_webhooks,
    not_taken,
    remove_webhook,
    requeue,
    taken,
)

__all__ = [
    "ACCOUNT_TYPES", "BACKDATE_DAYS", "COVERAGE_FLOOR_BP", "DOCUMENT_VERSION", "EMPTY_HASH",
    "EVENT_TYPES", "METER_UNITS", "METHOD", "PAGE", "RADIUS", "REASONS", "SCHEMA_VERSION", "SLOT",
    "SLOT_S", "SNMP", "TRANSITIONS", "WHEN_RECORDED", "AccountingRecord", "Anchor", "AnchorFile",
    "Beside", "Billed", "BillingEvent", "BlockStep", "Blocker", "Charge", "Charged", "CircuitRate",
    "Claimed", "CommitCharge", "ConsumerCursor", "CounterDelta", "CreditAsked", "CreditKind",
    "CreditRow", "Decision", "DeliveryRow", "Doubt", "Draft", "DraftRows", "Drafted", "Drafter",
    "DueWindow", "Evidence", "Facts", "FileRecord", "Filters", "FindingRow", "FoldedService",
    "Found", "Ground", "Head", "Heard", "Helper", "HookState", "Invoice", "InvoiceLine",
    "InvoiceRow", "InvoiceRun", "InvoiceRunRow", "InvoiceTax", "Issuer", "LedgerEvent",
    "LedgerHead", "Measured", "Meter", "Metered", "Mismatch", "MoneyLine", "MoneyPreview",
    "NewEvent", "Overage", "Override", "Percentile", "PercentileMode", "Period", "Place", "Posted",
    "PriceTerms", "PricedLine", "Rater", "Reading", "Ready", "Rollup", "Rule", "Sample", "Scale",
    "ServiceSample", "SessionUsage", "Shown", "Side", "Slot", "Step", "Taken", "Tally", "TaxHook",
    "TaxLine", "Total", "Unknown", "UsageException", "UsageExceptionRow", "UsageMismatch",
    "UsageProblem", "UsageStep", "UsedWindow", "VerifyReport", "Volume", "WebhookRow",
    "account_pages", "acts", "add_webhook", "advance", "agreeing", "allocate", "append",
    "approve_credit", "ask_credit", "ask_reversal", "begin_check", "begin_run", "billed",
    "billed_count", "billed_now", "blockers", "blocks_each", "blocks_top", "chain_facts",
    "charged_history", "check_signature", "check_transition", "circuit_95", "claim", "committed",
    "corrections", "count_radius", "count_snmp", "counted_bytes", "counter_delta", "credit_reasons",
    "ddl", "dead_letters", "decide_finding", "decide_problem", "delay_s", "document_text",
    "draft_rows", "drafted_when", "drafts_left", "duration", "end_check", "end_run",
    "expected_slots", "export_lines", "fill_outbox", "find_by_change", "find_by_key",
    "find_by_service", "find_by_services", "find_credit", "find_event", "find_finding",
    "find_invoice", "find_lines", "find_numbered", "find_problem", "find_run", "find_taxes",
    "find_webhook", "finding_story", "finish_run", "flat_tax", "fold_service", "fold_without",
    "full_price", "give_session", "graduated", "ground", "head_at", "heard_of", "hold", "increment",
    "invoice_ddl", "invoice_document", "issue", "joined_octets", "judge", "keep_drafts",
    "keep_findings", "keep_heard", "keep_observations", "keep_packets", "keep_problems",
    "keep_records", "keep_samples", "last_check", "last_radacct", "last_version", "ledger_head",
    "list_credits", "list_findings", "list_invoices", "list_problems", "list_runs", "list_webhooks",
    "lock_head", "lock_issuer", "mark_due", "mark_held", "match_again", "metered_stretches",
    "midnight", "minimum_true_up", "missing_facts", "newest_boundaries", "not_taken",
    "open_anchors", "open_radacct", "overage", "override_worth", "package", "page_facts",
    "percentile_95", "percentile_rollup", "period_holding", "places_of", "plan_burst",
    "plan_overage", "position_of", "preview", "price_difference", "price_history", "prorate",
    "read_anchors", "read_batch", "read_document", "read_session", "ready_drafts", "record_usage",
    "refuse_double", "reject_credit", "remove_webhook", "replay_check", "requeue", "round_half_up",
    "rule_numbers", "rules", "sampled_services", "samples_between", "scale", "service_payload",
    "settle_problems", "settling_lines", "shift_payload", "signed_headers", "slot_of", "slots_of",
    "slowed_down", "split_usage", "start_beside", "still_drafts", "tail", "take_due", "taken",
    "totals", "undo_ddl", "usage_check", "usage_period", "used", "verify", "view_ddl", "void",
    "volume", "window_of", "with_step",
]  # fmt: skip
