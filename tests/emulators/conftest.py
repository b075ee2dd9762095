"""Fleets for the tests of the emulators; an emulator's own mistake fails the test that met it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.emulators.base import DeviceSpec
from lab.emulators.fleet import Fleet

StartFleet = Callable[..., Fleet]

_third_octet = itertools.count(1)


@pytest.fixture
def start_fleet() -> Iterator[StartFleet]:
    """start_fleet(*specs) -> a running fleet, stopped at teardown, where it must show no crash."""
    fleets: list[Fleet] = []
    with ExitStack() as stack:

        def start(*specs: DeviceSpec) -> Fleet:
            fleet = stack.enter_context(Fleet(specs))
            fleets.append(fleet)
            return fleet

        yield start
    assert [crash for fleet in fleets for crash in fleet.crashes] == []


@pytest.fixture
def subnet() -> str:
    """The first three octets of loopback addresses that no other test of this process uses."""
    return f"127.50.{next(_third_octet)}"
