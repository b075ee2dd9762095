"""Fleets for the tests of the emulators; an emulator's own mistake fails the test that met it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.emulators.base import DeviceSpec
from lab.emulators.fleet import Fleet

StartFleet = Callable[..., Fleet]

# Two test runs on one machine, or two workers of one run, must not meet on an address.
_second_octet = 16 + os.getpid() % 200
_third_octet = itertools.count(1)


@pytest.fixture
def start_fleet() -> Iterator[StartFleet]:
    """A function that runs the given specs as a fleet until teardown, which must show no crash."""
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
    """The first three octets of loopback addresses that no other test uses at the same time."""
    return f"127.{_second_octet}.{next(_third_octet)}"
