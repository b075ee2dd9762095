"""Bring the lab up and down: one supervising process holds a lock and all servers as children."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lab import namespaces, packages
from lab.clab_files import clab_dir, write_clab_files
from lab.inventory import FILE, write_inventory
from lab.servers.daemon import Daemon, LabError, wait_until
from lab.servers.postgres import remove_cluster
from lab.servers.site import Server, Site, make_server
from lab.topology import Node, Topology, read_topology

Json = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[1]
_READY_S = 60.0
_DOWN_S = 60.0
_LOOK_S = 0.2
_LOCK_S = 2.0
_OURS = ("logs", "credentials", "lab.json", "lab.log", "known_hosts", FILE)


def cannot_run() -> str:
    """Why the lab cannot run on this machine; empty if it can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = packages.missing_packages()
    if missing:
        return f"missing packages: {' '.join(missing)} (python3 -m lab.packages installs them)"
    probe = ("unshare", "--net", "--mount", "--uts", "true")
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        return "this machine or container does not let root make namespaces (CAP_SYS_ADMIN)"
    return ""


class Lab:
    """The lab of one topology file with its state in one directory."""

    def __init__(self, state_dir: Path, topology: Topology | None = None) -> None:
        self.topology = topology or read_topology()
        self.state_dir = state_dir.resolve()
        self._child: subprocess.Popen[bytes] | None = None
        self._lock_path = Path(f"/run/bandmaster-lab-{self.topology.name}.lock")

    @property
    def facts_path(self) -> Path:
        """lab.json: addresses, ports and files of everything, there while the lab is ready."""
        return self.state_dir / "lab.json"

    def facts(self) -> Json:
        """What lab.json says; LabError if the lab is not up."""
        if self._holder()["state_dir"] != str(self.state_dir) or not self.facts_path.exists():
            reason = f"no lab is up with its state in {self.state_dir}"
            raise LabError(reason)
        facts: Json = json.loads(self.facts_path.read_text())
        return facts

    def up(self) -> Json:
        """Start the supervisor, detached, and return lab.json once all is ready.

        An already running lab of the same directory is left as it is. LabError says what failed.
        """
        reason = cannot_run()
        if reason:
            raise LabError(reason)
        holder = self._holder()
        if not holder["pid"]:
            self._spawn()
        elif holder["state_dir"] != str(self.state_dir):
            reason = (
                f"process {holder['pid']} runs this lab with its state in {holder['state_dir']}"
            )
            raise LabError(reason)
        if not wait_until(self.facts_path.exists, _READY_S):
            reason = f"the lab is not ready after {_READY_S:g} s, see {self.state_dir}/lab.log"
            raise LabError(reason)
        return self.facts()

    def down(self) -> None:
        """Stop the supervisor and take the namespaces away; data and credentials stay."""
        holder = self._holder()
        if holder["pid"]:
            with suppress(ProcessLookupError):
                os.kill(holder["pid"], signal.SIGTERM)
            if not wait_until(lambda: not self._holder()["pid"], _DOWN_S):
                reason = f"process {holder['pid']} does not end, see {holder['state_dir']}/lab.log"
                raise LabError(reason)
        self._await_child()
        self._sweep()

    def clean(self) -> None:
        """Delete what the lab left in its directory; the lab must be down."""
        remove_cluster(self.state_dir)
        names = (node.name for node in self.topology.nodes)
        for name in (*_OURS, clab_dir(self.topology), *names):
            path = self.state_dir / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def status(self) -> Json:
        """Whether the lab is up, whose it is, and its namespaces and processes."""
        holder = self._holder()
        is_ours = holder["state_dir"] == str(self.state_dir)
        ready = bool(holder["pid"]) and is_ours and self.facts_path.exists()
        daemons = self.facts()["daemons"] if ready else []
        return {
            "up": ready,
            "supervisor_pid": holder["pid"],
            "state_dir": holder["state_dir"] or str(self.state_dir),
            "namespaces": list(namespaces.existing(self.topology)),
            "daemons": [{**daemon, "alive": _alive(daemon["pid"])} for daemon in daemons],
        }

    def supervise(self) -> None:
        """Build the lab, run its servers until SIGTERM, and take everything away again."""
        ending: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: ending.append(received))
        with self._lock():
            self._sweep()
            servers: list[tuple[Node, str, Server]] = []
            try:
                for node in self.topology.nodes:
                    self._site(node).prepare()
                namespaces.build(self.topology)
                self._start(servers)
                self._write_facts(servers)
                print("lab ready", flush=True)
                self._watch(servers, ending)
            finally:
                self.facts_path.unlink(missing_ok=True)
                for _node, _name, server in reversed(servers):
                    server.stop()
                namespaces.destroy(self.topology)

    def _sweep(self) -> None:
        """Take away what a killed supervisor left behind."""
        self.facts_path.unlink(missing_ok=True)
        if not namespaces.existing(self.topology):
            return
        namespaces.destroy(self.topology)
        for node in self.topology.nodes:
            for name in node.servers:
                make_server(name, self._site(node)).stop()

    def _site(self, node: Node) -> Site:
        return Site(topology=self.topology, node=node, state_dir=self.state_dir)

    def _start(self, servers: list[tuple[Node, str, Server]]) -> None:
        for node in self.topology.nodes:
            for name in node.servers:
                server = make_server(name, self._site(node))
                servers.append((node, name, server))  # before start: half started is stopped too
                server.start()
        for _node, _name, server in servers:
            server.settle()

    def _write_facts(self, servers: list[tuple[Node, str, Server]]) -> None:
        nodes: dict[str, Json] = {
            node.name: {
                "address": node.address,
                "namespace": node.long_name,
                "enter": list(self._site(node).place.command()),
                "servers": {},
            }
            for node in self.topology.nodes
        }
        daemons = []
        for node, name, server in servers:
            nodes[node.name]["servers"][name] = server.describe()
            daemons += [_shown(node, daemon) for daemon in server.daemons]
        clab = write_clab_files(self.topology, self.state_dir)
        facts = {
            "name": self.topology.name,
            "topology": str(self.topology.path),
            "state_dir": str(self.state_dir),
            "supervisor_pid": os.getpid(),
            "gateway": self.topology.gateway,
            "clab_dir": str(clab),
            "nodes": nodes,
            "daemons": daemons,
        }
        inventory = write_inventory(self.topology, facts)
        facts["inventory"] = str(inventory or "")
        hidden = self.facts_path.with_suffix(".new")
        hidden.write_text(json.dumps(facts, indent=2) + "\n")
        hidden.rename(self.facts_path)  # its being there means: ready

    @staticmethod
    def _watch(servers: list[tuple[Node, str, Server]], ending: list[int]) -> None:
        """Wait for a signal; say once when a server ends by itself, so that status is explained."""
        dead: set[int] = set()
        while not ending:
            for node, _name, server in servers:
                for daemon in server.daemons:
                    if daemon.exit_code is not None and daemon.pid not in dead:
                        dead.add(daemon.pid)
                        end = daemon.log_end()
                        print(f"{node.name}: {daemon.name} ended, {daemon.exit_code}: {end}")
            sys.stdout.flush()
            time.sleep(_LOOK_S)

    def _spawn(self) -> None:
        self._await_child()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.facts_path.unlink(missing_ok=True)
        log_path = self.state_dir / "lab.log"
        with log_path.open("wb") as log:
            self._child = child = subprocess.Popen(
                (
                    *(sys.executable, "-m", "lab", "supervise", "--state", str(self.state_dir)),
                    *("--topology", str(self.topology.path)),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=_ROOT,
                start_new_session=True,
            )
        wait_until(lambda: self.facts_path.exists() or child.poll() is not None, _READY_S)
        if child.poll() is not None:
            reason = f"the lab did not start: {log_path.read_text(errors='replace').strip()}"
            raise LabError(reason)

    def _await_child(self) -> None:
        """A supervisor that we started and that has let go of the lock is ending: wait for it."""
        if self._child:
            self._child.wait(_DOWN_S)
            self._child = None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Held for as long as this process lives, so a killed supervisor leaves none behind."""
        with self._lock_path.open("a+") as file:
            # Somebody who asks for the holder has the lock for a moment; a supervisor keeps it.
            if not wait_until(lambda: _locked(file, fcntl.LOCK_EX), _LOCK_S):
                reason = f"another process runs the lab {self.topology.name}"
                raise LabError(reason)
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "state_dir": str(self.state_dir)}))
            file.flush()
            yield

    def _holder(self) -> Json:
        """Process id and state directory of the running supervisor; 0 and "" if none runs."""
        nobody = {"pid": 0, "state_dir": ""}
        if not self._lock_path.exists():
            return nobody
        with self._lock_path.open("r") as file:
            if _locked(file, fcntl.LOCK_SH):
                return nobody
            text = file.read()
        holder: Json = json.loads(text) if text else nobody
        return holder


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _shown(node: Node, daemon: Daemon) -> Json:
    return {"node": node.name, "name": daemon.name, "pid": daemon.pid, "log": str(daemon.log)}


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
