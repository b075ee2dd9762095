"""What the databases themselves forbid and offer: triggers, grants and the shared ledger's views.

No statement holds a colon before a letter, so it may pass through tools that read `:name` as a
parameter.
"""

from __future__ import annotations

_SQLITE_FORBIDDEN = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    for table, verb in (
        ("billing_event", "UPDATE"),
        ("billing_event", "DELETE"),
        ("ledger_head", "DELETE"),
        ("ledger_head", "INSERT"),
    )
)
# INSERT OR REPLACE deletes the row in its way without firing a DELETE trigger, through any unique
# column: so the insert itself must refuse whatever would stand in a unique index already.
_SQLITE_APPEND = """
CREATE TRIGGER IF NOT EXISTS billing_event_append BEFORE INSERT ON billing_event
BEGIN
  SELECT RAISE(ABORT, 'an event must follow the newest one')
  WHERE NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM billing_event)
     OR NEW.prev_hash IS NOT coalesce(
          (SELECT hash FROM billing_event WHERE seq = NEW.seq - 1), zeroblob(32));
  SELECT RAISE(ABORT, 'recorded_at may not step back')
  WHERE NEW.recorded_at < (SELECT recorded_at FROM billing_event WHERE seq = NEW.seq - 1);
  SELECT RAISE(ABORT, 'the event is recorded already')
  WHERE EXISTS (SELECT 1 FROM billing_event WHERE event_id = NEW.event_id)
     OR EXISTS (SELECT 1 FROM billing_event
                WHERE source = NEW.source AND idempotency_key = NEW.idempotency_key)
     OR NEW.service_version > 0 AND EXISTS (
          SELECT 1 FROM billing_event WHERE service_version > 0
          AND service_id = NEW.service_id AND service_version = NEW.service_version)
     OR NEW.reverses_event_id <> '' AND EXISTS (
          SELECT 1 FROM billing_event WHERE reverses_event_id <> ''
          AND reverses_event_id = NEW.reverses_event_id)
     OR NEW.change_id <> '' AND EXISTS (
          SELECT 1 FROM billing_event WHERE change_id <> ''
          AND change_id = NEW.change_id AND type = NEW.type);
END
"""
_SQLITE_HEAD = """
CREATE TRIGGER IF NOT EXISTS ledger_head_follows BEFORE UPDATE ON ledger_head
BEGIN
  SELECT RAISE(ABORT, 'the head only follows the newest event')
  WHERE NEW.id IS NOT OLD.id
     OR NEW.seq IS NOT (SELECT max(seq) FROM billing_event)
     OR NEW.hash IS NOT (SELECT hash FROM billing_event WHERE seq = NEW.seq);
END
"""
_SQLITE_SEED = """
INSERT INTO ledger_head (id, seq, hash) SELECT 1, 0, zeroblob(32)
WHERE NOT EXISTS (SELECT 1 FROM ledger_head)
"""
_POSTGRES_SEED = """
INSERT INTO public.ledger_head (id, seq, hash) SELECT 1, 0, decode(repeat('00', 32), 'hex')
WHERE NOT EXISTS (SELECT 1 FROM public.ledger_head)
"""

# Names carry their schema: a temporary table of the same name must not fool a check.
_POSTGRES_FUNCTIONS = (
    """
CREATE OR REPLACE FUNCTION public.ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$
""",
    """
CREATE OR REPLACE FUNCTION public.ledger_append() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last record;
BEGIN
  SELECT seq, hash, recorded_at INTO last FROM public.billing_event ORDER BY seq DESC LIMIT 1;
  IF NEW.seq IS DISTINCT FROM coalesce(last.seq, 0) + 1
     OR NEW.prev_hash IS DISTINCT FROM coalesce(last.hash, decode(repeat('00', 32), 'hex')) THEN
    RAISE EXCEPTION 'an event must follow the newest one'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  IF NEW.recorded_at < last.recorded_at THEN
    RAISE EXCEPTION 'recorded_at may not step back'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE FUNCTION public.ledger_head_follows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last record;
BEGIN
  SELECT seq, hash INTO last FROM public.billing_event ORDER BY seq DESC LIMIT 1;
  IF NEW.id <> OLD.id OR NEW.seq IS DISTINCT FROM last.seq
     OR NEW.hash IS DISTINCT FROM last.hash THEN
    RAISE EXCEPTION 'the head only follows the newest event'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE FUNCTION public.ledger_head_reached() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seq > (SELECT seq FROM public.ledger_head) THEN
    RAISE EXCEPTION 'the head was not moved to the newest event'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END $$
""",
)
_POSTGRES_TRIGGERS = (
    ("billing_event", "append", "TRIGGER", "BEFORE INSERT", "FOR EACH ROW", "ledger_append"),
    ("billing_event", "keep", "TRIGGER", "BEFORE UPDATE OR DELETE", "FOR EACH ROW",
     "ledger_refuse"),
    ("billing_event", "keep_all", "TRIGGER", "BEFORE TRUNCATE", "FOR EACH STATEMENT",
     "ledger_refuse"),
    ("billing_event", "head", "CONSTRAINT TRIGGER", "AFTER INSERT",
     "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW", "ledger_head_reached"),
    ("ledger_head", "follow", "TRIGGER", "BEFORE UPDATE", "FOR EACH ROW", "ledger_head_follows"),
    ("ledger_head", "keep", "TRIGGER", "BEFORE INSERT OR DELETE", "FOR EACH ROW", "ledger_refuse"),
    ("ledger_head", "keep_all", "TRIGGER", "BEFORE TRUNCATE", "FOR EACH STATEMENT",
     "ledger_refuse"),
)  # fmt: skip

_POSTGRES_GRANTS = """
DO $$
BEGIN
  REVOKE ALL ON public.billing_event, public.ledger_head, public.consumer_cursor FROM PUBLIC;
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN
    GRANT SELECT, INSERT ON public.billing_event TO app;
    GRANT SELECT, UPDATE ON public.ledger_head TO app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON public.consumer_cursor TO app;
    GRANT SELECT ON public.ledger_event_v1, public.ledger_service_v1, public.ledger_head_v1 TO app;
  END IF;
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'report') THEN
    GRANT SELECT ON public.ledger_event_v1, public.ledger_service_v1, public.ledger_head_v1
      TO report;
  END IF;
END $$
"""

# The shared ledger: these names and columns stay; a new need gets a _v2 beside them.
_SQLITE_VIEWS = (
    """
CREATE VIEW IF NOT EXISTS ledger_event_v1 AS
SELECT seq, event_id, source, idempotency_key, type, schema_version, account_id, service_id,
       service_version, change_id, effective_at, effective_until, recorded_at, price_version_id,
       quantity, unit, amount_minor, currency, exponent, reverses_event_id, actor, reason_code,
       body, lower(hex(prev_hash)) AS prev_hash, lower(hex(hash)) AS hash
FROM billing_event
""",
    """
CREATE VIEW IF NOT EXISTS ledger_service_v1 AS
SELECT e.service_id, e.account_id, e.service_version, e.seq AS last_seq,
       json_extract(e.body, '$.payload.plan') AS plan_code,
       json_extract(e.body, '$.payload.tier') AS tier_code,
       json_extract(e.body, '$.payload.state') AS state
FROM billing_event e
WHERE e.service_version > 0 AND NOT EXISTS (
  SELECT 1 FROM billing_event n
  WHERE n.service_id = e.service_id AND n.service_version > e.service_version)
""",
    """
CREATE VIEW IF NOT EXISTS ledger_head_v1 AS
SELECT seq, lower(hex(hash)) AS hash FROM ledger_head
""",
)
_POSTGRES_VIEWS = (
    """
CREATE OR REPLACE VIEW public.ledger_event_v1 AS
SELECT seq, event_id, source, idempotency_key, type, schema_version, account_id, service_id,
       service_version, change_id, effective_at, effective_until, recorded_at, price_version_id,
       quantity, unit, amount_minor, currency, exponent, reverses_event_id, actor, reason_code,
       body, encode(prev_hash, 'hex') AS prev_hash, encode(hash, 'hex') AS hash
FROM public.billing_event
""",
    """
CREATE OR REPLACE VIEW public.ledger_service_v1 AS
SELECT e.service_id, e.account_id, e.service_version, e.seq AS last_seq,
       CAST(e.body AS json) #>> '{payload,plan}' AS plan_code,
       CAST(e.body AS json) #>> '{payload,tier}' AS tier_code,
       CAST(e.body AS json) #>> '{payload,state}' AS state
FROM public.billing_event e
WHERE e.service_version > 0 AND NOT EXISTS (
  SELECT 1 FROM public.billing_event n
  WHERE n.service_id = e.service_id AND n.service_version > e.service_version)
""",
    """
CREATE OR REPLACE VIEW public.ledger_head_v1 AS
SELECT seq, encode(hash, 'hex') AS hash FROM public.ledger_head
""",
)


def ddl(dialect_name: str) -> tuple[str, ...]:
    """Return the statements to run once after the tables exist; repeating them does no harm.

    `dialect_name` is "sqlite" or "postgresql". Run each alone, in order, without parameters, as
    the owner of the tables. Grants go to the roles app and report where these exist already.
    """
    if dialect_name == "sqlite":
        return (
            _SQLITE_SEED,
            *_SQLITE_FORBIDDEN,
            _SQLITE_APPEND,
            _SQLITE_HEAD,
            *_SQLITE_VIEWS,
        )
    return (
        _POSTGRES_SEED,
        *_POSTGRES_FUNCTIONS,
        *(statement for trigger in _POSTGRES_TRIGGERS for statement in postgres_trigger(*trigger)),
        *_POSTGRES_VIEWS,
        _POSTGRES_GRANTS,
    )


def undo_ddl(dialect_name: str) -> tuple[str, ...]:
    """Return the statements that take back what `ddl` made, before the tables are dropped."""
    views = tuple(f"DROP VIEW IF EXISTS ledger_{name}_v1" for name in ("event", "service", "head"))
    if dialect_name == "sqlite":
        return views  # its triggers go with their tables
    names = ("ledger_refuse", "ledger_append", "ledger_head_follows", "ledger_head_reached")
    return (*views, *(f"DROP FUNCTION IF EXISTS public.{name}() CASCADE" for name in names))


def postgres_trigger(
    table: str, name: str, kind: str, when: str, each: str, function: str
) -> tuple[str, ...]:
    """Return the statements of one trigger that fires whatever a session is set to."""
    trigger = f"{table}_{name}"
    create = f"CREATE {kind} {trigger} {when} ON public.{table} {each}"
    return (
        f"DROP TRIGGER IF EXISTS {trigger} ON public.{table}",
        f"{create} EXECUTE FUNCTION public.{function}()",
        # ALWAYS: also under session_replication_role = replica
        f"ALTER TABLE public.{table} ENABLE ALWAYS TRIGGER {trigger}",
    )
