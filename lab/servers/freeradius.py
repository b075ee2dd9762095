"""FreeRADIUS on the lab's PostgreSQL: one private configuration, the shipped SQL queries."""

from __future__ import annotations

from pathlib import Path

from lab.servers import postgres
from lab.servers.daemon import Daemon, write_private
from lab.servers.site import Json, Site

AUTH_PORT = 1812
ACCT_PORT = 1813
SECRET_NAME = "radius.secret"
_TEMPLATE = Path(__file__).with_name("freeradius.conf")
_USER = "freerad"
_READY = "Ready to process requests"


class Freeradius:
    """Every client on the management network shares one secret and must sign its requests."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._dir = site.directory("freeradius")
        self._log = site.log("freeradius")
        self._secret = site.credential(SECRET_NAME)
        self._daemon = Daemon(
            name="freeradius",
            # Started as root, it reads its files and then becomes freerad by itself.
            argv=("freeradius", "-f", "-l", "stdout", "-n", "radiusd", "-d", str(self._dir)),
            log=self._log,
            ready=lambda _pid: _READY in self._log.read_text(errors="replace"),
            place=site.place,
        )
        self.daemons = (self._daemon,)

    def start(self) -> None:
        """Write the configuration, and start."""
        (self._dir / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
        write_private(self._dir / "radiusd.conf", self._settings())
        self._daemon.start()
        self._daemon.wait_ready()

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Stop."""
        self._daemon.stop()

    def describe(self) -> Json:
        """How to send it requests."""
        return {
            "address": self._site.node.address,
            "auth_port": AUTH_PORT,
            "acct_port": ACCT_PORT,
            "secret_file": str(self._secret),
        }

    def _settings(self) -> str:
        topology = self._site.topology
        values = {
            "DIR": str(self._dir),
            "USER": _USER,
            "SUBNET": str(topology.subnet),
            "SECRET": self._secret.read_text().strip(),
            "ADDRESS": self._site.node.address,
            "AUTH_PORT": str(AUTH_PORT),
            "ACCT_PORT": str(ACCT_PORT),
            "DB_ADDRESS": topology.node_running("postgres").address,
            "DB_PORT": str(postgres.PORT),
            "DB_NAME": postgres.DATABASE,
            "DB_PASSWORD": postgres.role_password(self._site.state_dir, "radius"),
        }
        text = _TEMPLATE.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text


def make(site: Site) -> Freeradius:
    """The RADIUS server of a node."""
    return Freeradius(site)
