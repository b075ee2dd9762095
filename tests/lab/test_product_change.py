"""bandmaster on real parts: a change of tier is what RADIUS, kernel, session and ledger say."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab_rig import LOGIN
from product_rig import RATES, Product, asking, login, stopped
from test_lab_itself import assert_at

from lab.servers.daemon import wait_until

MBIT = 1_000_000


def filter_id(plan: str) -> str:
    """The reply attribute of a plan's tier."""
    down, up = RATES[plan]
    return f"{down}/{up}"


def test_import_adopts_what_is_live(product: Product) -> None:
    """Goal: the written inventory is true and sends nothing. Method: import it twice, check."""
    product.good("inventory", "import", product.lab.facts["inventory"])
    assert product.events("line-1") == product.events("line-2") == ("service.adopted",)
    assert product.saved("acc1") == ""
    product.good("device", "check")
    product.good("doctor")
    product.static_at("line-1", "home-50")
    product.static_at("line-3", "home-20")
    assert product.answer() == filter_id("home-50")


def test_radius_answers_old_until_the_decision_and_new_after_it(product: Product) -> None:
    """Goal: no login sees anything but the old tier before the commit, the new one after it.

    Method: requests without a pause while the change is stopped with its transaction open, while
    it commits, and stopped right after: before the CoA, which the live session still waits for.
    """
    product.tier("line-2", "home-50")
    login(product)
    old, new = filter_id("home-50"), filter_id("home-100")
    with asking(product) as asker:
        words = ("service", "tier", "line-2", "home-100", "--yes")
        process = product.start(*words, cut=("--at", "before decision", "--signal", "STOP"))
        assert stopped(process)
        assert set(asker.more(20)) == {old}
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert set(asker.more(20)) == {new}
        product.dynamic_at("home-100")
        process = product.start(
            *("service", "tier", "line-2", "home-50", "--yes"),
            cut=("--at", "after decision", "--signal", "STOP"),
        )
        assert stopped(process)
        assert set(asker.more(20)) == {old}
        assert product.kernel("acc2") == RATES["home-100"]
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate()
        assert process.returncode == 0, said
    changes = [pair for pair in zip(asker.answers, asker.answers[1:]) if pair[0] != pair[1]]
    assert changes == [(old, new), (new, old)]
    product.good("recover", "--wait")
    product.dynamic_at("home-50")
    product.at_rest()
