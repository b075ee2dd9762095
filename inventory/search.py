"""Finds services, accounts, logins, devices and places by a piece of text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from .rows import ACCOUNT, ATTACHMENT, DEVICE, LINE, SERVICE
from .sql import like_pattern

HitKind = Literal["service", "account", "login", "device", "attachment"]

MAX_HITS = 50
_LOOKED_AT = 1_000  # rows of one kind that are looked at more closely


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One thing found. `id` is a service_id for kinds service, login and attachment."""

    kind: HitKind
    id: str
    shown: str


def find_text(session: Session, text: str, limit: int = MAX_HITS) -> tuple[Hit, ...]:
    """Return at most `limit` hits, whole matches first; upper and lower case are the same.

    A place is found by any value of an attachment, or by several at once as people write them:
    `ge-0/0/1.1042` finds interface ge-0/0/1 with unit 1042.
    """
    wanted = text.strip()
    if not wanted:
        return ()
    hits = [
        *_services(session, wanted),
        *_logins(session, wanted),
        *_accounts(session, wanted),
        *_devices(session, wanted),
        *_attachments(session, wanted),
    ]
    hits.sort(key=lambda hit: not hit[0])
    return tuple(hit for _whole, hit in hits[:limit])


def _like(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    return func.lower(column).like(like_pattern(text.lower()), escape="\\")


def _services(session: Session, text: str) -> Iterator[tuple[bool, Hit]]:
    joined = LINE.outerjoin(SERVICE, SERVICE.c.service_id == LINE.c.service_id)
    query = select(LINE.c.service_id, SERVICE.c.state, SERVICE.c.plan_code).select_from(joined)
    found = query.where(_like(LINE.c.service_id, text)).order_by(LINE.c.service_id)
    for row in session.execute(found.limit(MAX_HITS)):
        shown = f"{row.state} {row.plan_code}" if row.state not in (None, "none") else "not active"
        yield _same(row.service_id, text), Hit(kind="service", id=row.service_id, shown=shown)


def _logins(session: Session, text: str) -> Iterator[tuple[bool, Hit]]:
    query = select(LINE.c.login, LINE.c.service_id).where(_like(LINE.c.login, text))
    for row in session.execute(query.order_by("login").limit(MAX_HITS)):
        yield _same(row.login, text), Hit(kind="login", id=row.service_id, shown=row.login)


def _accounts(session: Session, text: str) -> Iterator[tuple[bool, Hit]]:
    either = or_(_like(ACCOUNT.c.account_id, text), _like(ACCOUNT.c.name, text))
    query = select(ACCOUNT.c.account_id, ACCOUNT.c.name).where(either)
    for row in session.execute(query.order_by("account_id").limit(MAX_HITS)):
        whole = _same(row.account_id, text) or _same(row.name, text)
        yield whole, Hit(kind="account", id=row.account_id, shown=row.name)


def _devices(session: Session, text: str) -> Iterator[tuple[bool, Hit]]:
    columns = (DEVICE.c.name, DEVICE.c.host, DEVICE.c.site)
    query = select(*columns, DEVICE.c.role, DEVICE.c.platform)
    found = query.where(or_(*(_like(column, text) for column in columns)))
    for row in session.execute(found.order_by("name").limit(MAX_HITS)):
        whole = any(_same(value, text) for value in (row.name, row.host, row.site))
        shown = f"{row.role} {row.platform} {row.host} {row.site}".strip()
        yield whole, Hit(kind="device", id=row.name, shown=shown)


def _attachments(session: Session, text: str) -> Iterator[tuple[bool, Hit]]:
    words = [word for word in re.split(r"[\s.:]+", text.lower()) if word]
    # the database narrows down by what stands in the stored JSON, names of fields included;
    # then the values alone are looked at
    whole_text = _like(ATTACHMENT.c.objects, _as_json(text))
    every_word = and_(*(_like(ATTACHMENT.c.objects, _as_json(word)) for word in words or (text,)))
    query = select(ATTACHMENT).where(or_(whole_text, every_word))
    for row in session.execute(query.order_by("service_id", "role").limit(_LOOKED_AT)):
        objects = json.loads(row.objects)
        values = [str(value).lower() for value in objects.values()]
        whole = text.lower() in values or (bool(words) and set(words) <= set(values))
        if whole or any(text.lower() in value for value in values):
            fields = " ".join(f"{name}={value}" for name, value in sorted(objects.items()))
            shown = f"{row.role} {row.device} {fields}"
            yield whole, Hit(kind="attachment", id=row.service_id, shown=shown)


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _same(value: str, text: str) -> bool:
    return value.lower() == text.lower()
