"""OpenSSH's server: one key for root, no passwords, the same prompt on every machine."""

from __future__ import annotations

from pathlib import Path

from lab.servers.daemon import Bound, Daemon, LabError, run, write_private
from lab.servers.site import Json, Site

PORT = 22
_PRIVILEGE_SEPARATION_DIR = Path("/run/sshd")


class Sshd:
    """Host key and the user's key are made once and kept in the state directory."""

    def __init__(self, site: Site) -> None:
        self._address = site.node.address
        self._dir = site.directory("sshd")
        self._host_key = self._dir / "host_key"
        self._user_key = site.state_dir / "credentials" / f"{site.node.name}-root.key"
        self._known_hosts = site.state_dir / "known_hosts"
        self._config = self._dir / "sshd_config"
        self._daemon = Daemon(
            name="sshd",
            argv=("/usr/sbin/sshd", "-D", "-e", "-f", str(self._config)),
            log=site.log("sshd"),
            ready=Bound(protocol="tcp", address=self._address, port=PORT).by,
            place=site.place,
        )
        self.daemons = (self._daemon,)

    def start(self) -> None:
        """Make the keys, write the configuration and known_hosts, and start."""
        _PRIVILEGE_SEPARATION_DIR.mkdir(mode=0o755, exist_ok=True)
        for key in (self._host_key, self._user_key):
            if not key.exists():
                key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key))
        home = self._dir / "home"
        home.mkdir(exist_ok=True)
        write_private(self._config, self._settings(home))
        host = " ".join(self._host_key.with_suffix(".pub").read_text().split()[:2])
        self._known_hosts.write_text(f"{self._address} {host}\n")
        self._daemon.start()
        self._daemon.wait_ready()

    def settle(self) -> None:
        """It needs no other node."""

    def stop(self) -> None:
        """Stop; sessions end with their namespace."""
        self._daemon.stop()

    def describe(self) -> Json:
        """How to log in."""
        return {
            "address": self._address,
            "port": PORT,
            "username": "root",
            "key_file": str(self._user_key),
            "known_hosts": str(self._known_hosts),
            "host_key_file": str(self._host_key.with_suffix(".pub")),
        }

    def _settings(self, home: Path) -> str:
        settings = {
            "ListenAddress": f"{self._address}:{PORT}",
            "HostKey": self._host_key,
            "PidFile": "none",
            "AuthorizedKeysFile": self._user_key.with_suffix(".key.pub"),
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            # With PAM root may be locked and still log in; without, "!" in shadow refuses the key.
            "UsePAM": "yes" if _root_is_locked() else "no",
            # A checkout may be writable by a group; that is no reason to refuse its key here.
            "StrictModes": "no",
            "PrintMotd": "no",
            "PrintLastLog": "no",
            # An empty home: root's own prompt and aliases must not decide what a driver sees.
            "SetEnv": f"HOME={home} TERM=dumb",
            "MaxStartups": "100:30:200",
            "UseDNS": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def make(site: Site) -> Sshd:
    """The SSH server of a node."""
    return Sshd(site)


def _root_is_locked() -> bool:
    for line in Path("/etc/shadow").read_text(encoding="utf-8").splitlines():
        if line.startswith("root:"):
            return line.split(":")[1].startswith("!")
    reason = "/etc/shadow has no line for root"
    raise LabError(reason)
