"""Money as people write it: an exact decimal, and how many decimals a currency has."""

from __future__ import annotations

import re

# ISO 4217: currencies whose minor unit is not a hundredth
_WHOLE = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"}
    | {"RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
EXPONENTS = dict.fromkeys(_WHOLE, 0) | dict.fromkeys(_THOUSANDTHS, 3)
USUAL_EXPONENT = 2
_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?", re.ASCII)


def minor_units(text: str, exponent: int) -> int:
    """Return an exact decimal in minor units, e.g. 29.99 with exponent 2 is 2999.

    Raises ValueError for a sign, a separator, an exponent or more decimals than the currency has;
    its text says what an amount looks like.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None or len(match[2] or "") > exponent:
        decimals = f"at most {exponent} decimals" if exponent else "no decimals"
        msg = f"must be an amount of 0 or more with {decimals}, got {text!r}"
        raise ValueError(msg)
    return int(match[1] + (match[2] or "").ljust(exponent, "0"))
