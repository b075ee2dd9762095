"""Read a containerlab topology file, as far as the lab uses it.

The format is that of https://containerlab.dev/manual/topo-def-file/.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.servers.daemon import LabError, Place

Json = dict[str, Any]
SERVERS_LABEL = "bandmaster-servers"
DEFAULT_FILE = Path(__file__).with_name("isp.clab.yml")
_PREFIX = "clab"
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_MERGED_LISTS = ("exec", "binds", "cap-add")
_MERGED_MAPS = ("labels", "sysctls", "env", "credentials")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the lab, its kind's and the defaults' settings already merged in."""

    name: str
    long_name: str  # also the name of its network namespace
    kind: str
    image: str
    address: str  # on the management network
    username: str
    password: str
    labels: tuple[tuple[str, str], ...]
    sysctls: tuple[tuple[str, str], ...]
    exec_lines: tuple[str, ...]
    binds: tuple[tuple[Path, str], ...]  # file beside the topology, path inside the node

    @property
    def place(self) -> Place:
        """Where this node's commands run."""
        return Place(namespace=self.long_name, hostname=self.name)

    def label(self, name: str) -> str:
        """The value of a label; empty if the node has none of this name."""
        return dict(self.labels).get(name, "")

    @property
    def servers(self) -> tuple[str, ...]:
        """Modules of lab.servers that run here."""
        return tuple(self.label(SERVERS_LABEL).split())

    def bound_file(self, inside: str) -> Path:
        """The file beside the topology that is bound to the path `inside`; LabError if none."""
        for outside, target in self.binds:
            if target == inside:
                return outside
        reason = f"node {self.name}: nothing is bound to {inside}"
        raise LabError(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One end of a link."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A lab: its nodes in file order, links, and management network."""

    path: Path
    name: str
    network: str
    bridge: str
    subnet: ipaddress.IPv4Network
    nodes: tuple[Node, ...]
    links: tuple[tuple[Endpoint, Endpoint], ...]

    @property
    def gateway(self) -> str:
        """Address of this machine on the management network: the first of the subnet."""
        return str(self.subnet.network_address + 1)

    @property
    def prefix(self) -> str:
        """First part of the nodes' long names."""
        return _PREFIX

    def node(self, name: str) -> Node:
        """The node of this short name; LabError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        reason = f"{self.path.name}: no node {name}"
        raise LabError(reason)

    def node_running(self, server: str) -> Node:
        """The first node that runs this server; LabError if none does."""
        for node in self.nodes:
            if server in node.servers:
                return node
        reason = f"{self.path.name}: no node runs {server}"
        raise LabError(reason)


def read_topology(path: Path = DEFAULT_FILE) -> Topology:
    """Read the file; LabError names the field that is wrong."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _topology(path.resolve(), document)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = f"{path}: {error}"
        raise LabError(reason) from error
    except KeyError as error:
        reason = f"{path}: {error.args[0]} is missing"
        raise LabError(reason) from error


def _topology(path: Path, document: Json) -> Topology:
    name, mgmt, body = document["name"], document["mgmt"], document["topology"]
    nodes = tuple(_node(path, name, body, node) for node in body["nodes"])
    links = tuple(_link(path, nodes, link["endpoints"]) for link in body.get("links", ()))
    topology = Topology(
        path=path,
        name=name,
        network=mgmt["network"],
        bridge=_interface(path, mgmt["bridge"]),
        subnet=ipaddress.IPv4Network(mgmt["ipv4-subnet"]),
        nodes=nodes,
        links=links,
    )
    for node in nodes:
        if ipaddress.IPv4Address(node.address) not in topology.subnet:
            reason = f"{path}: {node.name}: mgmt-ipv4 {node.address} is not in {topology.subnet}"
            raise LabError(reason)
    return topology


def _node(path: Path, lab: str, body: Json, name: str) -> Node:
    own = body["nodes"][name] or {}
    defaults = body.get("defaults") or {}
    kind = own.get("kind", defaults.get("kind", ""))
    if kind != "linux":
        reason = f"{path}: {name}: kind {kind or 'missing'}; only linux runs in a namespace"
        raise LabError(reason)
    merged = _merged(defaults, (body.get("kinds") or {}).get(kind) or {}, own)
    return Node(
        name=name,
        long_name=f"{_PREFIX}-{lab}-{name}",
        kind=kind,
        image=merged["image"],
        address=merged["mgmt-ipv4"],
        username=merged["credentials"].get("username", ""),
        password=merged["credentials"].get("password", ""),
        labels=_texts(merged["labels"]),
        sysctls=_texts(merged["sysctls"]),
        exec_lines=tuple(_line(path, name, line) for line in merged["exec"]),
        binds=tuple(_bind(path, bind) for bind in merged["binds"]),
    )


def _merged(*layers: Json) -> Json:
    merged: Json = {key: [] for key in _MERGED_LISTS} | {key: {} for key in _MERGED_MAPS}
    for layer in layers:
        for key, value in layer.items():
            merged[key] = _joined(merged, key, value)
    return merged


def _joined(merged: Json, key: str, value: Any) -> Any:
    if key in _MERGED_LISTS:
        return [*merged[key], *value]
    if key in _MERGED_MAPS:
        return {**merged[key], **value}
    return value


def _texts(values: Json) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in values.items())


def _line(path: Path, name: str, line: Any) -> str:
    if not isinstance(line, str):  # YAML reads `parent 1: classid` as a mapping
        reason = f"{path}: {name}: exec line {line} must be quoted"
        raise LabError(reason)
    return line


def _bind(path: Path, bind: str) -> tuple[Path, str]:
    outside, inside = bind.split(":")[:2]
    return path.parent / outside, inside


def _link(path: Path, nodes: tuple[Node, ...], ends: list[str]) -> tuple[Endpoint, Endpoint]:
    known = {node.name for node in nodes}
    points = []
    for end in ends:
        node, _, interface = end.partition(":")
        if node not in known:
            reason = f"{path}: link {ends}: no node {node}"
            raise LabError(reason)
        points.append(Endpoint(node=node, interface=_interface(path, interface)))
    left, right = points
    return left, right


def _interface(path: Path, name: str) -> str:
    if not _INTERFACE.fullmatch(name):
        reason = f"{path}: {name!r} is not an interface name (1 to 15 of A-Z a-z 0-9 _ . -)"
        raise LabError(reason)
    return name
