"""The inventory files that containerlab writes beside a running lab.

Shapes as on https://containerlab.dev/manual/inventory/, links nested under "endpoints".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lab.namespaces import hardware_address
from lab.topology import Endpoint, Node, Topology

Json = dict[str, Any]
_GROUP_LABEL = "nornir-group"


def clab_dir(topology: Topology) -> str:
    """Name of the lab's directory below the state directory."""
    return f"{topology.prefix}-{topology.name}"


def write_clab_files(topology: Topology, state_dir: Path) -> Path:
    """Write the three files into `state_dir`/clab-NAME and return that directory."""
    directory = state_dir / clab_dir(topology)
    directory.mkdir(parents=True, exist_ok=True)
    nornir = {node.name: _nornir_host(node) for node in topology.nodes}
    data = json.dumps(_topology_data(topology, directory), indent=2) + "\n"
    (directory / "ansible-inventory.yml").write_text(_yaml(_ansible(topology)))
    (directory / "nornir-simple-inventory.yml").write_text(_yaml(nornir))
    (directory / "topology-data.json").write_text(data)
    return directory


def _yaml(document: Json) -> str:
    return "---\n" + yaml.safe_dump(document, sort_keys=False)


def _ansible(topology: Topology) -> Json:
    differ = len({node.username for node in topology.nodes}) > 1
    children: Json = {}
    for node in sorted(topology.nodes, key=lambda one: one.name):
        host: Json = {"ansible_host": node.address}
        if differ:
            host["ansible_user"] = node.username or None
        for group in filter(None, (node.kind, node.label("ansible-group"))):
            children.setdefault(group, {"hosts": {}})["hosts"][node.long_name] = host.copy()
    return {"all": {"vars": {"ansible_httpapi_use_proxy": False}, "children": children}}


def _nornir_host(node: Node) -> Json:
    host: Json = {
        "username": node.username or None,
        "password": node.password or None,
        "platform": node.kind,
        "hostname": node.address,
    }
    groups = [value for name, value in sorted(node.labels) if name.startswith(_GROUP_LABEL)]
    return {**host, "groups": groups} if groups else host


def _topology_data(topology: Topology, directory: Path) -> Json:
    nodes = {node.name: _node_data(topology, node, directory) for node in topology.nodes}
    links = [
        {
            "endpoints": {
                "a": {**_end_data(topology, left), "peer": "z"},
                "z": {**_end_data(topology, right), "peer": "a"},
            }
        }
        for left, right in topology.links
    ]
    mgmt = {
        "network": topology.network,
        "bridge": topology.bridge,
        "ipv4-subnet": str(topology.subnet),
        "ipv4-gw": topology.gateway,
    }
    return {
        "name": topology.name,
        "type": "clab",
        "clab": {"config": {"prefix": topology.prefix, "mgmt": mgmt}},
        "ssh-pub-keys": [],
        "nodes": nodes,
        "links": links,
    }


def _node_data(topology: Topology, node: Node, directory: Path) -> Json:
    own = {
        "containerlab": topology.name,
        "clab-node-name": node.name,
        "clab-node-longname": node.long_name,
        "clab-node-kind": node.kind,
        "clab-topo-file": str(topology.path),
    }
    return {
        "index": str(topology.nodes.index(node)),
        "shortname": node.name,
        "longname": node.long_name,
        "fqdn": f"{node.name}.{topology.name}.io",
        "group": "",
        "labdir": str(directory / node.name),
        "kind": node.kind,
        "image": node.image,
        "mgmt-net": topology.network,
        "mgmt-ipv4-address": node.address,
        "mgmt-ipv4-prefix-length": topology.subnet.prefixlen,
        "mgmt-ipv6-address": "",
        "mgmt-ipv6-prefix-length": 0,
        "mac-address": hardware_address(node, "eth0"),
        "labels": {**dict(node.labels), **own},
        "port-bindings": [],
    }


def _end_data(topology: Topology, end: Endpoint) -> Json:
    node = topology.node(end.node)
    mac = hardware_address(node, end.interface)
    return {"node": end.node, "interface": end.interface, "mac": mac}
