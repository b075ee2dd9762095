"""How a plan is cut into sets that are decided together (D2)."""

from __future__ import annotations

import pytest

from orchestrator.apply import LINE_S, cut
from tests.orchestrator.conftest import StartRig
from workflows import PlanItem


@pytest.fixture
def items(start_rig: StartRig) -> tuple[PlanItem, ...]:
    rig = start_rig(services=6, logins=False)
    return rig.plan(*(rig.order(name, "fiber-500") for name in rig.isp.ids())).items


def names(parts: tuple[tuple[PlanItem, ...], ...]) -> list[list[str]]:
    return [[item.order.service_id for item in part] for part in parts]


def test_sets_follow_devices_size_and_time(items: tuple[PlanItem, ...]) -> None:
    by_olt = ["svc-1001", "svc-1003", "svc-1005", "svc-1002", "svc-1004", "svc-1006"]
    assert names(cut(items, 200, 150)) == [by_olt]
    assert names(cut(items, 4, 150)) == [by_olt[:4], by_olt[4:]]
    # two lines a service on the BNG: room for two services' lines and not for a third's
    assert names(cut(items, 200, 5 * LINE_S)) == [by_olt[:2], by_olt[2:4], by_olt[4:]]
    assert names(cut(items, 200, 0)) == [[name] for name in by_olt]
    assert cut((), 200, 150) == ()
