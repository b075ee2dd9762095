"""What was billed and is about to be, as the rules look at it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A draft or a final invoice; `by_service` is what it bills beside credits and charges."""

    invoice_id: str
    number: str
    account_id: str
    currency: str
    exponent: int
    closes_on: dt.date
    net_minor: int
    known_seq: int
    at: dt.datetime
    drafted_at: dt.datetime
    by_service: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledPeriod:
    """What living invoices bill together of one charge of a service in one period.

    `parts` are (whole price, amount) of each plan and price; `lines` how many were rounded.
    """

    service_id: str
    charge: str
    period_from: dt.date
    period_until: dt.date
    parts: tuple[tuple[int, int], ...]
    lines: int
    invoice_id: str  # the newest of them
    at: dt.datetime

    @property
    def amount_minor(self) -> int:
        """All of it together."""
        return sum(amount for _full, amount in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class TornBill:
    """A final invoice whose lines do not add up to what it was issued for."""

    invoice_id: str
    number: str
    net_minor: int
    lines_minor: int
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedOtherwise:
    """A draft's line at a price for its service alone, on dates on which it has no such price.

    `ends` is the first date at the catalogue's price again, None = it was taken back.
    """

    service_id: str
    account_id: str
    plan_code: str
    period_from: dt.date
    until_date: dt.date
    numerator: int
    denominator: int
    amount_minor: int
    event_id: str
    ends: dt.date | None
    invoice_id: str
    drafted_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OffLedger:
    """A period of a service of which living bills together hold another sum than the ledger owes.

    `owed_minor` is what the newest of them (`number`) had to know, by the events up to `known_seq`.
    """

    service_id: str
    account_id: str
    plan_code: str
    thing: str
    period_from: dt.date
    period_until: dt.date
    billed_minor: int
    owed_minor: int
    currency: str
    exponent: int
    invoice_id: str
    number: str
    known_seq: int
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBills:
    """An account's bills in one currency: the draft, the final invoice before it, both or none.

    `charged_minor` and `credited_minor` are what living invoices hold of either sign.
    """

    account_id: str
    currency: str
    exponent: int
    draft: Bill | None = None
    previous: Bill | None = None
    billed: tuple[BilledPeriod, ...] = ()
    charged_minor: int = 0
    credited_minor: int = 0
    torn: tuple[TornBill, ...] = ()
