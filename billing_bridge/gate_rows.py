"""The gate's tables: findings and what was done with them, checks, and what devices showed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from inventory import UtcInstant, table_of

SCOPES = ("line", "usage", "account", "run")
STATUSES = ("open", "ack", "ignored", "resolved")
ACTS = ("found", "ack", "ignored", "resolved", "override", "returned", "cleared")
_LIVING = text("cleared_at IS NULL")
_OF_THE_RUN = text("cleared_at IS NULL AND scope = 'run'")


def _text(*, key: bool = False) -> Any:
    return Field(sa_type=Text, primary_key=key)


def _instant(*, nullable: bool = False) -> Any:
    return Field(sa_type=UtcInstant, nullable=nullable)


def _big() -> Any:
    return Field(sa_type=BigInteger)


def _one_of(column: str, names: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(name) for name in names)})")


class FindingRow(SQLModel, table=True):
    """Something that a rule found wrong; one living row for each (rule, subject).

    `since` is when it began by its evidence, a JSON list of what each side says. Money above 0 is
    ours and not billed, below 0 the customer's. It lives until a check no longer finds it
    (`cleared_at`); `resolved` before that is a person's word, which the next check puts to proof.
    `accepted_*` is the money up to which an ignored or overridden one stays as it was decided.
    """

    __tablename__ = "finding"
    __table_args__ = (
        _one_of("scope", SCOPES),
        _one_of("status", STATUSES),
        Index(
            "finding_living",
            "rule",
            "subject",
            unique=True,
            sqlite_where=_LIVING,
            postgresql_where=_LIVING,
        ),
        Index("finding_account", "account_id", sqlite_where=_LIVING, postgresql_where=_LIVING),
        Index("finding_run", "finding_id", sqlite_where=_OF_THE_RUN, postgresql_where=_OF_THE_RUN),
    )

    finding_id: str = _text(key=True)
    rule: str = _text()
    subject: str = _text()
    service_id: str = _text()  # "" = of no single service
    account_id: str = _text()  # "" = of no single account
    scope: str = _text()
    blocks: bool = Field(sa_type=Boolean)
    what: str = _text()
    evidence: str = _text()
    command: str = _text()
    since: dt.datetime = _instant()
    first_seen: dt.datetime = _instant()
    last_seen: dt.datetime = _instant()
    at_risk_minor: int = _big()
    monthly_minor: int = _big()
    currency: str = _text()  # "" = it has no price
    exponent: int
    weight: int = _big()  # the greater of both amounts, comparable between exponents
    status: str = _text()
    overridden: bool = Field(sa_type=Boolean)
    ignored_until: dt.datetime | None = _instant(nullable=True)
    accepted_minor: int = _big()
    accepted_monthly_minor: int = _big()
    decided_by: str = _text()
    decided_at: dt.datetime | None = _instant(nullable=True)
    reason: str = _text()
    cleared_at: dt.datetime | None = _instant(nullable=True)


class FindingActRow(SQLModel, table=True):
    """What happened to a finding, and who said so; only ever inserted."""

    __tablename__ = "finding_act"
    __table_args__ = (_one_of("act", ACTS), Index("finding_act_finding", "finding_id", "act_id"))

    act_id: int | None = Field(default=None, primary_key=True)
    finding_id: str = _text()
    at: dt.datetime = _instant()
    actor: str = _text()
    act: str = _text()
    reason: str = _text()
    at_risk_minor: int = _big()
    monthly_minor: int = _big()


class GateCheckRow(SQLModel, table=True):
    """One check by all rules, over what the ledger said up to `known_seq`; no end = cut short."""

    __tablename__ = "gate_check"

    check_id: str = _text(key=True)
    actor: str = _text()
    started_at: dt.datetime = _instant()
    ended_at: dt.datetime | None = _instant(nullable=True)
    known_seq: int = _big()
    services: int
    found: int
    opened: int
    cleared: int


class ObservationRow(SQLModel, table=True):
    """What a device showed for a line when it was last read; `since` = shown so without a break.

    `object` names the line on the device, `present` = it is there and switched on. Rates 0 = none.
    """

    __tablename__ = "observation"
    __table_args__ = (Index("observation_service", "service_id"),)

    device: str = _text(key=True)
    object: str = _text(key=True)
    service_id: str = _text()
    down_kbps: int = _big()
    up_kbps: int = _big()
    present: bool = Field(sa_type=Boolean)
    since: dt.datetime = _instant()
    observed_at: dt.datetime = _instant()


FINDING = table_of(FindingRow)
ACT = table_of(FindingActRow)
CHECK = table_of(GateCheckRow)
OBSERVATION = table_of(ObservationRow)
