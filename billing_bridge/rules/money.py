"""The money of a finding: what is at risk now, and what each month adds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """A price in minor units: above 0 = not billed, below 0 = the customer's; "" = no price."""

    at_risk_minor: int = 0
    monthly_minor: int = 0
    currency: str = ""
    exponent: int = 0


FREE = Money()
