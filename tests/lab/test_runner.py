"""The runner on any state it may find: twice up, twice down, killed, another's lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import namespaces
from lab.runner import Lab
from lab.servers.daemon import LabError, run, wait_until
from lab.topology import Topology, read_topology

TINY = """
name: tiny
mgmt: {network: tiny, bridge: br-tiny, ipv4-subnet: 172.20.99.0/24}
topology:
  defaults: {kind: linux, image: any}
  nodes:
    one:
      mgmt-ipv4: 172.20.99.2
      labels: {bandmaster-servers: iperf3, bandmaster-iperf3: "172.20.99.2:5201"}
    two: {mgmt-ipv4: 172.20.99.3}
  links:
    - endpoints: ["one:x", "two:y"]
"""


@pytest.fixture
def tiny(lab_turn: None, tmp_path: Path) -> Iterator[Lab]:  # noqa: ARG001 - it waits
    """A lab of two nodes and one server, not up yet, taken away afterwards."""
    path = tmp_path / "tiny.clab.yml"
    path.write_text(TINY)
    lab = Lab(tmp_path / "state", read_topology(path))
    yield lab
    lab.down()
    assert namespaces.existing(lab.topology) == ()
    assert not Path("/sys/class/net/br-tiny").exists()


def test_up_and_down_may_be_repeated(tiny: Lab) -> None:
    """Goal: idempotent both ways. Method: the supervisor's process id stays, then is gone."""
    first = tiny.up()
    assert tiny.up()["supervisor_pid"] == first["supervisor_pid"]
    status = tiny.status()
    assert status["up"]
    assert [(daemon["name"], daemon["alive"]) for daemon in status["daemons"]] == [
        ("iperf3-5201", True)
    ]
    tiny.down()
    assert not tiny.status()["up"]
    tiny.down()
    assert not Path(f"/proc/{first['daemons'][0]['pid']}").exists()


def test_a_killed_lab_is_seen_and_replaced(tiny: Lab) -> None:
    """Goal: up works from what SIGKILL leaves. Method: kill the supervisor, then up again."""
    first = tiny.up()
    killed(tiny)
    status = tiny.status()
    assert not status["up"]
    assert status["namespaces"] == ["clab-tiny-one", "clab-tiny-two"]
    assert tiny.up()["supervisor_pid"] != first["supervisor_pid"]
    assert tiny.status()["up"]


def test_down_cleans_up_after_a_killed_lab(tiny: Lab) -> None:
    """Goal: down needs no supervisor, and ends strangers inside. Method: SIGKILL, then down."""
    tiny.up()
    stranger = subprocess.Popen(("ip", "netns", "exec", "clab-tiny-one", "sleep", "infinity"))
    killed(tiny)
    tiny.down()
    assert stranger.wait(10) != 0
    assert namespaces.existing(tiny.topology) == ()


def test_one_lab_going_down_leaves_anothers_own_directories(tiny: Lab, tmp_path: Path) -> None:
    """Goal: what a node keeps in /run is safe from other labs. Method: a second lab comes, goes."""
    enter = tiny.up()["nodes"]["one"]["enter"]
    # A process keeps the mounts it was started with, as a daemon of the node does.
    script = "echo kept > /run/access-sessions/x; echo ready; read go; cat /run/access-sessions/x"
    with subprocess.Popen(
        (*enter, "sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n"
        path = tmp_path / "second.clab.yml"
        path.write_text(TINY.replace("tiny", "second").replace("172.20.99.", "172.20.98."))
        second = Lab(tmp_path / "second", read_topology(path))
        try:
            second.up()
        finally:
            second.down()
        assert daemon.communicate("go\n")[0] == "kept\n"


def test_another_directory_is_told_who_runs_it(tiny: Lab, tmp_path: Path) -> None:
    """Goal: one lab a machine. Method: the same topology with its state elsewhere."""
    tiny.up()
    other = Lab(tmp_path / "other", tiny.topology)
    with pytest.raises(LabError, match=r"state in .*state"):
        other.up()
    with pytest.raises(LabError, match=r"no lab is up with its state in .*other"):
        other.facts()


def test_a_containers_namespace_is_left_alone(tiny: Lab) -> None:
    """Goal: a lab run by containerlab is not ours to end. Method: a link where it makes one."""
    link = Path("/run/netns/clab-tiny-one")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(f"/proc/{os.getpid()}/ns/net")
    try:
        with pytest.raises(LabError, match="containerlab destroy"):
            tiny.down()
    finally:
        link.unlink()


def test_a_subnet_in_use_is_refused(tiny: Lab) -> None:
    """Goal: never two routes to one subnet. Method: a bridge that has it already."""
    run("ip", "link", "add", "br-taken", "type", "bridge")
    try:
        run("ip", "addr", "add", "172.20.99.1/24", "dev", "br-taken")
        run("ip", "link", "set", "br-taken", "up")
        with pytest.raises(LabError, match="in use on br-taken"):
            tiny.up()
    finally:
        run("ip", "link", "delete", "br-taken")


def test_a_failing_server_is_named(tiny: Lab, tmp_path: Path) -> None:
    """Goal: up says which server and why, and leaves nothing. Method: an address nobody has."""
    broken = broken_topology(tmp_path, tiny.topology)
    lab = Lab(tmp_path / "state", broken)
    with pytest.raises(LabError, match=r"iperf3-5201 ended with 1: .*unable to start listener"):
        lab.up()
    assert namespaces.existing(broken) == ()


def test_the_command_line_says_down(tiny: Lab) -> None:
    """Goal: exit code 3 tells down from up. Method: the real command."""
    command = (sys.executable, "-m", "lab", "status", "--state", str(tiny.state_dir))
    whole = (*command, "--topology", str(tiny.topology.path))
    root = Path(__file__).parents[2]
    done = subprocess.run(whole, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, "is down" in done.stdout) == (3, True)


def killed(lab: Lab) -> None:
    """Kill the supervisor without a word and wait until it is gone."""
    os.kill(lab.status()["supervisor_pid"], signal.SIGKILL)
    assert wait_until(lambda: not lab.status()["supervisor_pid"], 10)


def broken_topology(tmp_path: Path, topology: Topology) -> Topology:
    """The same lab with a server bound to an address that its node does not have."""
    path = tmp_path / "broken.clab.yml"
    text = topology.path.read_text()
    path.write_text(text.replace('"172.20.99.2:5201"', '"203.0.113.7:5201"'))
    return read_topology(path)
