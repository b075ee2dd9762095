"""What a server of the lab is told and what it offers to the runner."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from lab.servers.daemon import Daemon, Place, kept_secret
from lab.topology import Node, Topology

Json = dict[str, Any]
# What programs on a node write there must neither reach this machine nor other nodes.
OWN_DIRECTORIES = (
    Path("/etc/bandmaster"),
    Path("/run/bandmaster"),
    Path("/run/access-sessions"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One node of one lab, and the directory where its state lives."""

    topology: Topology
    node: Node
    state_dir: Path

    @property
    def place(self) -> Place:
        """Where the node's servers run."""
        return replace(self.node.place, own=tuple(self._own(path) for path in OWN_DIRECTORIES))

    def _own(self, path: Path) -> tuple[Path, Path]:
        return self.state_dir / self.node.name / "own" / path.relative_to("/"), path

    def prepare(self) -> None:
        """Make the node's own directories as after a boot: what was in /run is gone."""
        for here, there in self.place.own:
            if there.is_relative_to("/run"):
                shutil.rmtree(here, ignore_errors=True)
            here.mkdir(parents=True, exist_ok=True)
            # Only to be mounted upon. It stays, empty: removing it would take the mount away from
            # every other lab that runs.
            there.mkdir(parents=True, exist_ok=True)

    def directory(self, server: str) -> Path:
        """A directory of this server's own, closed to other users."""
        path = self.state_dir / self.node.name / server
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        """The log file of one daemon."""
        path = self.state_dir / "logs" / f"{self.node.name}-{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def credential(self, name: str) -> Path:
        """A 0600 file with a random secret, made on first use and kept."""
        path = self.state_dir / "credentials" / name
        kept_secret(path)
        return path


class Server(Protocol):
    """A server of one node. A module of lab.servers offers `make(site: Site) -> Server`."""

    def start(self) -> None:
        """Start and return once it is ready; LabError with the reason if it does not start."""

    def settle(self) -> None:
        """Return once it also has from other nodes what it needs; all servers are started."""

    def stop(self) -> None:
        """Stop its daemons and take away what it left outside the state directory."""

    def describe(self) -> Json:
        """Addresses, ports and files by which others use it; secrets as paths of files."""

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """Its processes."""


def make_server(name: str, site: Site) -> Server:
    """The server of this name for this node; found by its module's name."""
    server: Server = import_module(f"lab.servers.{name}").make(site)
    return server
