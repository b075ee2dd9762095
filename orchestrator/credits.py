"""Credits and charges: who asks, who agrees, and the transaction that posts the event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlmodel import Session

from billing_bridge import (
    CreditAsked,
    CreditKind,
    CreditRow,
    Override,
    PriceTerms,
    approve_credit,
    ask_credit,
    ask_reversal,
    find_by_services,
    find_credit,
    fold_service,
    override_worth,
    reject_credit,
)
from inventory import (
    Account,
    Plan,
    Refused,
    Service,
    WrongUse,
    exponent_of,
    find_service,
    list_plans,
    local_date,
    lock_account,
    minor_units,
    money_text,
)

from .audit import audit
from .database import database_now, writing
from .memory import remember
from .office import Office


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditOrder:
    """What a person typed. One of `account_id` and `service_id` may be empty; `currency` too."""

    kind: CreditKind
    account_id: str
    service_id: str
    amount: str
    currency: str
    reason: str
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOrder:
    """What a person typed for one service's price; None = from today, or without an end."""

    service_id: str
    price: str
    since: dt.date | None
    until: dt.date | None
    reason: str
    idempotency_key: str


def issue(office: Office, order: CreditOrder, actor: str) -> CreditRow:
    """Post a credit or a charge, or let it wait for a second person where it is above the limit.

    Raises UnknownName (account, service), WrongUse (amount, currency, reason), KeyConflict.
    """

    def ask(session: Session) -> CreditRow:
        asked = _asked(session, order, actor)
        limit = office.settings.credit_limit_minor
        return ask_credit(session, asked, database_now(session), limit)

    return _act(office, actor, order.kind, ask)


def override(office: Office, order: PriceOrder, actor: str) -> CreditRow:
    """Let a service's plan cost something else on some dates, or let that wait as a credit does.

    What counts against the limit is by how much it changes what is owed. Raises UnknownName
    (service), Refused (not active, too old, overlaps another price), WrongUse, KeyConflict.
    """

    def ask(session: Session) -> CreditRow:
        now = database_now(session)
        limit = office.settings.credit_limit_minor
        asked = _priced(session, order, actor, now, office.settings.backdate_days)
        return ask_credit(session, asked, now, limit)

    return _act(office, actor, "price", ask)


def reverse(office: Office, credit_id: str, reason: str, key: str, actor: str) -> CreditRow:
    """Take a posted credit or charge back, under the limit that it was given under."""

    def ask(session: Session) -> CreditRow:
        lock_account(session, find_credit(session, credit_id).account_id)
        limit = office.settings.credit_limit_minor
        now = database_now(session)
        return ask_reversal(session, credit_id, reason, key, actor, now, limit)

    return _act(office, actor, "reversal", ask)


def approve(office: Office, credit_id: str, actor: str) -> CreditRow:
    """Post what waits, as a second person."""
    return _act(
        office,
        actor,
        "approve",
        lambda session: approve_credit(session, credit_id, actor, database_now(session)),
    )


def reject(office: Office, credit_id: str, reason: str, actor: str) -> CreditRow:
    """Let what waits never be posted."""
    return _act(
        office,
        actor,
        "reject",
        lambda session: reject_credit(session, credit_id, reason, actor, database_now(session)),
    )


def _act(office: Office, actor: str, verb: str, deed: Callable[[Session], CreditRow]) -> CreditRow:
    """Do it in one transaction with its audit line; a store put back from a copy is refused."""
    office.check_store()
    with writing(office.engine) as session:
        row = deed(session)
        audit(session, actor, f"credit {verb}", row.credit_id, row.state)
    remember(office.engine, office.memory)
    return row


def _asked(session: Session, order: CreditOrder, actor: str) -> CreditAsked:
    account_id = order.account_id
    if order.service_id:
        owner = find_service(session, order.service_id).account_id
        if account_id not in ("", owner):
            raise WrongUse(order.service_id, f"is of account {owner}, not of {account_id}")
        account_id = owner
    account = lock_account(session, account_id)
    if order.currency not in ("", account.currency):
        raise WrongUse(
            f"--currency {order.currency}", f"account {account_id} is billed in {account.currency}"
        )
    exponent = exponent_of(session, account.currency)
    amount_minor = _minor("amount", order.amount, account.currency, exponent)
    return CreditAsked(
        kind=order.kind,
        account_id=account_id,
        service_id=order.service_id,
        amount_minor=amount_minor,
        currency=account.currency,
        exponent=exponent,
        reason=order.reason,
        idempotency_key=order.idempotency_key,
        actor=actor,
    )


def _minor(thing: str, amount: str, currency: str, exponent: int) -> int:
    try:
        return minor_units(amount, exponent)
    except ValueError as error:
        like = money_text(1250, currency, exponent).partition(" ")[2]
        raise WrongUse(f"{thing} in {currency}", str(error), f"Write it like {like}.") from None


def _priced(
    session: Session, order: PriceOrder, actor: str, now: dt.datetime, backdate_days: int
) -> CreditAsked:
    account = lock_account(session, find_service(session, order.service_id).account_id)
    service = find_service(session, order.service_id)
    if service.state != "active":
        raise Refused(service.service_id, f"is {service.state}: only what is active has a price")
    plans = {plan.code: plan for plan in list_plans(session)}
    plan = plans[service.plan_code]
    today = local_date(now, account.time_zone)
    terms = _terms(order, plan, today, backdate_days)
    return CreditAsked(
        kind="price",
        account_id=account.account_id,
        service_id=service.service_id,
        amount_minor=_worth(session, order, service, account, plans, terms),
        currency=plan.currency,
        exponent=plan.exponent,
        reason=order.reason,
        idempotency_key=order.idempotency_key,
        actor=actor,
        terms=terms,
    )


def _terms(order: PriceOrder, plan: Plan, today: dt.date, backdate_days: int) -> PriceTerms:
    since = order.since or today
    if since < today - dt.timedelta(days=backdate_days):
        raise Refused(
            order.service_id,
            f"its price of {since} is older than the {backdate_days} days that are corrected",
            "Give a credit for what is older: bandmaster credit issue",
        )
    if order.until is not None and order.until <= since:
        raise WrongUse(f"--until {order.until}", f"must come after {since}")
    price_minor = _minor("price", order.price, plan.currency, plan.exponent)
    return PriceTerms(plan_code=plan.code, price_minor=price_minor, since=since, until=order.until)


def _worth(
    session: Session,
    order: PriceOrder,
    service: Service,
    account: Account,
    plans: dict[str, Plan],
    terms: PriceTerms,
) -> int:
    told = find_by_services(session, (service.service_id,))[service.service_id]
    folded = fold_service(service.service_id, told)
    given = Override(event_id=order.idempotency_key, **asdict(terms))
    worth = override_worth(folded, plans, account, given)
    if not worth:
        raise Refused(service.service_id, f"costs {order.price} on these dates already")
    return worth
