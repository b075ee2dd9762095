"""The BNG's access agent (lab.nas_agent) as a server of a node."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lab.servers.daemon import Bound, Daemon, LabError, write_private
from lab.servers.freeradius import ACCT_PORT, AUTH_PORT, SECRET_NAME
from lab.servers.site import Json, Site

LABEL = "bandmaster-sessions"
COA_PORT = 3799
SESSIONS_DIR = Path("/run/access-sessions")
_ROOT = Path(__file__).resolve().parents[2]


class NasAgent:
    """Subscribers come from the node's label bandmaster-sessions: LOGIN=INTERFACE ..."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._config = site.directory("nas") / "config.json"
        # In /run, since a socket's path has at most 107 bytes and a checkout may lie deep.
        self._control = Path(f"/run/{site.node.long_name}-nas.sock")
        self._secret = site.credential(SECRET_NAME)
        self._lines = tuple(self._line(word) for word in site.node.label(LABEL).split())
        self._daemon = Daemon(
            name="nas",
            argv=(sys.executable, "-m", "lab.nas_agent", str(self._config)),
            log=site.log("nas"),
            ready=Bound(protocol="udp", address=site.node.address, port=COA_PORT).by,
            place=site.place,
            environment={"PYTHONPATH": str(_ROOT)},
        )
        self.daemons = (self._daemon,)

    def start(self) -> None:
        """Write the configuration and start; nobody is logged in yet."""
        node, topology = self._site.node, self._site.topology
        config = {
            "nas": {
                "identifier": node.name,
                "address": node.address,
                "server": topology.node_running("freeradius").address,
                "auth_port": AUTH_PORT,
                "acct_port": ACCT_PORT,
                "secret_file": str(self._secret),
            },
            "coa_port": COA_PORT,
            "sessions_dir": str(SESSIONS_DIR),
            "control_socket": str(self._control),
            "interim_s": 0,
            "lines": self._lines,
        }
        write_private(self._config, json.dumps(config, indent=1))
        self._daemon.start()
        self._daemon.wait_ready()

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Stop; the agent ends its sessions first."""
        self._daemon.stop()
        self._control.unlink(missing_ok=True)

    def describe(self) -> Json:
        """How to send it CoA, and how to make a subscriber log in and out."""
        return {
            "coa_address": self._site.node.address,
            "coa_port": COA_PORT,
            "coa_secret_file": str(self._secret),
            "identifier": self._site.node.name,
            "control_socket": str(self._control),
            "sessions_dir": str(SESSIONS_DIR),
            "lines": list(self._lines),
        }

    def _line(self, word: str) -> dict[str, str]:
        login, _, interface = word.partition("=")
        node, far = self._site.node, ""
        for left, right in self._site.topology.links:
            for near, other in ((left, right), (right, left)):
                if (near.node, near.interface) == (node.name, interface):
                    far = other.node
        return {
            "login": login,
            "password_file": str(self._site.credential(f"{login}.password")),
            "interface": interface,
            "address": _address_of(self._site, far, login),
        }


def make(site: Site) -> NasAgent:
    """The access agent of a node."""
    return NasAgent(site)


def _address_of(site: Site, name: str, login: str) -> str:
    """The subscriber's own address, from the exec line that gives it."""
    for line in site.topology.node(name).exec_lines:
        words = line.split()
        if words[:2] == ["ip", "addr"]:
            return words[3].partition("/")[0]
    reason = f"{site.topology.path}: {name} has no address for the login {login}"
    raise LabError(reason)
