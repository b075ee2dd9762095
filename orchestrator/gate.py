"""The gate before a billing run: one check by all rules, and what people decide of its findings."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, Row
from sqlmodel import Session

from billing_bridge import (
    PAGE,
    Decision,
    Doubt,
    Found,
    Ground,
    Tally,
    account_pages,
    begin_check,
    chain_facts,
    decide_finding,
    end_check,
    ground,
    judge,
    keep_findings,
    ledger_head,
    missing_facts,
    page_facts,
    rule_numbers,
)
from inventory import Account

from .audit import audit
from .database import database_now, reading, writing
from .doubts import list_doubts
from .journal import short

Tell = Callable[[int], None]  # hears how many accounts have been judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check came to; `broken` = the chain breaks, so nothing else was judged."""

    check_id: str
    services: int
    found: int
    opened: int
    cleared: int
    broken: bool = False


def check(
    engine: Engine, actor: str, tell: Tell, page: int = PAGE, *, proved_days: int = 0
) -> Checked:
    """Judge everything by every rule over one snapshot, page by page, and keep what is found.

    May be cut short and run again, or beside another one: findings are kept by their subject.
    `page` is how many accounts are judged at a time, `proved_days` how far back what was billed is
    held to the ledger: as far as it is corrected; 0 = nothing is.
    """
    with reading(engine) as session:
        now = database_now(session)
        base = ground(session, now, proved_days)
        with writing(engine) as writer:
            check_id = begin_check(writer, actor, now, ledger_head(session).seq)
        broken = chain_facts(session, base, len(os.sched_getaffinity(0)))
        run = _Run(engine, now, page)
        found = judge(broken)
        if found:  # from a chain that breaks nothing may be judged
            run.keep((), found, frozenset({"R-13"}))
        else:
            run.pages(session, base, tell)
        with writing(engine) as writer:
            kept = run.kept
            end_check(writer, check_id, database_now(writer), run.services, kept)
    return Checked(
        check_id=check_id,
        services=run.services,
        found=kept.found,
        opened=kept.opened,
        cleared=kept.cleared,
        broken=bool(found),
    )


@dataclass(slots=True)
class _Run:
    """A check on its way: what it has counted so far."""

    engine: Engine
    seen_at: dt.datetime
    page: int
    services: int = 0
    born: int = 0
    kept: Tally = field(default_factory=Tally)

    def pages(self, session: Session, base: Ground, tell: Tell) -> None:
        """Judge all accounts page by page, then what belongs to none."""
        doubts = list_doubts(session)
        rules = frozenset(rule_numbers())
        done = 0
        for page in account_pages(session, self.page):
            facts = page_facts(session, base, page, _of(doubts, page))
            self.services += len(facts.services)
            self.born += sum(bool(each.event_id) for each in facts.services)
            self.keep(tuple(account.account_id for account in page), judge(facts), rules)
            done += len(page)
            tell(done)
        self.keep((), judge(missing_facts(session, base, self.born)), rules)

    def keep(self, accounts: tuple[str, ...], found: list[Found], rules: frozenset[str]) -> None:
        """Keep what was found of some accounts, () = of none, in a transaction of its own."""
        with writing(self.engine) as writer:
            kept = keep_findings(
                writer, accounts or ("",), found, seen_at=self.seen_at, judged=rules
            )
        self.kept = Tally(
            found=self.kept.found + kept.found,
            opened=self.kept.opened + kept.opened,
            cleared=self.kept.cleared + kept.cleared,
        )


def decide(
    engine: Engine,
    finding_id: str,
    decision: Decision,
    *,
    actor: str,
    reason: str,
    until: dt.datetime | None = None,
) -> Row[Any]:
    """Write down what a person decided of a finding; return it as it was before."""
    with writing(engine) as session:
        now = database_now(session)
        row = decide_finding(
            session, finding_id, decision, actor=actor, reason=reason, now=now, until=until
        )
        detail = f"{short(finding_id, 'f')} {row.rule} {row.subject}: {reason}"
        audit(session, actor, f"finding {decision}", finding_id, detail)
    return row


def _of(doubts: Mapping[str, tuple[Doubt, ...]], page: Sequence[Account]) -> tuple[Doubt, ...]:
    return tuple(doubt for account in page for doubt in doubts.get(account.account_id, ()))
