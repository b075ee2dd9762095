"""What the databases forbid about invoices: a final one stands, and numbers only go up."""

from __future__ import annotations

from .guards import postgres_trigger

_STANDS = "a final invoice stands: void it"
_COUNTS = "invoice numbers only go up"
# what a draft may become, and all that a final one may ever become
_KEPT = (
    *("invoice_id", "run_id", "kind", "legal_entity", "account_id", "currency", "exponent"),
    *("closes_on", "open_from", "number", "net_minor", "tax_minor", "total_minor", "known_seq"),
    *("drafted_at", "issued_at", "event_id", "cancels", "document"),
)
_PARTS = ("invoice_line", "invoice_tax")
_DEEDS = (("INSERT", "NEW"), ("UPDATE", "OLD"), ("UPDATE", "NEW"), ("DELETE", "OLD"))


def invoice_ddl(dialect_name: str) -> tuple[str, ...]:
    """Return the statements to run once after the tables exist; repeating them does no harm.

    `dialect_name` is "sqlite" or "postgresql". Run each alone, in order, without parameters, as
    the owner of the tables. Grants go to the roles app and report where these exist already.
    """
    if dialect_name == "sqlite":
        return (*_sqlite_invoice(), *_sqlite_parts(), *_sqlite_counter())
    return (
        *_POSTGRES_FUNCTIONS,
        *(statement for trigger in _POSTGRES_TRIGGERS for statement in postgres_trigger(*trigger)),
        _POSTGRES_GRANTS,
    )


def _same(old: str, new: str) -> str:
    return " AND ".join(f"{new}.{name} IS {old}.{name}" for name in _KEPT)


def _sqlite_invoice() -> tuple[str, ...]:
    # INSERT OR REPLACE takes a row away without a DELETE trigger: so nothing may be in its way
    return (
        f"""
CREATE TRIGGER IF NOT EXISTS invoice_begin BEFORE INSERT ON invoice
BEGIN
  SELECT RAISE(ABORT, '{_STANDS}')
  WHERE NEW.state <> 'draft'
     OR EXISTS (SELECT 1 FROM invoice WHERE invoice_id = NEW.invoice_id)
     OR EXISTS (SELECT 1 FROM invoice WHERE NEW.cancels <> '' AND cancels = NEW.cancels)
     OR EXISTS (
          SELECT 1 FROM invoice WHERE NEW.kind = 'invoice' AND kind = 'invoice'
          AND state <> 'void' AND account_id = NEW.account_id AND currency = NEW.currency
          AND (state = 'draft' OR closes_on = NEW.closes_on));
END
""",  # noqa: S608 - no word in it comes from outside
        f"""
CREATE TRIGGER IF NOT EXISTS invoice_keep BEFORE UPDATE ON invoice
BEGIN
  SELECT RAISE(ABORT, '{_STANDS}')
  WHERE NOT (OLD.state = 'draft' AND NEW.state <> 'void'
             OR OLD.state = 'final' AND NEW.state = 'void' AND {_same("OLD", "NEW")});
END
""",
        f"""
CREATE TRIGGER IF NOT EXISTS invoice_stay BEFORE DELETE ON invoice WHEN OLD.state <> 'draft'
BEGIN SELECT RAISE(ABORT, '{_STANDS}'); END
""",
    )


def _sqlite_parts() -> tuple[str, ...]:
    return tuple(
        f"""
CREATE TRIGGER IF NOT EXISTS {table}_{verb.lower()}_{row.lower()} BEFORE {verb} ON {table}
BEGIN
  SELECT RAISE(ABORT, '{_STANDS}')
  WHERE coalesce((SELECT state FROM invoice WHERE invoice_id = {row}.invoice_id), '') <> 'draft';
END
"""  # noqa: S608 - no word in it comes from outside
        for table in _PARTS
        for verb, row in _DEEDS
    )


def _sqlite_counter() -> tuple[str, ...]:
    return (
        f"""
CREATE TRIGGER IF NOT EXISTS invoice_counter_begin BEFORE INSERT ON invoice_counter
BEGIN
  SELECT RAISE(ABORT, '{_COUNTS}')
  WHERE NEW.last_number <> 0 OR EXISTS (
    SELECT 1 FROM invoice_counter WHERE legal_entity = NEW.legal_entity AND kind = NEW.kind);
END
""",  # noqa: S608 - no word in it comes from outside
        f"""
CREATE TRIGGER IF NOT EXISTS invoice_counter_count BEFORE UPDATE ON invoice_counter
BEGIN
  SELECT RAISE(ABORT, '{_COUNTS}')
  WHERE NEW.legal_entity IS NOT OLD.legal_entity OR NEW.kind IS NOT OLD.kind
     OR NEW.last_number <= OLD.last_number;
END
""",
        f"""
CREATE TRIGGER IF NOT EXISTS invoice_counter_stay BEFORE DELETE ON invoice_counter
BEGIN SELECT RAISE(ABORT, '{_COUNTS}'); END
""",
    )


def _postgres_function(name: str, body: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS $$\n"
        f"{body}\n$$"
    )


def _raise(message: str) -> str:
    return f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation';"


def _while_draft(row: str, returned: str) -> str:
    return f"""
BEGIN
  IF (SELECT state FROM public.invoice WHERE invoice_id = {row}.invoice_id)
     IS DISTINCT FROM 'draft' THEN {_raise(_STANDS)} END IF;
  RETURN {returned};
END"""  # noqa: S608 - no word in it comes from outside


_DISTINCT = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in _KEPT)
_POSTGRES_FUNCTIONS = (
    _postgres_function("invoice_refuse", f"BEGIN\n  {_raise(_STANDS)}\nEND"),
    _postgres_function(
        "invoice_begin",
        f"BEGIN\n  IF NEW.state <> 'draft' THEN {_raise(_STANDS)} END IF;\n  RETURN NEW;\nEND",
    ),
    _postgres_function(
        "invoice_keep",
        f"BEGIN\n  IF OLD.state = 'draft' AND NEW.state <> 'void' THEN RETURN NEW; END IF;\n"
        f"  IF OLD.state <> 'final' OR NEW.state <> 'void' OR {_DISTINCT} THEN\n"
        f"    {_raise(_STANDS)}\n  END IF;\n  RETURN NEW;\nEND",
    ),
    _postgres_function(
        "invoice_stay",
        f"BEGIN\n  IF OLD.state <> 'draft' THEN {_raise(_STANDS)} END IF;\n  RETURN OLD;\nEND",
    ),
    _postgres_function("invoice_part_new", _while_draft("NEW", "NEW")),
    _postgres_function(
        "invoice_part_old", _while_draft("OLD", "CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END")
    ),
    _postgres_function(
        "invoice_count",
        f"BEGIN\n  IF TG_OP = 'INSERT' AND NEW.last_number = 0 THEN RETURN NEW; END IF;\n"
        f"  IF TG_OP = 'UPDATE' THEN\n"
        f"    IF NEW.legal_entity = OLD.legal_entity AND NEW.kind = OLD.kind\n"
        f"       AND NEW.last_number > OLD.last_number THEN RETURN NEW; END IF;\n"
        f"  END IF;\n  {_raise(_COUNTS)}\nEND",
    ),
)
_ROW, _ALL = "FOR EACH ROW", "FOR EACH STATEMENT"
_POSTGRES_TRIGGERS = (
    ("invoice", "begin", "TRIGGER", "BEFORE INSERT", _ROW, "invoice_begin"),
    ("invoice", "keep", "TRIGGER", "BEFORE UPDATE", _ROW, "invoice_keep"),
    ("invoice", "stay", "TRIGGER", "BEFORE DELETE", _ROW, "invoice_stay"),
    *(
        (table, *rest, _ROW, function)
        for table in _PARTS
        for *rest, function in (
            ("new", "TRIGGER", "BEFORE INSERT OR UPDATE", "invoice_part_new"),
            ("old", "TRIGGER", "BEFORE UPDATE OR DELETE", "invoice_part_old"),
        )
    ),
    ("invoice_counter", "count", "TRIGGER", "BEFORE INSERT OR UPDATE OR DELETE", _ROW,
     "invoice_count"),
    *(
        (table, "keep_all", "TRIGGER", "BEFORE TRUNCATE", _ALL, "invoice_refuse")
        for table in ("invoice", *_PARTS, "invoice_counter")
    ),
)  # fmt: skip

_POSTGRES_GRANTS = """
DO $$
BEGIN
  REVOKE ALL ON public.invoice_run, public.invoice, public.invoice_line, public.invoice_tax,
    public.invoice_counter FROM PUBLIC;
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN
    GRANT SELECT, INSERT, UPDATE ON public.invoice_run, public.invoice_counter TO app;
    GRANT SELECT, INSERT, UPDATE, DELETE
      ON public.invoice, public.invoice_line, public.invoice_tax TO app;
  END IF;
END $$
"""
