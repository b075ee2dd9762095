"""What a rule is and what it gives back: a finding with both sides, its money and the way out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from .facts import Facts
from .money import FREE, Money

Scope = Literal["line", "usage", "account", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one side says, where it was read, when it said so; `at` None = it has never spoken."""

    who: str
    says: str
    at: dt.datetime | None = None
    ref: str = ""  # the event, device object, session or invoice it was read from


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that is wrong. `subject` tells it from all others of its rule, for ever.

    `scope` says what a blocker holds: the service's lines, its usage lines, all of the account or
    the whole run. `since` is when it began by the evidence, `command` what would mend it.
    """

    rule: str
    subject: str
    what: str
    since: dt.datetime
    sides: tuple[Side, ...]
    command: str
    money: Money = FREE
    scope: Scope = "line"
    blocks: bool = False
    service_id: str = ""
    account_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A numbered rule: `judge` is pure and says what is wrong by the facts it is given."""

    rule: str
    title: str
    judge: Callable[[Facts], Iterable[Found]]
