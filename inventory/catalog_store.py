"""Find and list what is sold; every function takes a session and none commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, select
from sqlalchemy.orm import Session

from .catalog import Plan, PriceVersion, SoldAs, Tier
from .errors import WrongUse
from .money import EXPONENTS, USUAL_EXPONENT
from .rows import PLAN, PLAN_TERMS, PRICE_TERMS, PRICE_VERSION, TIER
from .sql import chunks, one_of
from .store import unknown
from .units import Rate

_TIERS = select(TIER).order_by("code")
_SOLD_AS = (
    select(PLAN.c.code, PLAN.c.price_policy, PLAN.c.proration, PLAN.c.tier_code)
    .add_columns(TIER.c.down_kbps, TIER.c.up_kbps)
    .select_from(PLAN.join(TIER))
    .where(one_of(PLAN.c.code, "names"))
)


def find_tier(session: Session, code: str) -> Tier:
    """Return the tier; UnknownName if there is none."""
    row = session.execute(select(TIER).where(TIER.c.code == code)).first()
    if row is None:
        raise unknown(session, "tier", TIER.c.code, code)
    return _tier(row)


def list_tiers(session: Session) -> tuple[Tier, ...]:
    """Return all tiers by code."""
    return tuple(_tier(row) for row in session.execute(_TIERS))


def find_plan(session: Session, code: str) -> Plan:
    """Return the plan with its prices; UnknownName if there is none."""
    plans = _plans(session, _plan_queries(PLAN.c.code == code))
    if not plans:
        raise unknown(session, "plan", PLAN.c.code, code)
    return plans[0]


def list_plans(session: Session) -> tuple[Plan, ...]:
    """Return all plans by code, with their prices."""
    return _plans(session, _ALL_PLANS)


def sold_as(session: Session, plan_codes: Iterable[str]) -> dict[str, SoldAs]:
    """Return what a decision asks of each of the plans; unknown codes drop out."""
    found: dict[str, SoldAs] = {}
    for part in chunks(sorted(set(plan_codes))):
        for row in session.execute(_SOLD_AS, {"names": part}):
            rate = Rate(down_kbps=row.down_kbps, up_kbps=row.up_kbps)
            found[row.code] = SoldAs(
                price_policy=row.price_policy,
                proration=row.proration,
                tier=Tier(code=row.tier_code, rate=rate),
            )
    return found


def exponent_of(session: Session, currency: str) -> int:
    """Return how many decimals a currency has: by ISO 4217, else as the plans in it are sold.

    Raises WrongUse where plans sold in a currency of no known shape do not agree.
    """
    if currency in EXPONENTS:
        return EXPONENTS[currency]
    sold = select(PLAN.c.exponent).where(PLAN.c.currency == currency).distinct()
    found = sorted(session.execute(sold).scalars())
    if len(found) > 1:
        raise WrongUse(
            currency,
            f"is sold with {found[0]} and with {found[-1]} decimals, so no amount in it is clear",
            "See: bandmaster plan list",
        )
    return found[0] if found else USUAL_EXPONENT


def _tier(row: Row[Any]) -> Tier:
    return Tier(code=row.code, rate=Rate(down_kbps=row.down_kbps, up_kbps=row.up_kbps))


def _plan_queries(*where: ColumnElement[bool]) -> tuple[Select[Any], Select[Any]]:
    """Return the queries for the prices of some plans, and for the plans."""
    codes = select(PLAN.c.code).where(*where)
    priced = PRICE_VERSION.join(PRICE_TERMS)
    versions = select(PRICE_VERSION, *_beside(PRICE_TERMS, "price_version_id")).select_from(priced)
    plans = select(PLAN, *_beside(PLAN_TERMS, "plan_code")).select_from(PLAN.join(PLAN_TERMS))
    return (
        versions.where(PRICE_VERSION.c.plan_code.in_(codes)).order_by("valid_from"),
        plans.where(*where).order_by(PLAN.c.code),
    )


def _beside(table: Table, key: str) -> list[ColumnElement[Any]]:
    return [column for column in table.c if column.name != key]


_ALL_PLANS = _plan_queries()


def _plans(session: Session, queries: tuple[Select[Any], Select[Any]]) -> tuple[Plan, ...]:
    prices: dict[str, list[PriceVersion]] = defaultdict(list)
    for row in session.execute(queries[0]).mappings():
        prices[row["plan_code"]].append(PriceVersion(**row))
    found = session.execute(queries[1]).mappings()
    return tuple(_plan(row, tuple(prices[row["code"]])) for row in found)


def _plan(row: Mapping[Any, Any], prices: tuple[PriceVersion, ...]) -> Plan:
    return Plan(**{name: value for name, value in row.items() if name != "used"}, prices=prices)
