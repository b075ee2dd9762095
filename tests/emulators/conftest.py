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

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
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
    return f"127.{50 + _worker}.{next(_third_octet)}"
