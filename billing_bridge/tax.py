"""Where tax comes in: a hook called once for an invoice; what it says is frozen on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from inventory import Account

from .proration import prorate

_BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxLine:
    """One tax on an invoice: `rate_bp` hundredths of a percent of `net_minor`."""

    name: str
    rate_bp: int
    net_minor: int
    tax_minor: int


class TaxHook(Protocol):
    """Says what tax an invoice carries; which taxes there are is not ours to know."""

    def __call__(self, account: Account, nets_minor: Mapping[str, int]) -> Sequence[TaxLine]:
        """Return the taxes of the lines' net amounts, by line id; credits are negative."""


def flat_tax(name: str, rate_bp: int) -> TaxHook:
    """Return the hook of one rate for everything, rounded once on the invoice's net amount."""

    def hook(account: Account, nets_minor: Mapping[str, int]) -> tuple[TaxLine, ...]:
        del account  # the same for everybody
        net = sum(nets_minor.values())
        tax = prorate(net, rate_bp, _BASIS_POINTS)
        return (TaxLine(name=name, rate_bp=rate_bp, net_minor=net, tax_minor=tax),)

    return hook
