"""Reading and pricing the accounts of a billing run, ahead of the writing of their drafts."""

from __future__ import annotations

import gc
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
from inventory import account_behind, list_accounts, list_plans

from .database import make_engine, reading

PROCESSES = 2  # beside this one: pricing takes twice as long as writing
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

    def behind(self, after: str) -> str | None:
        """Return where the accounts that are priced next begin; None where they are the last."""
        with reading(self._engine) as session:
            return account_behind(session, self.run.legal_entity, after, self._size)

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
    """Prices accounts before they are needed: in processes beside this one, or here.

    Each helper has one question open at a time, and they take turns. What is asked for next is a
    guess, by the accounts as they are now: an answer to another question is thrown away.
    """

    def __init__(self, pricer: Pricer, helpers: Iterable[Helper], missing: int = 0) -> None:
        self._pricer = pricer
        self._idle = deque(helpers)
        self._asked: dict[str, Helper] = {}  # by the account behind which, in order
        self._next: str | None = None  # behind which account to ask next; None: there is no more
        self.missing = missing  # helpers that could not be started, or ended before the run did

    def batch(self, after: str) -> Batch:
        """Return the accounts behind one of them, and have those begun that follow.

        Raises as pricing does: what happens beside is met again here.
        """
        if after not in self._asked:  # the first, or somebody else moved the run
            self._forget()
            self._next = after
            self._ask()
        helper = self._asked.pop(after, None)
        batch = self._answer(helper) if helper is not None else None
        self._ask()
        return batch or self._pricer.price(after)

    def _ask(self) -> None:
        while self._idle and self._next is not None:
            helper = self._idle.popleft()
            try:
                _tell(helper, self._next)
            except OSError:  # it has ended
                self.missing += 1
                continue
            self._asked[self._next] = helper
            self._next = self._pricer.behind(self._next)

    def _answer(self, helper: Helper) -> Batch | None:
        """Wait for a helper's answer; None where it has ended, perhaps in the middle of a word."""
        try:
            told = json.loads(helper.stdout.readline() if helper.stdout else "")
        except (OSError, ValueError):
            self.missing += 1
            return None
        self._idle.append(helper)
        return Batch(**{**told, "rows": DraftRows(**told["rows"])})

    def _forget(self) -> None:
        for helper in self._asked.values():
            self._answer(helper)
        self._asked.clear()


@contextmanager
def pricing(engine: Engine, job: Job) -> Iterator[Ahead]:
    """Price in processes beside this one where the run is long; they are gone at the end."""
    pricer = Pricer(engine, job)
    helpers: list[Helper] = []
    with ExitStack() as stack:
        wanted = PROCESSES if pricer.run.accounts >= WORTH_A_PROCESS else 0
        if wanted:
            first = {"address": _address(engine), "job": asdict(job)}
            with suppress(OSError):  # no room for another: it is priced by the others, or here
                while len(helpers) < wanted:
                    helpers.append(stack.enter_context(_helping(first)))
        yield Ahead(pricer, helpers, missing=wanted - len(helpers))


@contextmanager
def _helping(first: dict[str, Any]) -> Iterator[Helper]:
    """Start a helper and tell it the job; OSError if none can be started."""
    helper = start_beside(_MAIN)
    try:
        with suppress(OSError):  # it has ended, which is met with the first question
            _tell(helper, first)
        yield helper
    finally:
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
