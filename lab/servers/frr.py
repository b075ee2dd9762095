"""FRRouting's zebra and bgpd in the path space named after the node's namespace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lab.servers.daemon import Daemon, LabError, run, wait_until
from lab.servers.site import Json, Site

_BIN = Path("/usr/lib/frr")
_CONFIG_INSIDE = "/etc/frr/frr.conf"
_OWNER = "frr"
_SETTLE_S = 30.0


class Frr:
    """Talk to it with `vtysh -N NAMESPACE` on this machine; its files are under that name."""

    def __init__(self, site: Site) -> None:
        self._space = site.node.long_name
        self._source = site.node.bound_file(_CONFIG_INSIDE)
        self._config_dir = Path("/etc/frr", self._space)
        self._run_dir = Path("/run/frr", self._space)
        self.daemons = tuple(self._daemon(site, name) for name in ("zebra", "bgpd"))

    def start(self) -> None:
        """Give both daemons the node's configuration and start them; see `settle` for BGP."""
        self._clear()
        for path in (self._config_dir, self._run_dir):
            path.mkdir(mode=0o755, parents=True)
            shutil.chown(path, _OWNER, _OWNER)
        config = self._config_dir / "frr.conf"
        shutil.copyfile(self._source, config)
        vtysh = self._config_dir / "vtysh.conf"
        vtysh.touch()
        for path in (config, vtysh):
            shutil.chown(path, _OWNER, _OWNER)
        for daemon in self.daemons:
            daemon.start()
            daemon.wait_ready()

    def settle(self) -> None:
        """Return once every BGP neighbour is established and has sent a prefix."""
        if not wait_until(self._heard_all, _SETTLE_S):
            reason = f"BGP in {self._space} did not come up: {self._summary()}"
            raise LabError(reason)

    def stop(self) -> None:
        """Stop both and take their directories away."""
        for daemon in reversed(self.daemons):
            daemon.stop()
        self._clear()

    def describe(self) -> Json:
        """How to ask it."""
        return {"vtysh": ["vtysh", "-N", self._space]}

    def _summary(self) -> Json:
        shown = run("vtysh", "-N", self._space, "-c", "show bgp ipv4 unicast summary json")
        peers: Json = json.loads(shown).get("peers", {})
        return peers

    def _heard_all(self) -> bool:
        peers = self._summary().values()
        return bool(peers) and all(peer.get("pfxRcd", 0) > 0 for peer in peers)

    def _clear(self) -> None:
        for path in (self._config_dir, self._run_dir):
            shutil.rmtree(path, ignore_errors=True)

    def _daemon(self, site: Site, name: str) -> Daemon:
        config = ("-f", str(self._config_dir / "frr.conf"))
        # bgpd reads the whole file; zebra would call the bgp lines unknown, and needs none of it.
        argv = (str(_BIN / name), "-N", self._space, "--log", "stdout", "--vty_port", "0")
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
