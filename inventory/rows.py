"""The tables of what exists; times are UtcInstant, money integer minor units, text never NULL."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Text, UniqueConstraint
from sqlalchemy import false as sql_false
from sqlalchemy import text as sql_text
from sqlmodel import Field, SQLModel

from .columns import UtcInstant, table_of


def _text(*, key: bool = False, refers_to: str | None = None, index: bool = False) -> Any:
    return Field(sa_type=Text, primary_key=key, foreign_key=refers_to, index=index)


def _code(name: str, *allowed: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in allowed)
    return CheckConstraint(f"{name} IN ({listed})")


class LegalEntityRow(SQLModel, table=True):
    """Who issues invoices."""

    __tablename__ = "legal_entity"
    code: str = _text(key=True)
    name: str = _text()
    address: str = _text()
    tax_id: str = _text()


class AccountRow(SQLModel, table=True):
    """Who pays."""

    __tablename__ = "account"
    __table_args__ = (CheckConstraint("cycle_day BETWEEN 1 AND 31"),)
    account_id: str = _text(key=True)
    name: str = _text()
    address: str = _text()
    time_zone: str = _text()
    cycle_day: int
    legal_entity: str = _text(refers_to="legal_entity.code")
    currency: str = _text()


class TierRow(SQLModel, table=True):
    """A bandwidth profile; `used` is raised with the first service and never lowered (D9)."""

    __tablename__ = "tier"
    __table_args__ = (CheckConstraint("down_kbps > 0 AND up_kbps > 0"),)
    code: str = _text(key=True)
    down_kbps: int = Field(sa_type=BigInteger)
    up_kbps: int = Field(sa_type=BigInteger)
    used: bool = Field(sa_type=Boolean, sa_column_kwargs={"server_default": sql_false()})


class PlanRow(SQLModel, table=True):
    """A priced offering; what it means for money stands still once `used`."""

    __tablename__ = "plan"
    __table_args__ = (
        CheckConstraint("exponent IN (0, 2, 3)"),
        CheckConstraint("period_months > 0"),
        _code("bill_in", "advance", "arrears"),
        _code("proration", "day", "second"),
        _code("price_policy", "at_period_start", "pinned"),
    )
    code: str = _text(key=True)
    name: str = _text()
    tier_code: str = _text(refers_to="tier.code")
    currency: str = _text()
    exponent: int
    period_months: int
    bill_in: str = _text()
    proration: str = _text()
    price_policy: str = _text()
    used: bool = Field(sa_type=Boolean, sa_column_kwargs={"server_default": sql_false()})


class PriceVersionRow(SQLModel, table=True):
    """What one full period of a plan costs from a local date on; only ever inserted."""

    __tablename__ = "price_version"
    __table_args__ = (
        UniqueConstraint("plan_code", "valid_from"),
        CheckConstraint("amount_minor >= 0"),
    )
    price_version_id: str = _text(key=True)
    plan_code: str = _text(refers_to="plan.code")
    valid_from: dt.date
    amount_minor: int = Field(sa_type=BigInteger)


class PlanTermsRow(SQLModel, table=True):
    """What else a plan says of money; a plan without a row has the defaults of `Plan`."""

    __tablename__ = "plan_terms"
    __table_args__ = (
        CheckConstraint("month_days IN (0, 28, 29, 30)"),
        CheckConstraint("min_billable_days IN (0, 1)"),
        _code("suspend", "stop", "continue", "hold_fee"),
        _code("suspend_unpaid", "stop", "continue", "hold_fee"),
        _code("allowance_counts", "down", "up", "both"),
        CheckConstraint("allowance_bytes >= 0 AND block_bytes >= 0 AND fair_use_bytes >= 0"),
        CheckConstraint("commit_kbps >= 0"),
    )
    plan_code: str = _text(key=True, refers_to="plan.code")
    month_days: int
    last_day_billed: bool = Field(sa_type=Boolean)
    min_billable_days: int
    suspend: str = _text()
    suspend_unpaid: str = _text()
    allowance_bytes: int = Field(sa_type=BigInteger)
    allowance_counts: str = _text()
    block_bytes: int = Field(sa_type=BigInteger)
    fair_use_bytes: int = Field(sa_type=BigInteger)
    fair_use_tier: str = _text()
    commit_kbps: int = Field(sa_type=BigInteger)


class PriceTermsRow(SQLModel, table=True):
    """What else a price version says; only ever inserted, a version without a row has zeros."""

    __tablename__ = "price_terms"
    __table_args__ = (
        CheckConstraint("hold_minor >= 0 AND block_minor >= 0"),
        CheckConstraint("cap_minor >= 0 AND burst_minor >= 0"),
    )
    price_version_id: str = _text(key=True, refers_to="price_version.price_version_id")
    hold_minor: int = Field(sa_type=BigInteger)
    block_minor: int = Field(sa_type=BigInteger)
    cap_minor: int = Field(sa_type=BigInteger)
    burst_minor: int = Field(sa_type=BigInteger)


class DeviceRow(SQLModel, table=True):
    """A managed node; the columns ending in `_ref` say where a secret is kept, never the secret."""

    __tablename__ = "device"
    __table_args__ = (_code("role", "bng", "olt", "radius"),)
    name: str = _text(key=True)
    role: str = _text()
    platform: str = _text()
    host: str = _text()
    port: int
    site: str = _text(index=True)
    username: str = _text()
    password_ref: str = _text()
    key_file: str = _text()
    timeout_s: int
    snmp_port: int
    snmp_version: str = _text()
    snmp_user: str = _text()
    snmp_auth_ref: str = _text()
    snmp_priv_ref: str = _text()
    snmp_community_ref: str = _text()
    snmp_allow_v2c: bool = Field(sa_type=Boolean)
    coa_host: str = _text()
    coa_port: int
    coa_secret_ref: str = _text()


class LineRow(SQLModel, table=True):
    """What import knows of a service: whose it is and how it logs in.

    `adopted` is the canonical JSON of what the file said was live, so that the same file is known
    again after the service has moved on; "" = it was not live when imported.
    """

    __tablename__ = "line"
    __table_args__ = (
        Index(
            "line_login_key",
            "login",
            unique=True,
            sqlite_where=sql_text("login <> ''"),
            postgresql_where=sql_text("login <> ''"),
        ),
    )
    service_id: str = _text(key=True)
    account_id: str = _text(refers_to="account.account_id", index=True)
    login: str = _text()
    password_ref: str = _text()
    adopted: str = _text()


class AttachmentRow(SQLModel, table=True):
    """Where a line meets a device; `objects` is canonical JSON of the platform's typed fields."""

    __tablename__ = "attachment"
    __table_args__ = (_code("role", "bng", "olt"), Index("attachment_place", "device", "objects"))
    service_id: str = _text(key=True, refers_to="line.service_id")
    role: str = _text(key=True)
    device: str = _text(refers_to="device.name")
    objects: str = _text()


class ServiceRow(SQLModel, table=True):
    """A line's use of a plan: born by activation or adoption, written by the decision alone.

    State `none` is left by a reversed activation: the row keeps the version that was counted to.
    """

    __tablename__ = "service"
    __table_args__ = (
        _code("state", "none", "active", "suspended", "terminated"),
        CheckConstraint("version > 0"),
    )
    service_id: str = _text(key=True, refers_to="line.service_id")
    plan_code: str = _text(refers_to="plan.code", index=True)
    tier_code: str = _text(refers_to="tier.code")
    state: str = _text()
    version: int
    active_since: dt.datetime = Field(sa_type=UtcInstant)
    billing_from: dt.date


# the store asks for columns, not for row objects: no identity map means no stale read, and plain
# tuples keep a thousand services cheap
LEGAL_ENTITY = table_of(LegalEntityRow)
ACCOUNT = table_of(AccountRow)
TIER = table_of(TierRow)
PLAN = table_of(PlanRow)
PRICE_VERSION = table_of(PriceVersionRow)
PLAN_TERMS = table_of(PlanTermsRow)
PRICE_TERMS = table_of(PriceTermsRow)
DEVICE = table_of(DeviceRow)
LINE = table_of(LineRow)
ATTACHMENT = table_of(AttachmentRow)
SERVICE = table_of(ServiceRow)
