"""iperf3 servers, one for each address and port in the node's label bandmaster-iperf3."""

from __future__ import annotations

from lab.servers.daemon import Bound, Daemon
from lab.servers.site import Json, Site

LABEL = "bandmaster-iperf3"


class Iperf3:
    """One process for each port, because an iperf3 server serves one test at a time."""

    def __init__(self, site: Site) -> None:
        words = site.node.label(LABEL).split()
        self._ends = tuple((address, int(port)) for address, port in map(_split, words))
        self.daemons = tuple(_daemon(site, address, port) for address, port in self._ends)

    def start(self) -> None:
        """Start all of them."""
        for daemon in self.daemons:
            daemon.start()
        for daemon in self.daemons:
            daemon.wait_ready()

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Stop all of them."""
        for daemon in self.daemons:
            daemon.stop()

    def describe(self) -> Json:
        """Where each listens."""
        return {"listen": [{"address": address, "port": port} for address, port in self._ends]}


def make(site: Site) -> Iperf3:
    """The iperf3 servers of a node."""
    return Iperf3(site)


def _split(word: str) -> tuple[str, str]:
    address, _, port = word.partition(":")
    return address, port


def _daemon(site: Site, address: str, port: int) -> Daemon:
    return Daemon(
        name=f"iperf3-{port}",
        argv=("iperf3", "--server", "--bind", address, "--port", str(port), "--forceflush"),
        log=site.log(f"iperf3-{port}"),
        ready=Bound(protocol="tcp", address=address, port=port).by,
        place=site.place,
    )
