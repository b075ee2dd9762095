"""Make a topology out of network namespaces, veth pairs and one bridge, and take it away again."""

from __future__ import annotations

import json
import os
import shlex
import signal
from contextlib import suppress
from pathlib import Path

from lab.servers.daemon import LabError, run, wait_until
from lab.topology import Node, Topology

_NETNS = Path("/run/netns")
_END_S = 5.0


def build(topology: Topology) -> None:
    """Make the bridge, namespaces and links, then run every node's exec lines.

    Raises LabError if the management subnet is in use or a command fails.
    """
    _refuse_used_subnet(topology)
    run("ip", "link", "add", topology.bridge, "type", "bridge")
    length = topology.subnet.prefixlen
    run("ip", "addr", "add", f"{topology.gateway}/{length}", "dev", topology.bridge)
    run("ip", "link", "set", topology.bridge, "up")
    for node in topology.nodes:
        _make_node(topology, node)
    for left, right in topology.links:
        ends = [(topology.node(end.node).long_name, end.interface) for end in (left, right)]
        (space_a, name_a), (space_b, name_b) = ends
        run(
            *("ip", "link", "add", name_a, "netns", space_a, "type", "veth"),
            *("peer", "name", name_b, "netns", space_b),
        )
        for space, name in ends:
            run("ip", "-n", space, "link", "set", name, "up")
    for node in topology.nodes:
        for line in node.exec_lines:
            run(*node.place.command(*shlex.split(line)))


def destroy(topology: Topology) -> None:
    """Take away all that `build` makes, and end every process inside; nothing there is fine.

    Raises LabError if containerlab itself runs this lab: its containers are not ours to end.
    """
    for node in topology.nodes:
        if (_NETNS / node.long_name).is_symlink():  # containerlab links to a container's namespace
            reason = f"{node.long_name} is a container of containerlab: use containerlab destroy"
            raise LabError(reason)
    spaces = existing(topology)
    for space in spaces:
        _end_processes(space)
    # First the outer ends: the kernel clears a deleted namespace's links at a time of its own.
    for link in (*(_outer_link(topology, node) for node in topology.nodes), topology.bridge):
        if Path("/sys/class/net", link).exists():
            run("ip", "link", "delete", link)
    for space in spaces:
        run("ip", "netns", "delete", space)


def existing(topology: Topology) -> tuple[str, ...]:
    """Names of the namespaces of this topology that are there."""
    names = (node.long_name for node in topology.nodes)
    return tuple(name for name in names if (_NETNS / name).exists())


def hardware_address(node: Node, interface: str) -> str:
    """MAC address of a node's interface."""
    shown = run("ip", "-n", node.long_name, "-json", "link", "show", "dev", interface)
    return str(json.loads(shown)[0]["address"])


def _refuse_used_subnet(topology: Topology) -> None:
    routes = json.loads(run("ip", "-json", "route", "show", "root", str(topology.subnet)))
    if routes:
        reason = (
            f"{topology.subnet} is in use on {routes[0].get('dev', 'this machine')}: "
            f"change mgmt.ipv4-subnet and the addresses in {topology.path}"
        )
        raise LabError(reason)


def _outer_link(topology: Topology, node: Node) -> str:
    return f"{topology.name}-{node.name}"


def _make_node(topology: Topology, node: Node) -> None:
    space = node.long_name
    outer = _outer_link(topology, node)
    run("ip", "netns", "add", space)
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "link", "set", outer, "master", topology.bridge, "up")
    run("ip", "-n", space, "link", "set", "lo", "up")
    address = f"{node.address}/{topology.subnet.prefixlen}"
    run("ip", "-n", space, "addr", "add", address, "dev", "eth0")
    run("ip", "-n", space, "link", "set", "eth0", "up")
    for name, value in node.sysctls:
        knob = "/proc/sys/" + name.replace(".", "/")
        run("ip", "netns", "exec", space, "tee", knob, stdin=value)


def _end_processes(space: str) -> None:
    def inside() -> tuple[int, ...]:
        return tuple(int(pid) for pid in run("ip", "netns", "pids", space).split())

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in inside():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait_until(lambda: not inside(), _END_S):
            return
    reason = f"processes {inside()} in {space} cannot be ended"
    raise LabError(reason)
