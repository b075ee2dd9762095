"""FRRouting's zebra and bgpd in the path space named after the node's namespace."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.servers.daemon import Daemon
from lab.servers.site import Json, Site

_BIN = Path("/usr/lib/frr")
_CONFIG_INSIDE = "/etc/frr/frr.conf"
_OWNER = "frr"


class Frr:
    """Talk to it with `vtysh -N NAMESPACE` on this machine; its files are under that name."""

    def __init__(self, site: Site) -> None:
        self._space = site.node.long_name
        self._source = site.node.bound_file(_CONFIG_INSIDE)
        self._config_dir = Path("/etc/frr", self._space)
        self._run_dir = Path("/run/frr", self._space)
        self.daemons = tuple(self._daemon(site, name) for name in ("zebra", "bgpd"))

    def start(self) -> None:
        """Give both daemons the node's configuration and start them; sessions come up later."""
        self._clear()
        for path in (self._config_dir, self._run_dir):
            path.mkdir(mode=0o755, parents=True)
            shutil.chown(path, _OWNER, _OWNER)
        config = self._config_dir / "frr.conf"
        shutil.copyfile(self._source, config)
        shutil.chown(config, _OWNER, _OWNER)
        for daemon in self.daemons:
            daemon.start()
            daemon.wait_ready()

    def stop(self) -> None:
        """Stop both and take their directories away."""
        for daemon in reversed(self.daemons):
            daemon.stop()
        self._clear()

    def describe(self) -> Json:
        """How to ask it."""
        return {"vtysh": ["vtysh", "-N", self._space]}

    def _clear(self) -> None:
        for path in (self._config_dir, self._run_dir):
            shutil.rmtree(path, ignore_errors=True)

    def _daemon(self, site: Site, name: str) -> Daemon:
        config = ("-f", str(self._config_dir / "frr.conf"))
        # bgpd reads the whole file; zebra would call the bgp lines unknown, and needs none of it.
        argv = (str(_BIN / name), "-N", self._space, "--log", "stdout")
        socket = self._run_dir / f"{name}.vty"
        return Daemon(
            name=name,
            argv=(*argv, *(config if name == "bgpd" else ())),
            log=site.log(name),
            ready=lambda _pid: socket.exists(),
            place=site.place,
        )


def make(site: Site) -> Frr:
    """The routing daemons of a node."""
    return Frr(site)
