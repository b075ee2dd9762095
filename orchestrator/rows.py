"""The journal's tables: plans, orders, sets, changes, decisions, participants, leases, exceptions.

Sources of the columns: commit-protocol.md 1.2 and decisions.md D2, D6, D7, D8.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Column, Index, Text, text
from sqlmodel import Field, SQLModel

from inventory import UtcInstant


def _instant(*, nullable: bool = False) -> Column[dt.datetime]:
    return Column(UtcInstant(), nullable=nullable)


class StoreRow(SQLModel, table=True):
    """The store itself; one row. `epoch` goes up with each `recover --after-restore`.

    While `read_epoch` is behind it the devices have not been read since: nothing is sent.
    """

    __tablename__ = "store"

    store_id: str = Field(primary_key=True)
    epoch: int
    read_epoch: int


class PlanRow(SQLModel, table=True):
    """A frozen change plan as it was shown."""

    __tablename__ = "change_plan"

    plan_id: str = Field(primary_key=True)
    plan_hash: str
    status: str  # open | applied | cancelled
    created_at: dt.datetime = Field(sa_column=_instant())
    expires_at: dt.datetime = Field(sa_column=_instant())
    body: str = Field(sa_column=Column(Text, nullable=False))  # JSON of the ChangePlan


class OrderRow(SQLModel, table=True):
    """What was asked, under the caller's key; lives longer than any one try."""

    __tablename__ = "service_order"

    order_id: str = Field(primary_key=True)
    idempotency_key: str = Field(unique=True)
    payload_hash: str
    event_id: str = Field(unique=True)  # of the lifecycle event, made before anything is sent
    kind: str
    service_id: str = Field(index=True)
    plan_id: str = Field(index=True)
    actor: str
    reason_code: str
    reason: str
    ticket: str
    created_at: dt.datetime = Field(sa_column=_instant())


class SetRow(SQLModel, table=True):
    """Changes decided together in one transaction."""

    __tablename__ = "change_set"

    set_id: str = Field(primary_key=True)
    plan_id: str = Field(index=True)
    attempt: int
    kind: str  # service | profile | repair
    created_at: dt.datetime = Field(sa_column=_instant())
    first_write_at: dt.datetime | None = Field(sa_column=_instant(nullable=True))


class ChangeRow(SQLModel, table=True):
    """One try at one order. State only moves by compare-and-set on (state, epoch)."""

    __tablename__ = "change"
    __table_args__ = (
        # one open change per service (W12), at most one live change per order (D2)
        Index(
            "change_one_open_per_service",
            "service_id",
            unique=True,
            sqlite_where=text("state IN ('INTENT', 'COMMITTED', 'ABORTED', 'REVERSED')"),
            postgresql_where=text("state IN ('INTENT', 'COMMITTED', 'ABORTED', 'REVERSED')"),
        ),
        Index(
            "change_one_live_per_order",
            "order_id",
            unique=True,
            sqlite_where=text("outcome NOT IN ('aborted', 'refused')"),
            postgresql_where=text("outcome NOT IN ('aborted', 'refused')"),
        ),
    )

    change_id: str = Field(primary_key=True)
    set_id: str = Field(index=True)
    order_id: str = Field(index=True)
    service_id: str = Field(index=True)
    kind: str
    state: str  # INTENT | COMMITTED | ABORTED | REVERSED | CLOSED
    outcome: str  # open | done | aborted | refused | reversed
    epoch: int
    item: str = Field(sa_column=Column(Text, nullable=False))  # JSON of the PlanItem
    item_hash: str
    refusal: str  # why it was aborted or reversed, "" otherwise
    created_at: dt.datetime = Field(sa_column=_instant())
    applied_at: dt.datetime | None = Field(sa_column=_instant(nullable=True))
    closed_at: dt.datetime | None = Field(sa_column=_instant(nullable=True))


class DecisionRow(SQLModel, table=True):
    """COMMIT or ABORT; the primary key is what makes a decision single (W8)."""

    __tablename__ = "decision"

    change_id: str = Field(primary_key=True)
    set_id: str = Field(index=True)
    verdict: str  # COMMIT | ABORT
    decided_at: dt.datetime = Field(sa_column=_instant())


class ParticipantRow(SQLModel, table=True):
    """A device of a set, or the live session of a change: `name` is the device or the login."""

    __tablename__ = "participant"

    set_id: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    role: str  # device | session
    service_id: str  # of a session; "" for a device
    handle: str = Field(sa_column=Column(Text, nullable=False))
    at_goal_since: dt.datetime | None = Field(sa_column=_instant(nullable=True))
    settled: bool  # a session: CoA answered and the live rate read
    # a session: when a CoA went out that may still be on its way; None = all were answered
    sent_at: dt.datetime | None = Field(sa_column=_instant(nullable=True))


class StepRow(SQLModel, table=True):
    """One line of the story of a set: what was sent, answered, read or decided."""

    __tablename__ = "journal_step"

    step_id: int | None = Field(default=None, primary_key=True)
    set_id: str = Field(index=True)
    at: dt.datetime = Field(sa_column=_instant())
    kind: str
    participant: str
    detail: str = Field(sa_column=Column(Text, nullable=False))  # JSON


class LeaseRow(SQLModel, table=True):
    """Who may drive a device now (decisions.md D7)."""

    __tablename__ = "lease"

    device: str = Field(primary_key=True)
    owner: str
    epoch: int
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    pid_start: str
    purpose: str  # the set, or what a person would want to read
    counter: int  # goes up with each renewal
    since: dt.datetime = Field(sa_column=_instant())
    until: dt.datetime = Field(sa_column=_instant())


class ExceptionRow(SQLModel, table=True):
    """What a person must decide, with its price."""

    __tablename__ = "exception_item"

    exception_id: str = Field(primary_key=True)
    change_id: str = Field(index=True)
    set_id: str = Field(index=True)
    service_id: str = Field(index=True)
    participant: str
    cause: str
    wanted: str
    seen: str
    at_stake_minor: int
    currency: str
    exponent: int
    actions: str  # comma separated: retry, reverse, accept
    opened_at: dt.datetime = Field(sa_column=_instant())
    resolved_at: dt.datetime | None = Field(sa_column=_instant(nullable=True))
    resolution: str
    resolved_by: str


class HoldRow(SQLModel, table=True):
    """While it stands nothing new starts on the device ("*" = anywhere)."""

    __tablename__ = "hold"

    device: str = Field(primary_key=True)
    reason: str
    actor: str
    since: dt.datetime = Field(sa_column=_instant())


class AuditRow(SQLModel, table=True):
    """Who did what that is not a change: key enrolment, holds, exception answers, cancels."""

    __tablename__ = "audit"

    audit_id: int | None = Field(default=None, primary_key=True)
    at: dt.datetime = Field(sa_column=_instant())
    actor: str
    action: str
    subject: str
    detail: str = Field(sa_column=Column(Text, nullable=False))
