"""Typed, allow-listed values: the only thing a template may be given (commit-protocol.md S2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from inventory import BadField


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One attachment field: text that must match `pattern` whole, or an integer in low..high."""

    kind: Literal["text", "int"]
    pattern: str = ""
    low: int = 0
    high: int = 0
    help: str = ""  # what a person should write, with an example
    required: bool = True

    def check(self, thing: str, name: str, value: object) -> str | int:
        """Return the typed value, or raise BadField naming `thing` and the field."""
        if self.kind == "int":
            return self._check_int(thing, name, value)
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        # fullmatch on ASCII: no separator, look-alike or control character can pass an allow-list
        if not isinstance(text, str) or not re.fullmatch(self.pattern, text, re.ASCII):
            raise BadField(thing, f"{name} must be {self.help}, got {value!r}")
        return text

    def _check_int(self, thing: str, name: str, value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value, re.ASCII):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadField(thing, f"{name} must be {self.help}, got {value!r}")
        if not self.low <= value <= self.high:
            raise BadField(thing, f"{name} must be {self.low}..{self.high}, got {value}")
        return value
