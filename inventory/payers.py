"""Accounts in the order in which they are billed, and what they pay for; no function commits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, bindparam, false, func, select
from sqlalchemy.orm import Session

from .rows import ACCOUNT, LEGAL_ENTITY, LINE
from .sql import chunks
from .subscriber import Account, LegalEntity

_ACCOUNT_NAMES = tuple(column.name for column in ACCOUNT.c)
# by the range alone: of a list of hundreds a PostgreSQL without fresh statistics believes that to
# read the whole table is cheaper
_LINES = select(LINE.c.account_id, LINE.c.service_id).where(
    LINE.c.account_id.between(bindparam("first"), bindparam("last"))
)


def list_accounts(
    session: Session, legal_entity: str = "", *, after: str = "", limit: int = 0
) -> tuple[Account, ...]:
    """Return an issuer's accounts by id ("" = all of them), at most `limit` (0 = all) after one."""
    query = _behind(select(ACCOUNT), legal_entity, after)
    rows = session.execute(query.limit(limit) if limit else query).all()
    # a third of what `mappings` costs: a billing run reads every account
    return tuple(Account(**dict(zip(_ACCOUNT_NAMES, row, strict=True))) for row in rows)


def account_behind(session: Session, legal_entity: str, after: str, count: int) -> str | None:
    """Return the id of an issuer's `count`-th account after one; None if there are fewer."""
    query = _behind(select(ACCOUNT.c.account_id), legal_entity, after)
    return session.execute(query.offset(count - 1).limit(1)).scalar_one_or_none()


def _behind(query: Select[Any], legal_entity: str, after: str) -> Select[Any]:
    query = query.where(ACCOUNT.c.account_id > after).order_by(ACCOUNT.c.account_id)
    if legal_entity:
        # wrapped: a bare equality is taken for rare by a PostgreSQL without fresh statistics, which
        # then reads and sorts the whole table for each page
        query = query.where(func.coalesce(ACCOUNT.c.legal_entity == legal_entity, false()))
    return query


def count_accounts(session: Session, legal_entity: str) -> int:
    """Return how many accounts an issuer has."""
    query = select(func.count()).where(ACCOUNT.c.legal_entity == legal_entity)
    return session.execute(query).scalar_one()


def account_zones(session: Session, legal_entity: str) -> tuple[str, ...]:
    """Return the time zones of an issuer's accounts."""
    query = select(ACCOUNT.c.time_zone).where(ACCOUNT.c.legal_entity == legal_entity)
    return tuple(session.execute(query.distinct().order_by(ACCOUNT.c.time_zone)).scalars())


def service_ids_of(session: Session, account_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the ids of each account's services, in order; an account without any has none.

    Made for pages of neighbours: what lies between the first and the last of them is read.
    """
    found: dict[str, list[str]] = {account_id: [] for account_id in account_ids}
    for part in chunks(sorted(found)):
        given = {"first": part[0], "last": part[-1]}
        for account_id, service_id in session.execute(_LINES, given).all():
            if account_id in found:
                found[account_id].append(service_id)
    return {account_id: tuple(sorted(ids)) for account_id, ids in found.items()}


def list_legal_entities(session: Session) -> tuple[LegalEntity, ...]:
    """Return all issuers by code."""
    rows = session.execute(select(LEGAL_ENTITY).order_by(LEGAL_ENTITY.c.code))
    return tuple(LegalEntity(**row) for row in rows.mappings())
