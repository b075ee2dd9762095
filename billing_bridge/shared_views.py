"""The shared ledger's views of what is billed, measured and found: read-only, and for good (`_v1`).

They hold identifiers, dates and numbers. What names a person or is a person's text (documents,
reasons, evidence) stays out: who reads them may be any other system.
"""

from __future__ import annotations

_VIEWS = (
    """
CREATE VIEW public.invoice_v1 AS
SELECT invoice_id, run_id, kind, legal_entity, account_id, currency, exponent, closes_on, state,
       number, net_minor, tax_minor, total_minor, known_seq, issued_at, event_id, cancels
FROM public.invoice WHERE state <> 'draft'
""",
    """
CREATE VIEW public.invoice_line_v1 AS
SELECT l.invoice_id, l.line_no, l.service_id, l.kind, l.plan_code, l.charge, l.price_version_id,
       l.period_from, l.period_until, l.from_date, l.until_date, l.numerator, l.denominator,
       l.unit, l.full_amount_minor, l.quantity, l.amount_minor, i.currency, i.exponent, l.late,
       l.event_ids
FROM public.invoice_line l JOIN public.invoice i ON i.invoice_id = l.invoice_id
WHERE i.state <> 'draft'
""",
    """
CREATE VIEW public.invoice_tax_v1 AS
SELECT t.invoice_id, t.tax_no, t.name, t.rate_bp, t.net_minor, t.tax_minor
FROM public.invoice_tax t JOIN public.invoice i ON i.invoice_id = t.invoice_id
WHERE i.state <> 'draft'
""",
    """
CREATE VIEW public.usage_window_v1 AS
SELECT service_id, meter, since, until, quantity, unit, source, samples, coverage_bp, revision,
       event_id, seq, late
FROM public.usage_window
""",
    """
CREATE VIEW public.finding_v1 AS
SELECT finding_id, rule, service_id, account_id, scope, blocks, since, first_seen, last_seen,
       at_risk_minor, monthly_minor, currency, exponent, status, overridden, ignored_until,
       decided_by, decided_at, cleared_at
FROM public.finding
""",
    """
CREATE VIEW public.credit_v1 AS
SELECT credit_id, kind, account_id, service_id, amount_minor, currency, exponent, reverses,
       asked_by, asked_at, second_person, state, decided_by, decided_at, event_id
FROM public.credit c
WHERE kind <> 'price' AND NOT EXISTS (
  SELECT 1 FROM public.credit p WHERE p.credit_id = c.reverses AND p.kind = 'price')
""",
)
_POSTGRES_GRANTS = """
DO $$
BEGIN
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN
    GRANT SELECT ON public.invoice_v1, public.invoice_line_v1, public.invoice_tax_v1,
      public.usage_window_v1, public.finding_v1, public.credit_v1 TO app;
  END IF;
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'report') THEN
    GRANT SELECT ON public.invoice_v1, public.invoice_line_v1, public.invoice_tax_v1,
      public.usage_window_v1, public.finding_v1, public.credit_v1 TO report;
  END IF;
END $$
"""


def view_ddl(dialect_name: str) -> tuple[str, ...]:
    """Return the statements that make the views, once, after all tables; run each as the owner.

    `dialect_name` is "sqlite" or "postgresql".
    """
    if dialect_name == "sqlite":
        return tuple(view.replace("public.", "") for view in _VIEWS)
    return (*_VIEWS, _POSTGRES_GRANTS)
