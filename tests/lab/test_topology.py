"""The topology file: what it says, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.servers.daemon import LabError
from lab.topology import DEFAULT_FILE, read_topology

SMALL = """
name: small
mgmt: {network: small, bridge: br-small, ipv4-subnet: 172.20.99.0/24}
topology:
  defaults: {kind: linux, labels: {a: default, b: default}}
  kinds: {linux: {image: any, exec: [first], labels: {b: kind}}}
  nodes:
    one: {mgmt-ipv4: 172.20.99.2, exec: [second], labels: {c: own}}
    two: {mgmt-ipv4: 172.20.99.3}
  links:
    - endpoints: ["one:x", "two:y"]
"""


def written(tmp_path: Path, old: str = "", new: str = "") -> Path:
    """The small topology with one text replaced."""
    assert old in SMALL
    path = tmp_path / "small.clab.yml"
    path.write_text(SMALL.replace(old, new) if old else SMALL)
    return path


def test_defaults_kind_and_node_are_merged(tmp_path: Path) -> None:
    """Goal: containerlab's order of layers. Method: labels and exec lines from three layers."""
    topology = read_topology(written(tmp_path))
    one, two = topology.nodes
    assert one.exec_lines == ("first", "second")
    assert dict(one.labels) == {"a": "default", "b": "kind", "c": "own"}
    assert (one.long_name, two.long_name) == ("clab-small-one", "clab-small-two")
    assert topology.gateway == "172.20.99.1"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: small", "lab: small", "name is missing"),
        ("kind: linux,", "kind: ceos,", "only linux runs in a namespace"),
        ("[second]", '[{"tc parent 1": "classid"}]', "must be quoted"),
        ("172.20.99.3", "172.20.98.3", "is not in 172.20.99.0/24"),
        ("two:y", "three:y", "no node three"),
        ("one:x", "one:an-interface-too-long", "is not an interface name"),
        ("topology:", "topology: [", "expected"),
        ("172.20.99.0/24", "172.20.99.9/24", "host bits"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """Goal: the text leads to the line to mend. Method: one fault each."""
    path = written(tmp_path, old, new)
    with pytest.raises(LabError, match=words) as caught:
        read_topology(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Goal: no traceback for a wrong path. Method: a path that is not there."""
    with pytest.raises(LabError, match="nowhere"):
        read_topology(tmp_path / "nowhere.clab.yml")


def test_our_topology_needs_no_privileged_container() -> None:
    """Goal: the file fits containerlab on a shared machine. Method: read the raw YAML."""
    document = yaml.safe_load(DEFAULT_FILE.read_text())
    linux = document["topology"]["kinds"]["linux"]
    assert linux["privileged"] is False
    assert linux["cap-add"] == ["NET_ADMIN", "SYS_ADMIN"]
    nodes = read_topology().nodes
    assert [node.name for node in nodes] == ["db", "radius", "core", "bng", "sub1", "sub2", "sub3"]
    assert all(outside.exists() for node in nodes for outside, _ in node.binds)
