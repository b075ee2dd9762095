"""The gate's rules: one module a rule, found by looking into this folder; facts in, findings out.

A module has a `RULE`, whose function judges `Facts` and touches nothing else.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from .base import Found, Rule
from .facts import Facts


@cache
def rules() -> tuple[Rule, ...]:
    """Return every rule there is, by its number."""
    names = (found.name for found in pkgutil.iter_modules(__path__))
    modules = (import_module(f".{name}", __name__) for name in names)
    found = sorted(
        (module.RULE for module in modules if hasattr(module, "RULE")), key=lambda rule: rule.rule
    )
    numbers = [rule.rule for rule in found]
    if len(set(numbers)) != len(numbers):
        msg = f"two rules of one number: {numbers}"
        raise ValueError(msg)
    return tuple(found)


def rule_numbers() -> tuple[str, ...]:
    """Return the number of every rule."""
    return tuple(rule.rule for rule in rules())


def judge(facts: Facts) -> list[Found]:
    """Return what every rule finds by these facts."""
    return [found for rule in rules() for found in rule.judge(facts)]
