"""The tables of credits, charges and prices that people ask for, and of what takes one back.

The reason is a person's free text, so it lives here, beside the event and never in it (D12).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from inventory import UtcInstant

KINDS = ("credit", "charge", "price", "reversal")
STATES = ("waiting", "posted", "rejected")
_LIVING = text("reverses <> '' AND state <> 'rejected'")
_WAITING = text("state = 'waiting'")


def _text(*, key: bool = False) -> Any:
    return Field(sa_type=Text, primary_key=key)


def _one_of(column: str, names: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(repr(name) for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=f"credit_{column}")


class CreditRow(SQLModel, table=True):
    """One credit, charge or reversal. `amount_minor` is above 0: the kind says in whose favour.

    Of a price for one service it is what that is worth, as people agree to it: no money by itself.

    `second_person` is settled when it is asked for: then whoever posts it is another one.
    `reverses` is the credit_id that a reversal takes back. `event_id` is made with the row and
    used once, when it is posted.
    """

    __tablename__ = "credit"
    __table_args__ = (
        UniqueConstraint("idempotency_key", name="credit_key"),
        UniqueConstraint("event_id", name="credit_event"),
        Index(
            "credit_reversal",
            "reverses",
            unique=True,
            sqlite_where=_LIVING,
            postgresql_where=_LIVING,
        ),
        Index("credit_account", "account_id", "credit_id"),
        Index("credit_waiting", "credit_id", sqlite_where=_WAITING, postgresql_where=_WAITING),
        _one_of("kind", KINDS),
        _one_of("state", STATES),
        CheckConstraint("amount_minor > 0", name="credit_amount"),
        CheckConstraint("(kind = 'reversal') = (reverses <> '')", name="credit_reverses"),
        CheckConstraint("(state = 'waiting') = (decided_by = '')", name="credit_decided"),
        CheckConstraint(
            "state <> 'posted' OR NOT second_person OR decided_by <> asked_by",
            name="credit_two_people",
        ),
    )

    credit_id: str = _text(key=True)
    kind: str = _text()
    account_id: str = _text()
    service_id: str = _text()  # "" = the whole account
    amount_minor: int = Field(sa_type=BigInteger)
    currency: str = _text()
    exponent: int
    reverses: str = _text()
    reason: str = _text()
    idempotency_key: str = _text()
    asked_by: str = _text()
    asked_at: dt.datetime = Field(sa_type=UtcInstant)
    second_person: bool = Field(sa_type=Boolean)
    state: str = _text()
    decided_by: str = _text()
    decided_at: dt.datetime | None = Field(sa_type=UtcInstant)
    decision: str = _text()  # why it was rejected, in words
    event_id: str = _text()


class PriceOverrideRow(SQLModel, table=True):
    """What a plan costs one service on local dates in [from_date, until_date); None = no end."""

    __tablename__ = "price_override"
    __table_args__ = (
        CheckConstraint("price_minor >= 0", name="price_override_price"),
        CheckConstraint("until_date > from_date", name="price_override_dates"),
    )

    credit_id: str = Field(sa_type=Text, primary_key=True, foreign_key="credit.credit_id")
    plan_code: str = _text()
    price_minor: int = Field(sa_type=BigInteger)
    from_date: dt.date
    until_date: dt.date | None
