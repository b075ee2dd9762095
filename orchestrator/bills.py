"""How a site bills, from its settings: what is waited for, what is corrected, and the tax."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from billing_bridge import TaxHook, TaxLine, flat_tax
from inventory import BadSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inventory import Account

    from .settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """The hours for which late usage is waited for, the days that corrections reach back, the tax.

    `tax` is asked once for each invoice, when it becomes final.
    """

    grace_hours: int
    backdate_days: int
    tax: TaxHook


def bills(settings: Settings) -> Bills:
    """Return how the site bills; BadSettings where its tax hook is none."""
    return Bills(
        grace_hours=settings.invoice_grace_hours,
        backdate_days=settings.backdate_days,
        tax=_tax(settings),
    )


def _tax(settings: Settings) -> TaxHook:
    if settings.tax_hook:
        return _loaded(settings)
    if settings.tax_name:
        return flat_tax(settings.tax_name, settings.tax_rate_bp)
    return _none


def _none(account: Account, nets_minor: Mapping[str, int]) -> tuple[TaxLine, ...]:
    del account, nets_minor  # nobody has said what is taxed
    return ()


def _loaded(settings: Settings) -> TaxHook:
    module, _, name = settings.tax_hook.partition(":")
    try:
        found: TaxHook = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSettings(
            f"{settings.path}: tax_hook",
            f"{settings.tax_hook!r} cannot be loaded: {error}",
            "Write module:function of an installed module.",
        ) from error
    return found
