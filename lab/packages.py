"""Install the lab's real servers on Debian without letting any of them start by itself.

Runs on the system's own python3 before any virtual environment exists: standard library only.
Run it as `python3 -m lab.packages`; exit code 0: all there, 1: apt failed, 3: cannot install here.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = (
    "freeradius",
    "freeradius-postgresql",
    "freeradius-utils",
    "frr",
    "iperf3",
    "iproute2",
    "openssh-server",
    "postgresql",
    "snmp",
    "snmpd",
)
# Units that the packages above enable; a unit an administrator enabled before stays as it was.
UNITS = {
    "freeradius": ("freeradius.service",),
    "frr": ("frr.service",),
    "iperf3": ("iperf3.service",),
    "openssh-server": ("ssh.service",),
    "postgresql": ("postgresql.service",),
    "snmpd": ("snmpd.service",),
}
CANNOT_INSTALL_EXIT = 3
_POLICY = Path("/usr/sbin/policy-rc.d")
_ASIDE = Path("/usr/sbin/policy-rc.d.before-bandmaster-lab")
# tools/setup.sh may be installing beside us, and apt waits for nobody
_LOCK = Path("/var/lib/apt/bandmaster.lock")
_OURS = "# bandmaster lab: temporary, removed when the installation ends\n"
_FORBIDDEN_BY_POLICY = 101
APT_LINE = "apt-get install --no-install-recommends " + " ".join(PACKAGES)


def missing_packages() -> tuple[str, ...]:
    """Names of the lab's packages that dpkg does not list as installed; without dpkg all."""
    try:
        answer = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Status}\n", *PACKAGES],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return PACKAGES
    installed = {
        line.split()[0]
        for line in answer.stdout.splitlines()
        if line.endswith("install ok installed")
    }
    return tuple(name for name in PACKAGES if name not in installed)


def why_not_here() -> str:
    """Why this machine cannot install the packages; empty if it can."""
    if not Path("/etc/debian_version").exists():
        return "this is not Debian"
    if os.geteuid() != 0:
        return "only root can install packages"
    return ""


def _policy_forbids_starting() -> bool:
    if not _POLICY.exists():
        return False
    asked = subprocess.run([str(_POLICY), "frr", "start"], capture_output=True, check=False)
    return asked.returncode == _FORBIDDEN_BY_POLICY


@contextmanager
def nothing_starts() -> Iterator[None]:
    """Forbid maintainer scripts to start a service; the policy found before is put back after."""
    _mend_policy()  # an installation that was killed may have left ours behind
    if _policy_forbids_starting():
        yield
        return
    if _POLICY.exists():
        _POLICY.rename(_ASIDE)
    _POLICY.write_text(f"#!/bin/sh\n{_OURS}exit {_FORBIDDEN_BY_POLICY}\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _mend_policy()


def _mend_policy() -> None:
    if _POLICY.exists() and _OURS in _POLICY.read_text(encoding="utf-8", errors="replace"):
        _POLICY.unlink()
    if _ASIDE.exists():
        _ASIDE.rename(_POLICY)


def _apt(*arguments: str) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", "-y", *arguments]
    # apt's own text belongs to people, not to whoever reads our standard output.
    return subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode


def _install(names: tuple[str, ...]) -> int:
    arguments = ("install", "--no-install-recommends", *names)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with nothing_starts():
            code = _apt(*arguments)
            if code != 0:  # the package lists may be absent or old on a fresh machine
                code = _apt("update") or _apt(*arguments)
    for name in names:
        for unit in UNITS.get(name, ()):
            subprocess.run(["systemctl", "disable", unit], capture_output=True, check=False)
    return code


def main() -> int:
    """Install what is missing, say what was installed, and leave every unit disabled."""
    names = missing_packages()
    if not names:
        print("lab packages: all installed")
        return 0
    reason = why_not_here()
    if reason:
        print(f"lab packages: {reason}; missing: {' '.join(names)}", file=sys.stderr)
        print(f"lab packages: on Debian as root: {APT_LINE}", file=sys.stderr)
        return CANNOT_INSTALL_EXIT
    print(f"lab packages: installing {' '.join(names)} (nothing is started)", flush=True)
    code = _install(names)
    left = missing_packages()
    if code != 0 or left:
        print(f"lab packages: apt failed, still missing: {' '.join(left)}", file=sys.stderr)
        return 1
    print(f"lab packages: installed {' '.join(names)}; their units are disabled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
