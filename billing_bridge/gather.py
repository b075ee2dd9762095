"""Facts for the gate's rules, read in pages of accounts: nothing is judged here."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from inventory import (
    Account,
    BandmasterError,
    Rate,
    Service,
    SessionSigns,
    accounting_span,
    list_accounts,
    list_devices,
    list_plans,
    list_tiers,
    one_of,
    read_logins,
    services_known,
    services_of,
    session_overlaps,
    session_signs,
)

from .charged import Charged, charged_history
from .event import LedgerEvent
from .fold import FoldedService, fold_service
from .gate_rows import OBSERVATION
from .gather_bills import BACK, bill_facts, priced_otherwise
from .gather_usage import cohorts, newest_usage, strays_of_nobody, usage_facts
from .owed import Biller
from .proof import Prover, off_ledger
from .replay import differences
from .rules.facts import Accounting, Chain, Doubt, Facts, Observed, ServiceFacts
from .rules.prices import Prices
from .rules.usage_facts import Cohort, UsageFacts
from .stored import EVENTS, events_by_service
from .verify import verify

PAGE = 500  # accounts judged at a time: what a page needs is all that is in memory
SESSIONS_BACK = dt.timedelta(days=40)  # a billing period and the limit of R-02 after it

_CHUNK = 1000  # names in one IN list
_OBSERVED = select(OBSERVATION).where(one_of(OBSERVATION.c.service_id, "names"))
_BORN = select(EVENTS.c.service_id).where(EVENTS.c.service_version == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every page shares: the time of the snapshot, the catalogue, how accounting fares."""

    now: dt.datetime
    prices: Prices
    accounting: Accounting
    counted_until: dt.datetime | None
    cohorts: Mapping[str, Cohort]
    prover: Prover
    roles: Mapping[str, str]  # of the devices
    metered: frozenset[str]  # plans whose price hangs on the volume


def ground(session: Session, now: dt.datetime, proved_days: int = 0) -> Ground:
    """Return what every page of one check shares; `now` is the database's clock.

    `proved_days` is how far back bills are computed again: as far as they are corrected.
    """
    plans = {plan.code: plan for plan in list_plans(session)}
    tiers = {tier.code: tier for tier in list_tiers(session)}
    since, newest = accounting_span(session)
    metered = frozenset(code for code, plan in plans.items() if plan.block_bytes)
    return Ground(
        now=now,
        prices=Prices(plans, tiers),
        accounting=Accounting(since=since, newest=newest),
        counted_until=newest_usage(session),
        cohorts=cohorts(session, now, {plans[code].tier_code for code in metered}),
        roles={device.name: device.role for device in list_devices(session)},
        prover=Prover(plans=plans, biller=Biller(plans), days=min(proved_days, BACK.days)),
        metered=metered,
    )


def account_pages(session: Session, size: int = PAGE) -> Iterator[tuple[Account, ...]]:
    """Yield all accounts, some at a time."""
    after = ""
    while page := list_accounts(session, after=after, limit=size):
        yield page
        after = page[-1].account_id


def page_facts(
    session: Session, base: Ground, accounts: Sequence[Account], doubts: Iterable[Doubt] = ()
) -> Facts:
    """Return the facts about some accounts; `doubts` are those of their changes."""
    mine = {account.account_id: account for account in accounts}
    services = services_of(session, mine)
    connection = session.connection()
    names = [service.service_id for service in services]
    logins = [service.login for service in services if service.login]
    stories = events_by_service(connection, names)
    observed = _observed(session, names, base.roles)
    looked_from = base.now - SESSIONS_BACK
    signs = session_signs(session, logins, looked_from)
    overlaps = session_overlaps(session, logins, looked_from)
    groups = read_logins(session, logins)
    usage = usage_facts(session, services, mine, base.now, base.metered)
    known = tuple(
        _told(
            service,
            mine[service.account_id],
            stories[service.service_id],
            base.prices,
            observed=observed.get(service.service_id, ()),
            signs=signs.get(service.login, SessionSigns()),
            overlaps=overlaps.get(service.login, ()),
            usage=usage.get(service.service_id, UsageFacts()),
            group_tier=groups[service.login].group.rpartition("@")[0] if service.login else "",
        )
        for service in services
    )
    bills = bill_facts(session, mine, base.now)
    return Facts(
        now=base.now,
        looked_from=looked_from,
        prices=base.prices,
        services=known,
        accounting=base.accounting,
        doubts=tuple(doubts),
        counted_until=base.counted_until,
        cohorts=base.cohorts,
        bills=bills,
        off_ledger=off_ledger(session, base.prover, known, stories, bills),
        priced_otherwise=priced_otherwise(session, stories),
    )


def chain_facts(session: Session, base: Ground, processes: int = 1) -> Facts:
    """Return what walking the whole chain shows: from a broken one nothing else may be judged."""
    report = verify(session, processes=processes)
    chain = Chain(events=report.events, problem=report.problem, bad_seq=report.bad_seq)
    return _of_nobody(base, chain)


def missing_facts(session: Session, base: Ground, born: int) -> Facts:
    """Return what is of no account: services that the inventory lacks, usage of nobody.

    `born` is how many services with events all pages held: as many as the ledger, none is missing.
    """
    known = session.scalar(select(func.count()).select_from(_BORN.subquery()))
    missing = () if known == born else tuple(_missing(session))
    facts = _of_nobody(base, Chain(events=0, problem="", bad_seq=0, missing=missing))
    return replace(facts, strays=strays_of_nobody(session))


def _of_nobody(base: Ground, chain: Chain) -> Facts:
    return Facts(
        now=base.now,
        looked_from=base.now - SESSIONS_BACK,
        prices=base.prices,
        accounting=base.accounting,
        chain=chain,
    )


def _missing(session: Session) -> Iterator[str]:
    rows = session.execute(_BORN.order_by(EVENTS.c.service_id)).scalars()
    for part in rows.partitions(PAGE):
        found = services_known(session, part)
        yield from (service_id for service_id in part if service_id not in found)


def _told(
    service: Service, account: Account, story: tuple[LedgerEvent, ...], prices: Prices, **more: Any
) -> ServiceFacts:
    """Return a service with what its events say; a broken story says nothing but that."""
    folded = FoldedService(service_id=service.service_id)
    charged: tuple[Charged, ...] = ()
    problem = ""
    try:
        folded = fold_service(service.service_id, story)
        charged = charged_history(folded, prices.plans, account.time_zone)
    except BandmasterError as error:
        problem = error.problem
    newest = next((event for event in reversed(story) if event.service_version), None)
    return ServiceFacts(
        service=service,
        account=account,
        folded=folded,
        charged=charged,
        story=problem,
        event_id=newest.event_id if newest else "",
        last_seq=story[-1].seq if story else 0,
        event_at=newest.recorded_at if newest else None,
        mismatches=() if problem else differences(service, folded),
        **more,
    )


def _observed(
    session: Session, names: Sequence[str], roles: Mapping[str, str]
) -> Mapping[str, tuple[Observed, ...]]:
    found: dict[str, list[Observed]] = defaultdict(list)
    for part in (names[n : n + _CHUNK] for n in range(0, len(names), _CHUNK)):
        for row in session.execute(_OBSERVED, {"names": part}):
            found[row.service_id].append(
                Observed(
                    device=row.device,
                    role=roles.get(row.device, ""),
                    object=row.object,
                    rate=Rate(down_kbps=row.down_kbps, up_kbps=row.up_kbps),
                    present=row.present,
                    since=row.since,
                    observed_at=row.observed_at,
                )
            )
    return {name: tuple(rows) for name, rows in found.items()}
