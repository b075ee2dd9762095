"""Reading and pricing the accounts of a billing run, ahead of the writing of their drafts."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine

from billing_bridge import (
    Drafter,
    DraftRows,
    Helper,
    billed_count,
    draft_rows,
    find_run,
    start_beside,
)
from inventory import list_accounts, list_plans

from .database import make_engine, reading

WORTH_A_PROCESS = 10_000  # accounts: to start one costs as much as pricing these
_MAIN = "from orchestrator.ahead import serve; serve()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The accounts behind one of them, and their bills as they were when they were read."""

    after: str
    account_ids: Sequence[str]
    billed: int  # as `billed_count` says
    rows: DraftRows
    left_out: Sequence[tuple[str, str]]  # accounts that cannot be billed, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run, and how many accounts of it are priced at once."""

    run_id: str
    size: int
    backdate_days: int


class Pricer:
    """Reads and prices by the catalogue of when it began. Takes no lock and writes nothing."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._size = job.size
        with reading(engine) as session:
            self.run = find_run(session, job.run_id)
            self._drafter = Drafter(list_plans(session), backdate_days=job.backdate_days)

    def price(self, after: str) -> Batch:
        """Return the next accounts behind one."""
        run = self.run
        with reading(self._engine) as session:
            accounts = list_accounts(session, run.legal_entity, after=after, limit=self._size)
            ids = [account.account_id for account in accounts]
            billed = billed_count(session, ids)
            drafted = self._drafter.draft(session, accounts, run.on_date, run.known_seq)
        return Batch(
            after=after,
            account_ids=ids,
            billed=billed,
            rows=draft_rows(run, drafted.drafts),
            left_out=[(name, str(problem)) for name, problem in drafted.left_out],
        )


class Ahead:
    """Prices what is asked for before it is needed: beside this process, or here where it fails.

    One question is open at a time.
    """

    def __init__(self, pricer: Pricer, helper: Helper | None) -> None:
        self._pricer = pricer
        self._helper = helper
        self._asked: str | Batch = ""

    def ask(self, after: str) -> None:
        """Begin with the accounts behind one of them."""
        self._asked = after
        if self._helper is None:
            self._asked = self._pricer.price(after)
            return
        try:
            _tell(self._helper, after)
        except OSError:  # it has ended
            self._helper = None

    def answer(self) -> Batch:
        """Return what was asked for. Raises as pricing does; what happens beside is met here."""
        if isinstance(self._asked, Batch):
            return self._asked
        if self._helper is not None and self._helper.stdout is not None:
            try:
                told = json.loads(self._helper.stdout.readline())
            except (OSError, ValueError):  # it has ended, perhaps in the middle of a word
                self._helper = None
            else:
                return Batch(**{**told, "rows": DraftRows(**told["rows"])})
        return self._pricer.price(self._asked)


@contextmanager
def pricing(engine: Engine, job: Job) -> Iterator[Ahead]:
    """Price in a process beside this one where the run is long; it is gone at the end."""
    pricer = Pricer(engine, job)
    helper = None
    if pricer.run.accounts >= WORTH_A_PROCESS:
        with suppress(OSError):  # no room for another: all of it is priced here
            helper = start_beside(_MAIN)
    try:
        if helper is not None:
            with suppress(OSError):
                _tell(helper, {"address": _address(engine), "job": asdict(job)})
        yield Ahead(pricer, helper)
    finally:
        if helper is not None:
            helper.kill()
            with suppress(OSError):  # what it was not told any more
                helper.__exit__(None, None, None)


def _tell(helper: Helper, what: Any) -> None:
    if helper.stdin is not None:
        helper.stdin.write(json.dumps(what).encode() + b"\n")
        helper.stdin.flush()


def _address(engine: Engine) -> str:
    """Return the database's URL, with the password that was found for it elsewhere."""
    url = engine.url
    if engine.dialect.name == "postgresql":
        with reading(engine) as session:
            bare: Any = session.connection().connection.driver_connection
            url = url.set(password=bare.info.password or None)
    return url.render_as_string(hide_password=False)


def serve() -> None:
    """Be the process: read names of accounts from stdin, write what is behind them to stdout.

    A line of JSON is one question or one answer; the first says where the store is, and the job.
    """
    begin = json.loads(sys.stdin.readline())
    pricer = Pricer(make_engine(begin["address"]), Job(**begin["job"]))
    gc.freeze()  # what is loaded by now outlives the run, and is most of the heap
    for line in sys.stdin:
        sys.stdout.write(_words(pricer.price(json.loads(line))) + "\n")
        sys.stdout.flush()


def _words(batch: Batch) -> str:
    told = {name: getattr(batch, name) for name in Batch.__slots__}
    # asdict would copy every value of every row
    return json.dumps({**told, "rows": {"bills": batch.rows.bills, "lines": batch.rows.lines}})
