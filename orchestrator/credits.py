"""Credits and charges: who asks, who agrees, and the transaction that posts the event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session

from billing_bridge import (
    CreditAsked,
    CreditKind,
    CreditRow,
    approve_credit,
    ask_credit,
    ask_reversal,
    find_credit,
    reject_credit,
)
from inventory import WrongUse, exponent_of, find_service, lock_account, minor_units, money_text

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


def issue(office: Office, order: CreditOrder, actor: str) -> CreditRow:
    """Post a credit or a charge, or let it wait for a second person where it is above the limit.

    Raises UnknownName (account, service), WrongUse (amount, currency, reason), KeyConflict.
    """

    def ask(session: Session) -> CreditRow:
        asked = _asked(session, order, actor)
        limit = office.settings.credit_limit_minor
        return ask_credit(session, asked, database_now(session), limit)

    return _act(office, actor, order.kind, ask)


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
    try:
        amount_minor = minor_units(order.amount, exponent)
    except ValueError as error:
        like = money_text(1250, account.currency, exponent).partition(" ")[2]
        thing = f"amount in {account.currency}"
        raise WrongUse(thing, str(error), f"Write it like {like}.") from None
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
