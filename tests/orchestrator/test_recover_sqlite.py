"""The real command line, killed with SIGKILL after everything it does; then one `recover`."""

from __future__ import annotations

from functools import partial

import pytest

from tests.orchestrator.conftest import StartField
from tests.orchestrator.cuts import (
    KILLED,
    NEW,
    in_lanes,
    list_edges,
    one_of_two,
    recover,
    states,
)
from tests.orchestrator.field import Field

SERVICES = 60


def cut_tier(place: int, decided: bool, field: Field, service_id: str) -> None:
    ended = field.run("service", "tier", service_id, NEW, "--yes", at=str(place))
    assert ended.code == KILLED, ended.err
    recover(field)
    one_of_two(field, service_id, decided=decided)


@pytest.mark.timeout(600)
def test_a_kill_at_any_edge_is_mended(start_field: StartField) -> None:
    """Not one edge leaves more than one of the two worlds, and none needs a person (P1 to P9)."""
    lanes = [start_field(services=SERVICES, save_s=0.05) for _ in range(2)]
    last = lanes[0].rig.isp.ids()[-1]
    edges = list_edges(lanes[0], "service", "tier", last, NEW, "--yes")
    recover(lanes[0])
    decision = edges.index("after decision") + 1
    tasks = [
        (f"edge {place}: {edges[place - 1]}", partial(cut_tier, place, place >= decision))
        for place in states(edges, "before intent")
    ]
    assert len(tasks) > 20
    in_lanes(lanes, tasks)
