"""The tables of the webhooks: who is told of which events, and what has not been taken yet."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Text
from sqlmodel import Field, SQLModel

from inventory import UtcInstant


def _text(*, key: bool = False) -> Any:
    return Field(sa_type=Text, primary_key=key)


class WebhookRow(SQLModel, table=True):
    """A subscription. How far the ledger was read for it stands in consumer_cursor.

    `secret_ref` says where the secret is kept. `types` is a comma separated list, "" = all.
    `allowed` lists networks that are not public and may be met for this subscription alone,
    `allowed_by` who said so; `http` lets it go without TLS to loopback.
    """

    __tablename__ = "webhook"

    name: str = _text(key=True)
    url: str = _text()
    secret_ref: str = _text()
    types: str = _text()
    active: bool = Field(sa_type=Boolean)
    http: bool = Field(sa_type=Boolean)
    allowed: str = _text()
    allowed_by: str = _text()
    ca_file: str = _text()
    added_by: str = _text()
    added_at: dt.datetime = Field(sa_type=UtcInstant)
    taken: int = Field(sa_type=BigInteger)  # deliveries that the other side took
    last_taken_at: dt.datetime | None = Field(sa_type=UtcInstant)
    last_problem: str = _text()  # "" since the last one that was taken


class DeliveryRow(SQLModel, table=True):
    """One event that one subscription has not taken yet; taken ones are removed."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'dead')", name="webhook_delivery_state"),
        Index("webhook_delivery_due", "name", "state", "next_at"),
    )

    name: str = _text(key=True)
    seq: int = Field(
        sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False}
    )
    event_id: str = _text()
    type: str = _text()
    state: str = _text()
    attempts: int
    next_at: dt.datetime = Field(sa_type=UtcInstant)  # not before; a claim moves it on
    problem: str = _text()
