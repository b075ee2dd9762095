"""Credits and charges of people: asked for, agreed to by two where they are large, posted once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from inventory import KeyConflict, Refused, UnknownName, WrongUse, money_text, new_id

from .credit_rows import CreditRow, PriceOverrideRow
from .event import NewEvent
from .fold import PriceTerms, fold_service
from .ledger import append, find_by_services

SOURCE = "bandmaster"
MOST_MINOR = 10**10  # beyond it is a slip of the pen
TOGETHER = dt.timedelta(hours=24)  # what is asked for so soon after another counts with it
_LONGEST_REASON = 1000
_CHUNK = 1000
_SEE = "See: bandmaster credit list"
CreditKind = Literal["credit", "charge", "price", "reversal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditAsked:
    """What a person asks for: an amount above 0 in the account's own currency.

    `service_id` "" = the whole account; `terms` are those of a price. The same `idempotency_key`
    and request act once.
    """

    kind: CreditKind
    account_id: str
    service_id: str
    amount_minor: int
    currency: str
    exponent: int
    reason: str
    idempotency_key: str
    actor: str
    reverses: str = ""
    terms: PriceTerms | None = None

    def text(self) -> str:
        """The amount as people read it."""
        return money_text(self.amount_minor, self.currency, self.exponent)


def ask_credit(
    session: Session, asked: CreditAsked, now: dt.datetime, limit_minor: int
) -> CreditRow:
    """Keep what is asked for, and post it at once unless it needs a second person.

    It does where its amount, with what the same person gave the same account alone within 24 hours,
    is above `limit_minor` (of whatever currency): a limit that can be cut into slices is none.
    The caller holds the account's lock and calls this last in its transaction.
    Raises WrongUse (amount, reason), KeyConflict (the key was used for something else).
    """
    _check(asked)
    known = session.exec(
        select(CreditRow).where(col(CreditRow.idempotency_key) == asked.idempotency_key)
    ).first()
    if known is not None:
        _check_same(session, known, asked)
        return known
    if asked.terms is not None:
        _refuse_overlap(session, asked.service_id, asked.terms)
    together = asked.amount_minor + _given_alone(session, asked, now)
    row = _waiting(asked, now, second_person=together > limit_minor)
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise KeyConflict(
            asked.idempotency_key,
            "the same key, or a reversal of the same thing, is being worked on",
            _SEE,
        ) from error
    if asked.terms is not None:
        session.add(_price_row(row.credit_id, asked.terms))
    if not row.second_person:
        _post(session, row, asked.actor, now)
    return row


def _waiting(asked: CreditAsked, now: dt.datetime, *, second_person: bool) -> CreditRow:
    return CreditRow(
        credit_id=new_id(),
        kind=asked.kind,
        account_id=asked.account_id,
        service_id=asked.service_id,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        exponent=asked.exponent,
        reverses=asked.reverses,
        reason=asked.reason,
        idempotency_key=asked.idempotency_key,
        asked_by=asked.actor,
        asked_at=now,
        second_person=second_person,
        state="waiting",
        decided_by="",
        decided_at=None,
        decision="",
        event_id=new_id(),
    )


def ask_reversal(
    session: Session,
    credit_id: str,
    reason: str,
    key: str,
    actor: str,
    now: dt.datetime,
    limit_minor: int,
) -> CreditRow:
    """Ask to take a posted credit or charge back, by the rules of `ask_credit`.

    Raises Refused where it was never posted, is a reversal itself, or is being taken back already.
    """
    row = find_credit(session, credit_id)
    if row.kind == "reversal":
        raise Refused(credit_id, "is a reversal: what it took back is to be issued anew")
    if row.state != "posted":
        raise Refused(credit_id, f"is {row.state}, so there is nothing to take back", _SEE)
    taken_back = select(CreditRow).where(
        col(CreditRow.reverses) == credit_id,
        col(CreditRow.state) != "rejected",
        col(CreditRow.idempotency_key) != key,
    )
    if session.exec(taken_back).first() is not None:
        raise Refused(credit_id, "is taken back already, or somebody has asked for it", _SEE)
    asked = CreditAsked(
        kind="reversal",
        account_id=row.account_id,
        service_id=row.service_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        exponent=row.exponent,
        reason=reason,
        idempotency_key=key,
        actor=actor,
        reverses=credit_id,
    )
    return ask_credit(session, asked, now, limit_minor)


def approve_credit(session: Session, credit_id: str, actor: str, now: dt.datetime) -> CreditRow:
    """Post what waits for a second person; approved by the same person again it stays as it is.

    Raises Refused where `actor` asked for it, or where it was decided by somebody else.
    """
    row = _locked(session, credit_id)
    if row.state == "posted" and row.decided_by == actor and row.second_person:
        return row
    _check_waiting(row)
    if row.asked_by == actor:
        raise Refused(
            credit_id,
            f"was asked for by {actor}: above the limit another person approves",
            "Ask a colleague to run: bandmaster credit approve",
        )
    terms = find_terms(session, credit_id)
    if terms is not None:
        _refuse_overlap(session, row.service_id, terms)
    _post(session, row, actor, now)
    return row


def reject_credit(
    session: Session, credit_id: str, reason: str, actor: str, now: dt.datetime
) -> CreditRow:
    """Let something that waits never be posted; whoever asked may take it back so."""
    if not reason.strip():
        raise WrongUse("credit reject", "needs a reason", "Say why: --reason TEXT")
    row = _locked(session, credit_id)
    _check_waiting(row)
    row.state, row.decided_by, row.decided_at, row.decision = "rejected", actor, now, reason
    session.add(row)
    return row


def find_credit(session: Session, credit_id: str) -> CreditRow:
    """Return the credit, charge or reversal; UnknownName if there is none."""
    row = session.get(CreditRow, credit_id)
    if row is None:
        raise UnknownName(credit_id, "is no credit or charge", _SEE)
    return row


def list_credits(
    session: Session, *, account_id: str = "", waiting: bool = False, limit: int = 100
) -> tuple[CreditRow, ...]:
    """Return the newest credits, charges and reversals; of one account or waiting ones alone."""
    query = select(CreditRow).order_by(col(CreditRow.credit_id).desc()).limit(limit)
    if account_id:
        query = query.where(col(CreditRow.account_id) == account_id)
    if waiting:
        query = query.where(col(CreditRow.state) == "waiting")
    return tuple(session.exec(query))


def credit_reasons(session: Session, event_ids: Sequence[str]) -> dict[str, str]:
    """Return what people wrote of credits and charges, by the event that was posted for each."""
    found: dict[str, str] = {}
    for part in range(0, len(event_ids), _CHUNK):
        wanted = col(CreditRow.event_id).in_(event_ids[part : part + _CHUNK])
        found |= {row.event_id: row.reason for row in session.exec(select(CreditRow).where(wanted))}
    return found


def _check(asked: CreditAsked) -> None:
    what = f"{asked.kind} of {asked.text()}"
    if asked.amount_minor <= 0:
        raise WrongUse(
            what, "must be above 0", "A credit lowers what is owed, a charge adds to it."
        )
    if asked.amount_minor > MOST_MINOR:
        most = money_text(MOST_MINOR, asked.currency, asked.exponent)
        raise WrongUse(what, f"is above {most}", "Look at the decimal point.")
    if not asked.reason.strip():
        raise WrongUse(asked.kind, "needs a reason", "Say why: --reason TEXT")
    if len(asked.reason) > _LONGEST_REASON:
        raise WrongUse(asked.kind, f"has a reason of more than {_LONGEST_REASON} characters")


def _check_same(session: Session, known: CreditRow, asked: CreditAsked) -> None:
    same = ("kind", "account_id", "service_id", "currency", "reason", "reverses")
    differing = any(getattr(known, name) != getattr(asked, name) for name in same)
    terms = find_terms(session, known.credit_id)
    # what a price is worth changes with the days, what it says does not
    if (
        differing
        or terms != asked.terms
        or (not terms and known.amount_minor != asked.amount_minor)
    ):
        raise KeyConflict(
            asked.idempotency_key,
            "this idempotency key was used before for something else",
            "Choose another key, or repeat the first request unchanged.",
        )


def find_terms(session: Session, credit_id: str) -> PriceTerms | None:
    """Return what a price for one service says; None where it is no price."""
    row = session.get(PriceOverrideRow, credit_id)
    if row is None:
        return None
    return PriceTerms(
        plan_code=row.plan_code,
        price_minor=row.price_minor,
        since=row.from_date,
        until=row.until_date,
    )


def _price_row(credit_id: str, terms: PriceTerms) -> PriceOverrideRow:
    return PriceOverrideRow(
        credit_id=credit_id,
        plan_code=terms.plan_code,
        price_minor=terms.price_minor,
        from_date=terms.since,
        until_date=terms.until,
    )


def _given_alone(session: Session, asked: CreditAsked, now: dt.datetime) -> int:
    query = select(func.coalesce(func.sum(CreditRow.amount_minor), 0)).where(
        col(CreditRow.account_id) == asked.account_id,
        col(CreditRow.currency) == asked.currency,
        col(CreditRow.kind) == asked.kind,
        col(CreditRow.asked_by) == asked.actor,
        col(CreditRow.state) == "posted",
        col(CreditRow.second_person).is_(False),
        col(CreditRow.asked_at) > now - TOGETHER,
    )
    return int(session.exec(query).one())


def _locked(session: Session, credit_id: str) -> CreditRow:
    found = select(CreditRow).where(col(CreditRow.credit_id) == credit_id).with_for_update()
    row = session.exec(found).first()
    if row is None:
        raise UnknownName(credit_id, "is no credit or charge", _SEE)
    return row


def _check_waiting(row: CreditRow) -> None:
    if row.state != "waiting":
        raise Refused(row.credit_id, f"was {row.state} by {row.decided_by}", _SEE)


def _post(session: Session, row: CreditRow, actor: str, now: dt.datetime) -> None:
    """Record the one event of a row; whoever decided is its actor."""
    row.state, row.decided_by, row.decided_at = "posted", actor, now
    session.add(row)
    session.flush()
    first = find_credit(session, row.reverses) if row.reverses else row
    terms = find_terms(session, first.credit_id)
    kind = "price.overridden" if terms else f"{row.kind}.issued"
    payload = _payload(row, terms) if terms else {f"{row.kind}_id": row.credit_id}
    if row.reverses:
        kind, payload = "event.reversed", {}
    if row.second_person:
        payload["asked_by"] = row.asked_by
    money: dict[str, Any] = {}
    if terms is None:
        amount = -row.amount_minor if row.reverses else row.amount_minor
        money = {"amount_minor": amount, "currency": row.currency, "exponent": row.exponent}
    event = NewEvent(
        event_id=row.event_id,
        source=SOURCE,
        idempotency_key=f"{row.credit_id}:{kind}",
        type=kind,
        account_id=row.account_id,
        service_id=row.service_id,
        actor=actor,
        reason_code="corrected" if row.reverses else "requested",
        reverses_event_id=first.event_id if row.reverses else "",
        payload=payload,
        **money,
    )
    append(session, (event,), now)


def _payload(row: CreditRow, terms: PriceTerms) -> dict[str, Any]:
    said = {
        "credit_id": row.credit_id,
        "plan": terms.plan_code,
        "price_minor": terms.price_minor,
        "currency": row.currency,
        "exponent": row.exponent,
        "from": terms.since.isoformat(),
    }
    return said | ({"until": terms.until.isoformat()} if terms.until else {})


def _refuse_overlap(session: Session, service_id: str, terms: PriceTerms) -> None:
    """Raise Refused where the service has a price of its own on some of these dates already."""
    told = find_by_services(session, (service_id,))[service_id]
    for other in fold_service(service_id, told).overrides:
        begins = terms.until is None or other.since < terms.until
        ends = other.until is not None and other.until <= terms.since
        if other.plan_code == terms.plan_code and begins and not ends:
            raise Refused(
                service_id,
                f"has a price of its own for {other.plan_code} from {other.since}"
                + (f" until {other.until}" if other.until else " on"),
                "Take that one back first: bandmaster credit reverse",
            )
