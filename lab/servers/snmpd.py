"""net-snmp's agent, SNMPv3 authPriv only (SHA-256, AES-128)."""

from __future__ import annotations

from lab.servers.daemon import Bound, Daemon, write_private
from lab.servers.site import Json, Site

PORT = 161
USER = "bandmaster"


class Snmpd:
    """Counters of its interfaces refresh every 3 s: poll no faster than every 5 s."""

    def __init__(self, site: Site) -> None:
        self._address = site.node.address
        self._auth = site.credential("snmp-auth.passphrase")
        self._priv = site.credential("snmp-priv.passphrase")
        self._dir = site.directory("snmpd")
        self._config = self._dir / "snmpd.conf"
        self._daemon = Daemon(
            name="snmpd",
            argv=("snmpd", "-f", "-Lo", "-C", "-c", str(self._config)),
            log=site.log("snmpd"),
            ready=Bound(protocol="udp", address=self._address, port=PORT).by,
            place=site.place,
            # Debian ships no MIB files; without MIBS it would complain about each.
            environment={"SNMP_PERSISTENT_DIR": str(self._dir / "persistent"), "MIBS": ""},
        )
        self.daemons = (self._daemon,)

    def start(self) -> None:
        """Write the configuration and start."""
        auth, priv = self._auth.read_text().strip(), self._priv.read_text().strip()
        write_private(
            self._config,
            f"agentaddress udp:{self._address}:{PORT}\n"
            f"createUser {USER} SHA-256 {auth} AES {priv}\n"
            f"rouser {USER} priv\n",
        )
        self._daemon.start()
        self._daemon.wait_ready()

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Stop."""
        self._daemon.stop()

    def describe(self) -> Json:
        """How to ask it."""
        return {
            "address": self._address,
            "port": PORT,
            "user": USER,
            "auth_protocol": "SHA-256",
            "auth_passphrase_file": str(self._auth),
            "priv_protocol": "AES-128",
            "priv_passphrase_file": str(self._priv),
        }


def make(site: Site) -> Snmpd:
    """The SNMP agent of a node."""
    return Snmpd(site)
